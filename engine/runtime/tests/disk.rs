//! Files on the real disk, through the ring.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    future::Future,
    io::ErrorKind,
    path::PathBuf,
    pin::Pin,
    task::{Context as TaskContext, Poll, Waker},
};

use runtime::{BLOCK_BYTES, Buffer, BufferMut, Context, Disk, File, RealDisk, SyncMode, now};
use support::{on_shard, pattern};

/// A directory on a disk if the build directory is on one, and not in memory as temporary ones often are.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs `test` on a shard in a directory of its own.
fn with_disk<F, Fut>(test: F)
where
    F: FnOnce(RealDisk, PathBuf, Context) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let directory = directory();
    let path = directory.path().to_owned();
    on_shard(move |context| test(context.disk(), path, context));
}

fn buffer(bytes: &[u8]) -> Buffer {
    assert_eq!(bytes.len() % BLOCK_BYTES, 0);
    Buffer::copy_from(bytes)
}

#[test]
fn a_new_file_is_all_zeros_and_its_path_is_taken() {
    with_disk(|disk, dir, _| async move {
        let path = dir.join("file");
        let bytes = 3 * (1 << 20) + 8192;
        let file = disk.create(&path, bytes).await.unwrap();
        assert_eq!((file.file_bytes(), file.map_path()), (bytes, path.clone()));
        let read = file.read_at(0, usize::try_from(bytes).unwrap() + 1).await.unwrap();
        assert_eq!(read.len() as u64, bytes);
        assert!(read.iter().all(|byte| *byte == 0));
        let error = disk.create(&path, 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open(&path).await.unwrap().file_bytes(), bytes);
        let error = disk.open(&dir.join("missing")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn reads_at_odd_places_and_past_the_end_give_exactly_what_is_there() {
    with_disk(|disk, dir, _| async move {
        let content = pattern(1, 4 * BLOCK_BYTES);
        let file = disk.create(&dir.join("file"), 4 * 4096).await.unwrap();
        file.write_durable(0, buffer(&content)).await.unwrap();
        // Lengths that are no multiple of a block, too, as of a file written by someone else.
        for file_bytes in [4 * 4096, 3 * 4096 + 100, 3 * 4096 + 1, 4095, 0] {
            file.set_len(file_bytes).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.file_bytes(), file_bytes);
            let content = &content[..usize::try_from(file_bytes).unwrap()];
            for offset in [0, 1, 511, 4095, 4096, 4097, 8191, 12_287, 12_288, 12_300, 16_383, 16_384, 20_000]
            {
                for len in [0, 1, 100, 4095, 4096, 4097, 9000, 16_384, 40_000] {
                    let read = file.read_at(offset as u64, len).await.unwrap();
                    let start = offset.min(content.len());
                    let expected = &content[start..(offset + len).clamp(start, content.len())];
                    assert!(
                        read[..] == *expected,
                        "{len} bytes at {offset} of {file_bytes}: {} came",
                        read.len()
                    );
                }
            }
        }
    });
}

#[test]
fn what_was_written_is_read_in_both_sync_modes() {
    with_disk(|disk, dir, _| async move {
        for mode in [SyncMode::Dsync, SyncMode::LinkedSync] {
            disk.set_sync_mode(mode);
            let path = dir.join(format!("{mode:?}"));
            let file = disk.create(&path, 64 * 4096).await.unwrap();
            for (block, blocks) in [(0, 1), (5, 3), (60, 4), (7, 16)] {
                let bytes = pattern(block, blocks * BLOCK_BYTES);
                file.write_durable(block * 4096, buffer(&bytes)).await.unwrap();
                assert!(
                    disk.open(&path).await.unwrap().read_at(block * 4096, bytes.len()).await.unwrap()[..]
                        == bytes
                );
            }
            // Beyond the end the file grows.
            file.write_at(64 * 4096, buffer(&[7; 4096])).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.file_bytes(), 65 * 4096);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 65 * 4096);
        }
    });
}

#[test]
fn writes_in_flight_are_polled_by_the_turn_that_waits_for_them() {
    type Write = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;
    with_disk(|disk, dir, context| async move {
        let ring = context.ring();
        for mode in [SyncMode::Dsync, SyncMode::LinkedSync] {
            disk.set_sync_mode(mode);
            let file = disk.create(&dir.join(format!("{mode:?}")), 256 * 4096).await.unwrap();
            let mut content = vec![0; 256 * 4096];
            let mut writes: Vec<Write> = Vec::new();
            let (mut started, mut turns) = (0, 0);
            let mut events = Vec::new();
            // As the log does it: no task and no waker per write, only the turn.
            while started < 64 || !writes.is_empty() {
                turns += 1;
                assert!(turns < 100_000, "turns without end");
                while started < 64 && writes.len() < 4 {
                    let bytes = pattern(started, 4 * BLOCK_BYTES);
                    let at = usize::try_from(started).unwrap() * 4 * BLOCK_BYTES;
                    content[at..at + bytes.len()].copy_from_slice(&bytes);
                    let file = file.clone();
                    writes.push(Box::pin(async move { file.write_durable(at as u64, buffer(&bytes)).await }));
                    started += 1;
                }
                let mut no_waker = TaskContext::from_waker(Waker::noop());
                writes.retain_mut(|write| match write.as_mut().poll(&mut no_waker) {
                    Poll::Pending => true,
                    Poll::Ready(result) => {
                        result.unwrap();
                        false
                    }
                });
                if writes.len() == 4 || started == 64 && !writes.is_empty() {
                    ring.wait().await;
                    ring.events(&mut events);
                }
            }
            assert!(file.read_at(0, content.len()).await.unwrap()[..] == content);
        }
    });
}

#[test]
fn dropped_reads_and_writes_keep_their_memory_until_they_end() {
    with_disk(|disk, dir, context| async move {
        let content = pattern(9, 1 << 20);
        let file = disk.create(&dir.join("file"), 1 << 20).await.unwrap();
        file.write_durable(0, buffer(&content)).await.unwrap();
        for round in 0..200 {
            let mut read = Box::pin(file.read_at(round * 100, 500_000));
            assert!(read.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
            if round % 2 == 0 {
                context.ring().submit();
            }
            drop(read);
            // Memory freed too early would be taken again here, and overwritten by the read.
            let mut probe = BufferMut::zeroed(500_000);
            probe.fill(0xee);
            assert!(file.read_at(0, content.len()).await.unwrap()[..] == content);
            assert!(probe.iter().all(|byte| *byte == 0xee));
        }
    });
}

#[test]
fn a_buffer_in_flight_is_not_unique_and_is_afterwards() {
    with_disk(|disk, dir, _| async move {
        let file = disk.create(&dir.join("file"), 4096).await.unwrap();
        let data = BufferMut::zeroed(4096).freeze();
        let mut write = Box::pin(file.write_durable(0, data.clone()));
        assert!(write.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
        let data = data.try_unique().expect_err("the ring has it");
        write.await.unwrap();
        data.try_unique().unwrap();
    });
}

#[test]
fn directories_are_made_listed_renamed_and_emptied() {
    with_disk(|disk, dir, _| async move {
        let inner = dir.join("inner");
        disk.create_dir(&inner).await.unwrap();
        disk.create_dir(&inner).await.unwrap();
        let error = disk.create_dir(&dir.join("no/parent")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for name in ["b", "a", "c"] {
            disk.create(&inner.join(name), 4096).await.unwrap();
        }
        disk.sync_dir(&inner).await.unwrap();
        disk.rename(&inner.join("c"), &inner.join("a")).await.unwrap();
        assert_eq!(disk.list(&inner).await.unwrap(), ["a", "b"]);
        disk.remove(&inner.join("b")).await.unwrap();
        assert_eq!(disk.remove(&inner.join("b")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.list(&inner).await.unwrap(), ["a"]);
        assert_eq!(disk.list(&dir.join("missing")).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn files_in_memory_work_and_are_reported_as_not_durable() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        println!("no file system in memory here: skipped");
        return;
    };
    let report = runtime::check_host(directory.path(), 1).unwrap();
    assert!(!report.durable);
    assert!(report.warnings.iter().any(|warning| warning.contains("in memory")), "{report:?}");
    let path = directory.path().join("file");
    on_shard(|context| async move {
        let file = context.disk().create(&path, 3 * 4096).await.unwrap();
        for mode in [SyncMode::Dsync, SyncMode::LinkedSync] {
            context.disk().set_sync_mode(mode);
            file.write_durable(4096, buffer(&[3; 8192])).await.unwrap();
            assert_eq!(file.read_at(4090, 100_000).await.unwrap()[..], [vec![0; 6], vec![3; 8192]].concat());
        }
    });
}

#[test]
fn the_probe_chooses_and_cleans_up() {
    with_disk(|disk, dir, _| async move {
        std::fs::write(dir.join(".sync-probe"), "left behind by a crash").unwrap();
        let mode = disk.probe(&dir).await.unwrap();
        assert_eq!(disk.sync_mode(), mode);
        assert_eq!(disk.list(&dir).await.unwrap(), [""; 0]);
        disk.probe(&dir.join("missing")).await.unwrap_err();
        assert_eq!(disk.sync_mode(), mode, "a failed probe changes nothing");
    });
}

#[test]
#[should_panic(expected = "offset 1")]
fn an_unaligned_write_is_a_bug() {
    let directory = directory();
    let path = directory.path().join("file");
    let shard = runtime::spawn_shard(support::spec("unaligned"), |context| async move {
        let file = context.disk().create(&path, 4096).await.unwrap();
        file.write_at(1, buffer(&[0; 4096])).await.unwrap();
    });
    let panicked = shard.unwrap().join().unwrap_err();
    panic!("{panicked}");
}

#[test]
fn background_reads_go_on_while_the_main_loop_sleeps_or_works() {
    with_disk(|disk, dir, context| async move {
        let content = pattern(4, 1 << 20);
        let file = disk.create(&dir.join("file"), 1 << 20).await.unwrap();
        file.write_durable(0, buffer(&content)).await.unwrap();
        let ring = context.ring();
        let (done, finished) = std::sync::mpsc::channel();
        let doorbell = ring.doorbell();
        let pauser = context.clone();
        context.spawn_background(async move {
            for round in 0..300_u64 {
                let read = file.read_at(round * 1000, 2000).await.unwrap();
                let at = usize::try_from(round).unwrap() * 1000;
                assert!(read[..] == content[at..at + 2000]);
                if round % 10 == 0 {
                    pauser.pause(runtime::REST).await;
                }
            }
            done.send(()).unwrap();
            doorbell.ring();
        });
        let mut turns = 0_u64;
        while finished.try_recv().is_err() {
            // Asleep for some turns, as busy as can be for others.
            turns += 1;
            if turns % 1000 > 500 {
                ring.set_timer(now());
            }
            ring.wait().await;
            ring.events(&mut Vec::new());
        }
    });
}
