//! What a start says is lost: all that is, and where a record's row can be read exactly what that held.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use raft::{GroupId, Index, Term};
use raftlog::inspect::{Inspection, RecordView, Said};
use raftlog::{Log, Lost, ReadError, Recovered};
use ringraft_tests::disk::{SimDisk, block_on};

use super::damage::{sealed, slots};
use super::harness::{Life, SEGMENT_BYTES, dir, open, options};
use super::inspect::laid_out;

const BLOCK: u64 = 4096;

/// An entry: its group and its index.
type Place = (u32, u64);

/// Where what lives stood before anything was damaged.
struct Known {
    /// All records of all batches that count; paths are those of the simulated disk.
    records: Vec<RecordView>,
    /// Of each live entry, which of the records holds it.
    homes: BTreeMap<Place, usize>,
}

impl Known {
    fn of(life: &Life) -> Known {
        let root = tempfile::tempdir().expect("a temporary directory");
        let log = Inspection::of(&laid_out(&life.disk, root.path()), &options(1)).expect("a sound log");
        let (mut records, mut homes) = (Vec::new(), BTreeMap::new());
        log.records(|mut record| {
            record.path = dir().join(record.path.file_name().expect("a file"));
            if let Said::Entries { term, first, last } = record.said {
                for index in first.0..=last.0 {
                    let live = life.model.get(&record.group.0).and_then(|model| model.entries.get(&index));
                    if live.is_some_and(|(live_term, _)| *live_term == term) {
                        homes.insert((record.group.0, index), records.len());
                    }
                }
            }
            records.push(record);
            true
        });
        let live: usize = life.model.values().map(|model| model.entries.len()).sum();
        assert_eq!(homes.len(), live, "all that lives stands somewhere");
        Known { records, homes }
    }

    /// The live entries of the record at `place`.
    fn live(&self, place: usize) -> BTreeSet<Place> {
        self.homes.iter().filter(|(_, home)| **home == place).map(|(entry, _)| *entry).collect()
    }

    /// The live entries that cannot be read when these bytes of `path` are not what was written; each with whether what the log
    /// says about it is gone, too.
    fn gone(&self, path: &Path, from: u64, to: u64) -> BTreeMap<Place, bool> {
        let meets = |start: u64, end: u64| start < to && from < end;
        let takes = |record: &RecordView| {
            let of_batch = self.records.iter().filter(|other| other.batch == record.batch);
            let front = 128 + 64 * of_batch.count() as u64;
            let front = meets(record.batch_offset, record.batch_offset + front);
            (front || meets(record.body_offset, record.body_offset + record.body_bytes)).then_some(front)
        };
        let here = self.homes.iter().filter(|(_, home)| self.records[**home].path == *path);
        here.filter_map(|(entry, home)| Some((*entry, takes(&self.records[*home])?))).collect()
    }
}

fn names(lost: &[Lost], (group, index): Place, term: Term) -> bool {
    lost.iter().any(|range| {
        let is_in = range.first <= Index(index) && range.last.is_none_or(|last| Index(index) <= last);
        range.group.0 == group && is_in && range.term.is_none_or(|known| known == term)
    })
}

/// Every entry of `gone` is named, or there after all, or found by a read; and no group that lacks nothing is named.
fn check_named(
    life: &Life,
    (log, recovered): &(Log<SimDisk>, Recovered),
    gone: &BTreeMap<Place, bool>,
    what: &str,
) {
    let lack: BTreeSet<GroupId> =
        recovered.groups.iter().filter(|found| found.is_lost).map(|found| found.group).collect();
    // Where a segment has an index, what its batches say of themselves is not needed.
    let is_hole = |what: &str| what.contains("is not there") || what.contains("does not hold segment");
    let has_holes = recovered.losses.iter().any(|loss| is_hole(&loss.what));
    for ((group, index), unnamed) in gone {
        let (term, command) = &life.model[group].entries[index];
        if names(&recovered.lost, (*group, *index), *term) {
            continue;
        }
        match block_on(log.read(GroupId(*group), Index(*index), Index(*index), usize::MAX)) {
            Ok(parts) => {
                let entry = raft::decode_entry(&parts[0], raft::Check::Checksum).expect("a whole entry");
                assert_eq!((entry.id.term, entry.command), (*term, &command[..]), "{what}");
            }
            Err(ReadError::Damaged { .. }) => {}
            // A body that a start does not look at, of a group that lost another: it comes with all the rest.
            Err(_) if !(*unnamed && has_holes) && lack.contains(&GroupId(*group)) => {}
            Err(error) => {
                panic!("{what}: {index} of group {group} is lost and not named: {error}, {recovered:#?}")
            }
        }
    }
    let lost: BTreeSet<_> = recovered.lost.iter().map(|range| range.group).collect();
    assert_eq!(lost, lack, "{what}");
}

#[test]
fn of_a_rotten_body_a_start_names_the_entries_and_their_term() {
    let (mut named, mut later) = (0, 0);
    for seed in 0..12 {
        let life = sealed(seed);
        let known = Known::of(&life);
        for (place, record) in known.records.iter().enumerate() {
            let live = known.live(place);
            let (Said::Entries { term, .. }, Some(first), Some(last)) =
                (&record.said, live.first(), live.last())
            else {
                continue;
            };
            let disk = life.disk.image();
            disk.flip_bit(&record.path, record.body_offset + record.body_bytes / 2, 1);
            let opened = open(&disk, 77).expect("its peers have it");
            let gone = live.iter().map(|entry| (*entry, false)).collect();
            check_named(&life, &opened, &gone, "a body");
            if opened.1.losses.is_empty() {
                later += 1; // bodies of older segments are not read by a start
                continue;
            }
            let range = Lost {
                group: record.group,
                first: Index(first.1),
                last: Some(Index(last.1)),
                term: Some(*term),
            };
            assert_eq!(opened.1.lost, [range], "seed {seed}");
            let Said::Entries { first, last, .. } = record.said else { continue };
            let said = format!("entries {first}..={last} of group {}, of term {term}: ", record.group);
            let said = if first == last {
                said.replace(&format!("entries {first}..={last}"), &format!("entry {first}"))
            } else {
                said
            };
            assert!(opened.1.losses[0].to_string().contains(&said), "{said}: {}", opened.1.losses[0]);
            named += 1;
        }
    }
    assert!(named > 20 && later > 20, "{named} named by a start, {later} found by reads");
}

#[test]
fn whatever_block_is_gone_all_that_it_takes_is_named() {
    let mut named = 0;
    for seed in [3, 4, 9, 11] {
        let life = sealed(seed);
        let known = Known::of(&life);
        for path in slots(&life.disk) {
            for block in 1..SEGMENT_BYTES / BLOCK {
                let gone = known.gone(&path, block * BLOCK, (block + 1) * BLOCK);
                let disk = life.disk.image();
                disk.overwrite(&path, block * BLOCK, &[0; 4096]);
                if let Ok(opened) = open(&disk, 77) {
                    check_named(&life, &opened, &gone, &format!("seed {seed}: block {block} of {path:?}"));
                    named += usize::from(!opened.1.lost.is_empty());
                }
            }
        }
    }
    assert!(named > 3, "{named} images with lost entries");
}

/// A whole file that is gone: where its index is elsewhere, that names what was in it.
#[test]
fn of_a_segment_that_is_gone_its_index_names_the_entries() {
    let (mut exact, mut ranges) = (0, 0);
    for seed in 0..12 {
        let life = sealed(seed);
        let known = Known::of(&life);
        let mut paths: Vec<PathBuf> = slots(&life.disk);
        // With the newest one goes all that vouches for it.
        let newest = known.records.iter().max_by_key(|record| record.batch).map(|record| record.path.clone());
        paths.retain(|path| known.records.iter().any(|record| record.path == *path));
        paths.retain(|path| Some(path) != newest.as_ref());
        for path in paths {
            let gone = known.gone(&path, 0, SEGMENT_BYTES);
            let disk = life.disk.image();
            disk.take_away(&path);
            let Ok(opened) = open(&disk, 77) else { continue };
            check_named(&life, &opened, &gone, &format!("seed {seed}: {path:?}"));
            let lost = &opened.1.lost;
            let count = |range: &Lost| range.last.map_or(0, |last| last.0 - range.first.0 + 1);
            if !lost.is_empty() && lost.iter().all(|range| range.term.is_some()) {
                assert_eq!(lost.iter().map(count).sum::<u64>(), gone.len() as u64, "seed {seed}: {lost:?}");
                exact += 1;
            }
            ranges += usize::from(!lost.is_empty());
        }
    }
    println!("{exact} named exactly, of {ranges}");
    assert!(exact > 3, "{exact} named exactly, of {ranges}");
}

/// Once it is known what was lost with a file that is no segment any more, the starts that follow do not ask what it was. (The
/// fuzzer found that they did, and refused.)
#[test]
fn a_lost_segment_is_no_stranger_to_the_starts_that_follow() {
    let known = |recovered: &Recovered| {
        let mut groups = recovered.groups.clone();
        groups.iter_mut().for_each(|group| group.is_lost = false); // lost once; from then on the standing says it
        groups
    };
    let mut healed = 0;
    for seed in 0..12 {
        let life = sealed(seed);
        for path in slots(&life.disk) {
            let disk = life.disk.image();
            disk.overwrite(&path, 0, &[0xa5; 2 * 4096]);
            let Ok((log, recovered)) = open(&disk, 5) else { continue };
            drop(log);
            healed += usize::from(recovered.groups.iter().any(|group| group.is_lost));
            for start in 6..8 {
                let (_, again) = open(&disk, start).expect("it was opened once");
                assert_eq!(known(&again), known(&recovered), "seed {seed}, {}", path.display());
            }
        }
    }
    assert!(healed > 5, "{healed} files were lost");
}
