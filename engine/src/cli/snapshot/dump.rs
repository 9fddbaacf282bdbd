//! `ringraft snapshot dump`

use clap::Args;
use runtime::ReadDisk;
use serde::Serialize;
use snapshot::{Item, Merge};

use super::files::{Files, Found, State, failure, missing};
use crate::cli::stopped::{Of, Stopped};
use crate::cli::{Failure, output};
use crate::kv::entry::{Entry, Kind, restore_key};
use crate::kv::{is_counts, key_slot};

/// Flags of `ringraft snapshot dump`.
#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// Whose snapshots.
    #[command(flatten)]
    pub of: Of,
    /// Only items of this group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<u32>,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Show values, too
    #[arg(long)]
    pub values: bool,
}

/// One line of the output. Bytes that are no printable ASCII are shown as `\x00`.
#[derive(Serialize)]
struct Line {
    group: u32,
    /// None of an item that is not of the key-value machine, such as those of group 0, the node directory.
    slot: Option<u16>,
    key: String,
    kind: &'static str,
    value_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Line {
    fn of(group: u32, key: &[u8], entry: &Entry, values: bool) -> Line {
        let kind = match entry.kind {
            Kind::String => "string",
            Kind::Tombstone => "deleted", // not shown
        };
        Line { slot: Some(key_slot(key)), kind, ..Line::raw(group, key, &entry.value, values) }
    }

    fn raw(group: u32, key: &[u8], value: &[u8], values: bool) -> Line {
        Line {
            group,
            slot: None,
            key: key.escape_ascii().to_string(),
            kind: "raw",
            value_bytes: value.len(),
            value: values.then(|| value.escape_ascii().to_string()),
        }
    }

    fn show(&self) -> Result<(), Failure> {
        let Line { group, slot, key, kind, value_bytes, value } = self;
        let value = value.as_ref().map_or(String::new(), |value| format!(": \"{value}\""));
        let slot = slot.map_or(String::new(), |slot| format!(" slot {slot}"));
        output::print(format!("group {group}{slot} \"{key}\" {kind}, {value_bytes} bytes{value}"))
    }
}

impl DumpArgs {
    /// The line of an item, if it is asked for.
    fn line(&self, group: u32, item: &Item<'_>) -> Option<Line> {
        if is_counts(item.key, item.value) {
            return None;
        }
        let is_wanted = |key: &[u8]| self.key.as_ref().is_none_or(|wanted| wanted.as_bytes() == key);
        let of_kv = restore_key(item.key).and_then(|(_, key)| Ok((key, Entry::restore(item.value)?)));
        match of_kv {
            Ok((_, entry)) if !entry.is_live() => None,
            Ok((key, entry)) => is_wanted(key).then(|| Line::of(group, key, &entry, self.values)),
            Err(_) => is_wanted(item.key).then(|| Line::raw(group, item.key, item.value, self.values)),
        }
    }

    /// The state that the files of a group make together, newest first: of each key the newest entry, unless that says that
    /// it was deleted.
    fn dump(&self, files: &[&Found]) -> Result<(), Failure> {
        let mut scans = Vec::new();
        for found in files {
            if found.state == State::Missing {
                return Err(missing(found));
            }
            scans.push(ReadDisk::answer(found.open().map_err(failure)?.scan()).map_err(failure)?);
        }
        let mut merge = ReadDisk::answer(Merge::new(scans)).map_err(failure)?;
        while let Some(item) = ReadDisk::answer(merge.peek()).map_err(failure)? {
            match self.line(files[0].name.group.0, &item) {
                Some(line) if self.of.json => {
                    output::print(serde_json::to_string(&line).map_err(Failure::failed)?)?;
                }
                Some(line) => line.show()?,
                None => {}
            }
            merge.pass();
        }
        Ok(())
    }
}

pub(super) fn run(args: &DumpArgs) -> Result<(), Failure> {
    let stopped = Stopped::of(&args.of)?;
    for shard in &stopped.shards {
        let files = Files::of(&stopped, *shard)?;
        let live: Vec<&Found> = files.live(args.group).collect();
        live.chunk_by(|a, b| a.name.group == b.name.group).try_for_each(|group| args.dump(group))?;
    }
    Ok(())
}
