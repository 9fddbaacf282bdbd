//! Several runs as one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Items, build, id, open};
use crate::fake_disk::{FakeDisk, run};
use crate::{FileRun, Merge};

async fn merge_all(disk: &FakeDisk, paths: &[std::path::PathBuf]) -> Items {
    let mut scans = Vec::new();
    for path in paths {
        scans.push(FileRun::open(disk, path).await.unwrap().scan().await.unwrap());
    }
    let mut merge = Merge::new(scans).await.unwrap();
    let mut items = Items::new();
    while let Some(item) = merge.peek().await.unwrap() {
        items.push((item.key.to_vec(), item.value.to_vec()));
        let again = merge.peek().await.unwrap().map(|item| (item.key.to_vec(), item.value.to_vec()));
        assert_eq!(again.as_ref(), items.last(), "looking changes nothing");
        merge.pass();
    }
    merge.pass();
    assert!(merge.peek().await.unwrap().is_none());
    items
}

/// `runs` newest first; each is written as a file of its own.
fn check(runs: &[BTreeMap<Vec<u8>, Vec<u8>>]) {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let mut expected = BTreeMap::new();
    let mut paths = Vec::new();
    for (items, index) in runs.iter().rev().zip(1..) {
        expected.extend(items.clone());
        let items: Items = items.clone().into_iter().collect();
        let finished = run(build(&store, id(index), &items)).unwrap();
        paths.insert(0, store.path(finished.reference.name));
        drop(finished.guard); // nothing is collected here
    }
    assert_eq!(run(merge_all(&disk, &paths)), expected.into_iter().collect::<Items>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_merge_is_what_a_map_makes_of_its_runs(
        runs in prop::collection::vec(
            prop::collection::btree_map(prop::collection::vec(0..4_u8, 0..5), prop::collection::vec(any::<u8>(), 0..9), 0..40),
            0..=crate::RUNS_MAX,
        )
    ) {
        check(&runs);
    }
}

#[test]
fn a_merge_goes_over_the_ends_of_what_is_read_at_once() {
    // Several megabytes each, values longer than a block among them, and half of the keys in both.
    let items = |step: u32, fill: u8| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let value = |number: u32| vec![fill; if number.is_multiple_of(500) { 70_000 } else { 900 }];
        (0..4000).map(|number| (format!("{:06}", number * step).into_bytes(), value(number))).collect()
    };
    check(&[items(2, 7), items(1, 9), items(3, 5)]);
    check(&[BTreeMap::new(), items(1, 9), BTreeMap::new()]);
}

#[test]
fn damage_in_one_of_the_runs_is_told() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let items: Items =
        (0..9000_u32).map(|number| (format!("{number:06}").into_bytes(), vec![1; 300])).collect();
    let finished = run(build(&store, id(1), &items)).unwrap();
    let path = store.path(finished.reference.name);
    let mut bytes = disk.bytes(&path);
    bytes[2_000_000] ^= 1;
    disk.put(&path, &bytes);
    let failed = run(async {
        let scan = FileRun::open(&disk, &path).await.unwrap().scan().await.unwrap();
        let mut merge = Merge::new(vec![scan]).await.unwrap();
        let mut found = 0;
        loop {
            match merge.peek().await {
                Ok(Some(_)) => found += 1,
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
            merge.pass();
        }
    });
    assert!(failed.0 > 1000 && failed.1.is_some_and(|error| error.is_corrupt()), "{} items", failed.0);
}
