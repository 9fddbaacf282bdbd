//! Several files that are read as one, in place.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::{Items, build, id, open};
use crate::fake_disk::{FakeDisk, run};
use crate::{
    Access, Bytes, CheckPass, Files, Guard, Miss, Run, RunReference, Served, SnapshotError, Store, Use,
};

/// A file that is checked in steps of a few bytes, and served.
fn serve(disk: &FakeDisk, store: &Store<FakeDisk>, reference: RunReference) -> Result<Served, SnapshotError> {
    let path = store.path(reference.name);
    let run = Run::open(Bytes::Held(disk.bytes(&path)), &path)?;
    run.expect(&reference)?;
    let mut pass = CheckPass::default();
    let mut covered = run.index_range().len();
    loop {
        let next = run.next_checked(&pass, 100)?;
        covered += next.len();
        let more = run.check_some(&mut pass, 100, |item| match item.value {
            b"refused" => Err("refused".to_owned()),
            _ => Ok(()),
        })?;
        if !more {
            break;
        }
    }
    let bytes = usize::try_from(reference.bytes).unwrap();
    assert!(covered < bytes && covered + 3 * 4096 + 128 >= bytes, "{covered} of {bytes} were announced");
    let guard = store.hold(reference.name, Use::Serving).expect("it is complete");
    Ok(Served::new(run, reference, guard))
}

/// Files of these items, the newest first.
fn files(disk: &FakeDisk, runs: &[BTreeMap<Vec<u8>, Vec<u8>>]) -> Files {
    let (store, _) = open(disk, &[]);
    let mut served = Vec::new();
    for (number, items) in runs.iter().enumerate() {
        let items: Items = items.clone().into_iter().collect();
        let finished = run(build(&store, id(100 - number as u64), &items)).unwrap();
        served.push(Rc::new(serve(disk, &store, finished.reference).unwrap()));
    }
    Files::new(served)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn files_answer_as_the_map_of_what_is_newest(
        runs in prop::collection::vec(
            prop::collection::btree_map(prop::collection::vec(0..4_u8, 0..5), prop::collection::vec(any::<u8>(), 0..9), 0..40),
            0..=crate::RUNS_MAX,
        ),
        asked in prop::collection::vec(prop::collection::vec(0..4_u8, 0..5), 20),
    ) {
        let expected: BTreeMap<Vec<u8>, Vec<u8>> = runs.iter().rev().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let files = files(&FakeDisk::default(), &runs);
        for key in asked.iter().chain(expected.keys()) {
            prop_assert_eq!(files.get(key, Access::Wait).unwrap(), expected.get(key).map(Vec::as_slice));
            let from = |from: &[u8]| files.items_from(from, Access::Wait).unwrap().map(|item| {
                let item = item.unwrap();
                (item.key.to_vec(), item.value.to_vec())
            }).collect::<Vec<_>>();
            let rest: Vec<_> = expected.range(key.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(from(key), rest);
        }
    }
}

#[test]
fn files_are_kept_while_they_are_served() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let items: Items = vec![(b"key".to_vec(), b"value".to_vec())];
    let finished = run(build(&store, id(1), &items)).unwrap();
    let served = serve(&disk, &store, finished.reference).unwrap();
    drop(finished.guard);
    assert_eq!(run(store.collect()).unwrap(), 0, "nothing names it, and it is in use");
    drop(served);
    assert_eq!(run(store.collect()).unwrap(), 1);
}

/// A file with one wrong bit, at byte 50,000.
fn rotten(disk: &FakeDisk, store: &Store<FakeDisk>) -> (RunReference, Guard) {
    let items: Items = (0..2000_u32).map(|n| (format!("{n:06}").into_bytes(), vec![1; 30])).collect();
    let finished = run(build(store, id(1), &items)).unwrap();
    let path = store.path(finished.reference.name);
    let mut bytes = disk.bytes(&path);
    bytes[50_000] ^= 1;
    disk.put(&path, &bytes);
    (finished.reference, finished.guard)
}

#[test]
fn a_damaged_file_and_one_with_foreign_items_are_not_served() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let (reference, _guard) = rotten(&disk, &store);
    let failed = serve(&disk, &store, reference);
    assert!(matches!(failed, Err(SnapshotError::Corrupt { offset: 30_000.., .. })), "{failed:?}");

    let items: Items = vec![(b"a".to_vec(), b"taken".to_vec()), (b"b".to_vec(), b"refused".to_vec())];
    let finished = run(build(&store, id(2), &items)).unwrap();
    let failed = serve(&disk, &store, finished.reference).unwrap_err();
    assert!(failed.is_corrupt() && failed.to_string().ends_with("refused"), "{failed}");
}

/// A file of which nothing is at hand yet.
fn serve_away(disk: &FakeDisk, store: &Store<FakeDisk>, reference: RunReference) -> Rc<Served> {
    let path = store.path(reference.name);
    let run = Run::open(Bytes::Held(disk.bytes(&path)), &path).unwrap();
    let guard = store.hold(reference.name, Use::Serving).expect("it is complete");
    Rc::new(Served::new(run, reference, guard))
}

/// Brings a block as whoever serves does.
fn bring(served: &Served, block: usize) -> Result<(), SnapshotError> {
    let run = served.run();
    let place = run.place(block)?.expect("a lookup came by it");
    place.check(&run.bytes()[place.range()], run.path(), |_| Ok(()))?;
    run.is_brought(block, &place);
    Ok(())
}

#[test]
fn what_is_not_at_hand_is_named_brought_and_forgotten() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let items: Items = (0..2000_u32).map(|n| (format!("{n:06}").into_bytes(), vec![1; 300])).collect();
    let finished = run(build(&store, id(1), &items)).unwrap();
    let served = serve_away(&disk, &store, finished.reference);
    let files = Files::new(vec![Rc::clone(&served)]);
    let mut brought = 0_usize;
    let mut get = |key: &str| loop {
        match files.get(key.as_bytes(), Access::AtHand) {
            Ok(value) => return (value.map(<[u8]>::len), std::mem::take(&mut brought)),
            Err(Miss::NotAtHand(served, block)) => {
                assert!(!served.has_block(block));
                bring(&served, block).unwrap();
                brought += 1;
            }
            Err(Miss::Damaged(error)) => panic!("{error}"),
        }
    };
    assert_eq!(get("000700"), (Some(300), 1));
    assert_eq!(get("000700"), (Some(300), 0));
    assert_eq!((served.next_away(0), served.is_at_hand()), (Some(0), false));
    let scanned = || {
        let items = files.items_from(b"", Access::AtHand).unwrap();
        items.take_while(Result::is_ok).count()
    };
    assert_eq!(scanned(), 0);
    while let Some(block) = served.next_away(0) {
        bring(&served, block).unwrap();
    }
    assert_eq!((scanned(), served.is_at_hand()), (2000, true));
    let all = served.bytes_at_hand();
    assert!((610_000..650_000).contains(&all), "{all}");

    let mut given_back = Vec::new();
    assert_eq!(served.run().forget_blocks(0, 100_000, &mut given_back), (0, None), "all were used");
    assert_eq!(get("000000"), (Some(300), 0));
    let (forgotten, next) = served.run().forget_blocks(0, 100_000, &mut given_back);
    assert!((100_000..120_000).contains(&forgotten) && next.is_some(), "{forgotten} {next:?}");
    assert_eq!(served.bytes_at_hand(), all - forgotten);
    assert_eq!(given_back.iter().map(|range| range.len() as u64).sum::<u64>(), forgotten);
    assert_eq!((get("000000"), get("000100")), ((Some(300), 0), (Some(300), 1)), "the first was used");
    assert!(served.run().forget_blocks(0, u64::MAX, &mut given_back).1.is_none());
    assert!(served.run().forget_blocks(0, u64::MAX, &mut given_back).1.is_none());
    assert_eq!(served.bytes_at_hand(), 0);
}

#[test]
fn a_block_that_rotted_is_not_brought() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let (reference, _guard) = rotten(&disk, &store);
    let served = serve_away(&disk, &store, reference);
    let mut failed = 0;
    for block in 0.. {
        let Some(place) = served.run().place(block).unwrap() else { break };
        let result = bring(&served, block);
        assert_eq!(result.is_err(), place.range().contains(&50_000), "{result:?}");
        assert_eq!(served.has_block(block), result.is_ok());
        failed += usize::from(result.is_err());
    }
    assert_eq!(failed, 1);
    let last = served.run().place(0).unwrap().expect("it has blocks");
    let refused =
        last.check(&served.run().bytes()[last.range()], served.run().path(), |_| Err("foreign".to_owned()));
    assert!(refused.unwrap_err().to_string().ends_with("foreign"));
}
