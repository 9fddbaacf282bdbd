//! Frames to and from one peer shard: built from what replicas owe when the link can take them, taken apart
//! into messages, requests and answers when they arrive.

use raft::{Check, Config, EntryKind, GroupId, Index, Message, NodeId, Time};
use raftlog::{Cached, Log};
use runtime::{Buffer, Disk, Part};

use super::outbox::Outbox;
use super::replica::Replica;
use super::request::{Kind, Outcome};
use crate::wire::{Beat, Body};

/// Entry bytes one frame carries; a frame with its body stays below net's limit of 1 MiB unless one entry
/// alone is larger.
pub(crate) const FRAME_ENTRY_BYTES_MAX: usize = 768 << 10;

/// Entry bytes one append carries: enough to fill a frame with several groups.
const APPEND_BYTES_MAX: usize = 256 << 10;

/// What goes into one frame; reused from frame to frame.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    pub(crate) body: Body,
    tail: Vec<Part>,
    tail_bytes: usize,
    slices: Vec<Buffer>,
    /// What replicas said and to whom, for the simulator.
    #[cfg(feature = "simulation")]
    pub(crate) said: Vec<super::looks::Said>,
}

/// Why a replica's appends stopped filling a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Nothing is left for this peer.
    All,
    /// The frame is full; the replica has more.
    FrameFull,
    /// The next entries are no longer in memory: read them from disk, from this index on.
    NotCached(Index),
}

impl FrameBuilder {
    /// Votes, acks, beats and rounds: they go first and are small.
    pub(crate) fn add_messages<S>(&mut self, replica: &mut Replica<S>, now: Time, to: NodeId) {
        while let Some(message) = replica.raft.take_message(now, to) {
            #[cfg(feature = "simulation")]
            self.said.push(super::looks::Said::new(to, &message));
            self.body.messages.push(message);
        }
    }

    /// Entries, from the log's batches themselves.
    pub(crate) fn add_appends<S, D: Disk>(
        &mut self,
        replica: &mut Replica<S>,
        log: &Log<D>,
        now: Time,
        to: NodeId,
    ) -> Filled {
        while let Some(plan) = replica.raft.next_append(to) {
            let last = plan.last.min(log.visible(replica.group));
            if last < plan.first {
                return Filled::All; // still in the batch being built: sent once that is on its way
            }
            let room = FRAME_ENTRY_BYTES_MAX.saturating_sub(self.tail_bytes).min(APPEND_BYTES_MAX);
            if room == 0 {
                return Filled::FrameFull;
            }
            match log.cached(replica.group, plan.first, last, room, &mut self.slices) {
                Cached::Hit { bytes, .. }
                    if self.tail_bytes > 0 && self.tail_bytes + bytes > FRAME_ENTRY_BYTES_MAX =>
                {
                    self.slices.clear(); // one large entry: it gets a frame of its own
                    return Filled::FrameFull;
                }
                Cached::Hit { last, bytes } => {
                    let entries_bytes = u32::try_from(bytes).expect("an entry is at most 32 MiB");
                    self.body.messages.push(replica.raft.append(now, to, last, entries_bytes));
                    self.tail.extend(self.slices.drain(..).map(Part::Buffer));
                    self.tail_bytes += bytes;
                }
                Cached::NotCached => return Filled::NotCached(plan.first),
                Cached::Compacted => return Filled::All, // the core finds out and offers a snapshot
            }
        }
        Filled::All
    }

    /// Entries that were read back from disk for this peer: sent if they still are what it lacks.
    pub(crate) fn add_loaded<S>(
        &mut self,
        replica: &mut Replica<S>,
        now: Time,
        to: NodeId,
        first: Index,
        entries: &Buffer,
    ) {
        let Some(plan) = replica.raft.next_append(to).filter(|plan| plan.first == first) else { return };
        let mut last = Index(first.0 - 1);
        let mut bytes = 0;
        for entry in raft::entries(entries, Check::Shape) {
            let Ok(entry) = entry else { break };
            if entry.id.index > plan.last || replica.raft.term_at(entry.id.index) != Some(entry.id.term) {
                break; // truncated since it was read
            }
            last = entry.id.index;
            bytes += entry.bytes.len();
        }
        if bytes > 0 {
            let entries_bytes = u32::try_from(bytes).expect("bounded by what was read");
            self.body.messages.push(replica.raft.append(now, to, last, entries_bytes));
            self.tail.push(Part::Buffer(entries.slice(0..bytes)));
            self.tail_bytes += bytes;
        }
    }

    /// Requests and answers, behind the entries.
    pub(crate) fn add_outbox(&mut self, outbox: &mut Outbox, now: Time) {
        let mut tail = Vec::new();
        outbox.fill(&mut self.body, &mut tail, self.tail_bytes, now);
        if !tail.is_empty() {
            self.tail_bytes += tail.len();
            self.tail.push(Part::Bytes(tail));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// True once a further group should wait for the next frame.
    pub(crate) fn is_full(&self) -> bool {
        self.tail_bytes >= FRAME_ENTRY_BYTES_MAX
    }

    /// Whether so many more bytes of entries go into this frame; any number goes into an empty one.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.tail_bytes == 0 || self.tail_bytes + bytes <= FRAME_ENTRY_BYTES_MAX
    }

    /// The frame's body and tail; the builder is empty again.
    pub(crate) fn finish(&mut self) -> (Vec<u8>, Vec<Part>) {
        let body = self.body.encode();
        self.body.clear();
        self.tail_bytes = 0;
        (body, std::mem::take(&mut self.tail))
    }
}

/// Configurations with the indexes of their entries.
pub(crate) type Configs = Vec<(Index, Config)>;

/// A frame's parts, each checked to lie inside it.
pub(crate) struct Parcel {
    /// Messages with where their entries stand in the tail, and the configurations among those.
    pub(crate) messages: Vec<(Message, std::ops::Range<usize>, Configs)>,
    pub(crate) calls: Vec<(crate::wire::Call, std::ops::Range<usize>)>,
    pub(crate) replies: Vec<(u64, Outcome, std::ops::Range<usize>)>,
    pub(crate) beat: Option<Beat>,
}

/// Takes a frame apart. `None`: it contradicts itself; the caller closes the link.
pub(crate) fn open_frame(body: &[u8], tail: &[u8]) -> Option<Parcel> {
    let body = Body::decode(body)?;
    let mut at = 0_usize;
    let mut take = |bytes: usize, align: usize| {
        let range = at..at.checked_add(bytes)?;
        at = range.end.checked_next_multiple_of(align)?;
        (range.end <= tail.len()).then_some(range)
    };
    let mut parcel = Parcel { messages: Vec::new(), calls: Vec::new(), replies: Vec::new(), beat: body.beat };
    for message in body.messages {
        let bytes = match &message.body {
            raft::Body::Append { entries_bytes, .. } => *entries_bytes as usize,
            _ => 0,
        };
        let range = take(bytes, 1)?;
        let configs = check_entries(&message, &tail[range.clone()])?;
        parcel.messages.push((message, range, configs));
    }
    for call in body.calls {
        Kind::from_wire(call.kind)?;
        parcel.calls.push((call, take(call.bytes as usize, raft::ENTRY_ALIGN)?));
    }
    for reply in body.replies {
        parcel.replies.push((
            reply.sequence,
            Outcome::from_wire(reply.outcome),
            take(reply.bytes as usize, 1)?,
        ));
    }
    Some(parcel)
}

/// Checks that the bytes behind an append are exactly the entries it announces: group, consecutive indexes, terms; the
/// answer is the configurations among them. `None`: they are not, or a configuration is of a newer version.
fn check_entries(message: &Message, bytes: &[u8]) -> Option<Configs> {
    let mut configs = Vec::new(); // without memory, as there hardly ever is one
    let raft::Body::Append { prev, last, runs, .. } = &message.body else {
        return bytes.is_empty().then_some(configs);
    };
    let mut next = prev.index.next();
    let mut run = 0;
    for entry in raft::entries(bytes, Check::Shape) {
        let entry = entry.ok()?;
        while runs.get(run + 1).is_some_and(|following| following.first <= next) {
            run += 1;
        }
        let term = runs.get(run).map(|run| run.term);
        if entry.group != message.group || entry.id.index != next || Some(entry.id.term) != term {
            return None;
        }
        if entry.kind == EntryKind::Membership {
            configs.push((entry.id.index, Config::decode(entry.command)?));
        }
        next = next.next();
    }
    (next == last.next()).then_some(configs)
}

/// The least a link says about a group whose messages it may carry.
pub(crate) fn concerns(
    group: GroupId,
    local_shard: u16,
    local_shards: u16,
    peer_shard: u16,
    peer_shards: u16,
) -> bool {
    let place = group.0.saturating_sub(1);
    place % u32::from(local_shards) == u32::from(local_shard)
        && place % u32::from(peer_shards) == u32::from(peer_shard)
}
