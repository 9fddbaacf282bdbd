//! `backup.toml`: what a backup consists of. It is written last, so that a directory without it is no backup.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use raft::{EntryId, GroupId, Index, Term};
use serde::{Deserialize, Serialize};
use snapshot::{RUNS_MAX, RunReference, SnapshotName, Stage};

use crate::kv::SLOT_COUNT;

/// The version of what stands in the directory. A program reads its own and older ones.
pub(in crate::cli) const FORMAT: u32 = 0;
const FILE_NAME: &str = "backup.toml";
/// Begins the last line, behind it the CRC-32 of all lines before: without it a file that was cut between two groups would
/// be a sound list of fewer groups.
const CHECKSUM: &str = "# crc32 ";
/// A group has at most eight files, so a list of all groups is far smaller; what is larger is no list of ours.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Catalog {
    /// [`FORMAT`].
    pub(in crate::cli) format: u32,
    /// The version of the program that wrote it.
    pub(in crate::cli) ringraft: String,
    /// The cluster's id, in hex.
    pub(in crate::cli) cluster: String,
    /// What was acknowledged before this (Unix time) is in it.
    pub(in crate::cli) began_unix_s: u64,
    /// Nothing that was written after this is in it.
    pub(in crate::cli) ended_unix_s: u64,
    /// By id.
    #[serde(rename = "group")]
    pub(in crate::cli) groups: Vec<Group>,
}

/// The state of one group at one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Group {
    pub(in crate::cli) id: u32,
    /// The hash slots of its keys, as inclusive ranges.
    pub(in crate::cli) slots: Vec<(u16, u16)>,
    /// The last entry that is in it.
    pub(in crate::cli) index: u64,
    pub(in crate::cli) term: u64,
    /// The newest first: an entry in one hides those of the same key in the ones behind it.
    #[serde(rename = "file")]
    pub(in crate::cli) files: Vec<File>,
}

/// A snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct File {
    pub(in crate::cli) name: String,
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) checksum: u32,
}

/// Why a directory cannot be read as a backup.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum CatalogError {
    /// Not a backup, or one that did not end: take another.
    #[error("{} is no backup: there is no {FILE_NAME} in it, which is written last", .0.display())]
    Missing(PathBuf),
    /// A newer program wrote it: use that one.
    #[error("{}: is of format {found}; this program reads up to {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u32 },
    /// It is not what was written.
    #[error("{}: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// The disk does not answer.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The one thing that is read before the format is known.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Catalog {
    /// Writes it into `dir`, so that after a crash it is there whole or not at all.
    ///
    /// # Errors
    /// What the file system says; the directory is no backup then.
    pub(in crate::cli) fn write(&self, dir: &Path) -> io::Result<()> {
        let (path, unfinished) = (dir.join(FILE_NAME), dir.join(format!("{FILE_NAME}.tmp")));
        let text = self.encode().map_err(io::Error::other)?;
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        fs::File::open(dir)?.sync_all()
    }

    fn encode(&self) -> Result<String, toml::ser::Error> {
        let mut text = toml::to_string(self)?;
        let sum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{sum:08x}\n"));
        Ok(text)
    }

    /// Reads the list of `dir`, and checks that it is whole and makes sense. The files are not looked at.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub(in crate::cli) fn read(dir: &Path) -> Result<Catalog, CatalogError> {
        let path = dir.join(FILE_NAME);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CatalogError::Missing(dir.to_owned()),
            _ => CatalogError::Io { path: path.clone(), error },
        };
        let damaged = |problem: String| CatalogError::Damaged { path: path.clone(), problem };
        if fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(damaged("it is larger than any list of files".to_owned()));
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text".to_owned()))?;
        let catalog = Catalog::decode(&text, &path)?;
        catalog.check().map_err(damaged)?;
        Ok(catalog)
    }

    fn decode(text: &str, path: &Path) -> Result<Catalog, CatalogError> {
        let damaged = |problem: String| CatalogError::Damaged { path: path.to_owned(), problem };
        let whole = text.strip_suffix('\n').and_then(|text| text.rsplit_once(CHECKSUM));
        let (body, sum) =
            whole.ok_or_else(|| damaged("it is cut off: its last line is missing".to_owned()))?;
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != sum {
            return Err(damaged("its checksum does not match: it is not what was written".to_owned()));
        }
        let odd = |error: toml::de::Error| damaged(error.message().to_owned());
        let AnyFormat { format: found } = toml::from_str(body).map_err(odd)?;
        if found > FORMAT {
            return Err(CatalogError::Newer { path: path.to_owned(), found });
        }
        toml::from_str(body).map_err(odd)
    }

    /// Whether every slot is in just one group, and every group has files that can be its state.
    fn check(&self) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for group in &self.groups {
            if !ids.insert(group.id) {
                return Err(format!("group {} is there twice", group.id));
            }
            group.references()?;
            ranges.extend(&group.slots);
        }
        ranges.sort_unstable();
        let mut next = 0;
        for (first, last) in ranges {
            if first != next || last < first {
                return Err(format!("slot {next} is in no group, or in two"));
            }
            next = last.checked_add(1).ok_or("a slot that does not exist")?;
        }
        if next == SLOT_COUNT { Ok(()) } else { Err(format!("slot {next} is in no group")) }
    }
}

impl Group {
    /// Where its files are.
    pub(in crate::cli) fn dir(&self, backup: &Path) -> PathBuf {
        backup.join(format!("group-{:05}", self.id))
    }

    /// The entry that it is at.
    pub(in crate::cli) fn entry(&self) -> EntryId {
        EntryId { term: Term(self.term), index: Index(self.index) }
    }

    /// Its files as the snapshot library names them, the newest first.
    ///
    /// # Errors
    /// They cannot be the state of this group.
    pub(in crate::cli) fn references(&self) -> Result<Vec<RunReference>, String> {
        let id = self.id;
        if !(1..=RUNS_MAX).contains(&self.files.len()) {
            return Err(format!("group {id} has {} files, not 1 to {RUNS_MAX}", self.files.len()));
        }
        let mut references = Vec::with_capacity(self.files.len());
        let mut above: Option<SnapshotName> = None;
        for File { name, bytes, checksum } in &self.files {
            let Some((parsed, Stage::Complete)) = Stage::parse(name) else {
                return Err(format!("group {id} has {name:?}, which is no name of a snapshot file"));
            };
            if parsed.group != GroupId(id) || parsed.id > self.entry() {
                return Err(format!("{name} is no part of group {id} at entry {}", self.entry()));
            }
            if above.is_some_and(|above| above <= parsed) {
                return Err(format!("{name} of group {id} is not older than the file before it"));
            }
            above = Some(parsed);
            references.push(RunReference { name: parsed, offset: 0, bytes: *bytes, checksum: *checksum });
        }
        Ok(references)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { name: name.to_owned(), bytes: 16384, checksum: 0xdead_beef }
    }

    fn example() -> Catalog {
        let group = |id, slots, files| Group { id, slots: vec![slots], index: 42, term: 7, files };
        let newest_first = vec![file("g1-i42-t7-b0.run"), file("g1-i40-t6-b1.run")];
        Catalog {
            format: FORMAT,
            ringraft: "0.1.0".into(),
            cluster: "5eed".into(),
            began_unix_s: 1_700_000_000,
            ended_unix_s: 1_700_000_009,
            groups: vec![
                group(1, (0, 8191), newest_first),
                group(2, (8192, 16383), vec![file("g2-i42-t7-b0.run")]),
            ],
        }
    }

    fn problem(change: impl FnOnce(&mut Catalog)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = example();
        change(&mut catalog);
        catalog.write(dir.path()).unwrap();
        Catalog::read(dir.path()).expect_err("it makes no sense").to_string()
    }

    #[test]
    fn a_catalog_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        example().write(dir.path()).unwrap();
        assert_eq!(Catalog::read(dir.path()).unwrap(), example());
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE_NAME]);
        let reference = example().groups[0].references().unwrap()[1];
        assert_eq!((reference.name.build, reference.bytes, reference.checksum), (1, 16384, 0xdead_beef));
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_found() {
        let text = example().encode().unwrap();
        let path = Path::new(FILE_NAME);
        for end in 0..text.len() {
            assert!(Catalog::decode(&text[..end], path).is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(Catalog::decode(&changed, path).is_err(), "byte {at}: {changed}");
        }
    }

    #[test]
    fn lists_that_cannot_be_a_state_are_refused() {
        assert!(problem(|catalog| catalog.format = 9).contains("is of format 9"));
        assert!(problem(|catalog| catalog.groups[1].id = 3).contains("no part of group 3"));
        assert!(problem(|catalog| drop(catalog.groups.pop())).contains("slot 8192 is in no group"));
        assert!(problem(|catalog| catalog.groups[1].slots[0].0 = 8191).contains("or in two"));
        assert!(problem(|catalog| catalog.groups[0].slots[0].1 = 8190).contains("slot 8191"));
        assert!(problem(|catalog| catalog.groups[0].files.reverse()).contains("not older"));
        assert!(problem(|catalog| catalog.groups[0].files.clear()).contains("has 0 files"));
        assert!(problem(|catalog| catalog.groups[0].index = 41).contains("no part of group 1"));
        assert!(problem(|catalog| catalog.groups[0].files[0].name = "../x".into()).contains("no name"));
        assert!(
            problem(|catalog| {
                let twin = catalog.groups[1].clone();
                catalog.groups.push(twin);
            })
            .contains("there twice")
        );
    }

    #[test]
    fn a_directory_without_a_catalog_is_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Catalog::read(dir.path()), Err(CatalogError::Missing(_))));
        fs::write(dir.path().join("backup.toml.tmp"), example().encode().unwrap()).unwrap();
        assert!(matches!(Catalog::read(dir.path()), Err(CatalogError::Missing(_))));
        assert!(matches!(Catalog::read(&dir.path().join("nowhere")), Err(CatalogError::Missing(_))));
    }
}
