//! What the tools see of a log is what a start makes of it, and they leave it as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use raft::EntryId;
use raftlog::inspect::{Inspection, Said, SlotState};
use ringraft_tests::disk::SimDisk;

use super::crashes::live;
use super::harness::{Life, dir, open, options, tight_options};

/// The files of a simulated disk, as real ones.
pub(super) fn laid_out(disk: &SimDisk, root: &Path) -> PathBuf {
    for path in disk.paths() {
        let to = root.join(path.strip_prefix("/").expect("all paths start there"));
        std::fs::create_dir_all(to.parent().expect("in a directory")).expect("a temporary directory");
        std::fs::write(to, disk.bytes(&path).expect("it was listed")).expect("a temporary file");
    }
    root.join(dir().strip_prefix("/").expect("an absolute path"))
}

fn files(at: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let list = std::fs::read_dir(at).expect("a directory");
    let paths = list.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

#[test]
fn tools_and_starts_agree_about_every_log() {
    let (mut sound, mut damaged) = (0, 0);
    for seed in 0..150 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let life = Life::with(if seed % 2 == 0 { options(seed) } else { tight_options(seed) });
        let life = live(live(life, &mut rng), &mut rng);
        life.disk.crash(rng.u64(..));
        let disk = life.disk.image();
        if seed % 3 == 0 {
            let path = disk.paths().swap_remove(rng.usize(..disk.paths().len()));
            disk.flip_bit(&path, rng.u64(..16 * 1024), rng.u32(..8));
        }
        let root = tempfile::tempdir().expect("a temporary directory");
        let place = laid_out(&disk, root.path());
        let before = files(&place);
        let seen = Inspection::of(&place, &options(seed));
        assert_eq!(files(&place), before, "seed {seed}: nothing is changed");
        match (seen, open(&disk, seed)) {
            (Ok(seen), Ok((_, recovered))) => {
                let mut recovered = recovered;
                for loss in &mut recovered.losses {
                    loss.path = place.join(loss.path.strip_prefix("/log").expect("the simulated log"));
                }
                // The tool looks at all of it, a start at the indexes of what is complete.
                let mut known = seen.recovered().clone();
                known.report.bytes_read = recovered.report.bytes_read;
                if known.losses.is_empty() || !recovered.losses.is_empty() {
                    assert_eq!(known, recovered, "seed {seed}");
                }
                sound += 1;
            }
            (Err(seen), Err(refused)) => {
                let seen = seen.to_string().replace(&format!("{}/", root.path().display()), "/");
                assert_eq!(seen, refused.to_string(), "seed {seed}");
                damaged += 1;
            }
            (seen, opened) => {
                let (seen, opened) = (seen.err(), opened.err());
                panic!("seed {seed}: the tool says {seen:?}, a start {opened:?}")
            }
        }
    }
    assert!(sound >= 50 && damaged >= 2, "{sound} sound, {damaged} damaged");
}

#[test]
fn every_live_entry_is_in_some_record_and_verifies() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let life = live(Life::with(options(seed)), &mut rng);
        life.disk.crash(rng.u64(..));
        let root = tempfile::tempdir().expect("a temporary directory");
        let log =
            Inspection::of(&laid_out(&life.disk, root.path()), &options(seed)).expect("a crash is no damage");
        let mut newest: BTreeMap<(u32, u64), EntryId> = BTreeMap::new();
        let mut records = 0;
        log.records(|record| {
            records += 1;
            let entries = log.entries_of(&record).expect("what counts is sound");
            if let Said::Entries { term, first, last } = record.said {
                let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
                assert_eq!(ids.first(), Some(&EntryId::new(term, first)));
                assert_eq!(ids.last(), Some(&EntryId::new(term, last)));
            }
            newest.extend(entries.iter().map(|entry| ((record.group.0, entry.id.index.0), entry.id)));
            true
        });
        for group in &log.recovered().groups {
            for index in group.compacted.index.0 + 1..=group.last.0 {
                let run = group.runs.iter().rev().find(|run| run.first.0 <= index).expect("it has a term");
                let found = newest.get(&(group.group.0, index)).map(|id| id.term);
                assert_eq!(found, Some(run.term), "seed {seed}: {index} of group {}", group.group);
            }
        }
        let verified = log.verify().expect("the files can be read");
        assert_eq!((verified.records, verified.damaged.len()), (records, 0));
        let live_segments = log.slots().iter().filter(|slot| slot.state == SlotState::Live).count();
        assert_eq!(live_segments, log.recovered().report.segments);
    }
}
