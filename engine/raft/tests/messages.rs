//! Messages on the wire, and a replica that is sent anything at all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use std::rc::Rc;

use proptest::prelude::*;
use raft::{
    Body, Config, EntryId, Event, GroupId, Index, Message, NodeId, Raft, Restored, Standing, Term, TermRun,
    Time,
};

fn entry_id() -> impl Strategy<Value = EntryId> {
    (0_u64..5, 0_u64..8).prop_map(|(term, index)| EntryId::new(Term(term), Index(index)))
}

fn index() -> impl Strategy<Value = Index> {
    prop_oneof![9 => 0_u64..9, 1 => Just(u64::MAX)].prop_map(Index)
}

fn append() -> impl Strategy<Value = Body> {
    let runs = proptest::collection::vec((index(), 0_u64..5), 0..3);
    (entry_id(), index(), runs, 0_u32..2000, index(), 0_u64..4).prop_map(
        |(prev, last, runs, entries_bytes, commit, round)| {
            let runs = runs.into_iter().map(|(first, term)| TermRun { first, term: Term(term) }).collect();
            Body::Append { prev, last, runs, entries_bytes, commit, round }
        },
    )
}

/// An append that fits together, which random parts seldom do.
fn sound_append() -> impl Strategy<Value = Body> {
    (entry_id(), 1_u64..5, 1_u64..4, index()).prop_map(|(prev, count, ahead, commit)| {
        let prev = if prev.index == Index(0) || prev.term == Term(0) { EntryId::ZERO } else { prev };
        let run = TermRun { first: prev.index.next(), term: Term(prev.term.0.max(ahead)) };
        let (last, runs) = (Index(prev.index.0 + count), [run].into_iter().collect());
        Body::Append { prev, last, runs, entries_bytes: 4000, commit, round: 1 }
    })
}

fn body() -> impl Strategy<Value = Body> {
    let round = || 0_u64..4;
    prop_oneof![
        entry_id().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        (entry_id(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        append(),
        sound_append(),
        (index(), round()).prop_map(|(matched, round)| Body::AppendAck {
            matched,
            round,
            lease: false,
            stands: true
        }),
        (index(), entry_id(), round()).prop_map(|(probe, hint, round)| Body::AppendReject {
            probe,
            hint,
            round
        }),
        round().prop_map(|round| Body::AppendBusy { round }),
        (index(), round()).prop_map(|(commit, round)| Body::Beat { commit, round }),
        (round(), any::<bool>()).prop_map(|(round, proven)| Body::BeatAck { round, proven, lease: !proven }),
        (entry_id(), round()).prop_map(|(last, round)| Body::Quiesce { last, round }),
        round().prop_map(|nonce| Body::Recover { nonce }),
        (round(), index()).prop_map(|(nonce, last)| Body::RecoverFloor { nonce, last }),
        entry_id().prop_map(|id| Body::SnapshotOffer { id }),
        (entry_id(), any::<bool>()).prop_map(|(id, installed)| Body::SnapshotAck { id, installed }),
        entry_id().prop_map(|last| Body::TimeoutNow { last }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let term = prop_oneof![19 => 0_u64..6, 1 => Just(u64::MAX)];
    (1_u32..20, term, body()).prop_map(|(group, term, body)| Message {
        group: GroupId(if group == 2 { 2 } else { 1 }),
        term: Term(term),
        body,
    })
}

/// Pulls everything a shard would pull.
fn pull(raft: &mut Raft, now: Time, persist: bool) {
    while raft.take_event().is_some() {}
    if let Some(write) = raft.take_write()
        && persist
    {
        raft.persisted(write);
    }
    for to in (1..=4).map(NodeId) {
        if let Some(plan) = raft.next_append(to) {
            raft.append(now, to, plan.last, 100);
        }
        while raft.has_messages(to) && raft.take_message(now, to).is_some() {}
    }
    raft.applied(raft.committed());
    raft.take_reads();
}

proptest! {
    #[test]
    fn messages_survive_the_wire(message in message()) {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&message).unwrap();
        let archived = rkyv::access::<raft::message::ArchivedMessage, rkyv::rancor::Error>(&bytes).unwrap();
        let back: Message = rkyv::deserialize::<Message, rkyv::rancor::Error>(archived).unwrap();
        prop_assert_eq!(back, message);
    }

    #[test]
    fn no_sequence_of_messages_panics(
        messages in proptest::collection::vec((1_u16..6, message(), 0_u64..400, any::<bool>()), 1..60),
    ) {
        let restored = Restored { config: Config::of_voters(&cluster::voters(3)), ..Restored::default() };
        let mut now = cluster::START;
        let mut raft = Raft::new(&Rc::new(cluster::settings(1, 5)), cluster::GROUP, false, restored, now);
        let mut commit = Index(0);
        for (from, message, millis, persist) in messages {
            now = now + core::time::Duration::from_millis(millis);
            raft.tick(now);
            raft.step(now, NodeId(from), message, &[]);
            pull(&mut raft, now, persist);
            let _ = raft.propose(2, 200);
            let _ = raft.read(now);
            prop_assert!(raft.committed() >= commit, "commits are never taken back");
            prop_assert!(raft.committed() <= raft.last());
            prop_assert!(raft.persisted_index() <= raft.last());
            commit = raft.committed();
        }
    }
}

#[test]
fn a_restored_state_that_contradicts_itself_faults() {
    let sound = Restored {
        hard_state: raft::HardState { term: Term(3), commit: Index(2), ..raft::HardState::default() },
        compacted: EntryId::ZERO,
        runs: vec![TermRun { first: Index(1), term: Term(2) }],
        last: Index(5),
        config: Config::of_voters(&cluster::voters(3)),
        configs: Vec::new(),
        applied: Index(1),
    };
    let faults = |spoil: fn(&mut Restored)| {
        let mut restored = sound.clone();
        spoil(&mut restored);
        let mut raft =
            Raft::new(&Rc::new(cluster::settings(1, 5)), cluster::GROUP, false, restored, cluster::START);
        let faulted = raft.standing() == Standing::Faulted;
        assert_eq!(faulted, matches!(raft.take_event(), Some(Event::Faulted { .. })));
        if faulted {
            let write = raft.take_write().expect("the standing is to be recorded");
            assert_eq!(write.hard_state().unwrap().standing, Standing::Faulted);
            assert!(raft.take_write().is_none() && raft.deadline() == Time::NEVER);
        }
        faulted
    };
    assert!(!faults(|_| ()));
    assert!(faults(|restored| restored.hard_state.commit = Index(6)), "committed more than the log holds");
    assert!(faults(|restored| restored.applied = Index(6)), "applied more than the log holds");
    assert!(faults(|restored| restored.hard_state.term = Term(1)), "an entry of a term never heard of");
    assert!(faults(|restored| restored.runs.clear()), "entries without a term");
    assert!(faults(|restored| restored.compacted = EntryId::new(Term(1), Index(7))), "ends before it begins");
    assert!(faults(|restored| restored.config.voters.push(NodeId(1))), "a voter twice");
}
