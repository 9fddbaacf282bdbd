//! `ringraft log dump`

use clap::Args;
use raftlog::inspect::{EntryView, Inspection, RecordView, Said};
use serde::Serialize;

use crate::cli::stopped::{Of, Stopped, file_name};
use crate::cli::{Exit, Failure, output};

/// Flags of `ringraft log dump`.
#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// Whose log.
    #[command(flatten)]
    pub of: Of,
    /// Only records of this group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<u32>,
    /// Only entries with these indexes, and records with such entries: 17, 5.., ..9 or 5..9, ends included
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    pub index: Option<(u64, u64)>,
    /// Show every entry with its command's bytes, too
    #[arg(long)]
    pub entries: bool,
}

/// `A`, `A..`, `..B`, `A..B`, ends included.
fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str, otherwise: u64| match text.trim() {
        "" => Ok(otherwise),
        text => text.parse::<u64>().map_err(|_| format!("{text:?} is no index")),
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first, 0)?, number(last.trim_start_matches('='), u64::MAX)?),
        None => (number(text, 0)?, number(text, u64::MAX)?),
    };
    if first > last { Err(format!("{first} comes after {last}")) } else { Ok((first, last)) }
}

/// One line of the output.
#[derive(Serialize)]
struct Line {
    shard: u32,
    file: String,
    batch: u64,
    offset: u64,
    /// None of a segment table, which is the whole log's.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    incarnation: u32,
    record: &'static str,
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vote: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    index: u64,
    term: u64,
    kind: &'static str,
    bytes: usize,
    /// In hexadecimal digits.
    command: String,
}

impl Entry {
    fn of(entry: &EntryView) -> Entry {
        let hex = entry.command.iter().map(|byte| format!("{byte:02x}"));
        Entry {
            index: entry.id.index.0,
            term: entry.id.term.0,
            kind: match entry.kind {
                raft::EntryKind::Command => "command",
                raft::EntryKind::Noop => "noop",
                raft::EntryKind::Membership => "membership",
            },
            bytes: entry.command.len(),
            command: hex.collect(),
        }
    }
}

impl Line {
    fn of(shard: u32, record: &RecordView) -> Line {
        let (name, term, vote, commit, range) = match record.said {
            Said::Entries { term, first, last } => ("entries", Some(term), None, None, Some((first, last))),
            Said::HardState { term, vote, commit } => ("hard-state", Some(term), vote, Some(commit.0), None),
            Said::Compact(id) => ("compact", Some(id.term), None, None, Some((id.index, id.index))),
            Said::Snapshot(id) => ("snapshot", Some(id.term), None, None, Some((id.index, id.index))),
            Said::Truncate(from) => ("truncate", None, None, None, Some((from, from))),
            Said::CheckpointRow { term, vote } => ("checkpoint", Some(term), vote, None, None),
            Said::SegmentTable => ("segments", None, None, None, None),
            Said::SegmentIndex => ("index", None, None, None, None),
        };
        Line {
            shard,
            file: file_name(&record.path),
            batch: record.batch,
            offset: record.body_offset,
            group: (!matches!(record.said, Said::SegmentTable | Said::SegmentIndex))
                .then_some(record.group.0),
            incarnation: record.incarnation,
            record: name,
            term: term.map(|term| term.0),
            vote: vote.map(|node| node.0),
            commit,
            first: range.map(|range| range.0.0),
            last: range.map(|range| range.1.0),
            bytes: record.body_bytes,
            entries: Vec::new(),
        }
    }

    fn show(&self) -> Result<(), Failure> {
        let some =
            |name: &str, value: Option<u64>| value.map_or(String::new(), |value| format!(" {name} {value}"));
        let range = match (self.first, self.last) {
            (Some(first), Some(last)) if first != last => format!(" {first}..{last}"),
            (Some(first), _) => format!(" {first}"),
            _ => String::new(),
        };
        output::print(format!(
            "shard {} batch {} {} at {}:{} {}{range}{}{}{}, {} bytes",
            self.shard,
            self.batch,
            self.file,
            self.offset,
            some("group", self.group.map(u64::from)),
            self.record,
            some("term", self.term),
            some("vote", self.vote.map(u64::from)),
            some("commit", self.commit),
            self.bytes
        ))?;
        self.entries.iter().try_for_each(|entry| {
            let Entry { index, term, kind, bytes, command } = entry;
            output::print(format!("    {index}@{term} {kind}, {bytes} bytes: {command}"))
        })
    }
}

impl DumpArgs {
    fn wants(&self, record: &RecordView) -> bool {
        let of_group = self
            .group
            .is_none_or(|group| record.group.0 == group && !matches!(record.said, Said::SegmentTable));
        let in_range = match (self.index, &record.said) {
            (None, _) => true,
            (Some((from, to)), Said::Entries { first, last, .. }) => first.0 <= to && last.0 >= from,
            (Some((from, to)), Said::Compact(id) | Said::Snapshot(id)) => (from..=to).contains(&id.index.0),
            (Some(_), _) => false,
        };
        of_group && in_range
    }

    fn dump(&self, shard: u32, log: &Inspection, record: &RecordView) -> Result<(), Failure> {
        let mut line = Line::of(shard, record);
        if self.entries {
            let entries = log.entries_of(record).map_err(|error| {
                let exit = match error.kind() {
                    std::io::ErrorKind::InvalidData => Exit::Corruption,
                    _ => Exit::Failed,
                };
                let place = format!("{} at byte {}", record.path.display(), record.body_offset);
                Failure::new(exit, anyhow::Error::new(error).context(place))
            })?;
            let (from, to) = self.index.unwrap_or((0, u64::MAX));
            let wanted = entries.iter().filter(|entry| (from..=to).contains(&entry.id.index.0));
            line.entries = wanted.map(Entry::of).collect();
        }
        match self.of.json {
            true => output::print(serde_json::to_string(&line).map_err(Failure::failed)?),
            false => line.show(),
        }
    }
}

pub(super) fn run(args: &DumpArgs) -> Result<(), Failure> {
    let stopped = Stopped::of(&args.of)?;
    for shard in &stopped.shards {
        let log = stopped.inspect(*shard)?;
        let mut outcome = Ok(());
        log.records(|record| {
            if args.wants(&record) {
                outcome = args.dump(*shard, &log, &record);
            }
            outcome.is_ok()
        });
        outcome?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_their_ends_in_them() {
        assert_eq!(parse_range("17"), Ok((17, 17)));
        assert_eq!(parse_range("5..9"), Ok((5, 9)));
        assert_eq!(parse_range("5.."), Ok((5, u64::MAX)));
        assert_eq!(parse_range("..=9"), Ok((0, 9)));
        assert!(parse_range("9..5").is_err() && parse_range("x").is_err() && parse_range("1..y").is_err());
    }
}
