//! The 58 steps of etcd's confchange tests, as data, for a core that knows joint changes only. A `simple` change is
//! what a joint one ends in. Steps that say something of etcd's simple changes, of joining a configuration with itself
//! or of node 0 have no meaning here; they are counted, printed, and listed in SCENARIOS.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use raft::{Change, ChangeError, Config, ConfigError, Index, NodeId};

use crate::stage::lone::{Lone, disk};

/// Where the corpora are: named by the environment, else beside the workspace.
fn corpus() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let dir = std::env::var_os("RINGRAFT_CORPORA").map_or_else(beside, PathBuf::from);
    let dir = dir.join("etcd-raft/confchange");
    if !dir.is_dir() {
        println!("skipped: no corpora; set RINGRAFT_CORPORA to run this");
    }
    dir.is_dir().then_some(dir)
}

/// A follower in the corpus: in which step its entry in the book was made, and whether it has no vote.
type Book = BTreeMap<NodeId, (u64, bool)>;

struct Step {
    place: String,
    command: String,
    changes: Vec<Change>,
    expected: Result<(Config, Book), String>,
}

fn nodes(line: &str, name: &str) -> Vec<NodeId> {
    let Some(start) = line.find(&format!("{name}=(")) else { return Vec::new() };
    let inside = line[start..].split(['(', ')']).nth(1).expect("a list");
    inside.split(' ').map(|id| NodeId(id.parse().expect("a node"))).collect()
}

fn config(line: &str) -> Config {
    let outgoing =
        line.find("&&").map_or_else(Vec::new, |at| nodes(&format!("old={}", &line[at + 2..]), "old"));
    Config {
        voters: nodes(line, "voters"),
        outgoing,
        learners: nodes(line, " learners"),
        learners_next: nodes(line, "learners_next"),
    }
}

/// `3: StateProbe match=0 next=2 learner`
fn follower(line: &str) -> (NodeId, (u64, bool)) {
    let (node, rest) = line.split_once(": ").expect("a follower");
    let made = rest.split("next=").nth(1).expect("a next index").split(' ').next().expect("a number");
    let entry = (made.parse().expect("a number"), rest.ends_with(" learner"));
    (NodeId(node.parse().expect("a node")), entry)
}

/// Names no step's operation that the core has: `u` only updates what etcd keeps beside a member.
fn change(word: &str) -> Option<Change> {
    let node = NodeId(word[1..].parse().expect("a node"));
    match &word[..1] {
        "v" => Some(Change::Voter(node)),
        "l" => Some(Change::Learner(node)),
        "r" => Some(Change::Remove(node)),
        "u" => None,
        other => panic!("unknown operation {other}"),
    }
}

fn steps(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).expect("a file of the corpus");
    let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut steps = Vec::new();
    for block in text.split("\n\n") {
        let lines: Vec<&str> =
            block.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let Some(bar) = lines.iter().position(|line| *line == "----") else { continue };
        let (input, output) = (&lines[..bar], &lines[bar + 1..]);
        let words = input[1..].iter().flat_map(|line| line.split(' '));
        let said = output.first().expect("an answer");
        let expected = if said.starts_with("voters=") {
            Ok((config(said), output[1..].iter().map(|line| follower(line)).collect()))
        } else {
            Err((*said).to_owned())
        };
        steps.push(Step {
            place: format!("{file} step {}", steps.len()),
            command: input[0].split(' ').next().expect("a command").to_owned(),
            changes: words.filter_map(change).collect(),
            expected,
        });
    }
    steps
}

fn all_steps(dir: &Path) -> Vec<Vec<Step>> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).expect("files").map(|file| file.unwrap().path()).collect();
    paths.sort();
    let files: Vec<Vec<Step>> = paths.iter().map(|path| steps(path)).collect();
    assert_eq!((files.len(), files.iter().map(Vec::len).sum::<usize>()), (9, 58));
    files
}

fn final_of(config: Config) -> Config {
    config.leave().unwrap_or(config)
}

fn is_of_node_0(change: &Change) -> bool {
    let (Change::Voter(node) | Change::Learner(node) | Change::Remove(node)) = change;
    *node == NodeId(0)
}

/// A file's state: the configuration, and whether etcd's is joint with itself, which ours is not.
#[derive(Default)]
struct State {
    config: Config,
    joint_with_itself: bool,
}

/// Checks one step. The answer is why it has no meaning here, if it has none.
fn check(state: &mut State, step: &Step) -> Option<&'static str> {
    let at = &step.place;
    let changed = state.config.change(&step.changes);
    let left = state.config.leave();
    let expected = match &step.expected {
        Ok((expected, _)) => expected,
        Err(error) => {
            match error.as_str() {
                "removed all voters" => assert_eq!(changed, Err(ConfigError::NoVoters), "{at}"),
                "can't leave a non-joint config" => assert_eq!(left, Err(ConfigError::NotJoint), "{at}"),
                "config is already joint" if state.joint_with_itself => {
                    return Some("a configuration is not joined with itself");
                }
                "config is already joint" | "can't apply simple config change in joint config" => {
                    assert_eq!(changed, Err(ConfigError::AlreadyJoint), "{at}");
                }
                "can't make a zero-voter config joint" if step.changes.is_empty() => {
                    assert_eq!(changed, Err(ConfigError::NoVoters), "{at}");
                }
                "can't make a zero-voter config joint" => {
                    assert!(changed.is_ok_and(|config| !config.is_joint()), "{at}");
                    return Some(
                        "from no voters there is nothing to be joint with: it is a group's founding",
                    );
                }
                "more than one voter changed without entering joint config" => {
                    assert!(changed.is_ok_and(|config| config.is_joint()), "{at}");
                    return Some("every change of voters is joint, so any number may change");
                }
                other => panic!("{at}: unknown error {other:?}"),
            }
            return None;
        }
    };
    let next = match step.command.as_str() {
        "leave-joint" if state.joint_with_itself => {
            state.joint_with_itself = false;
            assert_eq!((&left, expected), (&Err(ConfigError::NotJoint), &state.config), "{at}");
            return Some("a configuration is not joined with itself");
        }
        "leave-joint" => left.expect("it is joint"),
        _ if step.changes.iter().any(is_of_node_0) => {
            assert_eq!(changed, Err(ConfigError::ZeroNode), "{at}");
            let others: Vec<Change> = step.changes.iter().copied().filter(|one| !is_of_node_0(one)).collect();
            state.config = state.config.change(&others).expect("a change");
            assert_eq!(&state.config, expected, "{at}, but for node 0");
            return Some("node 0 is refused, not ignored");
        }
        "simple" => final_of(changed.unwrap_or_else(|error| panic!("{at}: {error}"))),
        "enter-joint" if expected.voters == expected.outgoing => {
            assert_eq!(changed.as_ref(), Ok(&state.config), "{at}");
            state.joint_with_itself = true;
            return Some("a configuration is not joined with itself");
        }
        "enter-joint" => changed.expect("a change"),
        other => panic!("{at}: unknown command {other}"),
    };
    assert_eq!(&next, expected, "{at}");
    state.config = next;
    None
}

#[test]
fn the_confchange_corpus_of_etcd_agrees() {
    let Some(dir) = corpus() else { return };
    let mut without_meaning = 0;
    for file in all_steps(&dir) {
        let mut state = State::default();
        for step in &file {
            if let Some(why) = check(&mut state, step) {
                without_meaning += 1;
                println!("no meaning here: {}: {} {:?}: {why}", step.place, step.command, step.changes);
            }
        }
    }
    println!("{} of 58 steps agree, {without_meaning} have no meaning here", 58 - without_meaning);
    assert_eq!(without_meaning, 8);
}

/// A leader of all the corpus' groups: a voter that no step removes, so that a real replica can keep the book.
const KEEPER: NodeId = NodeId(99);

fn keeper() -> Lone {
    let mut on_disk = disk(&[], 0, 0, 0);
    on_disk.log.config = Config::of_voters(&[KEEPER]);
    let mut leader = Lone::start(1, on_disk, |settings| settings.node = KEEPER);
    leader.elect();
    leader
}

fn book(leader: &Lone) -> BTreeMap<NodeId, (Index, bool)> {
    let status = leader.node.raft.status();
    status.followers.iter().map(|follower| (follower.node, (follower.matched, follower.learner))).collect()
}

/// Everybody acks everything up to `matched`.
fn all_ack(leader: &mut Lone, matched: Index) {
    for node in book(leader).keys() {
        leader.ack(node.0, matched.0);
    }
}

/// Everybody acks everything there is, until nothing is left to commit.
fn commit(leader: &mut Lone) {
    while leader.node.raft.committed() < leader.node.raft.last() {
        let last = leader.node.raft.last();
        all_ack(leader, last);
    }
    assert!(leader.node.raft.is_config_committed() && !leader.node.raft.config().is_joint());
}

#[test]
fn followers_keep_their_place_in_the_book_as_in_the_corpus() {
    let Some(dir) = corpus() else { return };
    let mut compared = 0;
    for file in all_steps(&dir) {
        let mut leader = keeper();
        let mut before = Book::new();
        for step in &file {
            let at = &step.place;
            let known = book(&leader);
            let now = leader.now;
            let changes: Vec<Change> =
                step.changes.iter().copied().filter(|one| !is_of_node_0(one)).collect();
            if leader.node.raft.config().is_joint() && step.command != "leave-joint" {
                assert_eq!(leader.node.change(now, &changes), Err(ChangeError::InProgress), "{at}");
                continue;
            }
            let Ok((_, expected)) = &step.expected else { continue };
            match leader.node.change(now, &changes) {
                Ok(_) | Err(ChangeError::Unchanged | ChangeError::InProgress) => {}
                Err(error) => panic!("{at}: {error}"),
            }
            leader.turn();
            for (node, (made, _)) in expected {
                let kept = before.get(node).is_some_and(|(made_before, _)| made_before == made);
                let matched = if kept { known[node].0 } else { Index(0) };
                assert_eq!(book(&leader)[node].0, matched, "{at}: what is known of {node}, kept: {kept}");
                assert!(!kept || matched > Index(0), "{at}: {node} has acked something");
            }
            if step.command == "enter-joint" {
                all_ack(&mut leader, Index(1));
            } else {
                commit(&mut leader);
            }
            let kinds: BTreeMap<NodeId, bool> =
                book(&leader).into_iter().map(|(node, (_, learner))| (node, learner)).collect();
            let expected_kinds = expected.iter().map(|(node, (_, learner))| (*node, *learner)).collect();
            assert_eq!(kinds, expected_kinds, "{at}");
            before.clone_from(expected);
            compared += 1;
        }
    }
    println!("{compared} books compared");
    assert_eq!(compared, 41, "all that succeed");
}
