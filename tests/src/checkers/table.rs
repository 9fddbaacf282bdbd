//! Operations as a table that a person can follow.

use std::fmt::Write;

use crate::history::{Bytes, Operation, Outcome, printable};

/// More rows than this hide more than they show; the latest ones are kept.
const ROWS_MAX: usize = 60;
const BAR_LEN: usize = 32;

/// Renders a window that has no order. `before` lists the values that the key can have had before it,
/// `stuck` is the operation that fits nowhere.
pub(super) fn render(
    key: &[u8],
    before: &[Option<Bytes>],
    operations: &[&Operation],
    stuck: Option<&Operation>,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "key \"{}\" is not linearizable: no order of these operations", printable(key));
    let _ = writeln!(text, "explains the replies. The value before them: {}", one_of(before));
    let hidden = operations.len().saturating_sub(ROWS_MAX);
    if hidden > 0 {
        let _ = writeln!(text, "({hidden} earlier operations not shown)");
    }
    let shown = &operations[hidden..];
    let start = shown.iter().map(|operation| operation.called).min().unwrap_or(0);
    let end = shown.iter().map(|o| o.returned().unwrap_or(o.called)).max().unwrap_or(start).max(start + 1);
    let request_len = shown.iter().map(|o| o.request.to_string().len()).max().unwrap_or(0).max(7);
    let _ = writeln!(
        text,
        "{:>6}  {:>12}  {:>12}  {:<request_len$}  {:<bar$}  reply",
        "client",
        "called ms",
        "returned ms",
        "request",
        "time",
        bar = BAR_LEN
    );
    for operation in shown {
        let (reply, returned) = match &operation.outcome {
            Outcome::Ok { returned, reply } => (reply.to_string(), milliseconds(*returned)),
            Outcome::Fail => ("failed".to_string(), "-".to_string()),
            Outcome::Unknown => ("unknown".to_string(), "-".to_string()),
        };
        let mark = if stuck == Some(operation) { "   <-- fits nowhere" } else { "" };
        let _ = writeln!(
            text,
            "{:>6}  {:>12}  {:>12}  {:<request_len$}  {}  {reply}{mark}",
            operation.client,
            milliseconds(operation.called),
            returned,
            operation.request.to_string(),
            bar(operation, start, end),
        );
    }
    text
}

fn one_of(values: &[Option<Bytes>]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = values
        .iter()
        .take(SHOWN)
        .map(|value| value.as_ref().map_or("(nil)".to_string(), |value| format!("\"{}\"", printable(value))))
        .collect();
    if values.len() > SHOWN {
        names.push(format!("or one of {} more", values.len() - SHOWN));
    }
    names.join(" or ")
}

fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1_000_000, nanoseconds / 1_000 % 1_000)
}

/// The operation's interval drawn between `start` and `end`; one without a return is open to the right.
fn bar(operation: &Operation, start: u64, end: u64) -> String {
    let scale = |time: u64| (time.clamp(start, end) - start) * (BAR_LEN as u64 - 1) / (end - start);
    let place = |time: u64| usize::try_from(scale(time)).unwrap_or(BAR_LEN);
    let from = place(operation.called);
    let to = operation.returned().map_or(BAR_LEN, place);
    (0..BAR_LEN)
        .map(|at| match at {
            _ if at == from && at == to => '|',
            _ if at == from => '[',
            _ if at == to => ']',
            _ if at > from && at < to => '-',
            _ => ' ',
        })
        .collect()
}
