//! The record of a cluster: what all its members agreed on when it formed.

use std::ops::Range;

use raft::{GroupId, NodeId};

use super::{GROUPS_MAX, MEMBERS_MAX};
use crate::frame::padded;
use crate::handshake::{Address, ClusterId, Fields, HandshakeError, HandshakeFault, Writer};

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

/// A cluster as it formed. The engine keeps it in a file as [`Record::encode`] writes it.
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
pub struct RecordError(#[from] HandshakeError);

const RECORD_MAGIC: [u8; 4] = *b"rrcl";
const RECORD_VERSION: u16 = 0;
const RECORD_HEADER_BYTES: usize = 16;

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
            && (1..=MEMBERS_MAX).contains(&self.members.len())
            && self.members.is_sorted_by(|one, next| one.node < next.node)
            && self.members.iter().all(|member| member.incarnation != 0 && member.shard_count != 0)
    }

    /// The record as the bytes of a file: a 16-byte header with checksum, magic, version and length, the fields,
    /// zeros up to a multiple of 16.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; RECORD_HEADER_BYTES];
        self.write(&mut Writer(&mut out));
        out.resize(padded(out.len()), 0);
        let record_bytes = u32::try_from(out.len()).expect("every field is bounded");
        out[4..8].copy_from_slice(&RECORD_MAGIC);
        out[8..10].copy_from_slice(&RECORD_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&record_bytes.to_le_bytes());
        let checksum = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads what [`Record::encode`] wrote, all of it and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        let fail = |at, fault| Err(RecordError(HandshakeError { at, fault }));
        let mut fields = Fields::new(bytes, 0);
        let stored = fields.u32("the checksum")?;
        let computed = crc32fast::hash(&bytes[4..]);
        if stored != computed {
            return fail(0, HandshakeFault::Checksum { stored, computed });
        }
        let magic = fields.array("the magic")?;
        if magic != RECORD_MAGIC {
            return fail(4, HandshakeFault::Magic(magic));
        }
        let version = fields.u16("the version")?;
        if version != RECORD_VERSION {
            return fail(8, HandshakeFault::Version(version));
        }
        if fields.u16("the reserved bytes")? != 0 {
            return Err(fields.wrong("the reserved bytes").into());
        }
        let record_bytes = fields.u32("the length")?;
        if record_bytes as usize != bytes.len() {
            return fail(12, HandshakeFault::Length(record_bytes));
        }
        let record = Record::read(&mut fields)?;
        fields.finish()?;
        Ok(record)
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.is_possible(), "a record is made of checked parts");
        writer.bytes(&self.cluster_id.0);
        writer.u32(self.group_count);
        writer.u16(u16::try_from(self.members.len()).expect("at most MEMBERS_MAX members"));
        for member in &self.members {
            writer.u16(member.node.0);
            writer.u16(member.shard_count);
            writer.u64(member.incarnation);
            writer.address(&member.peer);
            writer.address(&member.client);
        }
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Record, HandshakeError> {
        let cluster_id = ClusterId(fields.array("the cluster id")?);
        let group_count = fields.u32("the group count")?;
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
        let record = Record { cluster_id, group_count, members };
        if record.is_possible() { Ok(record) } else { Err(fields.wrong("the record")) }
    }
}
