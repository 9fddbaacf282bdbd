//! The simulation of whole nodes, looked at itself: it is repeatable, its tables are true, its checks condemn what is
//! wrong, and the cluster test of the founding notes passes in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ringraft_tests::core_sim::trace::Trace;
use ringraft_tests::node_sim::founding::ROWS;
use ringraft_tests::node_sim::run;
use ringraft_tests::node_sim::{marks::MARKS, mutants::MUTANTS};

/// Seeds of each row of the founding notes' table in a test run; `RINGRAFT_FOUNDING_SEEDS` for more.
const SEEDS_PER_ROW: u64 = 2;

/// Two runs of a seed do the same, to the last line of their traces.
#[test]
fn the_same_seed_makes_the_same_life() {
    for seed in [1, 5, 33, 126, 258] {
        let digest = || {
            let trace = Trace::aloud(1);
            run::seed(seed, &trace).unwrap();
            trace.digest()
        };
        let (first, second) = (digest(), digest());
        assert_eq!(first, second, "seed {seed}");
        assert!(first.0 > 50, "seed {seed} has something to tell: {first:?}");
    }
}

/// Seeds that found bugs, once. What each was stands in docs/TESTING.md.
#[test]
fn seeds_that_failed_once_pass() {
    let seeds =
        [43, 60, 72, 81, 88, 97, 141, 148, 219, 258, 344, 397, 425, 436, 512, 627, 693, 781, 978, 1030, 1095];
    for seed in seeds {
        if let Err(failure) = run::seed(seed, &Trace::silent()) {
            panic!("{failure:?}");
        }
    }
}

#[test]
fn the_cluster_test_of_the_founding_notes_passes() {
    let seeds = std::env::var("RINGRAFT_FOUNDING_SEEDS").map_or(SEEDS_PER_ROW, |text| text.parse().unwrap());
    for row in ROWS {
        for seed in 0..seeds {
            let counts = run::seed_as(seed, &row.profile(), &Trace::silent());
            let counts = counts.unwrap_or_else(|failure| panic!("{}: {failure:?}", row.name));
            assert!(counts.answered > 50, "{}, seed {seed}: too little was done: {counts:?}", row.name);
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The names in all `what!("...")` of the crates above the core.
fn named(what: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in ["raftlog/src", "snapshot/src", "net/src", "engine/src"] {
        sources(&root.join(folder), &mut files);
    }
    let call = format!("runtime::{what}!(\"");
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let after = |text: &str| {
        text.split(&call).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    texts.iter().flat_map(|text| after(text)).collect()
}

#[test]
fn every_mark_and_every_mutant_stands_in_its_table() {
    let table: BTreeSet<String> = MARKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named("mark"), table);
    let table: BTreeSet<String> = MUTANTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named("mutant"), table);
}
