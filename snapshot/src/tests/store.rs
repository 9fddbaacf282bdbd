//! What is kept and what goes.

use std::path::Path;

use super::{DIR, GROUP, Items, build, id, manifest, open};
use crate::fake_disk::{FakeDisk, run};
use crate::{Builder, Refused, Stage, Use};

fn items() -> Items {
    vec![(b"k".to_vec(), b"v".to_vec())]
}

#[test]
fn what_is_used_or_live_is_never_deleted() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let first = run(build(&store, id(10), &items())).unwrap();
    let name = first.reference.name;
    assert_eq!(run(store.collect()).unwrap(), 0, "finished and held");
    store.publish(&manifest(id(10), &[&first]));
    drop(first);
    assert_eq!(run(store.collect()).unwrap(), 0, "live");

    let (sending, serving) =
        (store.hold(name, Use::Sending).unwrap(), store.hold(name, Use::Serving).unwrap());
    let second = run(build(&store, id(20), &items())).unwrap();
    store.publish(&manifest(id(20), &[&second]));
    assert_eq!(run(store.collect()).unwrap(), 0, "superseded and used");
    let status = store.status();
    assert_eq!((status[0].name, status[0].live), (name, false));
    assert_eq!(status[0].uses, [Use::Sending, Use::Serving]);
    assert_eq!((status[1].live, status[1].uses.as_slice()), (true, &[Use::Building][..]));
    drop(serving);
    assert_eq!(run(store.collect()).unwrap(), 0, "still used once");
    drop(sending);
    assert_eq!(run(store.collect()).unwrap(), 1);
    assert_eq!(store.hold(name, Use::Serving).unwrap_err(), Refused::Unknown(name));
    assert_eq!(disk.names(Path::new(DIR)), ["g3-i20-t7-b0.run"]);
    assert_eq!(store.manifest(GROUP).unwrap().id, id(20));

    store.forget(GROUP);
    drop(second);
    assert_eq!(run(store.collect()).unwrap(), 1);
    assert!(disk.names(Path::new(DIR)).is_empty() && store.status().is_empty());
}

#[test]
fn what_was_given_up_goes() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let slot = store.begin_build(GROUP, id(10)).unwrap();
    let builder = run(Builder::create(slot, super::spec())).unwrap();
    assert_eq!(store.status()[0].stage, Stage::Building);
    assert_eq!(run(store.collect()).unwrap(), 0);
    drop(builder);
    drop(store.begin_receive(GROUP, id(11)).unwrap());
    drop(run(build(&store, id(12), &items())).unwrap());
    assert_eq!(disk.names(Path::new(DIR)), ["g3-i10-t7-b0.run.tmp", "g3-i12-t7-b0.run"]);
    assert_eq!(run(store.collect()).unwrap(), 2, "and one that never was a file");
    assert!(disk.names(Path::new(DIR)).is_empty() && store.status().is_empty());
}

#[test]
fn names_are_given_once() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let first = run(build(&store, id(10), &items())).unwrap();
    let slot = store.begin_receive(GROUP, id(10)).unwrap();
    assert_eq!((first.reference.name.build, slot.name().build), (0, 1));
    assert_eq!(store.begin_build(GROUP, id(9)).unwrap().name().build, 0);
    store.publish(&manifest(id(10), &[&first]));
    drop((first, slot));
    let (store, report) = open(&disk, &[store.manifest(GROUP).unwrap()]);
    assert!(report.removed.is_empty() && report.missing.is_empty());
    assert_eq!(store.begin_build(GROUP, id(10)).unwrap().name().build, 1);
}

#[test]
fn a_named_file_that_is_missing_is_reported_and_its_name_not_reused() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let first = run(build(&store, id(10), &items())).unwrap();
    let manifest = manifest(id(10), &[&first]);
    let (store, report) = open(&FakeDisk::default(), std::slice::from_ref(&manifest));
    assert_eq!(report.missing, [first.reference.name]);
    assert_eq!(store.begin_build(GROUP, id(10)).unwrap().name().build, 1);
    assert!(store.hold(first.reference.name, Use::Installing).is_err());
}

#[test]
fn limits_hold() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let slots = (store.begin_build(GROUP, id(1)).unwrap(), store.begin_build(GROUP, id(2)).unwrap());
    let refused = store.begin_build(GROUP, id(3)).unwrap_err();
    assert_eq!(refused, Refused::Busy { usage: Use::Building, running: 2 });
    let receives: Vec<_> = (0..4).map(|index| store.begin_receive(GROUP, id(index)).unwrap()).collect();
    assert!(store.begin_receive(GROUP, id(3)).is_err());
    drop((slots, receives));
    let file = run(build(&store, id(4), &items())).unwrap();
    let sends: Vec<_> = (0..4).map(|_| store.hold(file.reference.name, Use::Sending).unwrap()).collect();
    assert!(store.hold(file.reference.name, Use::Sending).is_err());
    drop(sends);
    assert!(store.hold(file.reference.name, Use::Sending).is_ok());
}

#[test]
fn only_our_leftovers_are_removed_at_start() {
    let disk = FakeDisk::default();
    let ours = ["g3-i1-t1-b0.run", "g3-i2-t1-b0.run.tmp", "g3-i2-t1-b1.run.part"];
    for name in ours.into_iter().chain(["README", "g3.run"]) {
        disk.put(&Path::new(DIR).join(name), b"x");
    }
    let (_, report) = open(&disk, &[]);
    let mut removed = report.removed;
    removed.sort();
    assert_eq!(
        (removed, report.strangers),
        (ours.map(String::from).to_vec(), vec!["README".into(), "g3.run".into()])
    );
    assert_eq!(disk.names(Path::new(DIR)), ["README", "g3.run"]);
    assert_eq!(disk.removed().len(), 3);
}

#[test]
#[should_panic(expected = "published before it was complete")]
fn publishing_what_is_not_durable_is_a_bug() {
    let disk = FakeDisk::default();
    let (store, _) = open(&disk, &[]);
    let first = run(build(&store, id(10), &items())).unwrap();
    let (other, _) = open(&FakeDisk::default(), &[]);
    other.publish(&manifest(id(10), &[&first]));
}
