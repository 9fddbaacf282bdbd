//! What goes into a file comes out of it.

use std::path::Path;

use proptest::prelude::*;

use super::{DIR, GROUP, Items, build, file_of, id, mixed_items, open, push, spec};
use crate::fake_disk::{FakeDisk, run};
use crate::{
    Builder, FileRun, ItemError, KEY_BYTES_MAX, Map, PAGE_BYTES, Room, Run, SnapshotError, VALUE_BYTES_MAX,
};

fn read_all<B: std::ops::Deref<Target = [u8]>>(run: &Run<B>) -> Items {
    run.items().map(|item| item.unwrap()).map(|item| (item.key.to_vec(), item.value.to_vec())).collect()
}

async fn scan_all(file: FileRun<crate::fake_disk::FakeFile>) -> Items {
    let mut scan = file.scan().await.unwrap();
    let mut found = Items::new();
    while let Some(blocks) = scan.next().await.unwrap() {
        found.extend(
            blocks.items().map(|item| item.unwrap()).map(|item| (item.key.into(), item.value.into())),
        );
    }
    found
}

#[test]
fn all_kinds_of_items_come_back() {
    let items = mixed_items();
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let finished = run(build(&store, id(42), &items)).unwrap();
    let path = store.path(finished.reference.name);

    let in_place = Run::open(disk.bytes(&path), &path).unwrap();
    in_place.expect(&finished.reference).unwrap();
    in_place.verify().unwrap();
    assert_eq!(read_all(&in_place), items);
    let summary = in_place.summary();
    assert_eq!((summary.group, summary.id, summary.items), (GROUP, id(42), items.len() as u64));
    assert_eq!(summary.keys_bytes, items.iter().map(|item| item.0.len() as u64).sum::<u64>());
    assert_eq!(summary.values_bytes, items.iter().map(|item| item.1.len() as u64).sum::<u64>());
    assert_eq!(summary.first_key.as_deref(), Some(&[][..]));
    assert_eq!(summary.last_key.as_ref(), items.last().map(|item| &item.0));
    assert_eq!(
        in_place.get(b"large").unwrap(),
        items.iter().find(|item| item.0 == b"large").map(|item| &item.1[..])
    );
    assert_eq!(in_place.get(b"key 000077").unwrap(), Some(&[b'v'; 77][..]));
    assert_eq!(in_place.get(b"key 00007").unwrap(), None);
    let tail: Vec<_> =
        in_place.items_from(b"key 000998x").unwrap().map(|item| item.unwrap().value.len()).collect();
    assert_eq!(tail, [999 % 97, 3_000_000, 13, 16_000]);

    let mut on_disk = run(FileRun::open(&disk, &path)).unwrap();
    on_disk.expect(&finished.reference).unwrap();
    assert_eq!(on_disk.summary(), summary);
    run(on_disk.verify()).unwrap();
    for key in [&b"large"[..], b"key 000500", b"", b"absent", &[0xff; 65_000]] {
        assert_eq!(run(on_disk.get(key)).unwrap().as_deref(), in_place.get(key).unwrap());
        assert_eq!(in_place.get_filtered(key).unwrap(), in_place.get(key).unwrap());
    }
    assert_eq!(run(scan_all(on_disk)), items);
}

#[test]
fn an_empty_file_is_a_file() {
    let bytes = file_of(&Items::new());
    assert_eq!(bytes.len(), 2 * PAGE_BYTES);
    let run = Run::open(bytes, Path::new("empty")).unwrap();
    run.verify().unwrap();
    assert_eq!((run.items().count(), run.get(b"").unwrap()), (0, None));
    assert_eq!((&run.summary().first_key, &run.summary().last_key), (&None, &None));
}

#[test]
fn a_mapping_reads_like_memory() {
    let items = mixed_items();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mapped.run");
    std::fs::write(&path, file_of(&items)).unwrap();
    let map = Map::open(&path).unwrap();
    let whole = 0..map.len();
    map.populate(whole.clone()).unwrap();
    assert!(map.populate(whole.start..whole.end + (1 << 20)).is_err());
    let run = Run::open(map, &path).unwrap();
    run.verify().unwrap();
    assert_eq!(read_all(&run), items);
}

#[test]
fn values_come_in_parts_as_well() {
    let value: Vec<u8> = (0..5_000_000u32).map(|place| place.to_le_bytes()[1]).collect();
    let whole = file_of(&vec![(b"a".to_vec(), value.clone()), (b"b".to_vec(), Vec::new())]);
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let finished = run(async {
        let mut builder = Builder::create(store.begin_build(GROUP, id(42)).unwrap(), spec()).await.unwrap();
        builder.push_value(b"a", value.len()).unwrap();
        let mut held_bytes_max = 0;
        for part in value.chunks(100_000) {
            if builder.extend_value(part) == Room::Flush {
                builder.flush().await.unwrap();
            }
            held_bytes_max = held_bytes_max.max(builder.held_bytes());
        }
        assert!(held_bytes_max < 1_200_000, "{held_bytes_max} bytes were held");
        builder.push_value(b"b", 0).unwrap();
        // A value of no bytes is whole at once, though not in a shared block as with `push`.
        builder.finish().await.unwrap()
    });
    let bytes = disk.bytes(&store.path(finished.reference.name));
    let (in_parts, at_once) =
        (Run::open(bytes, Path::new("p")).unwrap(), Run::open(whole, Path::new("w")).unwrap());
    in_parts.verify().unwrap();
    assert_eq!(read_all(&in_parts), read_all(&at_once));
}

#[test]
fn items_that_do_not_belong_are_refused_and_change_nothing() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let mut builder = run(Builder::create(store.begin_build(GROUP, id(42)).unwrap(), spec())).unwrap();
    let items: Items = vec![(b"b".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())];
    run(push(&mut builder, &items)).unwrap();
    assert_eq!(builder.push(b"a", b""), Err(ItemError::OutOfOrder));
    assert_eq!(builder.push_value(b"a", 100_000), Err(ItemError::OutOfOrder));
    let long = vec![0xff; KEY_BYTES_MAX + 1];
    assert_eq!(builder.push(&long, b""), Err(ItemError::KeyTooLong(long.len())));
    let refused = builder.push_value(b"c", VALUE_BYTES_MAX + 1);
    assert_eq!(refused, Err(ItemError::ValueTooLong(VALUE_BYTES_MAX + 1)));
    let largest = vec![7; VALUE_BYTES_MAX];
    assert_eq!(builder.push(&long[1..], &largest), Ok(Room::Flush));
    let finished = run(builder.finish()).unwrap();
    let run = Run::open(disk.bytes(&store.path(finished.reference.name)), Path::new("x")).unwrap();
    run.verify().unwrap();
    assert_eq!(read_all(&run), [&items[..], &[(long[1..].to_vec(), largest)]].concat());
}

#[test]
fn another_file_is_not_taken_for_the_expected_one() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let finished = run(build(&store, id(42), &mixed_items())).unwrap();
    let path = store.path(finished.reference.name);
    let file = run(FileRun::open(&disk, &path)).unwrap();
    let mut other = finished.reference;
    other.name.id = id(43);
    let text = file.expect(&other).unwrap_err().to_string();
    assert_eq!(text, format!("{DIR}/g3-i42-t7-b0.run: the entry is {}, expected {}", id(42), id(43)));
    let mut other = finished.reference;
    other.checksum ^= 1;
    let error = file.expect(&other).unwrap_err();
    assert!(matches!(error, SnapshotError::Mismatch { field: "the checksum", .. }) && error.is_corrupt());
}

fn any_items() -> impl Strategy<Value = Items> {
    let key = prop_oneof![
        4 => prop::collection::vec(b'a'..b'd', 0..4),
        1 => (0usize..40_000).prop_map(|count| vec![b'z'; count]),
    ];
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        2 => (0usize..20_000).prop_map(|count| vec![b'v'; count]),
        1 => (900_000usize..1_200_000).prop_map(|count| vec![b'V'; count]),
    ];
    prop::collection::vec((key, value), 0..60).prop_map(|mut items| {
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is pushed in order comes back in order, and lookups agree with a search through the items.
    #[test]
    fn any_items_come_back(items in any_items(), probes in prop::collection::vec(prop::collection::vec(b'a'..b'e', 0..4), 8)) {
        let run = Run::open(file_of(&items), Path::new("any")).unwrap();
        run.verify().unwrap();
        prop_assert_eq!(&read_all(&run), &items);
        for key in items.iter().map(|item| &item.0).chain(&probes) {
            let first = items.iter().find(|item| item.0 == *key).map(|item| &item.1[..]);
            prop_assert_eq!(run.get(key).unwrap(), first);
            prop_assert_eq!(run.get_filtered(key).unwrap(), first);
            let from: Vec<&[u8]> = run.items_from(key).unwrap().map(|item| item.unwrap().value).collect();
            let expected: Vec<&[u8]> = items.iter().filter(|item| item.0 >= *key).map(|item| &item.1[..]).collect();
            prop_assert_eq!(from, expected);
        }
    }
}
