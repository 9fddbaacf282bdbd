//! What the log's snapshot record says: which files are the state of a group.

use bytemuck::{Pod, Zeroable};
use raft::{EntryId, GroupId, Index, Term};

use crate::format::{MEMBERSHIP_BYTES_MAX, read_pod};
use crate::name::SnapshotName;

/// The most runs a snapshot consists of.
pub const RUNS_MAX: usize = 8;

const MAGIC: [u8; 4] = *b"RSMF";
const VERSION: u32 = 0;

/// One file of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunReference {
    /// The file.
    pub name: SnapshotName,
    /// Where in the file the run starts; always 0 in version 0, where each file holds one run.
    pub offset: u64,
    /// The run's size.
    pub bytes: u64,
    /// Its footer's checksum, which covers all of it.
    pub checksum: u32,
}

/// The body of the log's snapshot record: once that is durable, this is the group's state at `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The group.
    pub group: GroupId,
    /// The last entry whose effect is in it.
    pub id: EntryId,
    /// The membership in force at that entry, at most [`MEMBERSHIP_BYTES_MAX`]; opaque here.
    pub membership: Vec<u8>,
    /// The runs, newest first, 1 to [`RUNS_MAX`].
    pub runs: Vec<RunReference>,
}

/// The bytes are not a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot manifest: {problem} at byte {offset}")]
pub struct ManifestError {
    /// Where, in bytes from its start.
    pub offset: usize,
    /// What is wrong.
    pub problem: &'static str,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: u32,
    checksum: u32,
    group: u32,
    index: u64,
    term: u64,
    membership_bytes: u32,
    runs: u32,
    zero: u64,
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Run {
    index: u64,
    term: u64,
    offset: u64,
    bytes: u64,
    build: u32,
    checksum: u32,
    zero: u64,
}

const HEADER_BYTES: usize = size_of::<Header>();
const RUN_BYTES: usize = size_of::<Run>();
const CHECKSUM_END: usize = std::mem::offset_of!(Header, checksum) + 4;
const _: () = assert!(HEADER_BYTES == 48 && RUN_BYTES == 48 && CHECKSUM_END == 12);

/// The longest encoding of a manifest.
pub const MANIFEST_BYTES_MAX: usize = HEADER_BYTES + RUNS_MAX * RUN_BYTES + MEMBERSHIP_BYTES_MAX;

impl Manifest {
    /// The bytes, as `FORMAT.md` has them.
    ///
    /// # Panics
    ///
    /// When a bound named at the fields is exceeded.
    pub fn encode(&self) -> Vec<u8> {
        assert!((1..=RUNS_MAX).contains(&self.runs.len()), "1 to {RUNS_MAX} runs");
        assert!(self.membership.len() <= MEMBERSHIP_BYTES_MAX, "a membership is small");
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            checksum: 0,
            group: self.group.0,
            index: self.id.index.0,
            term: self.id.term.0,
            membership_bytes: u32::try_from(self.membership.len()).expect("bounded above"),
            runs: u32::try_from(self.runs.len()).expect("bounded above"),
            zero: 0,
        };
        let mut out = bytemuck::bytes_of(&header).to_vec();
        for RunReference { name, offset, bytes, checksum } in &self.runs {
            assert!(name.group == self.group && name.id <= self.id, "a run is part of its group's state");
            let run = Run {
                index: name.id.index.0,
                term: name.id.term.0,
                offset: *offset,
                bytes: *bytes,
                build: name.build,
                checksum: *checksum,
                zero: 0,
            };
            out.extend_from_slice(bytemuck::bytes_of(&run));
        }
        out.extend_from_slice(&self.membership);
        let sum = crc32fast::hash(&out[CHECKSUM_END..]);
        out[CHECKSUM_END - 4..CHECKSUM_END].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes what [`Manifest::encode`] wrote; `bytes` are exactly that.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]: the record that holds it is damaged or newer than this program.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let bad = |offset, problem| ManifestError { offset, problem };
        let ensure = |holds: bool, offset, problem| if holds { Ok(()) } else { Err(bad(offset, problem)) };
        let header: Header = read_pod(bytes).ok_or(bad(bytes.len(), "it is cut off"))?;
        ensure(header.magic == MAGIC, 0, "the magic is wrong")?;
        ensure(header.checksum == crc32fast::hash(&bytes[CHECKSUM_END..]), 8, "the checksum does not match")?;
        ensure(header.version == VERSION, 4, "the version is newer than this program")?;
        ensure(header.zero == 0, 40, "reserved bytes are not zero")?;
        let runs = usize::try_from(header.runs).unwrap_or(usize::MAX);
        ensure((1..=RUNS_MAX).contains(&runs), 36, "the number of runs is out of bounds")?;
        let membership_bytes = usize::try_from(header.membership_bytes).unwrap_or(usize::MAX);
        ensure(membership_bytes <= MEMBERSHIP_BYTES_MAX, 32, "the membership's length is out of bounds")?;
        let runs_end = HEADER_BYTES + runs * RUN_BYTES;
        ensure(bytes.len() == runs_end + membership_bytes, 32, "the lengths do not fit")?;

        let group = GroupId(header.group);
        let id = EntryId { term: Term(header.term), index: Index(header.index) };
        let mut references = Vec::with_capacity(runs);
        for (number, bytes) in bytes[HEADER_BYTES..runs_end].chunks_exact(RUN_BYTES).enumerate() {
            let at = HEADER_BYTES + number * RUN_BYTES;
            let run: Run = bytemuck::pod_read_unaligned(bytes);
            let run_id = EntryId { term: Term(run.term), index: Index(run.index) };
            ensure(run.zero == 0, at + 40, "reserved bytes are not zero")?;
            ensure(run.offset == 0, at + 16, "a run does not start at the front of its file")?;
            ensure(run_id <= id, at, "a run is newer than the snapshot")?;
            let name = SnapshotName { group, id: run_id, build: run.build };
            references.push(RunReference {
                name,
                offset: run.offset,
                bytes: run.bytes,
                checksum: run.checksum,
            });
        }
        Ok(Manifest { group, id, membership: bytes[runs_end..].to_vec(), runs: references })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> EntryId {
        EntryId { term: Term(term), index: Index(index) }
    }

    fn manifest() -> Manifest {
        let run = |term, index, build| RunReference {
            name: SnapshotName { group: GroupId(3), id: id(term, index), build },
            offset: 0,
            bytes: 8192 * u64::from(build + 1),
            checksum: 0xdead_beef,
        };
        let runs = vec![run(7, 42, 1), run(6, 40, 0)];
        Manifest { group: GroupId(3), id: id(7, 42), membership: b"1,2,3".to_vec(), runs }
    }

    #[test]
    fn a_manifest_survives_a_round_trip() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest()));
        assert!(bytes.len() <= MANIFEST_BYTES_MAX);
    }

    #[test]
    fn every_bit_flip_and_every_cut_is_found() {
        let bytes = manifest().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
