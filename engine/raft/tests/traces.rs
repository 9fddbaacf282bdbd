//! Stories of small clusters, written so that a stranger can read them: see `traces/*.txt`. A line
//! that begins with `>` is a command; the lines after it are what then happened, compared word for
//! word. Commands of one line, with `;` between them, belong to one turn. `RINGRAFT_BLESS=1` writes what happened into the files: read the difference before you
//! commit it.
//!
//! | command               | does                                                                    |
//! |-----------------------|-------------------------------------------------------------------------|
//! | `nodes N [k=v ..]`    | starts N nodes; `window=` (appends), `quota=` (entries), `preferred=`,  |
//! |                       | `batch=` (entries per append)                                           |
//! | `campaign n`          | n campaigns now                                                         |
//! | `propose n k`         | n is asked to append k entries                                          |
//! | `read n`              | n is asked for a linearizable read                                      |
//! | `transfer n m`        | n is asked to hand leadership to m                                      |
//! | `deliver [n->m ..]`   | delivers messages (of these links) and what follows, until it is quiet  |
//! | `drop n->m ..`        | loses what is on these links                                            |
//! | `double n->m`         | doubles what is on the link                                             |
//! | `refuse n->m`         | m has no room for the entries on the link                               |
//! | `forge n->m TERM NAME`| m gets a message that n never sent                                      |
//! | `cut n ..`            | from now on these nodes' messages are lost, both ways                   |
//! | `heal`                | the network is whole again                                              |
//! | `unreachable n m`     | n learns that its link to m broke                                       |
//! | `wait MS`             | time passes, nothing is delivered                                       |
//! | `run MS`              | time passes, all is delivered at once; messages are not shown           |
//! | `hold n`, `release n` | n's writes stay in flight; they become durable again                    |
//! | `persist n [k]`       | the oldest k writes of n (all) are durable                              |
//! | `crash n [k]`         | n stops; its writes in flight are lost, but for the first k             |
//! | `restart n`           | n starts again                                                          |
//! | `compact n i`         | n has a snapshot at i, and drops its log up to there                    |
//! | `install n`           | the snapshot offered to n has arrived                                   |
//! | `decline n`           | n does not want the snapshot offered to it now                          |
//! | `status [n ..]`       | shows the nodes                                                         |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod stage;

use std::path::Path;

use raft::{Body, EntryId, GroupId, Index, Message, NodeId, Settings, Term, TermRun};
use stage::{Link, Stage};

fn node_id(word: &str) -> NodeId {
    NodeId(word.parse().unwrap_or_else(|_| panic!("a node's number, not {word:?}")))
}

fn link(word: &str) -> Link {
    let (from, to) = word.split_once("->").unwrap_or_else(|| panic!("a link like 1->2, not {word:?}"));
    (node_id(from), node_id(to))
}

fn start(words: &[&str]) -> Stage {
    let configure = |settings: &mut Settings| {
        for word in &words[1..] {
            let (key, value) = word.split_once('=').expect("key=value");
            let value: u16 = value.parse().expect("a number");
            match key {
                "window" => settings.inflight_appends_max = usize::from(value),
                "quota" => settings.uncommitted_bytes_max = 64 * u64::from(value),
                "preferred" | "batch" => {}
                _ => panic!("unknown setting {key:?}"),
            }
        }
    };
    let preferred = words.iter().find_map(|word| word.strip_prefix("preferred=")).map(node_id);
    let mut stage = Stage::new(words[0].parse().expect("how many nodes"), preferred, configure);
    if let Some(batch) = words.iter().find_map(|word| word.strip_prefix("batch=")) {
        stage.batch = batch.parse().expect("a number");
    }
    stage
}

/// Messages that a broken peer might send, or one that is not on the stage.
fn forged(term: u64, name: &str) -> Message {
    let (prev, last, commit, round) = (EntryId::new(Term(1), Index(1)), Index(3), Index(0), 0);
    let append = |prev, first| {
        let runs = [TermRun { first: Index(first), term: Term(term) }].into_iter().collect();
        Body::Append { prev, last, runs, entries_bytes: 192, commit, round }
    };
    let body = match name {
        "beat" => Body::Beat { commit, round },
        "ack-of-the-future" => Body::AppendAck { matched: Index(99), round, lease: false },
        "round-of-the-future" => Body::BeatAck { round: 99, proven: true, lease: false },
        "append-with-a-gap" => append(prev, 3),
        "append-from-the-start" => append(EntryId::ZERO, 1),
        "short-append" => {
            let runs = [TermRun { first: Index(2), term: Term(1) }].into_iter().collect();
            Body::Append { prev, last: Index(2), runs, entries_bytes: 64, commit: Index(4), round }
        }
        "stale-timeout-now" => Body::TimeoutNow { last: prev },
        _ => panic!("unknown message {name:?}"),
    };
    Message { group: GroupId(1), term: Term(term), body }
}

fn command(stage: &mut Stage, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, words) = words.split_first().expect("a command");
    let links = || words.iter().map(|word| link(word)).collect::<Vec<_>>();
    let nodes = || words.iter().map(|word| node_id(word)).collect::<Vec<_>>();
    let node = || node_id(words[0]);
    let number = |at: usize| words.get(at).map(|word| word.parse::<u64>().expect("a number"));
    let now = stage.now;
    match *name {
        "nodes" => *stage = start(words),
        "campaign" => stage.node(node()).raft.campaign(now),
        "propose" => stage.propose(node(), number(1).expect("how many")),
        "read" => stage.read(node()),
        "transfer" => stage.transfer(node(), node_id(words[1])),
        "deliver" => stage.deliver(&links(), true),
        "drop" => links().into_iter().for_each(|link| drop(stage.take(link))),
        "double" => stage.double(link(words[0])),
        "refuse" => stage.refuse(link(words[0])),
        "forge" => {
            let (from, to) = link(words[0]);
            stage.forge(from, to, forged(number(1).expect("a term"), words[2]));
        }
        "cut" => stage.cut.extend(nodes()),
        "heal" => stage.cut.clear(),
        "unreachable" => stage.node(node()).raft.unreachable(node_id(words[1])),
        "wait" => stage.wait(number(0).expect("milliseconds"), false),
        "run" => stage.wait(number(0).expect("milliseconds"), true),
        "hold" => stage.held.extend(nodes()),
        "release" => nodes().iter().for_each(|node| assert!(stage.held.remove(node))),
        "persist" => {
            let count = number(1).map_or(usize::MAX, |count| usize::try_from(count).expect("few"));
            stage.persist(node(), count);
        }
        "crash" => stage.crash(node(), usize::try_from(number(1).unwrap_or(0)).expect("few")),
        "restart" => stage.restart(node()),
        "compact" => stage.node(node()).compact(Index(number(1).expect("an index"))),
        "install" => assert!(stage.install(node()), "the snapshot is obsolete"),
        "decline" => {
            let node = stage.node(node());
            let (_, id) = node.offered.take().expect("a snapshot was offered");
            node.raft.decline_snapshot(id);
        }
        "status" => stage.status(&nodes()),
        unknown => panic!("unknown command {unknown:?}"),
    }
}

/// The story as it is written, with what really happens after each command.
fn play(text: &str) -> String {
    let mut stage = Stage::default();
    let mut played = String::new();
    let mut after_command = false;
    for line in text.lines() {
        let told = line.is_empty() || line.starts_with('#');
        if let Some(line_of_command) = line.strip_prefix("> ") {
            line_of_command.split(';').for_each(|one| command(&mut stage, one));
            stage.turn();
            played += &format!("{line}\n{}", stage.take_out());
            after_command = true;
        } else if told || !after_command {
            played += &format!("{line}\n");
            after_command &= !line.is_empty();
        }
    }
    played
}

#[test]
fn stories_go_as_they_are_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("traces").map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8, "the stories are gone");
    for path in paths {
        let written = std::fs::read_to_string(&path).expect("a story");
        let played = play(&written);
        if std::env::var_os("RINGRAFT_BLESS").is_some() {
            std::fs::write(&path, played).expect("a file to write");
            continue;
        }
        for (number, (written, played)) in written.lines().zip(played.lines()).enumerate() {
            assert_eq!(written, played, "{} line {}", path.display(), number + 1);
        }
        assert_eq!(written.lines().count(), played.lines().count(), "{} ends otherwise", path.display());
    }
}
