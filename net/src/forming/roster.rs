//! The members of a cluster as its directory (group 0) says at some moment, and the file a member keeps of both:
//! how the cluster formed, and who belonged to it when this node came in.

use raft::NodeId;

use super::record::{members_are_possible, members_read, members_write};
use super::{Birth, Member, Record, RecordError};
use crate::frame::padded;
use crate::handshake::{Fields, HandshakeError, HandshakeFault, Writer};

/// So many removed disks are remembered by name. Older ones are refused all the same, as the cluster does not list
/// them; only one that never belonged to it could then be added after all.
pub const REMOVED_MAX: usize = 32;

/// A disk that was a member, and never can be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tombstone {
    /// The id of its node; another disk may have it by now.
    pub node: NodeId,
    /// The disk.
    pub incarnation: u64,
}

/// The members of a cluster as of one version of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// The index in group 0 of the newest change in it; 0: as the cluster formed.
    pub version: u64,
    /// The members, by ascending id, at most [`MEMBERS_MAX`](super::MEMBERS_MAX).
    pub members: Vec<Member>,
    /// Who was removed, the newest last, at most [`REMOVED_MAX`].
    pub removed: Vec<Tombstone>,
}

impl Roster {
    /// The members as the cluster formed.
    pub fn as_formed(record: &Record) -> Roster {
        Roster { version: 0, members: record.members.clone(), removed: Vec::new() }
    }

    /// The member with this id.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// Whether the node born so is a member: the same id with the same disk and the same shards.
    pub fn lists(&self, birth: &Birth) -> bool {
        self.member(birth.node).is_some_and(|member| {
            member.incarnation == birth.incarnation && member.shard_count == birth.shard_count
        })
    }

    /// Whether that disk of that node was removed.
    pub fn has_removed(&self, node: NodeId, incarnation: u64) -> bool {
        self.removed.contains(&Tombstone { node, incarnation })
    }

    /// Whether it can be true: ids ascend, every count is within its bounds, nobody is both in and out.
    pub fn is_possible(&self) -> bool {
        members_are_possible(&self.members)
            && self.removed.len() <= REMOVED_MAX
            && !self.members.iter().any(|member| self.has_removed(member.node, member.incarnation))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        assert!(self.is_possible(), "a roster is made of checked parts");
        writer.u64(self.version);
        members_write(&self.members, writer);
        writer.u16(u16::try_from(self.removed.len()).expect("at most REMOVED_MAX"));
        for Tombstone { node, incarnation } in &self.removed {
            writer.u16(node.0);
            writer.u64(*incarnation);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Roster, HandshakeError> {
        let version = fields.u64("the version of the roster")?;
        let members = members_read(fields)?;
        let removed_count = usize::from(fields.u16("the number of removed nodes")?);
        if removed_count > REMOVED_MAX {
            return Err(fields.wrong("the number of removed nodes"));
        }
        let mut removed = Vec::with_capacity(removed_count);
        for _ in 0..removed_count {
            let node = NodeId(fields.u16("a removed node")?);
            removed.push(Tombstone { node, incarnation: fields.u64("a removed incarnation")? });
        }
        let roster = Roster { version, members, removed };
        if roster.is_possible() { Ok(roster) } else { Err(fields.wrong("the roster")) }
    }
}

/// What a member knows of its cluster when it comes in, and keeps in a file: the record is the same on all members for
/// ever (it is what every group starts from), the roster is as new as whoever told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// How the cluster formed.
    pub record: Record,
    /// Who belongs to it.
    pub roster: Roster,
}

const FILE_MAGIC: [u8; 4] = *b"rrcl";
const FILE_VERSION: u16 = 0;
const FILE_HEADER_BYTES: usize = 16;

impl Cluster {
    /// A cluster that formed just now.
    pub fn as_formed(record: Record) -> Cluster {
        let roster = Roster::as_formed(&record);
        Cluster { record, roster }
    }

    /// The bytes of its file: a 16-byte header with checksum, magic, version and length, the fields, zeros up to a
    /// multiple of 16.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; FILE_HEADER_BYTES];
        self.write(&mut Writer(&mut out));
        out.resize(padded(out.len()), 0);
        let file_bytes = u32::try_from(out.len()).expect("every field is bounded");
        out[4..8].copy_from_slice(&FILE_MAGIC);
        out[8..10].copy_from_slice(&FILE_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&file_bytes.to_le_bytes());
        let checksum = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads what [`Cluster::encode`] wrote, all of it and nothing else.
    ///
    /// # Errors
    /// [`RecordError`]: the file is damaged, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Cluster, RecordError> {
        let fail = |at, fault| Err(RecordError(HandshakeError { at, fault }));
        let mut fields = Fields::new(bytes, 0);
        let stored = fields.u32("the checksum")?;
        let computed = crc32fast::hash(&bytes[4..]);
        if stored != computed {
            return fail(0, HandshakeFault::Checksum { stored, computed });
        }
        let magic = fields.array("the magic")?;
        if magic != FILE_MAGIC {
            return fail(4, HandshakeFault::Magic(magic));
        }
        let version = fields.u16("the version")?;
        if version != FILE_VERSION {
            return fail(8, HandshakeFault::Version(version));
        }
        if fields.u16("the reserved bytes")? != 0 {
            return Err(fields.wrong("the reserved bytes").into());
        }
        let file_bytes = fields.u32("the length")?;
        if file_bytes as usize != bytes.len() {
            return fail(12, HandshakeFault::Length(file_bytes));
        }
        let cluster = Cluster::read(&mut fields)?;
        fields.finish()?;
        Ok(cluster)
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        self.record.write(writer);
        self.roster.write(writer);
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Cluster, HandshakeError> {
        Ok(Cluster { record: Record::read(fields)?, roster: Roster::read(fields)? })
    }
}
