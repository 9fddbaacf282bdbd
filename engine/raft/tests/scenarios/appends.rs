//! What a follower makes of appends, and how a leader finds the place where two logs agree (thesis 3.5).

use raft::{Body, Event, Fault, Index};

use crate::stage::lone::{Lone, Said, ack, append, beat_ack, disk, id};

/// What came of an append.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Acked up to here, and committed up to there.
    Took { matched: u64, committed: u64 },
    /// Rejected: nothing changed.
    Rejected,
    /// What is committed cannot be replaced.
    Faulted,
}
use End::{Faulted, Rejected, Took};

fn took(matched: u64, committed: u64) -> End {
    Took { matched, committed }
}

fn end(lone: &mut Lone, said: &[Said]) -> End {
    let fault = |event: &Event| matches!(event, Event::Faulted { fault: Fault::CommittedConflict { .. } });
    if lone.node.events.iter().any(fault) {
        assert_eq!(said, []);
        return Faulted;
    }
    assert_eq!(said.len(), 1, "one answer: {said:?}");
    match said[0].body {
        Body::AppendAck { matched, .. } => took(matched.0, lone.committed()),
        Body::AppendReject { .. } => Rejected,
        ref other => panic!("{other:?}"),
    }
}

/// A row: the entry before, the entries' terms, the leader's commit index, and what comes of it.
type Row<'a> = ((u64, u64), &'a [u64], u64, End);

/// Each row begins with the same log.
fn check(log: &[u64], committed: u64, term: u64, rows: &[Row]) {
    for ((index, prev_term), terms, commit, expected) in rows {
        let mut lone = Lone::start(3, disk(log, term, 0, committed), |_| ());
        let body = append(id(*index, *prev_term), terms, *commit);
        let said = lone.hear(2, term, body.clone());
        assert_eq!(&end(&mut lone, &said), expected, "{log:?} hears {body:?}");
        if *expected == Rejected {
            assert_eq!((lone.terms().as_slice(), lone.committed()), (log, committed), "{body:?}");
        }
    }
}

#[test]
fn an_append_is_taken_where_the_logs_meet_and_commits_no_more_than_it_proves() {
    check(
        &[1, 2],
        0,
        3,
        &[
            ((2, 3), &[], 3, Rejected),
            ((3, 3), &[], 3, Rejected),
            ((1, 1), &[], 1, took(1, 1)),
            ((0, 0), &[2], 1, took(1, 1)),
            ((2, 2), &[2, 2], 3, took(4, 3)),
            ((2, 2), &[2], 4, took(3, 3)),
            ((1, 1), &[2], 4, took(2, 2)),
            ((1, 1), &[], 3, took(1, 1)),
            ((1, 1), &[2], 3, took(2, 2)),
            ((2, 2), &[], 3, took(2, 2)),
            ((2, 2), &[], 4, took(2, 2)),
        ],
    );
    check(
        &[1, 2, 3],
        1,
        4,
        &[
            ((3, 2), &[4], 3, Rejected),
            ((4, 3), &[4], 3, Rejected),
            ((3, 3), &[], 3, took(3, 3)),
            ((3, 3), &[], 4, took(3, 3)),
            ((3, 3), &[], 2, took(3, 2)),
            ((3, 3), &[], 0, took(3, 1)),
            ((0, 0), &[], 3, took(1, 1)),
            ((3, 3), &[4], 3, took(4, 3)),
            ((3, 3), &[4], 4, took(4, 4)),
            ((3, 3), &[4], 5, took(4, 4)),
            ((3, 3), &[4, 4], 5, took(5, 5)),
            ((2, 2), &[4], 3, took(3, 3)),
            ((1, 1), &[4], 3, took(2, 2)),
            ((0, 0), &[4], 3, Faulted),
            ((1, 1), &[4, 4], 3, took(3, 3)),
        ],
    );
}

#[test]
fn the_entry_before_must_be_there() {
    let rows = [((0, 0), true), ((1, 1), true), ((2, 2), true), ((2, 1), false), ((3, 3), false)];
    for ((index, term), taken) in rows {
        let mut lone = Lone::with_log(&[1, 2], 3);
        let said = lone.hear(2, 3, append(id(index, term), &[], 0));
        assert_eq!(end(&mut lone, &said) != Rejected, taken, "{index}@{term}");
    }
}

#[test]
fn only_a_conflict_removes_entries() {
    let rows = [
        ((2, 2), &[3][..], &[1, 2, 3][..]),
        ((1, 1), &[3, 4], &[1, 3, 4]),
        ((0, 0), &[1], &[1, 2]),
        ((0, 0), &[3], &[3]),
        ((0, 0), &[1, 2], &[1, 2]),
        ((0, 0), &[], &[1, 2]),
        ((1, 1), &[2, 2], &[1, 2, 2]),
    ];
    for ((index, term), terms, log) in rows {
        let mut lone = Lone::with_log(&[1, 2], 4);
        lone.hear(2, 4, append(id(index, term), terms, 0));
        assert_eq!(lone.terms(), log, "{terms:?} after {index}@{term}");
        let durable: Vec<u64> = lone.node.disk.log.entries.iter().map(|entry| entry.term.0).collect();
        assert_eq!(durable, log);
    }
}

#[test]
fn old_appends_shorten_nothing_in_whatever_order_they_come() {
    let all: Vec<Body> = (1..5).map(|index| append(id(index, 1), &[1], index)).collect();
    for order in orders(all.len()) {
        let mut lone = Lone::with_log(&[1], 1);
        let (mut acked, mut committed) = (0, 0);
        for _ in 0..2 {
            for &at in &order {
                for said in lone.hear(2, 1, all[at].clone()) {
                    if let Body::AppendAck { matched, .. } = said.body {
                        assert!(matched.0 <= lone.node.disk.log.last().0);
                        acked = acked.max(matched.0);
                    }
                }
                assert!(lone.node.raft.last().0 >= acked && lone.committed() >= committed);
                committed = lone.committed();
            }
        }
        lone.hear(2, 1, append(id(1, 1), &[1, 1, 1, 1], 5));
        assert_eq!((lone.terms(), lone.committed()), (vec![1; 5], 5), "{order:?}");
    }
}

/// All orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let with_last = |order: &Vec<usize>| {
        (0..count).map(|at| [&order[..at], &[count - 1], &order[at..]].concat()).collect::<Vec<_>>()
    };
    shorter.iter().flat_map(with_last).collect()
}

#[test]
fn acks_in_any_order_leave_the_leader_knowing_the_best_of_them() {
    for order in orders(4) {
        let mut leader = Lone::in_role(raft::Role::Leader);
        leader.batch = 1;
        leader.ack(2, 2);
        (1..=3).for_each(|value| assert!(leader.node.propose(&[value]).is_ok()));
        leader.turn();
        let late_reject = Body::AppendReject { probe: Index(2), hint: id(1, 1), round: 0 };
        for &at in &order {
            let before = leader.follower(2).matched;
            if at == 3 {
                leader.hear(2, 2, late_reject.clone());
            } else {
                leader.ack(2, at as u64 + 3);
            }
            let follower = leader.follower(2);
            assert!(follower.matched >= before && follower.next > follower.matched, "{order:?}");
        }
        assert_eq!((leader.follower(2).matched, leader.follower(2).next), (Index(5), Index(6)));
        assert_eq!((leader.follower(2).inflight_bytes, leader.committed()), (0, 5));
    }
}

/// A leader with this log meets a follower with that one. What the follower's first answer says, where the
/// leader looks next, and how many looks failed until the logs are the same.
fn meet(leader_log: &[u64], mut follower: Lone, batch: u64) -> (raft::EntryId, raft::EntryId, usize) {
    let term = leader_log.last().copied().unwrap_or(0).max(follower.term());
    let mut leader = Lone::with_log(leader_log, term);
    leader.batch = batch;
    let mut to_follower: Vec<Said> = leader.elect().into_iter().filter(|said| said.to == 2).collect();
    let (mut first, mut second, mut failed) = (None, None, 0);
    for _ in 0..10_000 {
        if to_follower.is_empty() {
            break;
        }
        let append = to_follower.remove(0);
        if let (Some(_), None, Body::Append { prev, .. }) = (first, second, &append.body) {
            second = Some(*prev);
        }
        for answer in follower.hear_said(2, &append) {
            if let Body::AppendReject { hint, .. } = answer.body {
                failed += 1;
                first.get_or_insert(hint);
            }
            to_follower.extend(leader.hear_said(2, &answer).into_iter().filter(|said| said.to == 2));
        }
    }
    assert_eq!(
        follower.node.log.entries,
        leader.node.log.entries[usize::try_from(follower.node.log.compacted.index.0).unwrap()..]
    );
    assert_eq!(leader.follower(2).matched, leader.node.raft.last());
    (first.unwrap_or_default(), second.unwrap_or_default(), failed)
}

#[test]
fn one_answer_skips_a_term_on_either_side() {
    let of_term_3 = [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3];
    let rows = [
        (&[1, 2, 2, 4, 4, 4, 4][..], &of_term_3[..], (7, 3), (3, 2)),
        (&[1, 2, 2, 3, 4, 4, 4, 5], &of_term_3, (8, 3), (4, 3)),
        (&[1, 1, 1, 1], &[1, 2, 2, 4], (1, 1), (1, 1)),
        (&[1, 1, 1, 1, 1, 1], &[1, 2, 2, 4], (1, 1), (1, 1)),
        (&[1, 1, 1, 1], &[1, 2, 2, 4, 4, 4], (1, 1), (1, 1)),
        (&[1, 1, 1, 4, 5], &[1, 1, 1, 4], (4, 4), (4, 4)),
        (&[2, 5, 5, 5, 5, 5, 5, 5, 5], &[2, 4, 4, 4, 4, 4], (6, 4), (1, 2)),
        (&[2, 2, 2, 2, 2], &[2, 4, 4, 4, 4, 4, 4, 4], (1, 2), (1, 2)),
    ];
    for (leader, follower, hint, next) in rows {
        let found = meet(leader, Lone::with_log(follower, 5), 100);
        assert_eq!(found, (id(hint.0, hint.1), id(next.0, next.1), 1), "{leader:?} meets {follower:?}");
    }
}

#[test]
fn a_follower_whose_log_begins_with_a_snapshot_answers_with_where_it_begins() {
    let mut on_disk = disk(&[1, 1, 1, 1, 1, 3], 3, 0, 5);
    on_disk.log.compact(id(5, 1));
    let follower = Lone::start(3, on_disk, |_| ());
    let found = meet(&[1, 1, 1, 1, 1, 2, 2, 2], follower, 100);
    assert_eq!(found, (id(5, 1), id(5, 1), 1));
}

#[test]
fn long_divergent_tails_are_replaced_in_a_few_looks() {
    for (tail, batch) in [(51, 1), (200, 7), (500, 100)] {
        let leader: Vec<u64> = [1, 1].into_iter().chain(vec![4; tail]).collect();
        let follower: Vec<u64> = [1, 1].into_iter().chain(vec![2; tail / 2]).chain(vec![3; tail]).collect();
        let (_, _, failed) = meet(&leader, Lone::with_log(&follower, 4), batch);
        assert!(failed <= 3, "{failed} looks for {tail} entries");
    }
    // Every entry of a term of its own, on both sides: a look for each term, and not one more.
    let leader: Vec<u64> = (0..60).map(|at| 2 * at + 2).collect();
    let follower: Vec<u64> = (0..60).map(|at| 2 * at + 1).collect();
    let (_, _, failed) = meet(&leader, Lone::with_log(&follower, 122), 3);
    assert!(failed <= 60, "{failed} looks for 60 terms");
}

#[test]
fn appends_from_before_the_snapshot_delete_nothing() {
    let rows = [((3, 1), 3, 6), ((2, 1), 2, 5), ((0, 0), 5, 5), ((0, 0), 2, 5), ((3, 1), 5, 8)];
    for ((index, term), count, matched) in rows {
        let mut on_disk = disk(&[1; 8], 1, 0, 5);
        on_disk.log.compact(id(5, 1));
        let mut lone = Lone::start(3, on_disk, |_| ());
        let said = lone.hear(2, 1, append(id(index, term), &vec![1; count], 0));
        assert_eq!(said[0].body, ack(matched), "{count} after {index}");
        assert_eq!((lone.terms(), lone.node.log.compacted), (vec![1; 3], id(5, 1)));
    }
}

#[test]
fn a_beat_commits_only_what_the_leader_is_known_to_share() {
    let beat = |commit| Body::Beat { commit: Index(commit), round: 0 };
    let mut lone = Lone::with_log(&[1, 1, 1], 2);
    lone.hear(2, 2, beat(99));
    assert_eq!(lone.committed(), 0, "nothing is known of the log yet");
    lone.hear(2, 2, append(id(2, 1), &[], 0));
    lone.hear(2, 2, beat(1));
    assert_eq!(lone.committed(), 1);
    let said = lone.hear(2, 2, beat(99));
    // The leader may believe an ack from before a restart, and would send nothing: it is told to look.
    assert_eq!(said[0].body, beat_ack(false));
    assert_eq!(lone.committed(), 2, "the third entry may be another leader's");
    lone.hear(2, 2, beat(0));
    assert_eq!(lone.committed(), 2, "and never less");
    assert_eq!(lone.node.raft.standing(), raft::Standing::Normal);
}

/// A follower whose log is full takes of an append what it has already: so it learns what is committed, and may make room.
#[test]
fn a_follower_without_room_learns_what_is_committed() {
    let rows = [
        (append(id(1, 1), &[1, 1], 3), 2, true),
        (append(id(0, 0), &[1, 1, 1], 1), 1, true),
        (append(id(0, 0), &[1, 1], 2), 2, false),
        (append(id(1, 1), &[2], 2), 1, true),
    ];
    for (body, committed, busy) in rows {
        let mut follower = Lone::with_log(&[1, 1], 2);
        let message = raft::Message { group: crate::cluster::GROUP, term: raft::Term(2), body: body.clone() };
        follower.node.raft.refuse(follower.now, raft::NodeId(2), message);
        let said = follower.turn();
        assert_eq!(follower.committed(), committed, "after {body:?}");
        assert_eq!(follower.terms(), [1, 1], "nothing is taken and nothing lost");
        assert_eq!(
            said.iter().any(|said| matches!(said.body, Body::AppendBusy { .. })),
            busy,
            "{body:?}: {said:?}"
        );
    }
}

/// An append whose terms make no sense is not made one by leaving out what there is no room for. (The fuzzer found that it was:
/// the follower took entries for its own that nobody had.)
#[test]
fn a_follower_without_room_makes_no_sense_of_what_has_none() {
    let run = |first, term| raft::TermRun { first: Index(first), term: raft::Term(term) };
    let mut follower = Lone::with_log(&[], 2);
    let Body::Append { prev, entries_bytes, commit, round, .. } = append(id(0, 0), &[1, 1, 1], 3) else {
        return;
    };
    let runs = [run(1, 1), run(13, 13), run(12, 12)].into_iter().collect();
    let body = Body::Append { prev, last: Index(3), runs, entries_bytes, commit, round };
    let message = raft::Message { group: crate::cluster::GROUP, term: raft::Term(2), body };
    follower.node.raft.refuse(follower.now, raft::NodeId(2), message);
    follower.turn();
    assert_eq!((follower.terms(), follower.committed()), (vec![], 0));
}
