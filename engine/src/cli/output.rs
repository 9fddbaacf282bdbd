//! Standard output: where data goes.

use crate::cli::{Exit, ExitContext, Failure};
use std::io::{self, Write};

/// Writes `text` and a line end to standard output at once.
///
/// A reader that went away (`ringraft status | head -1`) is not a failure.
pub fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.exit(Exit::Failed),
    }
}

/// Writes `value` as indented JSON to standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(serde_json::to_string_pretty(value).exit(Exit::Failed)?)
}

/// A table in the style all commands share.
pub fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(header);
    table
}

/// Right-aligns the columns from `first` on: those that hold numbers.
pub fn align_numbers(table: &mut comfy_table::Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
}
