//! `ringraft log verify`

use raftlog::inspect::{Damage, Said, Verified};
use raftlog::{Loss, Lost, Recovered};
use serde::Serialize;

use crate::cli::quantity::grouped;
use crate::cli::stopped::{Of, Stopped, file_name};
use crate::cli::{Exit, Failure, output};

#[derive(Serialize)]
struct Shard {
    shard: u32,
    batches: u64,
    records: u64,
    bytes: u64,
    torn_tail_bytes: u64,
    damaged: Vec<Place>,
    /// Where batches that count cannot be read at all.
    unreadable: Vec<Hole>,
    /// Groups that lost something, which their peers have.
    lost_groups: Vec<u32>,
    /// What they lost.
    lost: Vec<Range>,
}

/// Entries that are lost.
#[derive(Serialize)]
struct Range {
    group: u32,
    first: u64,
    /// None: nothing tells how far they went.
    last: Option<u64>,
    term: Option<u64>,
    #[serde(skip)]
    said: String,
}

impl Range {
    fn of(lost: &Lost) -> Range {
        Range {
            group: lost.group.0,
            first: lost.first.0,
            last: lost.last.map(|last| last.0),
            term: lost.term.map(|term| term.0),
            said: lost.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Hole {
    file: String,
    offset: u64,
    what: String,
}

impl Shard {
    fn damages(&self) -> usize {
        self.damaged.len() + self.unreadable.len()
    }
}

#[derive(Serialize)]
struct Place {
    file: String,
    offset: u64,
    batch: u64,
    group: u32,
    term: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
    what: &'static str,
}

impl Place {
    fn of(damage: &Damage) -> Place {
        let record = &damage.record;
        let (term, range) = match record.said {
            Said::Entries { term, first, last } => (Some(term.0), Some((first.0, last.0))),
            Said::Compact(id) | Said::Snapshot(id) => (Some(id.term.0), Some((id.index.0, id.index.0))),
            Said::HardState { term, .. } | Said::CheckpointRow { term, .. } => (Some(term.0), None),
            Said::Truncate(from) => (None, Some((from.0, from.0))),
            Said::SegmentTable | Said::SegmentIndex => (None, None),
        };
        Place {
            file: file_name(&record.path),
            offset: record.body_offset,
            batch: record.batch,
            group: record.group.0,
            term,
            first: range.map(|range| range.0),
            last: range.map(|range| range.1),
            what: damage.what,
        }
    }

    fn show(&self, shard: u32) -> Result<(), Failure> {
        let entries = match (self.first, self.last, self.term) {
            (Some(first), Some(last), Some(term)) => format!(", {first}..{last} of term {term}"),
            _ => String::new(),
        };
        output::print(format!(
            "shard {shard}: {} at byte {}: batch {}, group {}{entries}: {}",
            self.file, self.offset, self.batch, self.group, self.what
        ))
    }
}

/// What recovery could not read, but for the bodies that are named by their records.
fn holes(recovered: &Recovered, verified: &Verified) -> Vec<Hole> {
    let is_named = |loss: &&Loss| {
        let mut records = verified.damaged.iter().map(|damage| &damage.record);
        records.any(|record| (&record.path, record.body_offset) == (&loss.path, loss.offset))
    };
    let holes = recovered.losses.iter().filter(|loss| !is_named(loss));
    holes
        .map(|loss| Hole { file: file_name(&loss.path), offset: loss.offset, what: loss.what.clone() })
        .collect()
}

pub(super) fn run(of: &Of) -> Result<(), Failure> {
    let stopped = Stopped::of(of)?;
    let mut shards = Vec::new();
    for shard in &stopped.shards {
        let log = stopped.inspect(*shard)?;
        let verified = log.verify().map_err(|(path, error)| {
            Failure::new(
                Exit::Failed,
                anyhow::Error::new(error).context(format!("reading {}", path.display())),
            )
        })?;
        let lost = log.recovered().groups.iter().filter(|found| found.is_lost);
        shards.push(Shard {
            shard: *shard,
            batches: verified.batches,
            records: verified.records,
            bytes: verified.bytes,
            torn_tail_bytes: log.recovered().report.torn_tail_bytes,
            unreadable: holes(log.recovered(), &verified),
            lost_groups: lost.map(|found| found.group.0).collect(),
            lost: log.recovered().lost.iter().map(Range::of).collect(),
            damaged: verified.damaged.iter().map(Place::of).collect(),
        });
    }
    if of.json {
        output::print_json(&shards)?;
    } else {
        for shard in &shards {
            shard.damaged.iter().try_for_each(|place| place.show(shard.shard))?;
            for hole in &shard.unreadable {
                let Hole { file, offset, what } = hole;
                output::print(format!("shard {}: {file} at byte {offset}: {what}", shard.shard))?;
            }
            for range in &shard.lost {
                output::print(format!("shard {}: lost, its peers have them: {}", shard.shard, range.said))?;
            }
            output::print(format!(
                "shard {}: {} batches, {} records, {} bytes: {}",
                shard.shard,
                grouped(shard.batches),
                grouped(shard.records),
                grouped(shard.bytes),
                if shard.damages() == 0 { "all as written" } else { "DAMAGED" }
            ))?;
        }
    }
    match shards.iter().map(Shard::damages).sum::<usize>() {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Corruption, anyhow::anyhow!("1 place is not what was written"))),
        count => {
            Err(Failure::new(Exit::Corruption, anyhow::anyhow!("{count} places are not what was written")))
        }
    }
}
