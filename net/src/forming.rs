//! How a cluster comes to be, exactly once.
//!
//! A data directory is born with a random incarnation and with what its operator said: node id, list of
//! nodes, shards, groups ([`Birth`], durable before a byte is sent). While a node is unformed it asks every
//! node it reaches for its state. When every listed node has answered "unformed" with the same list and group
//! count, the lowest id makes the [`Record`] of the cluster, syncs it, then sends it; each node syncs it
//! before it votes. A node that meets a formed one never forms a cluster: it takes the record over once its own
//! incarnation is on the roster of members, and waits until then: somebody must add it as a member, or it lost its
//! disk. Formed nodes keep a table of those who wait so ([`Former::joiners`]).
//!
//! [`Former`] is that protocol as a state machine; the messages travel on connections whose handshake showed
//! that one of the two ends is unformed.

mod former;
mod output;
mod record;
mod roster;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use raft::NodeId;

pub use former::{Former, ROUND};
pub use output::{Notice, Output};
pub use record::{Member, Record, RecordError, SLOTS, slot_group, slot_range};
pub use roster::{Cluster, REMOVED_MAX, Roster, Tombstone};

use crate::handshake::{Address, ClusterId, Fields, HandshakeError, Writer};

/// A cluster has at most so many nodes, as every group has a replica on each.
pub const MEMBERS_MAX: usize = 7;
/// A cluster has at most so many groups that hold keys: one hash slot each.
pub const GROUPS_MAX: u32 = 16_384;

/// What a data directory was born with, and keeps until a cluster forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Birth {
    /// This node.
    pub node: NodeId,
    /// Drawn at random, never zero.
    pub incarnation: u64,
    /// Its shards.
    pub shard_count: u16,
    /// The groups the cluster should have.
    pub group_count: u32,
    /// Where clients reach it.
    pub client: Address,
    /// The listed nodes, this one among them, and where their peers reach them; by ascending id. For a node that is to
    /// join a cluster: some of its members.
    pub list: Vec<(NodeId, Address)>,
}

impl Birth {
    /// Whether another node was told the same about the cluster.
    pub fn agrees_with(&self, other: &Birth) -> bool {
        self.list == other.list && self.group_count == other.group_count
    }

    /// The node that makes the record: the lowest id of the list.
    pub fn founder(&self) -> NodeId {
        self.list.first().map_or(self.node, |(node, _)| *node)
    }

    /// Where its peers reach it.
    pub fn peer(&self) -> Option<&Address> {
        self.list.iter().find(|(node, _)| *node == self.node).map(|(_, address)| address)
    }

    /// Whether it can be true: ids ascend, this node is listed, every count is within its bounds.
    pub fn is_possible(&self) -> bool {
        (1..=MEMBERS_MAX).contains(&self.list.len())
            && self.list.is_sorted_by(|(one, _), (next, _)| one < next)
            && self.list.iter().any(|(node, _)| *node == self.node)
            && self.incarnation != 0
            && self.shard_count != 0
            && (1..=GROUPS_MAX).contains(&self.group_count)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.u64(self.incarnation);
        writer.u32(self.group_count);
        writer.u16(self.node.0);
        writer.u16(self.shard_count);
        writer.address(&self.client);
        writer.u16(u16::try_from(self.list.len()).expect("at most MEMBERS_MAX nodes"));
        for (node, address) in &self.list {
            writer.u16(node.0);
            writer.address(address);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Birth, HandshakeError> {
        let incarnation = fields.u64("the incarnation")?;
        let group_count = fields.u32("the group count")?;
        let node = NodeId(fields.u16("the node")?);
        let shard_count = fields.u16("the shard count")?;
        let client = fields.address("the client address")?;
        let listed = fields.u16("the number of nodes")?;
        if usize::from(listed) > MEMBERS_MAX {
            return Err(fields.wrong("the number of nodes"));
        }
        let mut list = Vec::with_capacity(usize::from(listed));
        for _ in 0..listed {
            list.push((NodeId(fields.u16("a listed node")?), fields.address("a listed address")?));
        }
        let birth = Birth { node, incarnation, shard_count, group_count, client, list };
        if birth.is_possible() { Ok(birth) } else { Err(fields.wrong("what the node was born with")) }
    }
}

/// The answer to "what are you?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No record is on its disk.
    Unformed {
        /// What its directory was born with.
        birth: Birth,
        /// Names this answer to the founder: a [`Forming::Form`] that does not repeat it is not for this answer,
        /// and changes nothing. Zero to others.
        promise: u64,
    },
    /// It belongs to a cluster, and that is on its disk.
    Formed {
        /// The record as all members have it, and the members as this one knows them.
        cluster: Cluster,
    },
}

/// The messages of forming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forming {
    /// What are you?
    StateQuery {
        /// Repeated in the answer; an answer to an older question changes nothing.
        question: u64,
    },
    /// The answer.
    State {
        /// The question it answers.
        question: u64,
        /// What the node is.
        state: State,
    },
    /// The founder says: this is the cluster.
    Form {
        /// Of the receiver's last answer.
        promise: u64,
        /// The cluster; on the founder's disk.
        record: Record,
    },
    /// The record is on the sender's disk.
    FormAck {
        /// The cluster.
        cluster_id: ClusterId,
    },
}

impl Forming {
    /// Writes the fields and answers the message's number.
    pub(crate) fn encode(&self, writer: &mut Writer<'_>) -> u16 {
        match self {
            Forming::StateQuery { question } => {
                writer.u64(*question);
                0
            }
            Forming::State { question, state: State::Unformed { birth, promise } } => {
                writer.u64(*question);
                writer.u64(*promise);
                birth.encode(writer);
                1
            }
            Forming::State { question, state: State::Formed { cluster } } => {
                writer.u64(*question);
                cluster.write(writer);
                2
            }
            Forming::Form { promise, record } => {
                writer.u64(*promise);
                record.write(writer);
                3
            }
            Forming::FormAck { cluster_id } => {
                writer.bytes(&cluster_id.0);
                4
            }
        }
    }

    /// Reads the fields of message `number`; `None` if there is no such message.
    pub(crate) fn decode(number: u16, fields: &mut Fields<'_>) -> Result<Option<Forming>, HandshakeError> {
        Ok(Some(match number {
            0 => Forming::StateQuery { question: fields.u64("the question")? },
            1 => {
                let question = fields.u64("the question")?;
                let promise = fields.u64("the promise")?;
                let birth = Birth::decode(fields)?;
                Forming::State { question, state: State::Unformed { birth, promise } }
            }
            2 => {
                let question = fields.u64("the question")?;
                Forming::State { question, state: State::Formed { cluster: Cluster::read(fields)? } }
            }
            3 => Forming::Form { promise: fields.u64("the promise")?, record: Record::read(fields)? },
            4 => Forming::FormAck { cluster_id: ClusterId(fields.array("the cluster id")?) },
            _ => return Ok(None),
        }))
    }
}
