//! Groups at rest: what a follower needs to see before it rests, and how many wake at once.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use raft::{Body, Config, GroupId, HardState, Index, Message, NodeId, Raft, Restored, Term, TermRun, Time};

use crate::cluster::{START, settings, voters};
use crate::stage::lone::{Lone, append, disk, id};

fn quiesce(last: raft::EntryId) -> Body {
    Body::Quiesce { last, round: 5 }
}

/// A follower of node 2 in term 1, with three entries of which the leader has proven and committed so many.
fn follower(proven: u64, committed: u64) -> Lone {
    let mut lone = Lone::start(3, disk(&[1; 3], 1, 0, 0), |_| ());
    lone.hear(2, 1, append(id(proven, 1), &[], committed));
    lone
}

#[test]
fn a_follower_rests_only_with_exactly_what_its_leader_has() {
    let rows = [
        (follower(3, 3), id(3, 1), true),
        (follower(3, 1), id(3, 1), true), // the word says that all is committed
        (follower(2, 2), id(3, 1), false),
        (follower(3, 3), id(4, 1), false),
        (follower(2, 2), id(2, 1), false), // there is an entry that nobody has vouched for
    ];
    for (mut lone, last, rests) in rows {
        let said = lone.hear(2, 1, quiesce(last));
        assert_eq!(lone.node.raft.is_quiesced(), rests, "{last}");
        let answer = said.iter().map(|said| said.body.clone()).collect::<Vec<_>>();
        if rests {
            assert_eq!(
                (answer, lone.node.raft.status().committed),
                (Vec::new(), last.index),
                "no answer at all"
            );
        } else {
            assert!(matches!(answer[..], [Body::BeatAck { round: 5, .. }]), "it says so: {answer:?}");
        }
    }
}

#[test]
fn a_follower_with_an_unfinished_write_does_not_rest() {
    let mut lone = follower(3, 3);
    lone.held = true;
    lone.hear(2, 1, append(id(3, 1), &[1], 4));
    lone.hear(2, 1, quiesce(id(4, 1)));
    assert!(!lone.node.raft.is_quiesced());
    lone.held = false;
    lone.turn();
    lone.hear(2, 1, quiesce(id(4, 1)));
    assert!(lone.node.raft.is_quiesced());
}

#[test]
fn everything_but_an_old_beat_wakes_a_follower_at_rest() {
    let beat = |round| Body::Beat { commit: Index(3), round };
    let rows = [
        (2, 1, beat(4), false),
        (2, 1, beat(5), false),
        (2, 1, beat(6), true),
        (2, 1, append(id(3, 1), &[1], 3), true),
        (2, 1, Body::SnapshotOffer { id: id(9, 1) }, true),
        (2, 1, Body::TimeoutNow { last: id(3, 1) }, true),
        (3, 2, Body::PreVote { last: id(9, 9) }, false),
        (3, 2, Body::Vote { last: id(9, 9), transfer: false }, false),
        (3, 2, Body::Vote { last: id(9, 9), transfer: true }, true),
        (3, 2, beat(0), true),
    ];
    for (from, term, body, wakes) in rows {
        let mut lone = follower(3, 3);
        lone.hear(2, 1, quiesce(id(3, 1)));
        assert!(lone.node.raft.is_quiesced());
        lone.hear(from, term, body.clone());
        assert_eq!(!lone.node.raft.is_quiesced(), wakes, "{body:?} of {from}");
    }
}

/// A follower at rest in the group.
fn resting(settings: &Rc<raft::Settings>, group: GroupId) -> Raft {
    let restored = Restored {
        hard_state: HardState { term: Term(1), ..HardState::default() },
        runs: vec![TermRun { first: Index(1), term: Term(1) }],
        last: Index(1),
        config: Config::of_voters(&voters(3)),
        ..Restored::default()
    };
    let mut raft = Raft::new(settings, group, false, restored, START);
    for body in [append(id(1, 1), &[], 1), quiesce(id(1, 1))] {
        raft.step(START, NodeId(2), Message { group, term: Term(1), body }, &[]);
        while raft.take_message(START, NodeId(2)).is_some() {}
    }
    assert!(raft.is_quiesced());
    raft
}

#[test]
fn ten_thousand_groups_that_lose_their_leader_do_not_campaign_at_once() {
    let settings = Rc::new(settings(1, 7));
    let mut wakes: BTreeMap<u128, u32> = BTreeMap::new();
    for group in (1..=10_000).map(GroupId) {
        let mut raft = resting(&settings, group);
        raft.peer_lost(START, NodeId(3));
        assert!(raft.is_quiesced(), "another follower's node is none of its business");
        raft.peer_lost(START, NodeId(2));
        let deadline = raft.deadline();
        assert!(deadline < START + Duration::from_millis(1000), "within an election timeout");
        *wakes.entry(deadline.saturating_sub(START).as_millis() / 10).or_default() += 1;
        raft.peer_lost(START, NodeId(2));
        assert_eq!(raft.deadline(), deadline, "hearing it twice changes nothing");
    }
    let most = wakes.values().max().expect("deadlines");
    assert!(wakes.len() == 100 && *most < 200, "{most} groups wake in the same hundredth of a second");
}

#[test]
fn groups_at_rest_have_no_deadline_but_to_record_what_is_committed() {
    let settings = Rc::new(settings(1, 7));
    let mut raft = resting(&settings, GroupId(1));
    let record = raft.deadline();
    assert!(record < START + Duration::from_millis(1200));
    raft.tick(record);
    assert_eq!(raft.take_write().map(|write| write.must_sync()), Some(false));
    assert_eq!(raft.deadline(), Time::NEVER);
}
