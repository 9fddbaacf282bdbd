//! The targets over the seeds and the kept corpora.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use ringraft_fuzz::campaign::{KEPT_BYTES_MAX, KEPT_FILES_MAX};
use ringraft_fuzz::{TARGETS, Target};

#[test]
fn nothing_is_wrong_with_the_seeds() {
    let wrong = |target: &&Target| {
        let seeds = (target.seeds)();
        let whole = |seed: &Vec<u8>| std::panic::catch_unwind(|| target.check(seed)).is_ok();
        seeds.iter().filter(|seed| !whole(seed)).count() > 0
    };
    let wrong: Vec<&str> = TARGETS.iter().filter(wrong).map(|target| target.name).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn nothing_is_wrong_with_what_is_kept() {
    for target in TARGETS {
        for (name, input) in target.kept().unwrap() {
            println!("{} {name}", target.name); // shown when it fails
            target.check(&input);
        }
    }
}

#[test]
fn what_is_kept_is_small() {
    for target in TARGETS {
        let kept = target.kept().unwrap();
        let bytes: usize = kept.iter().map(|(_, input)| input.len()).sum();
        assert!(kept.len() <= KEPT_FILES_MAX && bytes <= KEPT_BYTES_MAX, "{}: {bytes} bytes", target.name);
    }
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(corpora).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(Target::named(name.to_str().unwrap()).is_some(), "{name:?} is the corpus of no target");
    }
}
