//! `ringraft log ls`

use raftlog::inspect::{Inspection, SlotState};
use serde::Serialize;

use crate::cli::quantity::grouped;
use crate::cli::stopped::{Of, Stopped, file_name};
use crate::cli::{Failure, output};

#[derive(Serialize)]
struct Shard {
    shard: u32,
    segments: Vec<Segment>,
    groups: Vec<Group>,
    last_batch: u64,
    torn_tail_bytes: u64,
}

#[derive(Serialize)]
struct Segment {
    file: String,
    state: &'static str,
    segment: u64,
    boot_epoch: u64,
    first_batch: Option<u64>,
    last_batch: Option<u64>,
    used_bytes: u64,
    file_bytes: u64,
}

#[derive(Serialize)]
struct Group {
    group: u32,
    incarnation: u32,
    term: u64,
    vote: Option<u16>,
    commit: u64,
    compacted: u64,
    last: u64,
    last_term: u64,
    snapshot: u64,
}

impl Shard {
    fn of(shard: u32, log: &Inspection) -> Shard {
        let segments = log.slots().into_iter().map(|slot| Segment {
            file: file_name(&slot.path),
            state: match slot.state {
                SlotState::Live => "live",
                SlotState::Free => "free",
            },
            segment: slot.segment,
            boot_epoch: slot.boot_epoch,
            first_batch: slot.batches.map(|batches| batches.0),
            last_batch: slot.batches.map(|batches| batches.1),
            used_bytes: slot.end_offset,
            file_bytes: slot.file_bytes,
        });
        let found = log.recovered();
        let groups = found.groups.iter().map(|group| Group {
            group: group.group.0,
            incarnation: group.incarnation,
            term: group.hard_state.term.0,
            vote: group.hard_state.vote.map(|node| node.0),
            commit: group.hard_state.commit.0,
            compacted: group.compacted.index.0,
            last: group.last.0,
            last_term: group.runs.last().map_or(group.compacted.term, |run| run.term).0,
            snapshot: group.snapshot_id.index.0,
        });
        Shard {
            shard,
            segments: segments.collect(),
            groups: groups.collect(),
            last_batch: found.report.last_batch.0,
            torn_tail_bytes: found.report.torn_tail_bytes,
        }
    }

    fn show(&self) -> Result<(), Failure> {
        let torn = match self.torn_tail_bytes {
            0 => String::new(),
            bytes => format!(", {} bytes behind a torn batch are dropped", grouped(bytes)),
        };
        output::print(format!("shard {}: last batch {}{torn}", self.shard, self.last_batch))?;
        let mut segments = output::table(&[
            "file",
            "state",
            "segment",
            "start",
            "first batch",
            "last batch",
            "used",
            "size",
        ]);
        for segment in &self.segments {
            let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
            segments.add_row([
                segment.file.clone(),
                segment.state.to_owned(),
                segment.segment.to_string(),
                segment.boot_epoch.to_string(),
                number(segment.first_batch),
                number(segment.last_batch),
                grouped(segment.used_bytes),
                grouped(segment.file_bytes),
            ]);
        }
        output::align_numbers(&mut segments, 2);
        output::print(segments)?;
        let mut groups =
            output::table(&["group", "term", "vote", "commit", "compacted", "last", "of term", "snapshot"]);
        for group in &self.groups {
            groups.add_row([
                group.group.to_string(),
                group.term.to_string(),
                group.vote.map_or("-".to_owned(), |node| node.to_string()),
                group.commit.to_string(),
                group.compacted.to_string(),
                group.last.to_string(),
                group.last_term.to_string(),
                group.snapshot.to_string(),
            ]);
        }
        output::align_numbers(&mut groups, 0);
        output::print(groups)
    }
}

pub(super) fn run(of: &Of) -> Result<(), Failure> {
    let stopped = Stopped::of(of)?;
    let mut shards = Vec::new();
    for shard in &stopped.shards {
        shards.push(Shard::of(*shard, &stopped.inspect(*shard)?));
    }
    if of.json {
        return output::print_json(&shards);
    }
    shards.iter().try_for_each(Shard::show)
}
