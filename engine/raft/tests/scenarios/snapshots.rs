//! Snapshots: who is offered one, what ends the waiting, and what it does to a log.

use raft::{
    Body, Config, Event, Fault, FollowerState, Index, Message, NodeId, Problem, ProposeError, Raft, Term,
};

use crate::cluster::GROUP;
use crate::stage::lone::{Lone, Said, ack, append, beat_ack, disk, id};

/// A leader of term 2 whose log begins after 5@1 and ends with 9@2. Node 3 has said that it has entry 2 at
/// most, and is offered the snapshot.
fn leader_with_one_too_far_behind() -> (Lone, Vec<Said>) {
    let mut on_disk = disk(&[1; 8], 1, 0, 5);
    on_disk.log.compact(id(5, 1));
    let mut leader = Lone::start(3, on_disk, |_| ());
    leader.elect();
    leader.ack(2, 9);
    let reject = Body::AppendReject { probe: Index(8), hint: id(2, 1), round: 0 };
    let said = leader.hear(3, 2, reject);
    assert_eq!(leader.follower(3).state, FollowerState::Snapshot);
    (leader, said)
}

fn offers(said: &[Said]) -> usize {
    said.iter().filter(|said| matches!(said.body, Body::SnapshotOffer { .. })).count()
}

#[test]
fn who_lacks_what_is_compacted_is_offered_a_snapshot_and_nothing_else() {
    let (mut leader, said) = leader_with_one_too_far_behind();
    let to_it: Vec<_> = said.iter().filter(|said| said.to == 3).map(|said| said.body.clone()).collect();
    assert_eq!(to_it, [Body::SnapshotOffer { id: id(5, 1) }]);
    leader.node.propose(&[1]).expect("it leads");
    assert!(leader.turn().iter().all(|said| said.to == 2), "replication to 3 waits for the snapshot");
}

#[test]
fn any_sign_that_the_logs_meet_again_ends_the_waiting_for_a_snapshot() {
    let installed = |index| Body::SnapshotAck { id: id(index, 1), installed: true };
    let rows = [
        (ack(4), FollowerState::Snapshot),
        (ack(5), FollowerState::Replicate),
        (ack(7), FollowerState::Replicate),
        (installed(4), FollowerState::Snapshot),
        (installed(5), FollowerState::Replicate),
        (installed(7), FollowerState::Replicate),
        (Body::SnapshotAck { id: id(5, 1), installed: false }, FollowerState::Snapshot),
        (Body::SnapshotAck { id: id(4, 1), installed: false }, FollowerState::Snapshot),
        (beat_ack(false), FollowerState::Snapshot),
        (Body::AppendReject { probe: Index(8), hint: id(2, 1), round: 0 }, FollowerState::Snapshot),
    ];
    for (body, state) in rows {
        let (mut leader, _) = leader_with_one_too_far_behind();
        leader.hear(3, 2, body.clone());
        let follower = leader.follower(3);
        assert_eq!(follower.state, state, "after {body:?}");
        assert!(follower.next > follower.matched);
    }
}

#[test]
fn the_end_of_the_sending_is_a_probe_or_another_offer() {
    let (mut leader, _) = leader_with_one_too_far_behind();
    let now = leader.now;
    leader.node.raft.snapshot_sent(now, NodeId(3), id(4, 1), true);
    assert_eq!(leader.follower(3).state, FollowerState::Snapshot, "that was another snapshot");
    leader.node.raft.snapshot_sent(now, NodeId(3), id(5, 1), true);
    let probe = leader.follower(3);
    assert_eq!((probe.state, probe.next), (FollowerState::Probe, Index(6)));

    let (mut leader, _) = leader_with_one_too_far_behind();
    leader.node.raft.snapshot_sent(now, NodeId(3), id(5, 1), false);
    let mut offered_after = None;
    for millis in (100..3000).step_by(100) {
        leader.ack(2, 9);
        leader.hear(3, 2, beat_ack(true));
        if offers(&leader.wait(100)) > 0 {
            offered_after.get_or_insert(millis);
        }
    }
    assert_eq!(offered_after, Some(1000), "a failed one is offered anew, not at once");
}

#[test]
fn a_silent_follower_is_offered_nothing() {
    let (mut leader, _) = leader_with_one_too_far_behind();
    let offered: Vec<usize> = (0..50)
        .map(|_| {
            leader.ack(2, 9);
            offers(&leader.wait(100))
        })
        .collect();
    assert_eq!(offered[12..].iter().sum::<usize>(), 0, "not after an election timeout: {offered:?}");
    leader.hear(3, 2, beat_ack(true));
    assert_eq!(offers(&leader.wait(100)), 1, "until it is heard again");
}

fn tell(raft: &mut Raft, lone_now: raft::Time, from: u16, body: Body) {
    raft.step(lone_now, NodeId(from), Message { group: GROUP, term: Term(2), body }, &[]);
}

#[test]
fn a_shard_that_offers_nothing_is_asked_again() {
    let mut on_disk = disk(&[1; 8], 1, 0, 5);
    on_disk.log.compact(id(5, 1));
    let mut leader = Lone::start(3, on_disk, |_| ());
    leader.elect();
    leader.ack(2, 9);
    let raft = &mut leader.node.raft;
    tell(raft, leader.now, 3, Body::AppendReject { probe: Index(8), hint: id(2, 1), round: 0 });
    let mut asked = Vec::new();
    for tenth in 0..50 {
        while let Some(event) = raft.take_event() {
            assert_eq!(event, Event::NeedsSnapshot { to: NodeId(3) });
            asked.push(tenth);
        }
        leader.now = leader.now + core::time::Duration::from_millis(100);
        raft.tick(leader.now);
        for node in [2, 3] {
            tell(raft, leader.now, node, beat_ack(true));
        }
    }
    assert_eq!(asked, [0, 10, 20, 30, 40], "once in an election timeout");
}

/// A follower of node 2 in term 1 with a log of four entries, of which two are committed.
fn follower() -> Lone {
    let mut lone = Lone::start(3, disk(&[1; 4], 1, 0, 2), |_| ());
    lone.hear(2, 1, append(id(2, 1), &[], 2));
    lone
}

#[test]
fn what_is_committed_needs_no_snapshot() {
    for index in [1, 2] {
        let mut lone = follower();
        let said = lone.hear(2, 1, Body::SnapshotOffer { id: id(index, 1) });
        assert_eq!(said[0].body, ack(2));
        assert_eq!((lone.node.offered, lone.terms(), lone.committed()), (None, vec![1; 4], 2));
        let (now, config) = (lone.now, lone.node.raft.config());
        assert!(!lone.node.raft.snapshot_installed(now, id(index, 1), &config), "it is obsolete");
    }
}

#[test]
fn a_snapshot_of_another_history_is_a_fault() {
    let mut lone = follower();
    let said = lone.hear(2, 3, Body::SnapshotOffer { id: id(2, 3) });
    let fault = Event::Faulted { fault: Fault::CommittedConflict { index: Index(2) } };
    assert!(
        lone.node.events.contains(&fault),
        "said {said:?} to a snapshot of what is otherwise committed here"
    );
    assert_eq!(said, []);
}

#[test]
fn a_snapshot_of_what_the_log_holds_keeps_the_rest_of_the_log() {
    let mut lone = follower();
    lone.hear(2, 1, Body::SnapshotOffer { id: id(3, 1) });
    assert!(lone.install());
    let said = lone.turn();
    assert_eq!(said[0].body, Body::SnapshotAck { id: id(3, 1), installed: true });
    assert_eq!((lone.node.log.compacted, lone.terms(), lone.committed()), (id(3, 1), vec![1], 3));
}

#[test]
fn a_snapshot_of_another_log_replaces_it_whole() {
    for (snapshot, term) in [(id(3, 2), 2), (id(4, 2), 2), (id(9, 2), 2)] {
        let mut lone = follower();
        lone.hear(2, term, Body::SnapshotOffer { id: snapshot });
        assert!(lone.install());
        let said = lone.turn();
        assert_eq!(said[0].body, Body::SnapshotAck { id: snapshot, installed: true });
        assert_eq!((lone.node.log.compacted, lone.terms()), (snapshot, Vec::new()));
        assert_eq!(lone.committed(), snapshot.index.0);
        // As a replica that starts with that snapshot: the same answers to the same append.
        let mut on_disk = disk(&[], term, 0, 0);
        on_disk.log.compacted = snapshot;
        let mut fresh = Lone::start(3, on_disk, |_| ());
        let next = append(snapshot, &[2, 2], snapshot.index.0 + 1);
        let answers = [&mut lone, &mut fresh].map(|lone| {
            let said = lone.hear(2, term, next.clone());
            (said, lone.terms(), lone.committed(), lone.node.raft.applied_index())
        });
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn a_snapshot_and_the_entries_after_it_may_arrive_together() {
    let mut lone = follower();
    lone.held = true;
    lone.hear(2, 2, Body::SnapshotOffer { id: id(9, 2) });
    assert!(lone.install());
    let said = lone.hear(2, 2, append(id(9, 2), &[2, 2], 10));
    assert_eq!(said, [], "nothing is durable");
    assert_eq!((lone.committed(), lone.node.raft.applied_index()), (10, Index(10)));
    lone.held = false;
    let bodies: Vec<Body> = lone.turn().into_iter().map(|said| said.body).collect();
    assert_eq!(bodies, [Body::SnapshotAck { id: id(9, 2), installed: true }, ack(11)]);
}

#[test]
fn of_two_snapshots_in_flight_each_is_acked_when_it_is_durable() {
    let mut lone = follower();
    lone.held = true;
    for snapshot in [id(9, 2), id(12, 2)] {
        lone.hear(2, 2, Body::SnapshotOffer { id: snapshot });
        assert!(lone.install());
        lone.turn();
    }
    let mut acked = Vec::new();
    while lone.node.in_flight() > 0 {
        let now = lone.now;
        lone.node.persist(now);
        acked.push(lone.turn().into_iter().map(|said| said.body).collect::<Vec<_>>());
    }
    let last = acked.pop().expect("two writes");
    assert_eq!(last, [Body::SnapshotAck { id: id(12, 2), installed: true }, ack(12)]);
    assert!(acked.iter().flatten().all(|body| !matches!(body, Body::AppendAck { .. })), "{acked:?}");
}

#[test]
fn a_follower_that_waits_for_a_snapshot_may_still_campaign_with_the_log_it_has() {
    let mut lone = follower();
    lone.hear(2, 1, Body::SnapshotOffer { id: id(9, 1) });
    let said = lone.wait(1500);
    assert_eq!(
        said[0].body,
        Body::PreVote { last: id(4, 1) },
        "its log is whole until the snapshot replaces it"
    );
    assert!(lone.install());
    lone.campaign();
    let asked = lone.wait(1600);
    assert!(asked.iter().any(|said| said.body == Body::PreVote { last: id(9, 1) }));
}

/// A snapshot comes on a connection of its own: it may arrive in a replica that has restarted and forgotten the term in
/// which it was offered.
#[test]
fn an_installed_snapshot_brings_its_term() {
    let mut node = Lone::with_log(&[1, 1], 1);
    let config = node.node.raft.config();
    assert!(node.node.raft.snapshot_installed(raft::Time(1), id(9, 3), &config));
    assert_eq!((node.term(), node.committed(), node.role()), (3, 9, raft::Role::Follower));
    let hard_state = node.node.raft.take_write().and_then(|write| write.hard_state());
    assert!(hard_state.is_some_and(|hard_state| hard_state.term == Term(3) && hard_state.vote.is_none()));
}

/// What a follower had accepted from its leader went with its log. (The fuzzer found a follower that counted it as committed
/// afterwards.)
#[test]
fn a_snapshot_of_another_log_takes_what_was_accepted_along() {
    let mut follower = Lone::with_log(&[1], 2);
    follower.hear(2, 2, Body::SnapshotOffer { id: id(3, 1) });
    follower.hear(2, 2, append(id(1, 1), &[2, 2, 2, 2, 2], 1));
    assert!(follower.install(), "of a leader before or after this one");
    follower.turn();
    assert_eq!((follower.terms(), follower.committed()), (vec![], 3));
    for body in [
        Body::Quiesce { last: id(6, 2), round: 9 },
        Body::Beat { commit: Index(6), round: 9 },
        append(id(3, 1), &[], 6),
    ] {
        let said = follower.hear(2, 2, body.clone());
        assert_eq!(follower.committed(), 3, "after {body:?}");
        let beyond = |said: &Said| matches!(said.body, Body::AppendAck { matched: Index(4..), .. });
        assert!(!said.iter().any(beyond), "{said:?}");
    }
}

/// A leader's log says who belongs to its group. (The fuzzer found that a snapshot could say otherwise: the leader then counted the acks
/// of nodes that it had no place for.)
#[test]
fn a_leader_that_holds_what_a_snapshot_does_knows_its_configuration() {
    for voters in [&[1, 2, 3][..], &[1, 2], &[2], &[1, 2, 3, 4]] {
        let mut follower = Lone::with_log(&[1, 1], 1);
        follower.hear(2, 1, Body::SnapshotOffer { id: id(2, 1) });
        follower.elect();
        let config = Config::of_voters(&voters.iter().map(|&voter| NodeId(voter)).collect::<Vec<_>>());
        let installed = follower.node.raft.snapshot_installed(follower.now, id(2, 1), &config);
        follower.turn();
        let fault = Event::Faulted { fault: Fault::CommittedConflict { index: Index(2) } };
        assert_eq!(installed, voters == [1, 2, 3]);
        assert_eq!(follower.node.events.contains(&fault), !installed, "{voters:?}");
    }
}

/// Nobody is believed who speaks of what no log reaches. (The fuzzer found a leader that had installed such a snapshot and could not count
/// on from it.)
#[test]
fn a_peer_that_speaks_of_what_no_log_reaches_is_not_believed() {
    let (last, beyond) = (id(Index::MAX.0, 2), id(Index::MAX.0 + 1, 2));
    let probe = beyond.index;
    let bodies = [
        Body::SnapshotOffer { id: beyond },
        Body::Vote { last: beyond, transfer: true },
        Body::AppendReject { probe, hint: id(1, 1), round: 0 },
        Body::Beat { commit: probe, round: 0 },
        Body::RecoverFloor { nonce: 0, last: probe },
        append(id(Index::MAX.0, 2), &[2], 0),
    ];
    let later = Term::MAX.next();
    let messages = bodies.map(|body| (Term(2), body)).into_iter();
    for (term, body) in messages.chain([(later, Body::SnapshotOffer { id: last })]) {
        let mut follower = Lone::with_log(&[1], 2);
        let message = Message { group: GROUP, term, body };
        follower.node.raft.step(follower.now, NodeId(2), message.clone(), &[]);
        let event = follower.node.raft.take_event();
        let problem = Event::Protocol { from: NodeId(2), problem: Problem::BeyondMax };
        assert_eq!((event, follower.turn()), (Some(problem), vec![]), "after {message:?}");
        assert_eq!((follower.term(), follower.node.raft.last()), (2, Index(1)), "after {message:?}");
    }
    let mut follower = Lone::with_log(&[1], 2);
    follower.hear(2, 2, Body::SnapshotOffer { id: last });
    assert!(follower.install(), "the last index there is");
    follower.elect();
    assert_eq!(follower.node.raft.propose(1, 1), Err(ProposeError::Full));
}
