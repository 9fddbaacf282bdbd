//! What a replica is after a restart, and that the same inputs make the same replica.

use std::time::Duration;

use raft::{Body, Index, NodeId, Role, Standing, Term};

use crate::stage::Stage;
use crate::stage::lone::{Lone, Said, ack, append, disk, id};

#[test]
fn a_replica_is_restored_from_its_disk_and_nothing_else() {
    // The log's terms, how much of it is in a snapshot, the recorded commit index, what is committed.
    let rows: [(&[u64], u64, u64, u64); 6] = [
        (&[], 0, 0, 0),
        (&[1, 1], 0, 1, 1),
        (&[1, 1], 0, 2, 2),
        (&[1, 1, 2], 2, 3, 3),
        (&[1, 1, 2], 2, 0, 2),
        (&[1, 1, 2], 3, 1, 3),
    ];
    for (terms, compacted, recorded, committed) in rows {
        let mut on_disk = disk(terms, 4, 3, recorded);
        if compacted > 0 {
            on_disk.log.compact(id(compacted, terms[usize::try_from(compacted).unwrap() - 1]));
        }
        let mut lone = Lone::start(3, on_disk, |_| ());
        let status = lone.node.raft.status();
        assert_eq!((status.role, status.term, status.leader), (Role::Follower, Term(4), None));
        assert_eq!((status.committed, status.applied), (Index(committed), Index(compacted)), "{terms:?}");
        let last = id(terms.len() as u64, terms.last().copied().unwrap_or(0));
        assert_eq!((status.last, status.persisted), (last, last.index));
        assert!(lone.node.raft.take_write().is_none(), "there is nothing to write");
        assert_eq!(lone.turn(), [], "and nothing to say");
        // The vote of the term is remembered.
        let mut asked = |from, granted| {
            let said = lone.hear(from, 4, Body::Vote { last: id(9, 4), transfer: false });
            assert_eq!(said[0].body, Body::VoteReply { granted });
        };
        asked(2, false);
        asked(3, true);
    }
}

#[test]
fn a_leader_that_restarts_is_a_follower() {
    for voters in [2, 3, 5] {
        let mut leader = Lone::start(voters, disk(&[], 0, 0, 0), |_| ());
        leader.elect();
        let on_disk = leader.node.crash(9);
        let mut again = Lone::start(voters, on_disk, |_| ());
        assert_eq!((again.role(), again.term(), again.node.raft.leader()), (Role::Follower, 1, None));
        assert_eq!(again.wait(999), [], "it waits like everybody else");
        // Acks of its former life, which may be still on their way, make it no leader either.
        again.hear(2, 1, ack(1));
        assert_eq!((again.role(), again.committed()), (Role::Follower, 0));
    }
}

#[test]
fn a_recovering_replica_may_have_lost_even_what_it_knew_to_be_committed() {
    let mut on_disk = disk(&[1, 1], 1, 3, 4);
    on_disk.hard_state.standing = Standing::Recovering;
    let mut lone = Lone::start(3, on_disk, |_| ());
    assert_eq!((lone.node.raft.standing(), lone.committed()), (Standing::Recovering, 2));
    // It votes for nobody, not even again for whom it voted for, and does not campaign.
    for body in
        [Body::Vote { last: id(9, 1), transfer: false }, Body::Vote { last: id(9, 1), transfer: true }]
    {
        assert_eq!(lone.hear(3, 1, body)[0].body, Body::VoteReply { granted: false });
    }
    let refused = lone.hear(2, 2, Body::PreVote { last: id(9, 1) });
    assert_eq!(refused[0].body, Body::PreVoteReply { granted: false });
    assert_eq!(lone.wait(5000), []);
    // A leader is there: it asks how far it has to come, before anything else.
    let said = lone.hear(3, 1, append(id(4, 1), &[], 4));
    let Body::Recover { nonce } = said[0].body else { panic!("{said:?}") };
    lone.hear(3, 1, append(id(2, 1), &[1, 1], 4));
    assert_eq!(
        lone.node.raft.standing(),
        Standing::Recovering,
        "entry 4 may not be the last it acknowledged"
    );
    lone.hear(3, 1, Body::RecoverFloor { nonce: nonce ^ 1, last: Index(4) });
    lone.hear(2, 1, Body::RecoverFloor { nonce, last: Index(4) });
    assert_eq!(lone.node.raft.standing(), Standing::Recovering, "answers to others, or of others");
    lone.hear(3, 1, Body::RecoverFloor { nonce, last: Index(5) });
    assert_eq!(lone.node.raft.standing(), Standing::Recovering);
    lone.held = true;
    lone.hear(3, 1, append(id(4, 1), &[1], 5));
    assert_eq!(lone.node.raft.standing(), Standing::Recovering, "not durable");
    lone.held = false;
    lone.turn();
    lone.turn();
    assert_eq!((lone.node.raft.standing(), lone.committed()), (Standing::Normal, 5));
    assert_eq!(lone.node.disk.hard_state.standing, Standing::Normal);
}

/// What a turn says after the entries from `from` on were lost.
fn lose(lone: &mut Lone, from: u64) -> Vec<Said> {
    let now = lone.now;
    lone.node.raft.lose_from(now, Index(from));
    if Index(from) <= lone.node.log.last() {
        lone.node.log.write(Index(from), &[], &[]);
    }
    lone.turn()
}

/// Entries that were acknowledged are gone from the disk: it is as if the replica had restarted without them, and nobody
/// counts on what it said before.
#[test]
fn a_replica_that_loses_the_end_of_its_log_forgets_it_and_gets_it_again() {
    let mut lone = Lone::start(3, disk(&[], 0, 0, 0), |_| ());
    lone.hear(3, 1, append(id(0, 0), &[1, 1, 1, 1], 2));
    lose(&mut lone, 9);
    assert_eq!(lone.node.raft.standing(), Standing::Normal, "nothing was there");
    let said = lose(&mut lone, 3);
    assert_eq!((lone.terms(), lone.committed()), (vec![1, 1], 2));
    assert_eq!((lone.node.raft.standing(), lone.node.raft.leader()), (Standing::Recovering, None));
    assert_eq!(lone.node.disk.hard_state.standing, Standing::Recovering, "recorded");
    assert_eq!(said, [], "what it had acknowledged it does not acknowledge again");
    let refused = lone.hear(2, 2, Body::PreVote { last: id(9, 1) });
    assert_eq!(refused[0].body, Body::PreVoteReply { granted: false });
    let said = lone.hear(3, 1, append(id(4, 1), &[], 4));
    let Body::Recover { nonce } = said[0].body else { panic!("{said:?}") };
    lone.hear(3, 1, Body::RecoverFloor { nonce, last: Index(4) });
    lone.hear(3, 1, append(id(2, 1), &[1, 1], 4));
    assert_eq!((lone.node.raft.standing(), lone.committed()), (Standing::Normal, 4));
}

#[test]
fn a_leader_that_loses_entries_leads_no_more() {
    let mut leader = Lone::start(3, disk(&[], 0, 0, 0), |_| ());
    leader.elect();
    lose(&mut leader, 1);
    assert_eq!((leader.role(), leader.node.raft.standing()), (Role::Follower, Standing::Recovering));
    assert_eq!(leader.wait(5000), [], "it does not campaign");
    assert!(leader.terms().is_empty());
}

#[test]
fn a_faulted_replica_stays_so_and_says_nothing() {
    let mut lone = Lone::start(3, disk(&[1, 1], 1, 0, 2), |_| ());
    lone.hear(2, 3, append(id(0, 0), &[3], 0));
    assert_eq!(lone.node.raft.standing(), Standing::Faulted);
    assert_eq!(lone.node.disk.hard_state.standing, Standing::Faulted, "recorded");
    let mut again = Lone::start(3, lone.node.crash(0), |_| ());
    assert_eq!(again.node.raft.standing(), Standing::Faulted);
    assert_eq!(again.wait(9000), []);
    assert_eq!(again.hear(2, 9, Body::Vote { last: id(9, 9), transfer: true }), []);
    assert_eq!(again.hear(2, 9, append(id(2, 1), &[9], 3)), []);
    assert_eq!((again.terms(), again.term()), (vec![1, 1], 3), "nothing is taken either");
}

/// A varied life of five nodes; what is said, written down.
fn life(seed: u64) -> String {
    let mut stage = Stage::new(5, 5, None, |settings| settings.seed = seed);
    let mut told = String::new();
    let mut random = fastrand::Rng::with_seed(9);
    let node = |random: &mut fastrand::Rng| NodeId(random.u16(1..=5));
    for _ in 0..400 {
        match random.u8(..10) {
            0..4 => stage.deliver(&[(node(&mut random), node(&mut random))], true),
            4..6 => stage.wait(random.u64(..700), random.bool()),
            6 => stage.cut = (0..random.u8(..3)).map(|_| node(&mut random)).collect(),
            7 => {
                if let Some(leader) = stage.leader() {
                    stage.propose(leader, random.u64(1..4));
                    stage.read(leader);
                    stage.transfer(leader, node(&mut random));
                }
            }
            8 => {
                let (one, now) = (node(&mut random), stage.now);
                stage.node(one).raft.campaign(now);
            }
            _ => {
                let one = node(&mut random);
                stage.crash(one, 0);
                stage.restart(one);
            }
        }
        stage.turn();
        stage.status(&[]);
        told += &stage.take_out();
    }
    told
}

#[test]
fn the_same_inputs_have_the_same_outputs() {
    let told = life(7);
    let lines = told.lines().count();
    assert!(lines > 2000 && told.contains("committed 3"), "a life worth telling, not {lines} lines: {told}");
    assert_eq!(told, life(7));
    assert_ne!(told, life(8), "the seed matters");
}

#[test]
fn who_lets_others_lead_campaigns_after_them_unless_nobody_else_could() {
    let first_election = |voters| {
        let mut bounds = None;
        let mut lone = Lone::start(voters, disk(&[1, 1], 4, 3, 2), |settings| {
            bounds = Some((settings.election_timeout_min, settings.election_timeout_max));
        });
        lone.node.raft.let_others_lead();
        (lone.node.raft.deadline().saturating_sub(lone.now), bounds.unwrap())
    };
    let (wait, (min, max)) = first_election(3);
    assert!(wait >= max && wait <= max * 2 - min, "{wait:?} is between {max:?} and {:?}", max * 2 - min);
    assert_eq!(first_election(1).0, Duration::ZERO);
}
