//! Names of snapshot files.

use std::fmt;
use std::str::FromStr;

use raft::{EntryId, GroupId, Index, Term};

/// Which file: the group, the entry the state is at, and a number that tells apart several files made at the
/// same entry (a merge of runs ends where its newest input ends). Unique within one shard's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The group whose state it holds.
    pub group: GroupId,
    /// The last entry whose effect is in it.
    pub id: EntryId,
    /// 0 for the first file of this group and entry, then 1, 2, ...
    pub build: u32,
}

/// What follows a complete file's name.
pub(crate) const COMPLETE_SUFFIX: &str = ".run";
/// What follows the name of a file being built.
pub(crate) const BUILDING_SUFFIX: &str = ".run.tmp";
/// What follows the name of a file being received.
pub(crate) const RECEIVING_SUFFIX: &str = ".run.part";

impl SnapshotName {
    /// The name of the complete file in its directory: `g3-i42-t7-b0.run`.
    pub fn file_name(&self) -> String {
        format!("{self}{COMPLETE_SUFFIX}")
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SnapshotName { group, id, build } = self;
        write!(f, "g{}-i{}-t{}-b{}", group.0, id.index.0, id.term.0, build)
    }
}

/// The text is not a snapshot's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a snapshot (expected g<group>-i<index>-t<term>-b<build>)")]
pub struct NameError;

impl FromStr for SnapshotName {
    type Err = NameError;

    /// Parses what `Display` writes, and nothing else (no leading zeros, no signs).
    fn from_str(text: &str) -> Result<SnapshotName, NameError> {
        let mut parts = text.split('-');
        let mut number = |letter: char| -> Result<u64, NameError> {
            let digits = parts.next().and_then(|part| part.strip_prefix(letter)).ok_or(NameError)?;
            digits.parse().map_err(|_| NameError)
        };
        let group = GroupId(u32::try_from(number('g')?).map_err(|_| NameError)?);
        let index = Index(number('i')?);
        let term = Term(number('t')?);
        let build = u32::try_from(number('b')?).map_err(|_| NameError)?;
        let name = SnapshotName { group, id: EntryId { term, index }, build };
        if name.to_string() == text { Ok(name) } else { Err(NameError) }
    }
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being written from the state machine: `.run.tmp`.
    Building,
    /// Being received from a peer: `.run.part`.
    Receiving,
    /// Whole, synced and renamed: `.run`.
    Complete,
}

impl Stage {
    fn suffix(self) -> &'static str {
        match self {
            Stage::Building => BUILDING_SUFFIX,
            Stage::Receiving => RECEIVING_SUFFIX,
            Stage::Complete => COMPLETE_SUFFIX,
        }
    }

    /// The file's name in its directory at this stage.
    pub fn file_name(self, name: SnapshotName) -> String {
        format!("{name}{}", self.suffix())
    }

    /// What a file name in a snapshot directory stands for; None for a stranger's file.
    pub fn parse(file_name: &str) -> Option<(SnapshotName, Stage)> {
        [Stage::Building, Stage::Receiving, Stage::Complete].into_iter().find_map(|stage| {
            let name = file_name.strip_suffix(stage.suffix())?.parse().ok()?;
            Some((name, stage))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(group: u32, index: u64, term: u64, build: u32) -> SnapshotName {
        SnapshotName { group: GroupId(group), id: EntryId { term: Term(term), index: Index(index) }, build }
    }

    #[test]
    fn names_survive_a_round_trip() {
        for name in [name(0, 0, 0, 0), name(3, 42, 7, 1), name(u32::MAX, u64::MAX, u64::MAX, u32::MAX)] {
            assert_eq!(name.to_string().parse(), Ok(name));
            for stage in [Stage::Building, Stage::Receiving, Stage::Complete] {
                assert_eq!(Stage::parse(&stage.file_name(name)), Some((name, stage)));
            }
        }
        assert_eq!(name(3, 42, 7, 0).file_name(), "g3-i42-t7-b0.run");
    }

    #[test]
    fn strangers_are_not_taken_for_snapshots() {
        for text in ["", "g1-i2-t3", "g01-i2-t3-b0", "g1-i2-t3-b+0", "g1-i2-t3-b0-x", "g4294967296-i1-t1-b0"]
        {
            assert_eq!(text.parse::<SnapshotName>(), Err(NameError), "{text}");
        }
        for file in ["notes.txt", "g1-i2-t3-b0", "g1-i2-t3-b0.run.old", "g1-i2-t3-b0.tmp"] {
            assert_eq!(Stage::parse(file), None, "{file}");
        }
    }
}
