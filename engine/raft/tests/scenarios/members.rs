//! Changes of members where a table or a loop shows more than a story.

use raft::{Body, Change, Config, Event, Index, MEMBERS_MAX, NodeId, Role, Standing};

use crate::cluster::disk::Disk;
use crate::stage::Stage;
use crate::stage::lone::{Lone, Said, ack, append, disk, entries, id};

fn nodes(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().map(|&number| NodeId(number)).collect()
}

fn joint(incoming: &[u16], outgoing: &[u16]) -> Config {
    Config { voters: nodes(incoming), outgoing: nodes(outgoing), ..Config::default() }
}

fn of(voters: &[u16]) -> Config {
    Config::of_voters(&nodes(voters))
}

/// A disk whose log of these terms starts in `config`.
fn disk_of(terms: &[u64], term: u64, config: Config) -> Disk {
    let mut on_disk = disk(terms, term, 0, 0);
    on_disk.log.config = config;
    on_disk
}

/// A leader of term 1 in `config`; everybody has acked its no-op.
fn leader_of(config: Config) -> Lone {
    let last = config.members().last().expect("members").0;
    let mut leader = Lone::start(last, disk_of(&[], 0, config), |_| ());
    leader.elect();
    for node in 2..=last {
        leader.ack(node, 1);
    }
    assert_eq!(leader.committed(), 1);
    leader
}

fn change(leader: &mut Lone, changes: &[Change]) -> Vec<Said> {
    let now = leader.now;
    leader.node.change(now, changes).expect("a change");
    leader.turn()
}

#[test]
fn a_smaller_configuration_commits_and_answers_what_waited_for_the_larger() {
    let mut leader = leader_of(of(&[1, 2, 3, 4]));
    change(&mut leader, &[Change::Remove(NodeId(4))]);
    leader.node.propose(&[7]).expect("it leads");
    let now = leader.now;
    let read = leader.node.raft.read(now).expect("it leads");
    let said = leader.turn();
    let round = said.iter().find_map(|said| match said.body {
        Body::Append { round, .. } | Body::Beat { round, .. } if said.to == 2 => Some(round),
        _ => None,
    });
    let newest =
        Body::AppendAck { matched: Index(3), round: round.expect("a round"), lease: false, stands: true };
    leader.hear(2, 1, newest);
    assert_eq!((leader.committed(), leader.node.reads.len()), (1, 0), "two of four");
    // Node 3 has the joint configuration only: with that, and node 4 gone, entry 3 is on two of three.
    leader.ack(3, 2);
    assert_eq!(leader.node.raft.config(), of(&[1, 2, 3]));
    assert_eq!(leader.committed(), 3, "the proposal too");
    assert_eq!(leader.node.reads.last().map(|confirmed| confirmed.0), Some(read), "and the read");
}

#[test]
fn learners_count_for_nothing() {
    let with_learners = Config { learners: nodes(&[4, 5, 6]), ..of(&[1, 2, 3]) };
    // Elections.
    let mut lone = Lone::start(3, disk_of(&[], 0, with_learners.clone()), |_| ());
    let asked: Vec<u16> = lone.campaign().iter().map(|said| said.to).collect();
    assert_eq!(asked, [2, 3], "they are not asked");
    for node in [4, 5, 6] {
        lone.hear(node, 1, Body::PreVoteReply { granted: true });
    }
    assert_eq!(lone.role(), Role::PreCandidate);
    lone.hear(2, 1, Body::PreVoteReply { granted: true });
    for node in [4, 5, 6] {
        lone.hear(node, 1, Body::VoteReply { granted: true });
    }
    assert_eq!(lone.role(), Role::Candidate);
    // Commits and reads.
    let mut leader = leader_of(with_learners);
    leader.node.propose(&[7]).expect("it leads");
    let now = leader.now;
    leader.node.raft.read(now).expect("it leads");
    leader.turn();
    for node in [4, 5, 6] {
        leader.hear(node, 1, Body::AppendAck { matched: Index(2), round: 1, lease: true, stands: true });
        assert_eq!((leader.committed(), leader.node.reads.len()), (1, 0), "after {node}");
    }
    leader.hear(3, 1, Body::AppendAck { matched: Index(2), round: 1, lease: true, stands: true });
    assert_eq!((leader.committed(), leader.node.reads.len()), (2, 1));
}

#[test]
fn a_node_that_was_just_added_is_not_missed_at_once() {
    let mut leader = leader_of(of(&[1]));
    change(&mut leader, &[Change::Voter(NodeId(2))]);
    leader.wait(900);
    assert!(leader.node.raft.is_leader(), "it has an election timeout to answer");
    leader.wait(300);
    assert!(!leader.node.raft.is_leader(), "and is missed then: nothing can be committed without it");
}

#[test]
fn a_stranger_with_an_inflated_term_disturbs_nobody() {
    for body in [Body::PreVote { last: id(99, 99) }, Body::Vote { last: id(99, 99), transfer: false }] {
        for role in [Role::Follower, Role::Leader] {
            let mut lone = Lone::in_role(role);
            if role == Role::Follower {
                lone.hear(2, 2, Body::Beat { commit: Index(0), round: 0 });
            }
            lone.hear(9, 50, body.clone());
            assert_eq!((lone.role(), lone.term()), (role, 2), "{body:?}");
        }
    }
}

#[test]
fn a_conflict_takes_an_uncommitted_configuration_back_also_after_a_restart() {
    let three = of(&[1, 2, 3]);
    let wished = joint(&[1, 2, 4], &[1, 2, 3]);
    for restarted in [false, true] {
        let mut lone = Lone::start(3, disk_of(&[1, 1], 1, three.clone()), |_| ());
        let with_config = Said {
            to: 1,
            term: 1,
            body: append(id(2, 1), &[1, 1], 1),
            entries: entries(3, &[1, 1]),
            configs: vec![(Index(3), wished.clone())],
        };
        lone.hear_said(2, &with_config);
        assert_eq!((lone.node.raft.config(), lone.node.raft.config_index()), (wished.clone(), Index(3)));
        assert!(!lone.node.raft.is_config_committed());
        if restarted {
            lone = Lone::start(3, lone.node.crash(0), |_| ());
            assert_eq!((lone.node.raft.config(), lone.node.raft.config_index()), (wished.clone(), Index(3)));
        }
        lone.hear(3, 2, append(id(2, 1), &[2], 1));
        assert_eq!((lone.node.raft.config(), lone.terms()), (three.clone(), vec![1, 1, 2]));
    }
}

#[test]
fn a_snapshot_brings_its_configuration_and_drops_those_of_the_log() {
    let mut lone = Lone::start(3, disk_of(&[1, 1], 1, of(&[1, 2, 3])), |_| ());
    let in_log = Said {
        to: 1,
        term: 1,
        body: append(id(2, 1), &[1], 1),
        entries: entries(3, &[1]),
        configs: vec![(Index(3), joint(&[1, 2, 3, 4], &[1, 2, 3]))],
    };
    lone.hear_said(2, &in_log);
    let rows = [(9, of(&[1, 4, 5])), (12, joint(&[2, 3], &[1, 2, 3])), (15, of(&[2, 3]))];
    for (index, config) in rows {
        lone.hear(2, 2, Body::SnapshotOffer { id: id(index, 2) });
        let now = lone.now;
        assert!(lone.node.install(now, &config));
        lone.turn();
        let raft = &lone.node.raft;
        assert_eq!(
            (raft.config(), raft.config_index(), raft.is_config_committed()),
            (config, Index(index), true)
        );
    }
    // An append from before the snapshot brings an old configuration: nothing changes.
    lone.hear_said(2, &Said { term: 2, ..in_log.clone() });
    assert_eq!(lone.node.raft.config(), of(&[2, 3]));
    let again = Lone::start(3, lone.node.crash(0), |_| ());
    assert_eq!(again.node.raft.config(), of(&[2, 3]), "also after a restart");
}

#[test]
fn the_configuration_of_a_snapshot_says_who_may_campaign() {
    let rows = [
        (of(&[1, 2]), true),
        (joint(&[2, 3], &[1, 2]), true),
        (Config { learners: nodes(&[1]), ..of(&[2, 3]) }, false),
        (of(&[2, 3]), false),
    ];
    for (config, campaigns) in rows {
        let mut lone = Lone::start(3, disk_of(&[], 0, Config::default()), |_| ());
        lone.hear(2, 1, Body::SnapshotOffer { id: id(5, 1) });
        let now = lone.now;
        assert!(lone.node.install(now, &config));
        lone.turn();
        lone.wait(1600);
        assert_eq!(lone.role() == Role::PreCandidate, campaigns, "{config}");
    }
}

#[test]
fn a_new_node_that_knows_nobody_learns_everything_from_its_leader() {
    let mut on_disk = disk(&[], 0, 0, 0);
    on_disk.log.config = Config::default();
    let settings = crate::cluster::settings(1, 7);
    let node = crate::cluster::node::Node::start(settings, false, on_disk, crate::cluster::START);
    let mut lone = Lone { node, now: crate::cluster::START, voters: 3, held: false, batch: 9 };
    assert_eq!(lone.wait(20_000), [], "it asks nobody");
    lone.campaign();
    assert_eq!((lone.role(), lone.term()), (Role::Follower, 0));
    let first = Said {
        to: 1,
        term: 4,
        body: append(id(0, 0), &[2, 4], 2),
        entries: entries(1, &[2, 4]),
        configs: vec![(Index(2), Config { learners: nodes(&[1]), ..of(&[2, 3]) })],
    };
    let said = lone.hear_said(3, &first);
    assert_eq!(said[0].body, ack(2));
    assert!(lone.node.raft.config().is_learner(NodeId(1)) && lone.node.raft.is_config_committed());
}

/// Node 1 of three leads, and asks for the change; the first `delivered` messages arrive, then it crashes, with
/// the first `survive` writes in flight on its disk. False: fewer messages than that were on their way.
fn interrupted(changes: &[Change], delivered: usize, survive: usize) -> bool {
    let mut stage = Stage::new(5, 3, None, |_| ());
    let now = stage.now;
    stage.node(NodeId(1)).raft.campaign(now);
    stage.wait(200, true);
    stage.held.insert(NodeId(1));
    stage.change(NodeId(1), changes);
    let all = (0..delivered).all(|at| {
        if at % 4 == 3 {
            stage.persist(NodeId(1), usize::MAX);
        }
        stage.deliver_one()
    });
    stage.crash(NodeId(1), survive);
    stage.held.clear();
    stage.wait(8000, true);
    let wished = of(&[1, 2, 3]).change(changes).expect("a change");
    let final_one = wished.leave().expect("a change of voters");
    let survivors_decide = |config: &Config| {
        let alive = |list: &[NodeId]| {
            let up = list.iter().filter(|node| **node != NodeId(1)).count();
            2 * up > list.len()
        };
        alive(&config.voters) && (config.outgoing.is_empty() || alive(&config.outgoing))
    };
    assert!([&of(&[1, 2, 3]), &wished, &final_one].into_iter().all(survivors_decide), "a fair crash");
    let leader = stage.leader().unwrap_or_else(|| panic!("nobody leads: {changes:?} after {delivered}"));
    let config = stage.node(leader).raft.config();
    assert!(config == of(&[1, 2, 3]) || config == final_one, "{config} after {delivered}: {changes:?}");
    assert!(stage.node(leader).raft.is_config_committed());
    stage.restart(NodeId(1));
    stage.wait(8000, true);
    let leader = stage.leader().expect("somebody leads");
    let (config, last) = (stage.node(leader).raft.config(), stage.node(leader).raft.last());
    assert!(config == of(&[1, 2, 3]) || config == final_one);
    for member in config.members() {
        let raft = &stage.node(member).raft;
        assert_eq!((raft.config(), raft.committed()), (config.clone(), last), "{member} after {delivered}");
    }
    all
}

#[test]
fn whoever_leads_after_a_crash_in_the_middle_of_a_change_ends_it() {
    let wishes = [
        vec![Change::Voter(NodeId(4)), Change::Voter(NodeId(5))],
        vec![Change::Voter(NodeId(4)), Change::Remove(NodeId(1))],
        vec![Change::Remove(NodeId(1)), Change::Voter(NodeId(4)), Change::Voter(NodeId(5))],
        vec![Change::Voter(NodeId(4)), Change::Learner(NodeId(1))],
    ];
    let mut crashes = 0;
    for changes in wishes {
        for survive in 0..3 {
            let mut delivered = 0;
            while interrupted(&changes, delivered, survive) {
                delivered += 1;
                crashes += 1;
                assert!(delivered < 200, "the messages of a change end");
            }
        }
    }
    println!("{crashes} crashes");
    assert!(crashes > 100);
}

#[test]
fn members_beyond_what_a_word_holds_are_refused_and_many_work() {
    let mut leader = leader_of(of(&[1]));
    let most = u16::try_from(MEMBERS_MAX).unwrap();
    let learners: Vec<Change> = (2..=most).map(|node| Change::Learner(NodeId(node))).collect();
    change(&mut leader, &learners);
    assert_eq!(leader.node.raft.config().members().len(), MEMBERS_MAX);
    let now = leader.now;
    let error = leader.node.change(now, &[Change::Learner(NodeId(most + 1))]).expect_err("one too many");
    assert_eq!(error, raft::ChangeError::Invalid(raft::ConfigError::TooManyMembers));
    assert_eq!(leader.node.raft.standing(), Standing::Normal);
    assert!(leader.node.events.iter().any(|event| matches!(event, Event::ConfigCommitted { .. })));
}
