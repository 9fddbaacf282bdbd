//! What a leader sends, counts and refuses.

use std::time::Duration;

use raft::{Body, FollowerState, Index, NodeId, ProposeError, ReadError, Role, TransferError};

use crate::stage::lone::{Lone, Said, disk, id};

fn appends(said: &[Said], to: u16) -> Vec<(u64, u64)> {
    let to_it = said.iter().filter(|said| said.to == to);
    let range = |said: &Said| match said.body {
        Body::Append { prev, last, .. } => Some((prev.index.0 + 1, last.0)),
        _ => None,
    };
    to_it.filter_map(range).collect()
}

fn propose(leader: &mut Lone, count: u64) -> Vec<Said> {
    let values: Vec<u64> = (0..count).collect();
    leader.node.propose(&values).expect("it is taken");
    leader.turn()
}

#[test]
fn a_quorum_of_acks_commits() {
    let rows: [(u16, &[u16], bool); 9] = [
        (1, &[], true),
        (3, &[], false),
        (3, &[2], true),
        (3, &[2, 3], true),
        (5, &[], false),
        (5, &[2], false),
        (5, &[2, 3], true),
        (5, &[2, 3, 4], true),
        (5, &[2, 3, 4, 5], true),
    ];
    for (voters, acks, committed) in rows {
        let mut leader = Lone::start(voters, disk(&[], 0, 0, 0), |_| ());
        leader.elect();
        (2..=voters).for_each(|peer| drop(leader.ack(peer, 1)));
        propose(&mut leader, 1);
        acks.iter().for_each(|&peer| drop(leader.ack(peer, 2)));
        assert_eq!(leader.committed(), if committed { 2 } else { 1 }, "{acks:?} of {voters}");
    }
}

#[test]
fn the_leader_counts_itself_only_after_its_own_sync() {
    for (voters, acks, before) in [(3, &[2][..], 0), (3, &[2, 3], 2), (5, &[2, 3], 0), (5, &[2, 3, 4], 2)] {
        let mut leader = Lone::start(voters, disk(&[1], 1, 0, 0), |_| ());
        leader.stand();
        leader.held = true;
        for peer in 2..=voters {
            if leader.role() == Role::Candidate {
                leader.hear(peer, 2, Body::VoteReply { granted: true });
            }
        }
        for &peer in acks {
            leader.ack(peer, 2);
        }
        assert_eq!((leader.role(), leader.committed()), (Role::Leader, before), "{acks:?} of {voters}");
        leader.held = false;
        leader.turn();
        assert_eq!(leader.committed(), 2, "{acks:?} of {voters}, and its own sync");
    }
}

#[test]
fn entries_of_older_terms_are_not_committed_by_counting_but_come_along() {
    let logs: [&[u64]; 3] = [&[], &[2], &[1, 2]];
    for log in logs {
        let mut leader = Lone::with_log(log, 2);
        leader.elect();
        let noop = log.len() as u64 + 1;
        for matched in 1..noop {
            leader.ack(2, matched);
            leader.ack(3, matched);
            assert_eq!(leader.committed(), 0, "{matched} is of an older term");
        }
        leader.ack(2, noop);
        assert_eq!(leader.committed(), noop);
    }
}

#[test]
fn a_late_reject_does_not_undo_what_is_known() {
    let reject = |probe| Body::AppendReject { probe: Index(probe), hint: id(0, 0), round: 0 };
    let mut leader = Lone::with_log(&[1; 9], 1);
    leader.elect();
    let probe = leader.follower(2);
    assert_eq!((probe.state, probe.next), (FollowerState::Probe, Index(10)));
    for stale in [8, 5, 0] {
        leader.hear(2, 2, reject(stale));
        assert_eq!(leader.follower(2), probe, "only the answer to the last probe counts");
    }
    leader.ack(2, 10);
    for stale in [10, 9, 3] {
        leader.hear(2, 2, reject(stale));
        let follower = leader.follower(2);
        let now = (follower.state, follower.matched, follower.next);
        assert_eq!(now, (FollowerState::Replicate, Index(10), Index(11)), "a reject of {stale}");
    }
}

#[test]
fn a_probe_is_one_append_and_a_stream_is_many() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.batch = 1;
    assert_eq!(leader.follower(2).state, FollowerState::Probe);
    for _ in 0..3 {
        assert_eq!(appends(&propose(&mut leader, 1), 2), [], "the probe is not answered");
    }
    let said = leader.ack(2, 2);
    assert_eq!(appends(&said, 2), [(3, 3), (4, 4), (5, 5)]);
    assert_eq!(leader.follower(2).state, FollowerState::Replicate);
    let said = leader.wait(100);
    assert_eq!(appends(&said, 3), [(2, 2)], "a beat's moment asks a silent probe again, once");
}

#[test]
fn windows_count_appends_and_bytes_and_are_given_back() {
    // Entries are of 64 bytes.
    let rows =
        [(2, 64 * 99, &[(3, 3), (4, 4)][..]), (99, 64 * 3, &[(3, 3), (4, 4), (5, 5)]), (99, 1, &[(3, 3)])];
    for (appends_max, bytes_max, sent) in rows {
        let mut leader = Lone::start(3, disk(&[1], 1, 0, 0), |settings| {
            settings.inflight_appends_max = appends_max;
            settings.inflight_bytes_max = bytes_max;
        });
        leader.elect();
        leader.batch = 1;
        leader.ack(2, 2);
        assert_eq!(appends(&propose(&mut leader, 6), 2), sent);
        let bytes = 64 * sent.len() as u64;
        assert_eq!(leader.follower(2).inflight_bytes, bytes);
        let said = leader.ack(2, 3);
        let next = sent[sent.len() - 1].1 + 1;
        assert_eq!(appends(&said, 2), [(next, next)], "an ack makes room for one more");
        assert_eq!(leader.follower(2).inflight_bytes, bytes);
        leader.node.raft.unreachable(NodeId(2));
        assert_eq!(leader.follower(2).inflight_bytes, 0, "what may be lost is not in flight");
        leader.turn();
        let last = leader.node.raft.last().0;
        leader.ack(2, last);
        assert_eq!((leader.follower(2).inflight_bytes, leader.follower(2).matched.0), (0, last));
    }
}

#[test]
fn a_beat_goes_once_to_each_follower_and_from_a_leader_only() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    leader.ack(3, 2);
    leader.wait(100);
    let beats: Vec<(u16, Body)> = leader.wait(100).into_iter().map(|said| (said.to, said.body)).collect();
    let beat = Body::Beat { commit: Index(2), round: 2 };
    assert_eq!(beats, [(2, beat.clone()), (3, beat)], "in one interval, and no entries");
    for role in [Role::Follower, Role::PreCandidate, Role::Candidate] {
        assert_eq!(Lone::in_role(role).wait(900), [], "{role:?}");
    }
}

#[test]
fn a_full_window_is_probed_by_beats_without_entries() {
    let mut leader = Lone::start(3, disk(&[1], 1, 0, 0), |settings| settings.inflight_appends_max = 2);
    leader.elect();
    leader.batch = 1;
    leader.ack(2, 2);
    propose(&mut leader, 5);
    for _ in 0..3 {
        leader.ack(3, 2);
        let said = leader.wait(100);
        assert_eq!(appends(&said, 2), [(5, 4)], "nothing but an empty append");
    }
    assert_eq!(appends(&leader.ack(2, 2), 2), [], "an old ack frees nothing");
    assert_eq!(appends(&leader.ack(2, 4), 2), [(5, 5), (6, 6)]);
}

#[test]
fn a_follower_whose_link_has_no_room_costs_one_message() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    for _ in 0..1000 {
        match leader.node.propose(&[1]) {
            Ok(_) => {}
            Err(ProposeError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let last = leader.node.raft.last().0;
    assert!(last > 60);
    assert_eq!(appends(&leader.turn(), 2), [(3, last)], "all that was proposed meanwhile is one append");
}

#[test]
fn the_quota_of_uncommitted_bytes_is_given_back_on_commit_and_on_stepping_down() {
    let quota = |settings: &mut raft::Settings| settings.uncommitted_bytes_max = 64 * 4;
    let mut leader = Lone::start(3, disk(&[1], 1, 0, 0), quota);
    leader.elect();
    leader.ack(2, 2);
    leader.node.propose(&[1; 9]).expect("one proposal always fits");
    assert_eq!(leader.node.propose(&[1]), Err(ProposeError::Full));
    leader.turn();
    leader.ack(2, 11);
    assert_eq!(leader.committed(), 11);
    leader.node.propose(&[1; 3]).expect("all was given back");
    assert_eq!(leader.node.propose(&[1; 2]), Err(ProposeError::Full));
    leader.node.propose(&[1]).expect("up to the last byte");
    let now = leader.now;
    leader.node.change(now, &[raft::Change::Learner(NodeId(9))]).expect("configurations are not counted");
    leader.turn();
    leader.hear(2, 9, Body::VoteReply { granted: false });
    assert_eq!(leader.node.propose(&[1]), Err(ProposeError::NotLeader { leader: None }));
    leader.elect();
    leader.node.propose(&[1; 4]).expect("a new term begins with nothing");
}

#[test]
fn requests_are_refused_by_whoever_does_not_lead() {
    for role in [Role::Follower, Role::PreCandidate, Role::Candidate] {
        let mut lone = Lone::in_role(role);
        let (now, leader) = (lone.now, None);
        assert_eq!(lone.node.propose(&[1]), Err(ProposeError::NotLeader { leader }), "{role:?}");
        assert_eq!(lone.node.raft.read(now), Err(ReadError::NotLeader { leader }));
        assert_eq!(lone.node.raft.transfer(now, NodeId(2)), Err(TransferError::NotLeader { leader }));
        lone.hear(3, 2, Body::Beat { commit: Index(0), round: 0 });
        let leader = Some(NodeId(3));
        assert_eq!(lone.node.propose(&[1]), Err(ProposeError::NotLeader { leader }), "and says who does");
        assert_eq!(lone.node.raft.last(), Index(1));
    }
}

#[test]
fn transfers_replace_each_other_and_end() {
    let proposable = |leader: &mut Lone| leader.node.propose(&[1]) != Err(ProposeError::Transferring);
    let timeout_now = |said: &[Said]| -> Vec<u16> {
        let told = |said: &&Said| matches!(said.body, Body::TimeoutNow { .. });
        said.iter().filter(told).map(|said| said.to).collect()
    };
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    let start = leader.now;
    leader.node.raft.transfer(start, NodeId(3)).expect("3 votes");
    assert!(timeout_now(&leader.turn()).is_empty(), "3 has not answered yet");
    assert!(!proposable(&mut leader));
    leader.now = start + Duration::from_millis(500);
    leader.node.raft.transfer(leader.now, NodeId(3)).expect("again");
    leader.ack(2, 2);
    let error = leader.node.raft.transfer(leader.now, NodeId(1));
    assert_eq!(error, Err(TransferError::NotAVoter { to: NodeId(1) }), "it leads already");
    leader.wait(499);
    assert!(!proposable(&mut leader));
    leader.wait(2);
    assert!(proposable(&mut leader), "the second call for 3 has not prolonged the first");

    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    leader.node.raft.transfer(leader.now, NodeId(3)).expect("3 votes");
    leader.node.raft.transfer(leader.now, NodeId(2)).expect("2 votes");
    assert_eq!(timeout_now(&leader.turn()), [2], "2 instead of 3, at once");
    assert!(timeout_now(&leader.ack(3, 2)).is_empty());
    leader.node.raft.transfer(leader.now, NodeId(3)).expect("3 after all");
    assert_eq!(timeout_now(&leader.turn()), [3]);
    // 2 is elected in the end: whoever of them campaigns ends this leadership.
    leader.hear(2, 3, Body::Vote { last: id(2, 2), transfer: true });
    assert_eq!((leader.role(), leader.node.raft.status().transfer), (Role::Follower, None));
}

#[test]
fn a_vote_of_a_newer_term_ends_a_transfer() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    leader.node.raft.transfer(leader.now, NodeId(3)).expect("3 votes");
    leader.hear(2, 3, Body::VoteReply { granted: false });
    assert_eq!((leader.role(), leader.node.raft.status().transfer), (Role::Follower, None));
    leader.elect();
    leader.node.propose(&[1]).expect("a new term knows of no transfer");
}
