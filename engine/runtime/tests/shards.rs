//! Shard threads: their start, their end, and what they leave behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    future::pending,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use runtime::{Context, Disk, File, ShardSpec, now, spawn_shard};
use support::{on_shard, spec};

/// One of these tests counts the descriptors of the process, so they take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_panic_is_reported_with_its_message_and_the_thread_lives_on() {
    let _alone = alone();
    let panicked = spawn_shard(spec("first"), |_| async { panic!("one {}", 1) }).unwrap().join().unwrap_err();
    assert_eq!((panicked.shard.as_str(), panicked.message.as_str()), ("first", "one 1"));
    assert_eq!(panicked.to_string(), "shard first panicked: one 1");
    let before = |_: Context| -> std::future::Ready<()> { panic!("before it began") };
    assert_eq!(spawn_shard(spec("second"), before).unwrap().join().unwrap_err().message, "before it began");
    let later = spawn_shard(spec("third"), |context| async move {
        context.ring().set_timer(now());
        context.ring().wait().await;
        context.disk().open(Path::new("/nonexistent")).await.unwrap();
    });
    assert!(later.unwrap().join().unwrap_err().message.contains("NotFound"));
    assert_eq!(on_shard(|_| async { 7 }), 7);
}

#[test]
fn a_panic_of_background_work_ends_the_shard() {
    let _alone = alone();
    let shard = spawn_shard(spec("background"), |context| async move {
        let pauser = context.clone();
        context.spawn_background(async move {
            pauser.pause(runtime::REST).await;
            panic!("in the background");
        });
        pending().await
    });
    assert_eq!(shard.unwrap().join().unwrap_err().message, "in the background");
}

#[test]
fn what_a_shard_leaves_behind_is_cleared_away() {
    let _alone = alone();
    struct Told(mpsc::Sender<&'static str>, &'static str);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(self.1).unwrap();
        }
    }
    let (told, dropped) = mpsc::channel();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    let (address, bound) = mpsc::channel();
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        address.send(listener.local_addr().unwrap()).unwrap();
        ring.connect(listener.local_addr().unwrap());
        ring.listen(listener);
        ring.set_timer(now() + Duration::from_secs(3600));
        for name in ["sleeping", "reading"] {
            let guard = Told(told.clone(), name);
            let (disk, path) = (context.disk(), path.join("..").join(name));
            context.spawn_background(async move {
                let _guard = guard;
                if name == "sleeping" {
                    pending::<()>().await;
                }
                let file = disk.create(&path, 1 << 20).await.unwrap();
                loop {
                    file.read_at(0, 1 << 20).await.unwrap();
                }
            });
        }
        ring.set_timer(now());
        ring.wait().await;
    });
    let mut names = [dropped.recv().unwrap(), dropped.recv().unwrap()];
    names.sort_unstable();
    assert_eq!(names, ["reading", "sleeping"]);
    // The port is free: the listener is closed when join returns.
    runtime::bind(bound.recv().unwrap()).unwrap();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Shard threads without a shard; the process has others, of the test harness and the kernel's own.
fn idle_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |path: PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    threads.filter(|thread| name(thread.as_ref().unwrap().path()) == "ringraft-idle\n").count()
}

#[test]
fn many_engines_in_a_row_leak_neither_threads_nor_descriptors() {
    let _alone = alone();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let engine = |round: usize| {
        let shards: Vec<_> = (0..3)
            .map(|shard| {
                let path = directory.path().join(format!("{round}-{shard}"));
                let spec = ShardSpec { name: format!("e{round}-{shard}"), cpu: Some(shard % 2) };
                spawn_shard(spec, move |context| async move {
                    let ring = context.ring();
                    let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                    let address = listener.local_addr().unwrap();
                    ring.listen(listener);
                    let socket = ring.connect(address);
                    ring.receive(socket);
                    let file = context.disk().create(&path, 4096).await.unwrap();
                    let (pauser, again) = (context.clone(), file.clone());
                    context.spawn_background(async move {
                        loop {
                            again.read_at(0, 1).await.unwrap();
                            pauser.pause(runtime::REST).await;
                        }
                    });
                    ring.wait().await;
                    if shard == 2 && round.is_multiple_of(3) {
                        panic!("as planned");
                    }
                })
            })
            .collect();
        for shard in shards {
            let _ = shard.unwrap().join();
        }
    };
    for round in 0..3 {
        engine(round);
    }
    let before = (descriptors(), idle_threads());
    for round in 3..60 {
        engine(round);
    }
    assert_eq!((descriptors(), idle_threads()), before, "descriptors and threads");
}

#[test]
fn a_shard_runs_on_the_core_it_is_given_or_on_any() {
    let _alone = alone();
    let cpus = runtime::allowed_cpus();
    let runs_on = |cpu: Option<usize>| {
        let (sender, receiver) = mpsc::channel();
        let spec = ShardSpec { name: "pinned".into(), cpu };
        let shard = spawn_shard(spec, move |_| async move {
            let set = rustix::thread::sched_getaffinity(None).unwrap();
            sender.send((0..1024).filter(|cpu| set.is_set(*cpu)).collect::<Vec<_>>()).unwrap();
        });
        shard.unwrap().join().unwrap();
        receiver.recv().unwrap()
    };
    for cpu in &cpus {
        assert_eq!(runs_on(Some(*cpu)), [*cpu]);
    }
    assert_eq!(runs_on(None), cpus, "a thread of the pool is not pinned for ever");
    assert_eq!(runs_on(Some(1000)), cpus, "no such core");
}

#[test]
fn more_shards_than_cores_all_work() {
    let _alone = alone();
    let shards = 2 * runtime::allowed_cpus().len() + 3;
    let turns = Arc::new(AtomicU64::new(0));
    let running: Vec<_> = (0..shards)
        .map(|shard| {
            let turns = Arc::clone(&turns);
            // Cores that do not exist, too: those shards run unpinned.
            let spec = ShardSpec { name: format!("shard-{shard}"), cpu: Some(shard) };
            spawn_shard(spec, move |context| async move {
                let ring = context.ring();
                for _ in 0..1000 {
                    ring.set_timer(now());
                    ring.wait().await;
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for shard in running {
        shard.unwrap().join().unwrap();
    }
    assert_eq!(turns.load(Ordering::Relaxed), shards as u64 * 1000);
}

#[test]
fn writes_of_a_cancelled_task_end_before_the_shard_does() {
    let _alone = alone();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    let read = path.clone();
    on_shard(|context| async move {
        let file = context.disk().create(&path, 1 << 20).await.unwrap();
        let data = {
            let mut data = runtime::BufferMut::zeroed(1 << 20);
            data.fill(9);
            data.freeze()
        };
        context.spawn_background(async move { file.write_durable(0, data).await.unwrap() });
        // Once: the background task starts its write while this waits.
        context.ring().set_timer(now() + Duration::from_micros(100));
        context.ring().wait().await;
    });
    let content = std::fs::read(read).unwrap();
    assert!(content.iter().all(|byte| *byte == 9) || content.iter().all(|byte| *byte == 0));
}
