//! The targets over the seeds, the kept corpora and whatever vectors are at hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

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

/// Vectors of others, in a folder `resp` beside others: each file is a stream of requests or replies.
#[test]
fn vectors_of_others_are_read() {
    let Some(corpora) = std::env::var_os("RINGRAFT_CORPORA").map(PathBuf::from) else { return };
    let Ok(files) = std::fs::read_dir(corpora.join("resp")) else { return };
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for name in ["resp_requests", "client_commands"] {
            Target::named(name).unwrap().check(&[&[0; 9], &bytes[..]].concat());
        }
        Target::named("resp_replies").unwrap().check(&bytes);
    }
}
