//! Terms, votes, roles (thesis 3.3, 3.4, 3.6.1, 9.6).

use raft::{Body, Index, NodeId, Role};

use crate::stage::lone::{Lone, ack, append, beat_ack, disk, id};

const ROLES: [Role; 4] = [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader];

fn vote(last: raft::EntryId, transfer: bool) -> Body {
    Body::Vote { last, transfer }
}

/// One of each message, as a peer with nothing in its log would send it.
fn messages() -> Vec<Body> {
    let (last, commit, round) = (id(0, 0), Index(0), 0);
    vec![
        append(last, &[1], 0),
        ack(0),
        Body::AppendReject { probe: Index(1), hint: last, round },
        Body::AppendBusy { round },
        Body::Beat { commit, round },
        beat_ack(true),
        Body::SnapshotOffer { id: id(1, 1) },
        Body::SnapshotAck { id: id(1, 1), installed: true },
        Body::TimeoutNow { last },
        Body::Quiesce { last, round },
        Body::Recover { nonce: 1 },
        Body::RecoverFloor { nonce: 1, last: Index(0) },
        Body::PreVoteReply { granted: false },
        vote(last, true),
        Body::VoteReply { granted: false },
        Body::VoteReply { granted: true },
    ]
}

#[test]
fn whoever_hears_of_a_newer_term_follows_in_it() {
    for role in ROLES {
        for body in messages() {
            let mut lone = Lone::in_role(role);
            lone.hear(2, 5, body.clone());
            assert_eq!((lone.role(), lone.term()), (Role::Follower, 5), "{role:?} hears {body:?}");
            assert_eq!(lone.node.disk.hard_state.vote, None, "a vote for {body:?}");
            let leads = matches!(
                body,
                Body::Append { .. } | Body::Beat { .. } | Body::SnapshotOffer { .. } | Body::Quiesce { .. }
            );
            assert_eq!(lone.node.raft.leader(), leads.then_some(NodeId(2)), "{body:?}");
        }
    }
}

#[test]
fn messages_of_old_terms_change_nothing_and_leaders_of_old_terms_are_told() {
    for role in ROLES {
        for body in messages().into_iter().chain([Body::PreVote { last: id(9, 9) }, vote(id(9, 9), false)]) {
            let mut lone = Lone::in_role(role);
            lone.turn();
            let before = lone.node.raft.status();
            let said = lone.hear(2, 1, body.clone());
            assert_eq!(lone.node.raft.status(), before, "{role:?} hears {body:?}");
            let answers: Vec<(u64, Body)> = said.into_iter().map(|said| (said.term, said.body)).collect();
            let answer = match body {
                Body::PreVote { .. } => Some(Body::PreVoteReply { granted: false }),
                Body::Vote { .. } => Some(Body::VoteReply { granted: false }),
                Body::Append { .. }
                | Body::Beat { .. }
                | Body::Quiesce { .. }
                | Body::SnapshotOffer { .. }
                | Body::TimeoutNow { .. } => Some(beat_ack(false)),
                _ => None,
            };
            let expected: Vec<(u64, Body)> = answer.map(|answer| (2, answer)).into_iter().collect();
            assert_eq!(answers, expected, "{role:?} hears {body:?}");
        }
    }
}

#[test]
fn elections_end_as_the_votes_say() {
    let table: [(u16, &str, Role); 13] = [
        (1, "", Role::Leader),
        (3, "yy", Role::Leader),
        (3, "y", Role::Leader),
        (5, "yyyy", Role::Leader),
        (5, "yyy", Role::Leader),
        (5, "yy", Role::Leader),
        (3, "nn", Role::Follower),
        (5, "nnnn", Role::Follower),
        (5, "ynnn", Role::Follower),
        (3, "", Role::Candidate),
        (5, "y", Role::Candidate),
        (5, "nn", Role::Candidate),
        (5, "", Role::Candidate),
    ];
    for (voters, votes, role) in table {
        let mut lone = Lone::start(voters, disk(&[], 0, 0, 0), |_| ());
        lone.stand();
        for (peer, vote) in (2..).zip(votes.chars()) {
            lone.hear(peer, 1, Body::VoteReply { granted: vote == 'y' });
        }
        assert_eq!((lone.role(), lone.term()), (role, 1), "{voters} voters vote {votes:?}");
    }
}

#[test]
fn there_is_one_vote_in_a_term() {
    for (given, asks, granted) in
        [(0, 2, true), (0, 3, true), (2, 2, true), (3, 3, true), (2, 3, false), (3, 2, false)]
    {
        let mut lone = Lone::start(3, disk(&[], 1, given, 0), |_| ());
        let said = lone.hear(asks, 1, vote(id(0, 0), false));
        assert_eq!(said.len(), 1);
        assert_eq!((said[0].to, said[0].term), (asks, 1));
        assert_eq!(said[0].body, Body::VoteReply { granted }, "voted {given}, {asks} asks");
        let vote = if granted { asks } else { given };
        assert_eq!(lone.node.disk.hard_state.vote, Some(NodeId(vote)));
    }
}

#[test]
fn a_vote_in_a_newer_term_is_given_in_any_role() {
    for role in ROLES {
        let mut lone = Lone::in_role(role);
        let said = lone.hear(2, 3, vote(id(42, 3), true));
        let answers: Vec<_> = said.iter().map(|said| (said.to, said.term, said.body.clone())).collect();
        assert_eq!(answers, [(2, 3, Body::VoteReply { granted: true })], "{role:?}");
        assert_eq!((lone.role(), lone.term()), (Role::Follower, 3));
        assert_eq!(lone.node.disk.hard_state.vote, Some(NodeId(2)));
    }
}

/// Asks for a pre-vote and for a vote in term 9; both are answered alike.
fn would_vote(log: &[u64], last: raft::EntryId) -> bool {
    let ask = |body| {
        let said = Lone::with_log(log, 3).hear(2, 9, body);
        assert_eq!(said.len(), 1);
        match said[0].body {
            Body::PreVoteReply { granted } | Body::VoteReply { granted } => granted,
            ref other => panic!("{other:?}"),
        }
    };
    let granted = ask(vote(last, false));
    assert_eq!(ask(Body::PreVote { last }), granted, "{log:?} and {last}");
    granted
}

#[test]
fn votes_go_to_logs_that_lack_nothing() {
    let table: [(&[u64], raft::EntryId, bool); 9] = [
        (&[1], id(1, 1), true),
        (&[1], id(2, 1), true),
        (&[1, 1], id(1, 1), false),
        (&[1], id(1, 2), true),
        (&[1], id(2, 2), true),
        (&[1, 1], id(1, 2), true),
        (&[2], id(1, 1), false),
        (&[2], id(2, 1), false),
        (&[1, 2], id(1, 1), false),
    ];
    for (log, last, granted) in table {
        assert_eq!(would_vote(log, last), granted, "{log:?} and {last}");
    }
    for index in 0..4 {
        for term in 0..4 {
            let granted = term > 2 || term == 2 && index >= 2;
            assert_eq!(would_vote(&[2, 2], id(index, term)), granted, "{index}@{term}");
        }
    }
}

#[test]
fn whoever_votes_for_itself_votes_for_nobody_else_in_that_term() {
    for role in [Role::Candidate, Role::Leader] {
        let mut lone = Lone::in_role(role);
        let said = lone.hear(3, 2, vote(id(9, 9), false));
        assert!(said.iter().any(|said| said.to == 3 && said.body == Body::VoteReply { granted: false }));
        assert_eq!((lone.role(), lone.node.disk.hard_state.vote), (role, Some(NodeId(1))));
    }
}

#[test]
fn a_candidate_falls_back_when_the_term_has_a_leader() {
    for role in [Role::PreCandidate, Role::Candidate] {
        for term in [2, 3] {
            let beat = Body::Beat { commit: Index(0), round: 0 };
            for body in [append(id(1, 1), &[2], 0), beat, Body::SnapshotOffer { id: id(9, 2) }] {
                let mut lone = Lone::in_role(role);
                lone.wait(900);
                lone.hear(3, term, body.clone());
                assert_eq!((lone.role(), lone.term()), (Role::Follower, term), "{role:?} hears {body:?}");
                assert_eq!(lone.node.raft.leader(), Some(NodeId(3)));
                let patience = lone.node.raft.deadline().saturating_sub(lone.now);
                assert!(patience.as_millis() >= 1000, "the election timer starts anew");
            }
        }
    }
}

#[test]
fn a_vote_for_itself_that_becomes_durable_too_late_counts_for_nothing() {
    let lost = [Body::VoteReply { granted: false }, Body::VoteReply { granted: false }];
    let beaten = [Body::Beat { commit: Index(0), round: 0 }, Body::VoteReply { granted: true }];
    for answers in [lost, beaten] {
        let mut lone = Lone::in_role(Role::Follower);
        lone.held = true;
        let asked = lone.stand();
        assert_eq!((lone.role(), asked), (Role::Candidate, Vec::new()), "nobody is asked before the sync");
        for (peer, answer) in (2..).zip(answers) {
            lone.hear(peer, 3, answer);
        }
        assert_eq!(lone.role(), Role::Follower);
        lone.held = false;
        let said = lone.turn();
        assert_eq!(lone.role(), Role::Follower);
        assert!(!said.iter().any(|said| matches!(said.body, Body::Vote { .. })), "{said:?}");
    }
}

#[test]
fn a_grant_of_the_question_is_no_vote() {
    let mut lone = Lone::start(5, disk(&[], 0, 0, 0), |_| ());
    lone.stand();
    for peer in 2..=5 {
        let said = lone.hear(peer, 1, Body::PreVoteReply { granted: true });
        assert_eq!((lone.role(), lone.term(), said), (Role::Candidate, 1, Vec::new()), "no second election");
    }
    lone.hear(2, 1, Body::VoteReply { granted: true });
    assert_eq!(lone.role(), Role::Candidate);
    lone.hear(3, 1, Body::VoteReply { granted: true });
    assert_eq!(lone.role(), Role::Leader);
}

#[test]
fn votes_of_strangers_and_repeated_votes_do_not_count() {
    for granted in [true, false] {
        let mut lone = Lone::start(5, disk(&[], 0, 0, 0), |_| ());
        lone.stand();
        for peer in [2, 2, 2, 2, 8, 9, 10, 11] {
            lone.hear(peer, 1, Body::VoteReply { granted });
        }
        assert_eq!(lone.role(), Role::Candidate, "one answer of four");
    }
    let mut lone = Lone::start(5, disk(&[], 0, 0, 0), |_| ());
    lone.campaign();
    for peer in [2, 2, 2, 8, 9, 10] {
        lone.hear(peer, 1, Body::PreVoteReply { granted: true });
    }
    assert_eq!(lone.role(), Role::PreCandidate);
}

#[test]
fn no_message_of_its_term_makes_a_follower_lead_or_a_leader_campaign() {
    let grants = || [Body::PreVoteReply { granted: true }, Body::VoteReply { granted: true }];
    for (role, asked) in [(Role::Follower, 3), (Role::Leader, 3)] {
        let mut lone = Lone::in_role(role);
        for body in grants() {
            for peer in [2, 3] {
                let term = if matches!(body, Body::PreVoteReply { .. }) { asked } else { 2 };
                lone.hear(peer, term, body.clone());
            }
        }
        assert_eq!((lone.role(), lone.term()), (role, 2));
    }
    let mut leader = Lone::in_role(Role::Leader);
    let noop = leader.node.raft.last();
    leader.hear(2, 2, Body::TimeoutNow { last: id(noop.0, 2) });
    leader.campaign();
    assert_eq!((leader.role(), leader.term()), (Role::Leader, 2));
}

#[test]
fn a_second_call_to_campaign_raises_nothing() {
    for role in [Role::PreCandidate, Role::Candidate] {
        let mut lone = Lone::in_role(role);
        let said = lone.campaign();
        assert_eq!((lone.role(), lone.term(), said), (role, 2, Vec::new()));
    }
}

#[test]
fn being_asked_changes_nothing() {
    for role in ROLES {
        for last in [id(9, 9), id(0, 0)] {
            let mut lone = Lone::in_role(role);
            lone.turn();
            let before = (lone.node.raft.status(), lone.node.disk.hard_state, lone.node.raft.deadline());
            let said = lone.hear(3, 7, Body::PreVote { last });
            let after = (lone.node.raft.status(), lone.node.disk.hard_state, lone.node.raft.deadline());
            assert_eq!(before, after, "{role:?}");
            let granted = role != Role::Leader && last == id(9, 9);
            let term = if granted { 7 } else { 2 };
            let answers: Vec<_> = said.iter().map(|said| (said.to, said.term, said.body.clone())).collect();
            assert_eq!(answers, [(3, term, Body::PreVoteReply { granted })], "{role:?} and {last}");
        }
    }
}

#[test]
fn a_live_leader_forbids_votes_unless_it_hands_over() {
    let beat = || Body::Beat { commit: Index(0), round: 1 };
    let refused = |lone: &mut Lone, asker: u16| {
        let said = lone.hear(asker, 3, vote(id(9, 9), false));
        assert_eq!((said, lone.term()), (Vec::new(), 2), "not even an answer");
        let said = lone.hear(asker, 3, Body::PreVote { last: id(9, 9) });
        assert_eq!(said[0].body, Body::PreVoteReply { granted: false });
    };
    let mut leader = Lone::in_role(Role::Leader);
    leader.turn();
    refused(&mut leader, 3);
    let mut lone = Lone::in_role(Role::Follower);
    lone.hear(2, 2, beat());
    refused(&mut lone, 3);
    lone.wait(999);
    refused(&mut lone, 3);
    lone.wait(1);
    let said = lone.hear(3, 3, vote(id(9, 9), false));
    assert_eq!((lone.term(), &said[0].body), (3, &Body::VoteReply { granted: true }));

    let mut lone = Lone::in_role(Role::Follower);
    lone.hear(2, 2, beat());
    let said = lone.hear(3, 3, vote(id(9, 9), true));
    assert_eq!(
        (lone.term(), &said[0].body),
        (3, &Body::VoteReply { granted: true }),
        "the leader asked for it"
    );
}
