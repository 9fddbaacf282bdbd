//! Promises and the disk: what is said only after a sync, and what survives a crash between any two.

use raft::{Body, EntryId, Index, Role, Write};

use crate::cluster::GROUP;
use crate::cluster::disk::Disk;
use crate::stage::lone::{Lone, Said, ack, append, disk, id};

#[test]
fn a_write_that_ends_after_the_term_promises_nothing_in_the_new_one() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    assert_eq!(leader.committed(), 2);
    leader.held = true;
    leader.node.propose(&[1, 2]).expect("it leads");
    leader.turn();
    leader.hear(2, 3, Body::Beat { commit: Index(4), round: 0 });
    assert_eq!(leader.role(), Role::Follower);
    leader.held = false;
    let said = leader.turn();
    assert!(!said.iter().any(|said| matches!(said.body, Body::AppendAck { .. })), "{said:?}");
    assert_eq!(leader.committed(), 2, "the entries it wrote as a leader are nobody's now");
    // The new leader's entry 3 replaces them.
    let said = leader.hear(2, 3, append(id(2, 2), &[3], 3));
    assert_eq!(said[0].body, ack(3));
    assert_eq!((leader.terms(), leader.committed()), (vec![1, 2, 3], 3));
}

#[test]
fn a_leader_that_lost_its_term_counts_no_ack_of_it() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.hear(3, 3, Body::Beat { commit: Index(0), round: 0 });
    let before = leader.node.raft.status();
    leader.hear(2, 2, ack(2));
    assert_eq!((leader.node.raft.status(), leader.committed()), (before, 0));
}

#[test]
fn the_end_of_the_newest_write_is_the_end_of_all_before_it() {
    let mut lone = Lone::start(1, disk(&[], 0, 0, 0), |_| ());
    lone.elect();
    let mut writes: Vec<Write> = (0..3)
        .map(|_| {
            lone.node.raft.propose(1, 64).expect("it leads");
            lone.node.raft.take_write().expect("an entry")
        })
        .collect();
    let raft = &mut lone.node.raft;
    raft.persisted(writes.pop().expect("three"));
    assert_eq!((raft.committed(), raft.persisted_index()), (Index(4), Index(4)));
    writes.into_iter().for_each(|write| raft.persisted(write));
    assert_eq!((raft.committed(), raft.persisted_index()), (Index(4), Index(4)));
}

#[test]
fn a_single_voter_commits_what_it_has_synced() {
    let mut lone = Lone::start(1, disk(&[], 0, 0, 0), |_| ());
    lone.held = true;
    lone.campaign();
    assert_eq!(lone.role(), Role::Candidate, "its own vote is not durable");
    lone.held = false;
    lone.turn();
    assert_eq!((lone.role(), lone.committed()), (Role::Leader, 1));
    lone.held = true;
    lone.node.propose(&[1]).expect("it leads");
    lone.turn();
    assert_eq!(lone.committed(), 1);
    lone.held = false;
    lone.turn();
    assert_eq!(lone.committed(), 2);
}

fn must_sync(act: impl FnOnce(&mut Lone)) -> Option<bool> {
    let mut lone = Lone::start(3, disk(&[1, 1, 1], 1, 0, 1), |_| ());
    lone.hear(2, 1, append(id(2, 1), &[], 1));
    lone.held = true;
    act(&mut lone);
    lone.node.raft.take_write().map(|write| write.must_sync())
}

/// Steps a message without the end of the turn.
fn step(lone: &mut Lone, term: u64, body: Body) {
    let message = raft::Message { group: GROUP, term: raft::Term(term), body };
    lone.node.raft.step(lone.now, raft::NodeId(2), message, &[]);
}

#[test]
fn only_a_commit_index_may_be_lost() {
    let vote = Body::Vote { last: id(9, 9), transfer: true };
    assert_eq!(must_sync(|lone| step(lone, 2, vote)), Some(true), "a vote");
    let beat = Body::Beat { commit: Index(0), round: 0 };
    assert_eq!(must_sync(|lone| step(lone, 2, beat.clone())), Some(true), "a term");
    assert_eq!(must_sync(|lone| step(lone, 1, append(id(3, 1), &[1], 0))), Some(true), "an entry");
    assert_eq!(must_sync(|lone| step(lone, 2, append(id(2, 1), &[2], 0))), Some(true), "a replaced one");
    let installed = |lone: &mut Lone| {
        let config = lone.node.raft.config();
        assert!(lone.node.raft.snapshot_installed(lone.now, id(9, 1), &config));
    };
    assert_eq!(must_sync(installed), Some(true), "a snapshot");
    let commit = |lone: &mut Lone| step(lone, 1, append(id(3, 1), &[], 3));
    assert_eq!(must_sync(commit), None, "a commit index waits");
    let later = |lone: &mut Lone| {
        commit(lone);
        let soon = lone.now + core::time::Duration::from_millis(1200);
        lone.node.raft.tick(soon);
    };
    assert_eq!(must_sync(later), Some(false), "and is then written without a sync");
}

/// What one follower lives through: it votes, follows two leaders of which the second replaces entries of
/// the first, and installs a snapshot.
fn life(lone: &mut Lone) -> Vec<Said> {
    let mut said = lone.hear(2, 2, Body::Vote { last: id(2, 1), transfer: false });
    said.extend(lone.hear(2, 2, append(id(2, 1), &[2, 2, 2], 2)));
    said.extend(lone.hear(3, 3, Body::Vote { last: id(9, 2), transfer: true }));
    said.extend(lone.hear(3, 3, append(id(3, 2), &[3], 3)));
    said.extend(lone.hear(3, 3, append(id(4, 3), &[3, 3], 4)));
    said.extend(lone.hear(3, 3, Body::SnapshotOffer { id: id(9, 3) }));
    assert!(lone.install());
    said.extend(lone.turn());
    said.extend(lone.hear(3, 3, append(id(9, 3), &[3], 9)));
    said
}

fn newborn() -> Lone {
    Lone::start(3, disk(&[1, 1], 1, 0, 0), |_| ())
}

fn last_of(disk: &Disk) -> EntryId {
    let last = disk.log.last();
    EntryId::new(disk.log.term_at(last).expect("the end of the log"), last)
}

#[test]
fn a_crash_between_any_two_writes_keeps_all_that_was_promised() {
    let mut whole = newborn();
    whole.held = true;
    assert_eq!(life(&mut whole), [], "nothing is promised before the first sync");
    let writes = whole.node.in_flight();
    assert!(writes >= 6, "{writes} writes");
    for done in 0..=writes {
        for unheard in 0..=writes - done {
            let mut lone = newborn();
            lone.held = true;
            life(&mut lone);
            let mut said = Vec::new();
            for _ in 0..done {
                let now = lone.now;
                lone.node.persist(now);
                said.extend(lone.turn());
            }
            let disk = lone.node.crash(unheard);
            for promise in &said {
                kept(&disk, promise);
            }
            assert!(last_of(&disk).term <= disk.hard_state.term, "an entry of a term that is not durable");
            let again = Lone::start(3, disk, |_| ());
            assert_eq!(again.node.raft.standing(), raft::Standing::Normal, "{done} done, {unheard} unheard");
        }
    }
}

fn kept(disk: &Disk, promise: &Said) {
    assert!(disk.hard_state.term.0 >= promise.term, "{promise:?}");
    match promise.body {
        Body::VoteReply { granted: true } => {
            let same_term = disk.hard_state.term.0 == promise.term;
            assert!(!same_term || disk.hard_state.vote == Some(raft::NodeId(promise.to)), "{promise:?}");
        }
        Body::AppendAck { matched, .. } => assert!(disk.log.last() >= matched, "{promise:?}"),
        Body::SnapshotAck { id, installed: true } => assert!(disk.log.compacted >= id, "{promise:?}"),
        _ => {}
    }
}
