//! Everything that can happen to a node, as values: what chaos, the exhaustive search and the tests
//! all speak, what the specification follows, and what a trace shows.

use std::fmt;

use raft::{Body, Change, EntryId, Event, Index, Message, NodeId, ReadId};

use super::disk::Entry;

/// A message on its way, with the entries that follow it in the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender, and its incarnation.
    pub from: (NodeId, u32),
    /// The receiver, and the incarnation that the sender means.
    pub to: (NodeId, u32),
    /// What is said.
    pub message: Message,
    /// The entries of an append.
    pub entries: Vec<Entry>,
}

impl Envelope {
    /// Whether it is an answer, which the receiver counts for the member that gave it.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        matches!(
            self.message.body,
            Body::PreVoteReply { .. }
                | Body::VoteReply { .. }
                | Body::AppendAck { .. }
                | Body::AppendReject { .. }
                | Body::AppendBusy { .. }
                | Body::BeatAck { .. }
                | Body::SnapshotAck { .. }
                | Body::Recover { .. }
        )
    }
}

/// Something that happens to one node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Its timer fires, due or not.
    Tick,
    /// A message arrives.
    Deliver(Envelope),
    /// A message arrives for which there is no room.
    Refuse(Envelope),
    /// Clients propose these values.
    Propose(Vec<u64>),
    /// An operator asks for another configuration.
    Change(Vec<Change>),
    /// A client reads.
    Read,
    /// An operator asks for another leader.
    Transfer(NodeId),
    /// It is told to campaign.
    Campaign,
    /// What changed goes to the log.
    Submit,
    /// The oldest batch is durable, and the replica learns of it.
    Persist,
    /// The state machine has caught up to here.
    Apply(Index),
    /// A snapshot was saved; the log is cut.
    Compact(Index),
    /// The snapshot that was offered has arrived.
    Install,
    /// The snapshot that was offered cannot be taken.
    Decline,
    /// The sending of a snapshot ends.
    SnapshotSent {
        /// The receiver.
        to: NodeId,
        /// The snapshot.
        id: EntryId,
        /// Whether it has arrived.
        ok: bool,
    },
    /// A link broke.
    Unreachable(NodeId),
    /// The shard of a node is silent, or has another boot number.
    PeerLost(NodeId),
    /// The disk may have lost acknowledged entries.
    Recover,
    /// The link to a node has room.
    Send {
        /// The node.
        to: NodeId,
        /// The most entries one append carries.
        entries_max: u64,
    },
}

/// What became of an input, as far as the caller is told.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The input made sense: there was something to persist, install, or cut.
    pub done: bool,
    /// The call was refused, and why.
    pub refused: Option<String>,
    /// The first entry that was appended or replaced.
    pub appended: Option<EntryId>,
    /// A read was taken.
    pub read: Option<ReadId>,
    /// Reads were confirmed up to this one, at this index.
    pub confirmed: Option<(ReadId, Index)>,
    /// A snapshot was installed.
    pub installed: Option<EntryId>,
    /// What was sent.
    pub sent: Vec<Envelope>,
    /// What the replica reported.
    pub events: Vec<Event>,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((from, from_as), (to, to_as)) = (self.from, self.to);
        write!(f, "{from}.{from_as}->{to}.{to_as} t{} {:?}", self.message.term, self.message.body)
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Deliver(envelope) => write!(f, "receives {envelope}"),
            Input::Refuse(envelope) => write!(f, "has no room for {envelope}"),
            Input::Send { to, .. } => write!(f, "may send to {to}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refused) = &self.refused {
            write!(f, "\n        refused: {refused}")?;
        }
        if let Some(id) = self.appended {
            write!(f, "\n        appends {id}..")?;
        }
        if let Some((read, index)) = self.confirmed {
            write!(f, "\n        may serve reads up to {} at {index}", read.0)?;
        }
        self.sent.iter().try_for_each(|envelope| write!(f, "\n        sends {envelope}"))?;
        self.events.iter().try_for_each(|event| write!(f, "\n        {event:?}"))
    }
}
