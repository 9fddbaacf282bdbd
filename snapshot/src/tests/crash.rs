//! A crash between any two durable steps, and between any two writes.

use std::path::Path;

use super::{DIR, GROUP, Items, build, id, manifest, open};
use crate::fake_disk::{FakeDisk, run};
use crate::{FileRun, Manifest, Store};

fn items(tag: u8) -> Items {
    (0..12u8).map(|number| (vec![number], vec![tag; 100_000])).collect()
}

/// The life of two saves. The "log" is the list of manifests whose record was synced.
async fn two_saves(store: &Store<FakeDisk>, log: &mut Vec<Manifest>) -> Result<(), crate::SnapshotError> {
    for (index, tag) in [(10, 1), (20, 2)] {
        let finished = build(store, id(index), &items(tag)).await?;
        let manifest = manifest(id(index), &[&finished]);
        log.push(manifest.clone());
        store.publish(&manifest);
        drop(finished);
        store.collect().await?;
    }
    Ok(())
}

fn generator(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33 & 1 == 1
    }
}

#[test]
fn the_newest_durable_record_names_a_sound_file_after_any_crash() {
    let whole = FakeDisk::default();
    let (store, _) = open(&whole, &[]);
    run(two_saves(&store, &mut Vec::new())).unwrap();
    let operations = whole.operations();
    assert!(operations > 16, "{operations} steps");

    for crash in 1..operations {
        for seed in 0..8 {
            let disk = FakeDisk::default();
            let (store, _) = open(&disk, &[]);
            disk.crash_after(crash - 1);
            let mut log = Vec::new();
            let outcome = run(two_saves(&store, &mut log));
            assert!(outcome.is_err(), "crashed at {crash}");

            let (lose, keep) = (seed == 0, seed == 1);
            let mut coin = generator(seed);
            let disk = disk.after_crash(|| keep || (!lose && coin()));
            check_after_crash(&disk, log.last(), &format!("crash at {crash}, seed {seed}"));
        }
    }
}

fn check_after_crash(disk: &FakeDisk, newest: Option<&Manifest>, context: &str) {
    let live: Vec<Manifest> = newest.cloned().into_iter().collect();
    let (store, report) = open(disk, &live);
    assert!(report.missing.is_empty(), "{context}: {:?}", report.missing);
    let named: Vec<String> =
        live.iter().flat_map(|manifest| &manifest.runs).map(|run| run.name.file_name()).collect();
    assert_eq!(disk.names(Path::new(DIR)), named, "{context}: nothing but the live file is left");
    for reference in live.iter().flat_map(|manifest| &manifest.runs) {
        run(async {
            let mut file = FileRun::open(disk, &store.path(reference.name)).await.expect(context);
            file.expect(reference).expect(context);
            file.verify().await.expect(context);
        });
    }
    // And the life goes on.
    let finished = run(build(&store, id(30), &items(3))).expect(context);
    store.publish(&manifest(id(30), &[&finished]));
    drop(finished);
    run(store.collect()).expect(context);
    assert_eq!(disk.names(Path::new(DIR)), [store.manifest(GROUP).expect(context).runs[0].name.file_name()]);
}

#[test]
fn a_failed_operation_gives_the_file_up_and_harms_no_other() {
    let whole = FakeDisk::default();
    let (store, _) = open(&whole, &[]);
    drop(run(build(&store, id(10), &items(1))).unwrap());
    let operations = whole.operations();
    for failing in 0..operations - 1 {
        let disk = FakeDisk::default();
        let (store, _) = open(&disk, &[]);
        let kept = run(build(&store, id(5), &items(5))).unwrap();
        disk.crash_after(failing);
        assert!(run(build(&store, id(10), &items(1))).is_err(), "operation {failing} fails");
        disk.crash_after(usize::MAX);
        run(store.collect()).unwrap();
        assert_eq!(
            disk.names(Path::new(DIR)),
            [kept.reference.name.file_name()],
            "operation {failing} fails"
        );
    }
}
