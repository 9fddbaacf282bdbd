//! The record of a cluster: what all its members agreed on when it formed.

use std::ops::Range;

use raft::{GroupId, NodeId};

use super::{GROUPS_MAX, MEMBERS_MAX};
use crate::handshake::{Address, ClusterId, Fields, HandshakeError, Writer};

/// Hash slots of the key space.
pub const SLOTS: u16 = 16_384;

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// The incarnation of its disk: the member is the pair.
    pub incarnation: u64,
    /// Its shards.
    pub shard_count: u16,
    /// Where its peers reach its shard 0.
    pub peer: Address,
    /// Where clients reach its shard 0.
    pub client: Address,
}

/// A cluster as it formed: the same on all its members for ever, also on those that join later.
///
/// Groups `1..=group_count` hold keys, each an equal share of the slots ([`Record::slots`]); group 0 holds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The cluster's name, random, not zero.
    pub cluster_id: ClusterId,
    /// Groups that hold keys, 1 to [`GROUPS_MAX`].
    pub group_count: u32,
    /// The members, by ascending id, at most [`MEMBERS_MAX`].
    pub members: Vec<Member>,
}

/// The bytes are no record: the file is damaged, or of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the record of a cluster: {0}")]
pub struct RecordError(#[from] pub(super) HandshakeError);

/// The slots of group `group` when `group_count` groups hold keys: the `group`-th of `group_count` equal
/// shares, counted from 1. Empty for group 0 and groups there are not.
pub fn slot_range(group: GroupId, group_count: u32) -> Range<u16> {
    if group.0 == 0 || group.0 > group_count {
        return 0..0;
    }
    let share = |number: u32| {
        let slots = u64::from(number) * u64::from(SLOTS) / u64::from(group_count);
        u16::try_from(slots).expect("at most all slots")
    };
    share(group.0 - 1)..share(group.0)
}

/// The group that owns `slot` when `group_count` groups hold keys: the inverse of [`slot_range`].
///
/// # Panics
/// If there is no such slot, or no group.
pub fn slot_group(slot: u16, group_count: u32) -> GroupId {
    assert!(slot < SLOTS && group_count > 0, "slot {slot} of {group_count} groups");
    // The last share that starts at or before the slot.
    let share = ((u64::from(slot) + 1) * u64::from(group_count) - 1) / u64::from(SLOTS);
    GroupId(u32::try_from(share).expect("fewer shares than groups") + 1)
}

impl Record {
    /// The member with this id.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// The slots of a group.
    pub fn slots(&self, group: GroupId) -> Range<u16> {
        slot_range(group, self.group_count)
    }

    /// Whether it can be true: named, ids ascend, every count within its bounds.
    pub fn is_possible(&self) -> bool {
        self.cluster_id.is_formed()
            && (1..=GROUPS_MAX).contains(&self.group_count)
            && members_are_possible(&self.members)
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.is_possible(), "a record is made of checked parts");
        writer.bytes(&self.cluster_id.0);
        writer.u32(self.group_count);
        members_write(&self.members, writer);
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Record, HandshakeError> {
        let cluster_id = ClusterId(fields.array("the cluster id")?);
        let group_count = fields.u32("the group count")?;
        let record = Record { cluster_id, group_count, members: members_read(fields)? };
        if record.is_possible() { Ok(record) } else { Err(fields.wrong("the record")) }
    }
}

/// Whether a list of members can be true.
pub(super) fn members_are_possible(members: &[Member]) -> bool {
    (1..=MEMBERS_MAX).contains(&members.len())
        && members.is_sorted_by(|one, next| one.node < next.node)
        && members.iter().all(|member| member.incarnation != 0 && member.shard_count != 0)
}

pub(super) fn members_write(members: &[Member], writer: &mut Writer<'_>) {
    writer.u16(u16::try_from(members.len()).expect("at most MEMBERS_MAX members"));
    for member in members {
        writer.u16(member.node.0);
        writer.u16(member.shard_count);
        writer.u64(member.incarnation);
        writer.address(&member.peer);
        writer.address(&member.client);
    }
}

pub(super) fn members_read(fields: &mut Fields<'_>) -> Result<Vec<Member>, HandshakeError> {
    let member_count = usize::from(fields.u16("the number of members")?);
    if member_count > MEMBERS_MAX {
        return Err(fields.wrong("the number of members"));
    }
    let mut members = Vec::with_capacity(member_count);
    for _ in 0..member_count {
        members.push(Member {
            node: NodeId(fields.u16("a member's id")?),
            shard_count: fields.u16("a member's shard count")?,
            incarnation: fields.u64("a member's incarnation")?,
            peer: fields.address("a member's peer address")?,
            client: fields.address("a member's client address")?,
        });
    }
    Ok(members)
}
