//! `ringraft snapshot verify`

use runtime::ReadDisk;
use serde::Serialize;
use snapshot::SnapshotError;

use super::files::{Files, Found, State, failure};
use crate::cli::quantity::grouped;
use crate::cli::stopped::{Of, Stopped, file_name};
use crate::cli::{Exit, Failure, output};

#[derive(Default, Serialize)]
struct Shard {
    shard: u32,
    files: u64,
    items: u64,
    bytes: u64,
    damaged: Vec<Place>,
}

/// A file that is not what was written.
#[derive(Serialize)]
struct Place {
    group: Option<u32>,
    file: Option<String>,
    /// Where the damage begins, as far as that is known.
    offset: Option<u64>,
    what: String,
}

impl Place {
    fn of(found: &Found, error: &SnapshotError) -> Place {
        let (offset, what) = match error {
            SnapshotError::Corrupt { offset, problem, .. } => (Some(*offset), (*problem).to_owned()),
            other => (None, other.to_string()),
        };
        Place { group: Some(found.name.group.0), file: Some(file_name(&found.path)), offset, what }
    }

    fn show(&self, shard: u32) -> Result<(), Failure> {
        let file = self.file.as_deref().map_or(String::new(), |file| format!(" {file}"));
        let place = self.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
        output::print(format!("shard {shard}:{file}{place}: {}", self.what))
    }
}

impl Shard {
    fn check(&mut self, found: &Found) -> Result<(), SnapshotError> {
        let mut run = found.open()?;
        ReadDisk::answer(run.verify())?;
        self.files += 1;
        self.items += run.summary().items;
        self.bytes += run.summary().file_bytes;
        Ok(())
    }

    fn of(shard: u32, files: &Files) -> Result<Shard, Failure> {
        let mut of = Shard { shard, ..Shard::default() };
        for problem in &files.problems {
            of.damaged.push(Place { group: None, file: None, offset: None, what: problem.clone() });
        }
        for found in files.live(None) {
            let (group, file) = (Some(found.name.group.0), Some(file_name(&found.path)));
            if found.state == State::Missing {
                let what = "the log names it, and it is not there".to_owned();
                of.damaged.push(Place { group, file, offset: None, what });
                continue;
            }
            match of.check(found) {
                Ok(()) => {}
                Err(error) if error.is_corrupt() => of.damaged.push(Place::of(found, &error)),
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(of)
    }
}

pub(super) fn run(of: &Of) -> Result<(), Failure> {
    let stopped = Stopped::of(of)?;
    let mut shards = Vec::new();
    for shard in &stopped.shards {
        shards.push(Shard::of(*shard, &Files::of(&stopped, *shard)?)?);
    }
    if of.json {
        output::print_json(&shards)?;
    } else {
        for shard in &shards {
            shard.damaged.iter().try_for_each(|place| place.show(shard.shard))?;
            output::print(format!(
                "shard {}: {} files, {} items, {} bytes: {}",
                shard.shard,
                grouped(shard.files),
                grouped(shard.items),
                grouped(shard.bytes),
                if shard.damaged.is_empty() { "all as written" } else { "DAMAGED" }
            ))?;
        }
    }
    match shards.iter().map(|shard| shard.damaged.len()).sum::<usize>() {
        0 => Ok(()),
        count => {
            let files = if count == 1 { "1 file is" } else { &format!("{count} files are") };
            Err(Failure::new(Exit::Corruption, anyhow::anyhow!("{files} not what was written")))
        }
    }
}
