//! What comes from other threads and what goes back to them, and every answer on its way to who asked.

use std::collections::VecDeque;

use runtime::{Disk, MailboxSender};

use super::Shard;
use super::message::{CallAnswer, ShardMessage};
use super::request::{Kind, Outcome, ReplyTo, Request, RequestHead};
use crate::completion::Completer;
use crate::state_machine::StateMachine;

/// Calls through the library that wait for their answer, by number. Bounded by the mailbox they came
/// through and by their deadline.
#[derive(Default)]
pub(super) struct Calls {
    first: u64,
    waiting: VecDeque<Option<Completer<CallAnswer>>>,
}

impl Calls {
    fn open(&mut self, completer: Completer<CallAnswer>) -> u64 {
        self.waiting.push_back(Some(completer));
        self.first + self.waiting.len() as u64 - 1
    }

    fn complete(&mut self, call: u64, answer: CallAnswer) {
        let place = call.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(completer) = place.and_then(|place| self.waiting.get_mut(place)).and_then(Option::take) {
            completer.complete(answer);
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
    }
}

/// The other shards of this node, and what they had no room for yet. What waits here is bounded by what
/// they themselves asked: their connections' limits.
#[derive(Default)]
pub(super) struct Mesh {
    shards: Vec<MailboxSender<ShardMessage>>,
    backlog: VecDeque<(u16, ShardMessage)>,
}

impl Mesh {
    pub(super) fn connect(&mut self, shards: Vec<MailboxSender<ShardMessage>>) {
        self.shards = shards;
    }

    /// Hands a request to the shard that owns its group; gives it back when that shard's mailbox is full.
    pub(super) fn ask(&self, shard: u16, head: RequestHead, bytes: Vec<u8>) -> Result<(), ()> {
        let to = self.shards.get(usize::from(shard)).ok_or(())?;
        to.try_send(ShardMessage::Request { head, bytes }).map_err(|_full| ())
    }

    /// Sends a message that must arrive; it waits here while the mailbox is full.
    pub(super) fn send(&mut self, shard: u16, message: ShardMessage) {
        self.backlog.push_back((shard, message));
    }

    /// Has `shard` save its groups. However often a client asks, one such message waits at most.
    pub(super) fn ask_for_snapshots(&mut self, shard: u16) {
        let is_there = |(to, waiting): &(u16, ShardMessage)| {
            *to == shard && matches!(waiting, ShardMessage::TakeSnapshots)
        };
        if !self.backlog.iter().any(is_there) {
            self.send(shard, ShardMessage::TakeSnapshots);
        }
    }

    /// Tries what waits. True when some still does.
    pub(super) fn flush(&mut self) -> bool {
        while let Some((shard, message)) = self.backlog.pop_front() {
            let Some(to) = self.shards.get(usize::from(shard)) else { continue };
            if let Err(message) = to.try_send(message) {
                self.backlog.push_front((shard, message));
                return true;
            }
        }
        false
    }

    pub(super) fn others(&self, me: u16) -> impl Iterator<Item = u16> + use<> {
        let count = u16::try_from(self.shards.len()).expect("a node's shards are counted in 16 bits");
        (0..count).filter(move |shard| *shard != me)
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Takes in what other threads sent; requests come back with their bytes, in order.
    pub(super) fn take_messages(&mut self, messages: &mut Vec<ShardMessage>) -> Vec<Request> {
        let mut requests = Vec::new();
        for message in messages.drain(..) {
            match message {
                ShardMessage::Mesh(shards) => self.meet(shards),
                ShardMessage::Request { head, bytes } => requests.push(Request { head, bytes }),
                ShardMessage::Reply { socket, slot, part, outcome, bytes } => {
                    self.answers.push(ReplyTo::Client { socket, slot, part }, outcome, |out| {
                        out.extend_from_slice(&bytes)
                    });
                }
                ShardMessage::Call { group, kind, deadline, bytes, completer } => {
                    let reply_to = ReplyTo::Handle { call: self.calls.open(completer) };
                    requests.push(Request {
                        head: RequestHead { group, kind, reply_to, deadline, proxied: false },
                        bytes,
                    });
                }
                ShardMessage::Formed(record) => self.formed(&record),
                ShardMessage::Members(members) => self.adopt_members(members),
                ShardMessage::TakeSnapshots => self.save_all(),
                ShardMessage::Shutdown => self.begin_stop(),
            }
        }
        requests
    }

    /// The other shards are known now. The cluster may have formed before: then whoever has not heard of it does.
    fn meet(&mut self, shards: Vec<MailboxSender<ShardMessage>>) {
        self.mesh.connect(shards);
        self.membership.publish_again();
        if let Some(record) = self.settings.data_dir.record() {
            self.formed(&record);
            if self.shard == 0 {
                for shard in self.mesh.others(self.shard) {
                    self.mesh.send(shard, ShardMessage::Formed(record.clone()));
                }
            }
        }
    }

    /// Hands the turn's answers to who asked.
    pub(super) fn deliver_answers(&mut self) {
        let Shard { answers, clients, mesh, links, calls, .. } = self;
        answers.drain(|to, outcome, bytes| match to {
            ReplyTo::Client { socket, slot, part } => clients.answer(socket, slot, part, outcome, bytes),
            ReplyTo::Mesh { shard, socket, slot, part } => {
                mesh.send(shard, ShardMessage::Reply { socket, slot, part, outcome, bytes: bytes.to_vec() });
            }
            ReplyTo::Peer { node, shard, sequence } => links.reply(node, shard, sequence, outcome, bytes),
            ReplyTo::Handle { call } => calls.complete(call, (outcome, bytes.to_vec())),
            ReplyTo::Nobody => {}
        });
        if self.mesh.flush() {
            self.more = true;
        }
    }

    /// A request of another node's client, passed on to this node as the leader.
    pub(super) fn proxied_head(
        call: crate::wire::Call,
        node: raft::NodeId,
        shard: u16,
        now: raft::Time,
    ) -> RequestHead {
        let kind = Kind::from_wire(call.kind).expect("checked when the frame was opened");
        let reply_to = ReplyTo::Peer { node, shard, sequence: call.sequence };
        let deadline = now + std::time::Duration::from_micros(u64::from(call.time_left_us));
        RequestHead { group: call.group, kind, reply_to, deadline, proxied: true }
    }

    /// The answer of another node to request `sequence` that we passed on along `link`.
    pub(super) fn take_reply(&mut self, link: usize, sequence: u64, outcome: Outcome, bytes: &[u8]) {
        let Some(head) = self.links.answered(link, sequence) else { return };
        let Some(number) = self.local(head.group) else { return };
        let back = (outcome == Outcome::NotLeader).then(|| Request { head, bytes: bytes.to_vec() });
        if back.is_none() {
            self.answers.push(head.reply_to, outcome, |out| out.extend_from_slice(bytes));
        }
        self.replicas[number].route.returned(back);
        self.mark_dirty(number);
    }

    /// Requests passed on that the other side seems to have lost: in doubt.
    pub(super) fn give_up_overdue(&mut self) {
        let overdue = self.links.overdue(self.now).into_iter().map(|head| (head, None)).collect();
        self.take_lost(overdue);
    }

    /// A link is gone: what was surely not applied is asked again, the rest is in doubt.
    pub(super) fn take_lost(&mut self, lost: Vec<(RequestHead, Option<Request>)>) {
        for (head, back) in lost {
            let Some(number) = self.local(head.group) else { continue };
            if back.is_none() {
                self.answers.fail(head.reply_to, Outcome::Unknown);
            }
            self.replicas[number].route.returned(back);
            self.mark_dirty(number);
        }
    }
}
