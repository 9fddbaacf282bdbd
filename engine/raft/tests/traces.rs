//! Stories of small clusters, written so that a stranger can read them: see `traces/*.txt`. A line
//! that begins with `>` is a command; the lines after it are what then happened, compared word for
//! word. Commands of one line, with `;` between them, belong to one turn. `RINGRAFT_BLESS=1` writes what
//! happened into the files: read the difference before you commit it. A line that begins with `##` names
//! what follows, for SCENARIOS.md.
//!
//! | command               | does                                                                    |
//! |-----------------------|-------------------------------------------------------------------------|
//! | `nodes N [k=v ..]`    | starts N nodes; `window=` (appends), `quota=` (entries), `preferred=`,  |
//! |                       | `batch=` (entries per append), `voters=` (only the first so many; the   |
//! |                       | others are no members yet), `quiesce=`, `lease=` (milliseconds)         |
//! | `campaign n`          | n campaigns now                                                         |
//! | `propose n k`         | n is asked to append k entries                                          |
//! | `read n`              | n is asked for a linearizable read                                      |
//! | `transfer n m`        | n is asked to hand leadership to m                                      |
//! | `change n [k=m ..]`   | n is asked to change the members: `voter=`, `learner=`, `remove=`       |
//! | `lost n m`            | n's shard finds that m's shard is not there any more                    |
//! | `recover n`           | n may have lost entries that it acknowledged                            |
//! | `lease n`             | shows whether n holds a lease                                           |
//! | `timers`              | shows when the nodes wake by themselves                                 |
//! | `deliver [n->m ..]`   | delivers messages (of these links) and what follows, until it is quiet  |
//! | `drop n->m ..`        | loses what is on these links                                            |
//! | `double n->m`         | doubles what is on the link                                             |
//! | `reverse n->m`        | what is on the link arrives in the opposite order                       |
//! | `refuse n->m`         | m has no room for the entries on the link                               |
//! | `forge n->m TERM NAME`| m gets a message that n never sent                                      |
//! | `cut n .. n->m ..`    | from now on messages are lost: of these nodes, both ways; on these links |
//! | `heal`                | the network is whole again                                              |
//! | `unreachable n m`     | n learns that its link to m broke                                       |
//! | `wait MS`             | time passes, nothing is delivered                                       |
//! | `run MS`              | time passes, all is delivered at once; messages are not shown           |
//! | `hold n`, `release n` | n's writes stay in flight; they become durable again                    |
//! | `persist n [k]`       | the oldest k writes of n (all) are durable                              |
//! | `crash n [k]`         | n stops; its writes in flight are lost, but for the first k             |
//! | `restart n`           | n starts again                                                          |
//! | `disk n [k=v ..]`     | n stops, and starts with this on its disk: `log=1x3,2` (terms), `term=`, |
//! |                       | `vote=`, `commit=`, `snapshot=` (its last index: the log before is gone) |
//! | `compact n i`         | n has a snapshot at i, and drops its log up to there                    |
//! | `install n`           | the snapshot offered to n has arrived                                   |
//! | `decline n`           | n does not want the snapshot offered to it now                          |
//! | `sent n m RESULT`     | n learns that the sending of its snapshot to m has ended: `ok`, `failed` |
//! | `status [n ..]`       | shows the nodes                                                         |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod stage;

use std::path::Path;
use std::time::Duration;

use cluster::disk::Disk;
use raft::{Body, Change, EntryId, GroupId, Index, Message, NodeId, Settings, Term, TermRun};
use stage::{Link, Stage, lone};

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
                "quiesce" => settings.quiesce_after = Some(Duration::from_millis(u64::from(value))),
                "lease" => settings.lease = Some(Duration::from_millis(u64::from(value))),
                "preferred" | "batch" | "voters" => {}
                _ => panic!("unknown setting {key:?}"),
            }
        }
    };
    let preferred = words.iter().find_map(|word| word.strip_prefix("preferred=")).map(node_id);
    let count = words[0].parse().expect("how many nodes");
    let voters = words.iter().find_map(|word| word.strip_prefix("voters="));
    let voters = voters.map_or(count, |voters| voters.parse().expect("a number"));
    let mut stage = Stage::new(count, voters, preferred, configure);
    if let Some(batch) = words.iter().find_map(|word| word.strip_prefix("batch=")) {
        stage.batch = batch.parse().expect("a number");
    }
    stage
}

/// What a node starts with, as told by `log=1x3,2 term=3 ..`.
fn disk(words: &[&str]) -> Disk {
    let word = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let number = |key| word(key).map_or(0, |word| word.parse::<u64>().expect("a number"));
    let mut terms = Vec::new();
    for run in word("log").unwrap_or_default().split(',').filter(|run| !run.is_empty()) {
        let (term, count) = run.split_once('x').unwrap_or((run, "1"));
        let count: usize = count.parse().expect("how many entries");
        terms.extend(std::iter::repeat_n(term.parse::<u64>().expect("a term"), count));
    }
    let vote = u16::try_from(number("vote")).expect("a node");
    let mut disk = lone::disk(&terms, number("term"), vote, number("commit"));
    if let Some(at) = number("snapshot").checked_sub(1) {
        let term = terms[usize::try_from(at).expect("a short log")];
        disk.log.compact(lone::id(at + 1, term));
    }
    disk
}

/// What the members should be, as told by `voter=4 learner=5 remove=1`.
fn changes(words: &[&str]) -> Vec<Change> {
    let change = |word: &&str| match word.split_once('=') {
        Some(("voter", node)) => Change::Voter(node_id(node)),
        Some(("learner", node)) => Change::Learner(node_id(node)),
        Some(("remove", node)) => Change::Remove(node_id(node)),
        _ => panic!("voter=, learner= or remove=, not {word:?}"),
    };
    words.iter().map(change).collect()
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
        "ack-of-the-future" => Body::AppendAck { matched: Index(99), round, lease: false, stands: true },
        "round-of-the-future" => Body::BeatAck { round: 99, proven: true, lease: false },
        "append-with-a-gap" => append(prev, 3),
        "append-from-the-start" => append(EntryId::ZERO, 1),
        "short-append" => {
            let runs = [TermRun { first: Index(2), term: Term(1) }].into_iter().collect();
            Body::Append { prev, last: Index(2), runs, entries_bytes: 64, commit: Index(4), round }
        }
        "question" => Body::PreVote { last: EntryId::new(Term(9), Index(9)) },
        "request" => Body::Vote { last: EntryId::new(Term(9), Index(9)), transfer: false },
        "refusal" => Body::VoteReply { granted: false },
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
        "change" => stage.change(node(), &changes(&words[1..])),
        "lost" => stage.node(node()).raft.peer_lost(now, node_id(words[1])),
        "recover" => stage.node(node()).raft.recover(now),
        "lease" => stage.lease(node()),
        "timers" => stage.timers(),
        "deliver" => stage.deliver(&links(), true),
        "drop" => links().into_iter().for_each(|link| drop(stage.take(link))),
        "double" => stage.double(link(words[0])),
        "reverse" => stage.reverse(link(words[0])),
        "refuse" => stage.refuse(link(words[0])),
        "forge" => {
            let (from, to) = link(words[0]);
            stage.forge(from, to, forged(number(1).expect("a term"), words[2]));
        }
        "cut" => words.iter().for_each(|word| {
            if word.contains("->") {
                stage.cut_links.insert(link(word));
            } else {
                stage.cut.insert(node_id(word));
            }
        }),
        "heal" => {
            stage.cut.clear();
            stage.cut_links.clear();
        }
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
        "disk" => stage.start_with(node(), disk(&words[1..])),
        "compact" => stage.node(node()).compact(Index(number(1).expect("an index"))),
        "install" => assert!(stage.install(node()), "the snapshot is obsolete"),
        "decline" => {
            let node = stage.node(node());
            let (_, id) = node.offered.take().expect("a snapshot was offered");
            node.raft.decline_snapshot(id);
        }
        "sent" => {
            let (node, to) = (stage.node(node()), node_id(words[1]));
            node.raft.snapshot_sent(now, to, node.log.compacted, words[2] == "ok");
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
