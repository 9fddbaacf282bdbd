//! The 127 rows of etcd's quorum tests, as data: majorities and joint configurations, commit indexes
//! and votes. Only inputs and last lines are read; the pictures between them are not.

use std::path::{Path, PathBuf};

use crate::quorum::{Slots, Tally, quorum_value, tally};

/// Where the corpora are: named by the environment, else beside the workspace.
fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let dir =
        std::env::var_os("RINGRAFT_CORPORA").map_or_else(beside, PathBuf::from).join("etcd-raft/quorum");
    dir.is_dir().then_some(dir)
}

/// The words in `name=(a,b,c)` of a command, or `None` if it is not there; `zero` is an empty list.
fn list<'a>(command: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let start = command.find(&format!(" {name}="))? + name.len() + 2;
    let rest = &command[start..];
    let Some(inside) = rest.strip_prefix('(') else { return Some(Vec::new()) };
    let inside = &inside[..inside.find(')').expect("a closed list")];
    Some(inside.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
}

/// Both halves as slots. Slots are numbered in the order in which ids are first named.
fn halves(command: &str) -> [Slots; 2] {
    let mut ids: Vec<&str> = Vec::new();
    ["cfg", "cfgj"].map(|name| {
        list(command, name).unwrap_or_default().into_iter().fold(Slots::default(), |half, id| {
            let slot = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                ids.len() - 1
            });
            half.with(slot)
        })
    })
}

fn committed(command: &str) -> String {
    let acked: Vec<u64> =
        list(command, "idx").unwrap_or_default().iter().map(|index| index.parse().unwrap_or(0)).collect();
    let [incoming, outgoing] = halves(command);
    let value = |halves| quorum_value(halves, |slot| acked.get(slot).copied().unwrap_or(0));
    let both = value([incoming, outgoing]);
    assert_eq!(both, value([outgoing, incoming]), "the halves are alike");
    assert_eq!(value([incoming, incoming]), value([incoming, Slots::default()]), "joint with itself");
    if both == u64::MAX { "∞".to_owned() } else { both.to_string() }
}

fn vote(command: &str) -> String {
    let votes = list(command, "votes").unwrap_or_default();
    let voted = |word| {
        let given = votes.iter().enumerate().filter(|&(_, vote)| *vote == word);
        given.fold(Slots::default(), |slots, (slot, _)| slots.with(slot))
    };
    let [incoming, outgoing] = halves(command);
    let result = tally([incoming, outgoing], voted("y"), voted("n"));
    assert_eq!(result, tally([outgoing, incoming], voted("y"), voted("n")), "the halves are alike");
    match result {
        Tally::Won => "VoteWon",
        Tally::Pending => "VotePending",
        Tally::Lost => "VoteLost",
    }
    .to_owned()
}

/// Runs the rows of one file and returns how many there were.
fn run(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("a file of the corpus");
    let mut rows = 0;
    for block in text.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let Some(command) = lines.next() else { continue };
        let last = lines.next_back().expect("a result");
        let expected = last.strip_prefix("<empty majority quorum>").unwrap_or(last);
        let result = match command.split_whitespace().next() {
            Some("committed") => committed(command),
            Some("vote") => vote(command),
            other => panic!("unknown command {other:?} in {}", path.display()),
        };
        assert_eq!(result, expected, "{}: {command}", path.display());
        rows += 1;
    }
    rows
}

#[test]
fn the_quorum_corpus_of_etcd_agrees() {
    let Some(dir) = corpus() else {
        println!("skipped: no corpora; set RINGRAFT_CORPORA to run this");
        return;
    };
    let files = ["majority_commit", "joint_commit", "majority_vote", "joint_vote"];
    let rows: usize = files.map(|name| run(&dir.join(name).with_extension("txt"))).iter().sum();
    assert_eq!(rows, 127);
}
