//! Election timeouts: when, how often, and what they start.

use std::collections::BTreeSet;
use std::rc::Rc;

use raft::{Body, Config, GroupId, Index, NodeId, Raft, Restored, Role};

use crate::cluster::{START, settings, voters};
use crate::stage::lone::{Lone, disk, id};

const BEAT: Body = Body::Beat { commit: Index(0), round: 0 };

/// Milliseconds until the replica's election timeout.
fn patience(lone: &Lone) -> u128 {
    lone.node.raft.deadline().saturating_sub(lone.now).as_millis()
}

#[test]
fn a_replica_starts_as_a_follower_and_a_timeout_asks_each_voter_once() {
    let mut lone = Lone::start(3, disk(&[1], 1, 0, 0), |_| ());
    assert_eq!(lone.role(), Role::Follower);
    let timeout = u64::try_from(patience(&lone)).unwrap();
    assert_eq!(lone.wait(timeout - 1), []);
    for round in 1..4 {
        let said = lone.wait(if round == 1 { 2 } else { u64::try_from(patience(&lone)).unwrap() + 1 });
        let asked: Vec<_> = said.iter().map(|said| (said.to, said.term, said.body.clone())).collect();
        let question = Body::PreVote { last: id(1, 1) };
        assert_eq!(asked, [(2, 2, question.clone()), (3, 2, question)], "round {round}");
        assert_eq!((lone.role(), lone.term()), (Role::PreCandidate, 1), "asking raises no term");
        assert_eq!(lone.turn(), [], "and is not repeated");
    }
    let said = lone.hear(2, 2, Body::PreVoteReply { granted: true });
    let asked: Vec<_> = said.iter().map(|said| (said.to, said.term, said.body.clone())).collect();
    let question = Body::Vote { last: id(1, 1), transfer: false };
    assert_eq!(asked, [(2, 2, question.clone()), (3, 2, question)]);
    let promised = lone.node.disk.hard_state;
    assert_eq!((promised.term.0, promised.vote), (2, Some(NodeId(1))));
    // An election without an end is followed by the next question, and the term stays until it is won.
    let said = lone.wait(1500);
    assert_eq!(said[0].body, Body::PreVote { last: id(1, 1) });
    assert_eq!((said[0].term, lone.term(), lone.role()), (3, 2, Role::PreCandidate));
}

#[test]
fn timeouts_fill_their_range_for_followers_and_candidates() {
    let mut lone = Lone::in_role(Role::Follower);
    let (mut following, mut campaigning) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..1000 {
        lone.hear(2, 2, BEAT);
        assert!((1000..1500).contains(&patience(&lone)));
        following.insert(patience(&lone) / 10);
    }
    let mut lone = Lone::in_role(Role::PreCandidate);
    for _ in 0..1000 {
        lone.wait(u64::try_from(patience(&lone)).unwrap() + 1);
        assert_eq!(lone.role(), Role::PreCandidate);
        campaigning.insert((patience(&lone) + 1) / 10);
    }
    assert_eq!(following, (100..150).collect(), "each hundredth of a second from 1.0 to 1.5 s");
    assert!(campaigning.is_superset(&(101..149).collect()));
}

/// In how many of a thousand rounds the two earliest of five replicas time out within the same twentieth
/// of a second.
fn collisions(role: Role) -> usize {
    let mut replicas: Vec<Lone> = (0..5)
        .map(|node| {
            let configure = |settings: &mut raft::Settings| settings.node = NodeId(node + 1);
            let mut lone = Lone::start(5, disk(&[], 1, 0, 0), configure);
            if role == Role::PreCandidate {
                lone.campaign();
            }
            lone
        })
        .collect();
    let rounds = (0..1000).filter(|_| {
        let mut slots: Vec<u128> = Vec::new();
        for (at, lone) in (1_u16..).zip(&mut replicas) {
            if role == Role::Follower {
                lone.hear(at % 5 + 1, 1, BEAT);
            } else {
                lone.wait(u64::try_from(patience(lone)).unwrap() + 1);
            }
            slots.push((patience(lone) + 1) / 50);
        }
        slots.sort_unstable();
        slots[0] == slots[1]
    });
    rounds.count()
}

#[test]
fn five_replicas_seldom_time_out_together() {
    for role in [Role::Follower, Role::PreCandidate] {
        let collisions = collisions(role);
        assert!(collisions <= 300, "{collisions} of 1000 rounds, as {role:?}");
    }
}

#[test]
fn nodes_and_groups_that_start_together_draw_different_timeouts() {
    let mut deadlines = BTreeSet::new();
    for node in 1..=5 {
        let settings = Rc::new(settings(node, 7));
        for group in (1..=20).map(GroupId) {
            let restored = Restored { config: Config::of_voters(&voters(5)), ..Restored::default() };
            deadlines.insert(Raft::new(&settings, group, false, restored, START).deadline());
        }
    }
    assert!(deadlines.len() > 98, "{} of 100", deadlines.len());
}

#[test]
fn a_replica_that_is_no_voter_follows_and_never_campaigns() {
    let mut lone = Lone::start(3, disk(&[1], 1, 0, 0), |settings| settings.node = NodeId(9));
    lone.hear(2, 1, BEAT);
    assert_eq!(lone.node.raft.leader(), Some(NodeId(2)));
    assert_eq!(lone.wait(20_000), []);
    assert_eq!((lone.role(), lone.term(), lone.node.raft.leader()), (Role::Follower, 1, None));
    lone.campaign();
    assert_eq!(lone.role(), Role::Follower);
    lone.hear(2, 1, BEAT);
    lone.hear(2, 1, Body::TimeoutNow { last: id(1, 1) });
    assert_eq!((lone.role(), lone.term()), (Role::Follower, 1), "not even if told to");
}
