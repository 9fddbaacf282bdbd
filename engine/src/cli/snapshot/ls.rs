//! `ringraft snapshot ls`

use serde::Serialize;

use super::files::{Files, Found, State};
use crate::cli::quantity::grouped;
use crate::cli::stopped::{Of, Stopped, file_name};
use crate::cli::{Failure, output};

#[derive(Serialize)]
struct Shard {
    shard: u32,
    files: Vec<File>,
    /// Records of the log that make no sense.
    problems: Vec<String>,
}

#[derive(Serialize)]
struct File {
    group: u32,
    index: u64,
    term: u64,
    file: String,
    state: State,
    file_bytes: u64,
    /// None where the file cannot be opened, or no start would.
    items: Option<u64>,
    keys_bytes: Option<u64>,
    values_bytes: Option<u64>,
    /// Why a live file cannot be opened.
    problem: Option<String>,
}

impl File {
    fn of(found: &Found) -> File {
        let opened = (found.state == State::Live).then(|| found.open());
        let (run, problem) = match opened {
            Some(Ok(run)) => (Some(run), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let summary = run.as_ref().map(|run| run.summary());
        File {
            group: found.name.group.0,
            index: found.name.id.index.0,
            term: found.name.id.term.0,
            file: file_name(&found.path),
            state: found.state,
            file_bytes: found.file_bytes,
            items: summary.map(|summary| summary.items),
            keys_bytes: summary.map(|summary| summary.keys_bytes),
            values_bytes: summary.map(|summary| summary.values_bytes),
            problem,
        }
    }
}

impl Shard {
    fn show(&self) -> Result<(), Failure> {
        output::print(format!("shard {}", self.shard))?;
        let mut table =
            output::table(&["file", "state", "group", "entry", "term", "size", "items", "keys", "values"]);
        for file in &self.files {
            let number = |number: Option<u64>| number.map_or("-".to_owned(), grouped);
            let state = match (&file.problem, file.state) {
                (Some(_), _) => "DAMAGED",
                (None, State::Live) => "live",
                (None, State::Missing) => "MISSING",
                (None, State::Unnamed) => "unnamed",
                (None, State::Building) => "building",
                (None, State::Receiving) => "receiving",
            };
            table.add_row([
                file.file.clone(),
                state.to_owned(),
                file.group.to_string(),
                file.index.to_string(),
                file.term.to_string(),
                grouped(file.file_bytes),
                number(file.items),
                number(file.keys_bytes),
                number(file.values_bytes),
            ]);
        }
        output::align_numbers(&mut table, 2);
        output::print(table)?;
        let problems = self.files.iter().filter_map(|file| file.problem.as_ref());
        problems.chain(&self.problems).try_for_each(output::print)
    }
}

pub(super) fn run(of: &Of) -> Result<(), Failure> {
    let stopped = Stopped::of(of)?;
    let mut shards = Vec::new();
    for shard in &stopped.shards {
        let Files { files, problems } = Files::of(&stopped, *shard)?;
        shards.push(Shard { shard: *shard, files: files.iter().map(File::of).collect(), problems });
    }
    if of.json { output::print_json(&shards) } else { shards.iter().try_for_each(Shard::show) }
}
