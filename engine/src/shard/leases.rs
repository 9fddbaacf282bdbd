//! The last look at the clock before answers by lease leave the turn.

use raft::{ReadId, Time};
use runtime::Disk;

use super::Shard;
use super::answers::Answers;
use super::replica::Replica;
use crate::state_machine::StateMachine;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// The thread may have been stopped since the turn's time was read, longer than a lease: answers that were given by
    /// lease since then stand only if it still holds.
    pub(super) fn check_leases(&mut self) {
        if self.leased.is_empty() {
            return;
        }
        let now = (self.clock)();
        for number in std::mem::take(&mut self.leased) {
            if !self.replicas[number].check_lease(now, &mut self.answers) {
                self.mark_dirty(number);
                self.more = true;
            }
        }
    }
}

impl<S: StateMachine> Replica<S> {
    /// Answers were given by lease in this turn: do they stand at `now`, which is after? If not, the reads are asked
    /// again, here or wherever the leader is now: false.
    fn check_lease(&mut self, now: Time, answers: &mut Answers) -> bool {
        if self.raft.lease_holds(now) {
            self.reads.settle();
            return true;
        }
        let asked = self.raft.read(now);
        self.reads.ask_again(*asked.as_ref().unwrap_or(&ReadId(0)), |place| answers.take_back(place));
        if asked.is_err() {
            self.stepped_down();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;
    use std::time::Duration;

    use raft::{Body, Config, Event, GroupId, Message, NodeId, Raft, Restored, Term};
    use raftlog::Log;
    use ringraft_tests::disk::{SimDisk, block_on};

    use super::super::alone::{Counter, empty_log, factory};
    use super::super::machine::Machine;
    use super::super::replica::Led;
    use super::super::request::{Encode, Kind, Outcome, ReplyTo, RequestHead};
    use super::super::settings::LEASE;
    use super::*;
    use crate::state_machine::Simple;

    const GROUP: GroupId = GroupId(1);
    const PEERS: [NodeId; 2] = [NodeId(2), NodeId(3)];

    /// One of three voters, whose two peers grant and acknowledge whatever they are asked.
    struct Trio {
        now: Time,
        log: Log<SimDisk>,
        replica: Replica<Simple<Counter>>,
        answers: Answers,
    }

    impl Trio {
        fn lead() -> Trio {
            let (log, _) = empty_log(&SimDisk::new(), Path::new("/log"));
            let settings = raft::Settings {
                node: NodeId(1),
                election_timeout_min: Duration::from_secs(1),
                election_timeout_max: Duration::from_millis(1500),
                beat_interval: Duration::from_millis(100),
                inflight_appends_max: 8,
                inflight_bytes_max: 1 << 20,
                uncommitted_bytes_max: 1 << 20,
                seed: 7,
                quiesce_after: None,
                lease: Some(LEASE),
            };
            let config = Config::of_voters(&[NodeId(1), PEERS[0], PEERS[1]]);
            let restored = Restored { config: config.clone(), ..Restored::default() };
            let raft = Raft::new(&Rc::new(settings), GROUP, true, restored, Time(1_000_000));
            let machine = Machine::new(GROUP, factory);
            let replica = Replica::new(GROUP, raft, machine, Rc::new(config));
            let mut trio = Trio { now: Time(1_000_000), log, replica, answers: Answers::default() };
            while !trio.replica.raft.lease_holds(trio.now) {
                trio.now = trio.now.max(trio.replica.raft.deadline());
                trio.replica.raft.tick(trio.now);
                trio.converse();
            }
            trio
        }

        /// Writes what is to be written, and has the peers answer all that is said to them.
        fn converse(&mut self) {
            for _ in 0..8 {
                while let Some(event) = self.replica.raft.take_event() {
                    if let Event::BecameLeader { noop, .. } = event {
                        self.replica.append_noop(&mut self.log, noop);
                    }
                }
                if self.replica.collect_write(&mut self.log) {
                    let durable = block_on(self.log.drain()).expect("the disk works");
                    self.replica.persisted(durable);
                }
                for peer in PEERS {
                    self.send(peer);
                }
            }
        }

        fn send(&mut self, peer: NodeId) {
            let raft = &mut self.replica.raft;
            let mut sent: Vec<Message> = std::iter::from_fn(|| raft.take_message(self.now, peer)).collect();
            if let Some(plan) = raft.next_append(peer) {
                sent.push(raft.append(self.now, peer, plan.last, 64));
            }
            for Message { group, term, body } in sent {
                let body = match body {
                    Body::PreVote { .. } => Body::PreVoteReply { granted: true },
                    Body::Vote { .. } => Body::VoteReply { granted: true },
                    Body::Append { last, round, .. } => {
                        Body::AppendAck { matched: last, round, lease: true, stands: true }
                    }
                    Body::Beat { round, .. } => Body::BeatAck { round, proven: true, lease: true },
                    other => panic!("{other:?}"),
                };
                raft.step(self.now, peer, Message { group, term, body }, &[]);
            }
        }

        /// Asks for the count, and answers what the turn has for it.
        fn read(&mut self) -> usize {
            let reply_to = ReplyTo::Handle { call: 1 };
            let head = RequestHead {
                group: GROUP,
                kind: Kind::Read,
                reply_to,
                deadline: Time::NEVER,
                proxied: false,
            };
            let query = Vec::new();
            let led =
                self.replica.lead(self.now, &mut self.log, std::iter::once((head, &query as &dyn Encode)));
            assert_eq!(led, Led::All);
            self.apply()
        }

        fn apply(&mut self) -> usize {
            self.replica.apply(&self.log, &mut self.answers, &mut Vec::new());
            self.answers.next()
        }

        fn answered(&mut self) -> Vec<(ReplyTo, Outcome)> {
            let mut answered = Vec::new();
            self.answers.drain(|to, outcome, _| answered.push((to, outcome)));
            answered
        }
    }

    const DONE: (ReplyTo, Outcome) = (ReplyTo::Handle { call: 1 }, Outcome::Done);

    #[test]
    fn a_read_by_lease_is_answered_at_once_if_the_lease_still_holds() {
        let mut trio = Trio::lead();
        assert_eq!(trio.replica.raft.term(), Term(1));
        assert_eq!(trio.read(), 1, "no round was needed");
        assert!(trio.replica.reads.has_tentative());
        let after = trio.now + LEASE / 2;
        assert!(trio.replica.check_lease(after, &mut trio.answers));
        assert_eq!(trio.answered(), [DONE]);
    }

    #[test]
    fn a_read_that_ran_while_the_lease_ended_is_taken_back_and_asks_a_quorum() {
        let mut trio = Trio::lead();
        assert_eq!(trio.read(), 1);
        // The thread was stopped after the turn's time was read.
        trio.now = trio.now + LEASE;
        assert!(!trio.replica.check_lease(trio.now, &mut trio.answers));
        assert_eq!(trio.answered(), [(ReplyTo::Nobody, Outcome::Done)], "the answer does not leave");
        assert_eq!(trio.apply(), 0, "and waits for a round");
        trio.converse();
        assert_eq!(trio.apply(), 1);
        assert!(!trio.replica.reads.has_tentative(), "proven by a quorum");
        assert_eq!(trio.answered(), [DONE]);
    }

    #[test]
    fn without_a_lease_a_read_asks_a_quorum() {
        let mut trio = Trio::lead();
        trio.now = trio.now + LEASE;
        assert_eq!(trio.read(), 0);
        trio.converse();
        assert_eq!(trio.apply(), 1);
        assert!(!trio.replica.reads.has_tentative());
    }
}
