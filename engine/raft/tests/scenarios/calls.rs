//! Calls in any order: what a shard must never do is said in the documentation, everything else is allowed.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use raft::{
    Body, Change, Config, EntryId, Event, Index, Message, NodeId, Raft, Restored, Role, Settings, Standing,
    Term, TermRun, Time, Write,
};

use crate::cluster::{GROUP, START, settings, voters};

struct Caller {
    raft: Raft,
    random: fastrand::Rng,
    now: Time,
    writes: VecDeque<Write>,
    commit: Index,
    term: Term,
}

impl Caller {
    fn new(seed: u64) -> Caller {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut settings: Settings = settings(1, seed);
        settings.quiesce_after = random.bool().then_some(Duration::from_millis(300));
        settings.lease = random.bool().then_some(Duration::from_millis(700));
        let voters = voters(*random.choice(&[1, 2, 3, 5]).unwrap());
        let restored = Restored { config: Config::of_voters(&voters), ..Restored::default() };
        let raft = Raft::new(&Rc::new(settings), GROUP, random.bool(), restored, START);
        Caller { raft, random, now: START, writes: VecDeque::new(), commit: Index(0), term: Term(0) }
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.random.u16(1..7))
    }

    fn id(&mut self) -> EntryId {
        let near = self.raft.last().0.saturating_sub(2) + self.random.u64(..4);
        let index = if self.random.bool() { self.raft.last().0 } else { near };
        let term = self.raft.term_at(Index(index)).unwrap_or(self.raft.term());
        if index == 0 { EntryId::ZERO } else { EntryId::new(term, Index(index)) }
    }

    /// What some peer may say, mostly sensible.
    fn body(&mut self) -> Body {
        let (id, round) = (self.id(), self.random.u64(..4));
        let (yes, commit) = (self.random.bool(), Index(self.random.u64(..9)));
        let elects = matches!(self.raft.role(), Role::PreCandidate | Role::Candidate) && self.random.bool();
        match self.random.u8(..if elects { 6 } else { 17 }) {
            0 => Body::PreVote { last: id },
            1..3 => Body::PreVoteReply { granted: yes },
            3 => Body::Vote { last: id, transfer: yes },
            4..6 => Body::VoteReply { granted: yes },
            6 | 7 => {
                let last = Index(id.index.0 + self.random.u64(..3));
                let run = TermRun { first: id.index.next(), term: self.raft.term().max(Term(1)) };
                let runs = (last > id.index).then_some(run).into_iter().collect();
                Body::Append { prev: id, last, runs, entries_bytes: 500, commit, round }
            }
            8..11 => Body::AppendAck { matched: id.index, round, lease: yes, stands: true },
            11 => Body::AppendReject { probe: id.index, hint: id, round },
            12 => Body::Beat { commit, round },
            13 => Body::BeatAck { round, proven: yes, lease: yes },
            14 => Body::SnapshotAck { id, installed: yes },
            15 => Body::Quiesce { last: id, round },
            _ => Body::TimeoutNow { last: id },
        }
    }

    fn change(&mut self) -> Vec<Change> {
        let count = self.random.usize(1..3);
        (0..count)
            .map(|_| match (self.node(), self.random.u8(..3)) {
                (node, 0) => Change::Voter(node),
                (node, 1) => Change::Learner(node),
                (node, _) => Change::Remove(node),
            })
            .collect()
    }

    fn hear(&mut self) {
        let (from, body) = (self.node(), self.body());
        let ahead = u64::from(self.random.u8(..30) == 0);
        let asks = matches!(body, Body::PreVote { .. } | Body::PreVoteReply { granted: true });
        let term = Term(self.raft.term().0 + ahead.max(u64::from(asks)));
        self.raft.step(self.now, from, Message { group: GROUP, term, body }, &[]);
    }

    /// One call, whatever was called before and was not.
    fn call(&mut self) {
        let (now, node) = (self.now, self.node());
        match self.random.u8(..26) {
            0..8 => self.hear(),
            8 => self.now = self.now + Duration::from_millis(self.random.u64(..400)),
            9 => self.raft.tick(now),
            10 => _ = self.raft.propose(1, 64).is_ok(),
            11 => _ = self.raft.read(now).is_ok(),
            12 => _ = self.raft.transfer(now, node).is_ok(),
            13 => {
                let changes = self.change();
                _ = self.raft.change(now, &changes).is_ok();
            }
            14 | 23 => self.raft.campaign(now),
            15 => self.raft.unreachable(node),
            16 => self.raft.peer_lost(now, node),
            17 => self.writes.extend(self.raft.take_write()),
            18 | 19 => {
                if let Some(write) = self.writes.pop_front() {
                    self.raft.persisted(write);
                }
            }
            20 => _ = self.raft.take_message(now, node),
            21 => {
                if let Some(plan) = self.raft.next_append(node) {
                    self.raft.append(now, node, plan.first, 64);
                }
            }
            22 => {
                let to = Index(self.raft.committed().0.min(self.raft.persisted_index().0));
                self.raft.applied(self.raft.committed());
                if self.random.u8(..8) == 0 {
                    self.raft.compact(to.max(self.raft.compacted().index));
                }
            }
            _ => _ = (self.raft.take_event(), self.raft.take_reads()),
        }
    }

    fn check(&mut self) {
        let raft = &self.raft;
        assert!(raft.committed() >= self.commit && raft.term() >= self.term, "nothing is taken back");
        assert!(raft.applied_index() <= raft.committed() && raft.committed() <= raft.last());
        assert!(raft.persisted_index() <= raft.last());
        assert!(!raft.is_quiesced() || raft.standing() == Standing::Normal);
        (self.commit, self.term) = (raft.committed(), raft.term());
    }
}

#[test]
fn calls_may_come_in_any_order() {
    let (mut led, mut committed, mut faulted) = (0, 0, 0);
    for seed in 0..4000 {
        let mut caller = Caller::new(seed);
        for _ in 0..250 {
            caller.call();
            caller.check();
            led += usize::from(caller.raft.is_leader());
        }
        committed += caller.raft.committed().0;
        while let Some(event) = caller.raft.take_event() {
            faulted += usize::from(matches!(event, Event::Faulted { .. }));
        }
    }
    println!("of a million calls {led} to leaders; {committed} entries committed; {faulted} faults");
    assert!(led > 50_000 && committed > 4000, "the calls do too little to mean anything");
}
