//! Medians, tables and the lines that other programs read.

use crate::cell::Cell;

/// The middle of the values; of an even number, the mean of the two in the middle. 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// `RATIO name value goal goal`.
pub fn ratio_line(name: &str, value: f64, goal: f64) -> String {
    format!("RATIO {name} {value:.3} goal {goal}")
}

/// `LIMIT name value max max`.
pub fn limit_line(name: &str, value: f64, max: f64) -> String {
    format!("LIMIT {name} {value:.2} max {max}")
}

/// The heads of [`row`]'s columns.
pub fn head() -> String {
    format!(
        "{:<9} {:<19} {:>10} {:>8} {:>8} {:>7} {:>9} {:>10} {:>9}  {}",
        "cell", "side", "ops/s", "p50 ms", "p99 ms", "client", "CPU us/op", "flushes/op", "bytes/op", "ratio"
    )
}

/// The medians of a cell's rounds as a line; `ratio` is the median of the rounds' ratios.
pub fn row(shape: &str, side: &str, cells: &[Cell], ratio: Option<f64>) -> String {
    let middle = |value: fn(&Cell) -> f64| median(cells.iter().map(value));
    let optional = |value: fn(&Cell) -> Option<f64>, digits: usize| {
        let values: Vec<f64> = cells.iter().filter_map(value).collect();
        if values.is_empty() { "-".to_string() } else { format!("{:.digits$}", median(values)) }
    };
    let bound = if cells.iter().any(Cell::is_client_bound) { "  client-bound" } else { "" };
    format!(
        "{shape:<9} {side:<19} {:>10.0} {:>8.3} {:>8.3} {:>6.0}% {:>9.2} {:>10} {:>9}  {}{bound}",
        middle(|cell| cell.rate),
        middle(|cell| cell.p50_ms),
        middle(|cell| cell.p99_ms),
        middle(|cell| cell.client_core) * 100.0,
        middle(|cell| cell.cpu_micros),
        optional(|cell| cell.flushes, 4),
        optional(|cell| cell.bytes, 0),
        ratio.map_or("-".to_string(), |ratio| format!("{ratio:.3}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_lines() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
        assert_eq!(ratio_line("set_p16", 0.51234, 0.5), "RATIO set_p16 0.512 goal 0.5");
        assert_eq!(ratio_line("set_p1", 0.25, 0.0), "RATIO set_p1 0.250 goal 0");
        assert_eq!(limit_line("idle_cpu_percent", 1.0, 3.0), "LIMIT idle_cpu_percent 1.00 max 3");
    }

    #[test]
    fn a_row_marks_what_the_client_limited() {
        let cell = Cell {
            rate: 100.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            client_core: 0.95,
            cpu_micros: 3.0,
            flushes: None,
            bytes: Some(4.0),
        };
        assert!(row("get_p1", "redis", &[cell], None).ends_with("client-bound"));
        let slower = Cell { client_core: 0.5, ..cell };
        assert!(!row("get_p1", "redis", &[slower], Some(0.5)).contains("client-bound"));
    }
}
