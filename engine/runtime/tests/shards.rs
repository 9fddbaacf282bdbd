//! Shard threads: their start, their end, and that they never sleep through their work.

mod support;

use std::{
    cell::RefCell,
    future::{pending, poll_fn},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use runtime::{Context, Disk, File, ShardSpec, mailbox, now, spawn_shard};
use support::{FOR_EVER, on_shard, spec};

/// Tests that count descriptors or threads of the process take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_timer_fires_not_before_its_time_and_can_be_moved() {
    let _alone = alone();
    on_shard(|context| async move {
        let ring = context.ring();
        let ms = Duration::from_millis;
        let began = now();
        // Far away, then nearer, then farther: only the last counts.
        ring.set_timer(began + Duration::from_secs(3600));
        ring.set_timer(began + ms(1));
        ring.set_timer(began + ms(30));
        while now() < began + ms(30) {
            ring.wait().await;
        }
        let armed = now();
        ring.set_timer(armed + Duration::from_secs(3600));
        ring.submit();
        ring.set_timer(armed + ms(5));
        while now() < armed + ms(5) {
            ring.wait().await;
        }
        // In the past: at once. And many sets leave nothing behind that delays the next.
        for step in 0..10_000 {
            ring.set_timer(now() + ms(1000) - Duration::from_micros(step));
        }
        ring.set_timer(Duration::ZERO);
        ring.wait().await;
    });
}

#[test]
fn a_shard_without_work_sleeps() {
    let _alone = alone();
    let turns = on_shard(|context| async move {
        let ring = context.ring();
        let end = now() + Duration::from_millis(300);
        let mut turns = 0;
        while now() < end {
            ring.set_timer(end);
            ring.wait().await;
            turns += 1;
        }
        turns
    });
    assert!(turns < 20, "{turns} turns with nothing to do");
}

#[test]
fn a_storm_of_rings_from_many_threads_ends_and_misses_nothing() {
    let _alone = alone();
    const RINGS: u64 = 250_000;
    let rung = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let count = Arc::clone(&rung);
    let shard = spawn_shard(spec("storm"), |context| async move {
        let ring = context.ring();
        sender.send(ring.doorbell()).unwrap();
        while count.load(Ordering::Acquire) < 4 * RINGS {
            ring.wait().await;
        }
    })
    .unwrap();
    let doorbell = receiver.recv().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..RINGS {
                    rung.fetch_add(1, Ordering::Release);
                    doorbell.ring();
                }
            });
        }
    });
    shard.join().unwrap();
}

#[test]
fn every_letter_arrives_once_and_in_order() {
    let _alone = alone();
    const LETTERS: u64 = 100_000;
    let (sender, receiver) = mpsc::channel();
    let shard = spawn_shard(spec("mailbox"), |context| async move {
        let ring = context.ring();
        let (post, mut mailbox) = mailbox::<(usize, u64)>(64, ring.doorbell());
        sender.send(post).unwrap();
        let mut next = [0; 3];
        while next != [LETTERS; 3] {
            if mailbox.is_empty() {
                ring.wait().await;
            }
            mailbox.drain(16, |(from, number)| {
                assert_eq!(next[from], number);
                next[from] += 1;
            });
        }
    })
    .unwrap();
    let post = receiver.recv().unwrap();
    std::thread::scope(|scope| {
        for from in 0..3 {
            let post = post.clone();
            scope.spawn(move || {
                for number in 0..LETTERS {
                    while post.try_send((from, number)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    shard.join().unwrap();
}

#[test]
fn a_letter_to_a_sleeping_shard_is_answered_each_time() {
    let _alone = alone();
    // Ping-pong: each side sleeps until the other has answered. A lost wake would end it.
    let (posts, receiver) = mpsc::channel();
    let mut players = Vec::new();
    let (to_first, from_test) = mpsc::channel::<runtime::MailboxSender<u64>>();
    let (to_second, from_test_too) = mpsc::channel::<runtime::MailboxSender<u64>>();
    for (name, other) in [("ping", from_test), ("pong", from_test_too)] {
        let posts = posts.clone();
        let player = spawn_shard(spec(name), move |context| async move {
            let ring = context.ring();
            let (post, mut mailbox) = mailbox::<u64>(4, ring.doorbell());
            posts.send((name, post)).unwrap();
            let other = other.recv().unwrap();
            let mut done = false;
            while !done {
                ring.wait().await;
                mailbox.drain(4, |ball| {
                    done = ball >= 19_999;
                    other.try_send(ball + 1).unwrap();
                });
            }
        });
        players.push(player.unwrap());
    }
    let (name, post) = receiver.recv().unwrap();
    let (_, other) = receiver.recv().unwrap();
    let (ping, pong) = if name == "ping" { (post, other) } else { (other, post) };
    to_first.send(pong).unwrap();
    to_second.send(ping.clone()).unwrap();
    ping.try_send(0).unwrap();
    for player in players {
        player.join().unwrap();
    }
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
        let file: std::io::Result<()> = Err(std::io::ErrorKind::NotFound.into());
        file.unwrap();
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
            pauser.pause().await;
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

fn count(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
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
                            pauser.pause().await;
                        }
                    });
                    ring.wait().await;
                    if shard == 2 && round % 3 == 0 {
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
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    for round in 3..60 {
        engine(round);
    }
    assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), before, "descriptors and threads");
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
fn a_wait_given_up_takes_no_wake_with_it() {
    let _alone = alone();
    on_shard(|context| async move {
        let ring = context.ring();
        for _ in 0..1000 {
            // Polled once, parked, dropped.
            let mut wait = Box::pin(ring.wait());
            poll_fn(|task| Poll::Ready(wait.as_mut().poll(task).is_ready())).await;
            drop(wait);
            let doorbell = ring.doorbell();
            std::thread::scope(|scope| {
                scope.spawn(move || doorbell.ring());
            });
            ring.wait().await;
        }
    });
}

#[test]
fn a_busy_loop_lets_background_work_and_blocking_calls_go_on() {
    let _alone = alone();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_owned();
    on_shard(|context| async move {
        let ring = context.ring();
        let slices = Rc::new(RefCell::new(0));
        let done = Rc::new(RefCell::new(false));
        let (counted, finished, pauser) = (Rc::clone(&slices), Rc::clone(&done), context.clone());
        context.spawn_background(async move {
            let disk = pauser.disk();
            for slice in 0..20 {
                pauser.pause().await;
                disk.list(&path).await.unwrap();
                *counted.borrow_mut() = slice + 1;
            }
            *finished.borrow_mut() = true;
        });
        // Never idle: the timer is always due.
        while !*done.borrow() {
            ring.set_timer(Duration::ZERO);
            ring.wait().await;
        }
        assert_eq!(*slices.borrow(), 20);
    });
}

/// The pattern that hung glommio: wakes from outside in a storm while the loop works and timers end. Every beat of
/// the shard must be seen, or the watchdog has failed.
#[test]
fn a_shard_under_a_storm_of_wakes_stays_alive() {
    let _alone = alone();
    let stop = Arc::new(AtomicBool::new(false));
    let beats = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let (stopped, beat) = (Arc::clone(&stop), Arc::clone(&beats));
    let shard = spawn_shard(spec("soak"), |context| async move {
        let ring = context.ring();
        sender.send(ring.doorbell()).unwrap();
        let pauser = context.clone();
        context.spawn_background(async move {
            loop {
                pauser.pause().await;
            }
        });
        while !stopped.load(Ordering::Relaxed) {
            ring.set_timer(now() + Duration::from_micros(200));
            ring.wait().await;
            beat.fetch_add(1, Ordering::Relaxed);
            // Some work: the next completions come while the thread computes.
            let end = now() + Duration::from_micros(50);
            while now() < end {
                std::hint::spin_loop();
            }
        }
    })
    .unwrap();
    let doorbell = receiver.recv().unwrap();
    let end = now() + Duration::from_secs(5);
    std::thread::scope(|scope| {
        for pause in [0, 20, 150] {
            let (doorbell, stop) = (doorbell.clone(), Arc::clone(&stop));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    doorbell.ring();
                    if pause > 0 {
                        std::thread::sleep(Duration::from_micros(pause));
                    }
                }
            });
        }
        let mut seen = 0;
        while now() < end {
            let still = now();
            while beats.load(Ordering::Relaxed) == seen {
                assert!(now() - still < FOR_EVER, "the shard sleeps for ever");
                std::thread::yield_now();
            }
            seen = beats.load(Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} turns, {} rescues", beats.load(Ordering::Relaxed), shard.rescues());
    shard.join().unwrap();
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
