//! What other threads hand to a shard: other shards of this node, and callers of the library.

use std::sync::Arc;

use raft::{GroupId, Time};
use runtime::{MailboxSender, SocketId};

use super::request::{Kind, Outcome, RequestHead};
use crate::completion::Completer;
use crate::members::Members;

/// Messages a shard takes from other threads before senders are refused: a few turns' worth, so that a
/// burst fits and a stuck shard pushes back at once.
pub(crate) const MAILBOX_MESSAGES_MAX: usize = 8192;

/// The answer of a call through the library.
pub(crate) type CallAnswer = (Outcome, Vec<u8>);

/// A message from another thread of this process.
pub(crate) enum ShardMessage {
    /// The mailboxes of all shards, ours included, in shard order: the first message each shard gets.
    Mesh(Vec<MailboxSender<ShardMessage>>),
    /// A request whose client is on another shard; the group is ours.
    Request { head: RequestHead, bytes: Vec<u8> },
    /// The answer to one of our clients' requests, from the shard that owns the group.
    Reply { socket: SocketId, slot: u64, part: u32, outcome: Outcome, bytes: Vec<u8> },
    /// A call through the library.
    Call { group: GroupId, kind: Kind, deadline: Time, bytes: Vec<u8>, completer: Completer<CallAnswer> },
    /// The cluster has formed, or taken this node in: the file, as synced to this node's disk.
    Formed(Vec<u8>),
    /// The node directory has changed: what group 0 holds now, from shard 0.
    Members(Arc<Members>),
    /// Save the state of every group and compact the log behind it (`ringraft snapshot take`).
    TakeSnapshots,
    /// Hand leaderships over, then stop.
    Shutdown,
}
