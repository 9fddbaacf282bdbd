//! What goes to a peer, decided when the link to it has room.
//!
//! Messages are not queued: each is computed from the state at the moment it is sent, so many
//! proposals become one append, a newer answer replaces an older one, and a peer whose link is slow
//! holds no memory.

use crate::following::{Answer, Reply};
use crate::id::{Index, NodeId, Time};
use crate::leading::Leading;
use crate::message::{AppendPlan, Body, Message, TermRuns};
use crate::replica::{Poll, Raft, State};

/// What is owed to a peer first. Small, so that it is answered in registers: the message is made of it where it is
/// to be.
#[derive(Clone, Copy)]
enum Due {
    Answer(usize),
    Ask,
    ToLeader(Reply),
    FromLeader(Owes),
}

/// What a leader owes a follower.
#[derive(Clone, Copy)]
enum Owes {
    TimeoutNow,
    Floor,
    Quiesce,
    Offer,
    EmptyAppend,
    Beat,
}

impl Raft {
    /// Whether [`Raft::take_message`] has something for `to`. Cheap.
    #[must_use]
    pub fn has_messages(&self, to: NodeId) -> bool {
        self.due(to).is_some()
    }

    fn due(&self, to: NodeId) -> Option<Due> {
        // A standing that a crash would forget is told to nobody.
        if self.is_faulted() || to == self.settings.node || self.durability.standing() != self.standing {
            return None;
        }
        let sendable = |answer: Answer| answer != Answer::VoteGranted || self.promise_holds();
        let mut answers = self.owed.answers().iter();
        if let Some(at) = answers.position(|&(asker, answer)| asker == to && sendable(answer)) {
            return Some(Due::Answer(at));
        }
        match &self.state {
            State::Follower if self.leader == Some(to) => self.reply_due().map(Due::ToLeader),
            State::Follower => None,
            State::PreCandidate(poll) => self.asks(poll, to).then_some(Due::Ask),
            State::Candidate(poll) => (self.promise_holds() && self.asks(poll, to)).then_some(Due::Ask),
            State::Leader(leading) => self.owes(leading, to).map(Due::FromLeader),
        }
    }

    fn asks(&self, poll: &Poll, to: NodeId) -> bool {
        self.configs.membership.slot(to).is_some_and(|slot| poll.to_ask.has(slot))
    }

    fn owes(&self, leading: &Leading, to: NodeId) -> Option<Owes> {
        let slot = self.configs.membership.slot(to)?;
        let peer = leading.peers.get(slot)?;
        let last = self.log.last().index;
        let handing_over = |transfer: crate::leading::Transfer| transfer.to == to && !transfer.sent;
        if peer.floor_due.is_some() {
            return Some(Owes::Floor);
        }
        if leading.transfer.is_some_and(handing_over) && peer.matched == last {
            return Some(Owes::TimeoutNow);
        }
        if peer.offer().is_some() {
            return Some(Owes::Offer);
        }
        if peer.owes_empty_append(last) {
            return Some(Owes::EmptyAppend);
        }
        let reads = &leading.reads;
        let round_due =
            peer.round_sent < reads.awaited() || (reads.wants_round() && self.commit_is_current(leading));
        if peer.beat_due || (round_due && self.configs.membership.voting().has(slot)) {
            return Some(Owes::Beat);
        }
        peer.quiesce_due.then_some(Owes::Quiesce)
    }

    /// The next message for `to`: votes, acks, beats, offers, anything but entries. Call it while the
    /// link has room, until it gives `None`.
    pub fn take_message(&mut self, now: Time, to: NodeId) -> Option<Message> {
        self.hear(now);
        match self.due(to)? {
            Due::Answer(at) => {
                let answer = self.owed.take_answer(at)?;
                Some(self.answer_message(answer))
            }
            Due::Ask => self.ask(to),
            Due::ToLeader(reply) => {
                let body = self.reply(reply);
                Some(self.message(body))
            }
            Due::FromLeader(owes) => self.lead(to, owes),
        }
    }

    fn answer_message(&self, answer: Answer) -> Message {
        let (term, body) = match answer {
            Answer::PreVote { term, granted } => (term, Body::PreVoteReply { granted }),
            Answer::VoteGranted => (self.term, Body::VoteReply { granted: true }),
            Answer::VoteRefused => (self.term, Body::VoteReply { granted: false }),
            Answer::NewerTerm => (self.term, Body::BeatAck { round: 0, proven: false, lease: false }),
        };
        Message { term, ..self.message(body) }
    }

    /// A candidate's question.
    fn ask(&mut self, to: NodeId) -> Option<Message> {
        let slot = self.configs.membership.slot(to)?;
        let last = self.log.last();
        let (term, body) = match &mut self.state {
            State::PreCandidate(poll) => {
                poll.to_ask = poll.to_ask.without(slot);
                (self.term.next(), Body::PreVote { last })
            }
            State::Candidate(poll) => {
                poll.to_ask = poll.to_ask.without(slot);
                (self.term, Body::Vote { last, transfer: poll.transfer })
            }
            State::Follower | State::Leader(_) => return None,
        };
        Some(Message { term, ..self.message(body) })
    }

    /// A leader's message without entries.
    fn lead(&mut self, to: NodeId, owes: Owes) -> Option<Message> {
        self.open_round();
        let slot = self.configs.membership.slot(to)?;
        let (now, commit, last) = (self.now, self.commit, self.log.last());
        let State::Leader(leading) = &mut self.state else { return None };
        let round = leading.reads.round();
        let peer = leading.peers.get_mut(slot)?;
        let body = match owes {
            Owes::TimeoutNow => {
                leading.lease.void();
                let message = Message { group: self.group, term: self.term, body: Body::TimeoutNow { last } };
                let mut resigning = false;
                if let Some(transfer) = &mut leading.transfer {
                    (transfer.sent, resigning) = (true, transfer.resigning);
                }
                if resigning {
                    self.become_follower(self.term);
                }
                return Some(message);
            }
            Owes::Floor => {
                let nonce = peer.floor_due.take()?;
                return Some(self.message(Body::RecoverFloor { nonce, last: last.index }));
            }
            Owes::Quiesce => {
                peer.quiesce_due = false;
                Body::Quiesce { last, round }
            }
            Owes::Offer => {
                let id = peer.offer()?;
                peer.offer_due = false;
                return Some(self.message(Body::SnapshotOffer { id }));
            }
            Owes::EmptyAppend => {
                let prev = self.log.id_at(peer.next.previous())?;
                peer.append_sent(prev.index, 0, self.settings.window());
                let runs = TermRuns::new();
                Body::Append { prev, last: prev.index, runs, entries_bytes: 0, commit, round }
            }
            Owes::Beat => Body::Beat { commit, round },
        };
        peer.message_sent(now, commit, round);
        Some(self.message(body))
    }

    /// The entries that could go to `to` now: it lacks them, and its window permits. The shard decides
    /// how many of them fit into the frame, and calls [`Raft::append`].
    pub fn next_append(&self, to: NodeId) -> Option<AppendPlan> {
        let State::Leader(leading) = &self.state else { return None };
        let slot = self.configs.membership.slot(to)?;
        let peer = leading.peers.get(slot)?;
        let last = self.log.last().index;
        if peer.next > last || !peer.may_send(self.settings.window()) {
            return None;
        }
        let prev = self.log.id_at(peer.next.previous())?;
        Some(AppendPlan { prev, first: peer.next, last })
    }

    /// The message that carries the entries of the plan up to `last`, of `bytes` in all, which follow
    /// it in the frame. They count as sent.
    ///
    /// # Panics
    /// If [`Raft::next_append`] has not just planned that.
    pub fn append(&mut self, now: Time, to: NodeId, last: Index, bytes: u32) -> Message {
        self.hear(now);
        self.open_round();
        let (now, commit) = (self.now, self.commit);
        let slot = self.configs.membership.slot(to).expect("next_append found it");
        let State::Leader(leading) = &mut self.state else { unreachable!("only a leader plans appends") };
        let round = leading.reads.round();
        let peer = leading.peers.get_mut(slot).expect("next_append found it");
        let (first, window) = (peer.next, self.settings.window());
        let end = self.log.last().index;
        assert!(peer.may_send(window) && first <= last && last <= end, "sending up to {last} of {end}");
        let prev = self.log.id_at(first.previous()).expect("next_append has planned this");
        peer.append_sent(last, bytes, window);
        peer.message_sent(now, commit, round);
        let runs = self.log.runs(first, last);
        self.message(Body::Append { prev, last, runs, entries_bytes: bytes, commit, round })
    }
}
