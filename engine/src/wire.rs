//! What stands in a frame between two shards of different nodes: the rkyv body. The bytes of entries,
//! commands and replies follow it in the frame's tail and are never archived.

use raft::{GroupId, Message};
use rkyv::rancor;
use rkyv::util::AlignedVec;

/// The body of a frame: everything one turn had for one peer shard.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Debug, Default)]
pub(crate) struct Body {
    /// Raft messages, votes and beats first; each append's entries are in the tail, in this order.
    pub(crate) messages: Vec<Message>,
    /// Requests passed on to the leader; their bytes stand in the tail after the entries, each padded to 16.
    pub(crate) calls: Vec<Call>,
    /// Answers to requests passed on; their bytes stand in the tail after those of `calls`, one behind the
    /// other without padding.
    pub(crate) replies: Vec<Reply>,
    /// That the sender's shard lives: every 100 ms, for all its groups.
    pub(crate) beat: Option<Beat>,
}

/// A sign of life of a shard.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The number of the node's start.
    pub(crate) boot: u64,
    /// No batch of the shard's log has been under way for half an election timeout: its disk answers.
    pub(crate) vouches: bool,
    /// The shard should not be made to lead: it has much to apply since its start, or its disk is full.
    pub(crate) is_unfit: bool,
}

/// A request passed on to the node that leads its group (design 8, "at most once").
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) group: GroupId,
    /// The sender's number for it; with the sender's boot number it names the request for ever.
    pub(crate) sequence: u64,
    /// [`crate::shard::request::Kind`] as a byte.
    pub(crate) kind: u8,
    /// What is left of its deadline, in microseconds.
    pub(crate) time_left_us: u32,
    pub(crate) bytes: u32,
}

/// The answer to a [`Call`].
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) sequence: u64,
    /// [`crate::shard::request::Outcome`] as a byte. After `NotLeader` the bytes are the request's own.
    pub(crate) outcome: u8,
    pub(crate) bytes: u32,
}

impl Body {
    /// True when there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.calls.is_empty() && self.replies.is_empty() && self.beat.is_none()
    }

    /// Empties the lists and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.calls.clear();
        self.replies.clear();
        self.beat = None;
    }

    /// The archived bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let bytes: AlignedVec =
            rkyv::to_bytes::<rancor::Error>(self).expect("serializing into memory cannot fail");
        bytes.to_vec()
    }

    /// Reads a body whose checksum has been verified. `None`: not a body of this version; the caller closes
    /// the link. `bytes` must be 16-aligned, as bodies in frames are.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Body> {
        let archived = rkyv::access::<ArchivedBody, rancor::Error>(bytes).ok()?;
        rkyv::deserialize::<Body, rancor::Error>(archived).ok()
    }
}
