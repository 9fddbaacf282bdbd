//! Progress bars: on standard error, and only if that is a terminal.

use crate::cli::load::{Phase, Progress};
use crate::cli::quantity::grouped;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The rate shown is that of at least this time: short enough to see an outage, long enough to be read.
const RATE_TIME: Duration = Duration::from_millis(400);

/// The progress of `bench` and `demo`: a bar with the phase, how far it is, and the rate now.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    phase: Option<Phase>,
    since: Duration,
    completed: u64,
    per_second: f64,
}

impl Bar {
    /// An empty bar.
    pub fn new() -> Bar {
        let bar = ProgressBar::new(1000);
        let style =
            ProgressStyle::with_template("{prefix:>10} [{bar:40}] {msg}").expect("a correct template");
        bar.set_style(style.progress_chars("=> "));
        Bar { bar, phase: None, since: Duration::ZERO, completed: 0, per_second: 0.0 }
    }

    /// Shows `progress`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small, positive, for the eye"
    )]
    pub fn show(&mut self, progress: &Progress) {
        self.measure(progress);
        self.bar.set_prefix(match progress.phase {
            Phase::Preload => "preload",
            Phase::Warmup => "warm-up",
            Phase::Measure => "measure",
            Phase::ReadBack => "read back",
        });
        let failed = match progress.failed {
            0 => String::new(),
            failed => format!(", {} failed", grouped(failed)),
        };
        self.bar.set_position((progress.fraction * 1000.0) as u64);
        self.bar.set_message(format!("{} per second{failed}", grouped(self.per_second as u64)));
    }

    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    fn measure(&mut self, progress: &Progress) {
        if self.phase != Some(progress.phase) {
            (self.phase, self.since, self.completed) = (Some(progress.phase), Duration::ZERO, 0);
        }
        let time = progress.elapsed.saturating_sub(self.since);
        if time >= RATE_TIME || self.since.is_zero() {
            let completed = progress.completed.saturating_sub(self.completed);
            self.per_second = completed as f64 / time.as_secs_f64().max(1e-3);
            (self.since, self.completed) = (progress.elapsed, progress.completed);
        }
    }

    /// A line that stays; without a terminal too.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Bar {
    fn default() -> Bar {
        Bar::new()
    }
}

/// The progress of `backup` and `restore`: a bar of so many bytes of those that are known to come.
#[derive(Debug)]
pub struct Amount {
    bar: ProgressBar,
}

impl Amount {
    /// An empty bar of what is being done.
    pub fn new(doing: &'static str) -> Amount {
        let bar = ProgressBar::new(0).with_prefix(doing);
        let template =
            "{prefix:>10} [{bar:40}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
        let style = ProgressStyle::with_template(template).expect("a correct template");
        bar.set_style(style.progress_chars("=> "));
        Amount { bar }
    }

    /// One that nobody sees.
    #[cfg(feature = "simulation")]
    pub fn unseen() -> Amount {
        Amount { bar: ProgressBar::hidden() }
    }

    /// So many more bytes are to come.
    pub fn more(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// So many more are done.
    pub fn done(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// How far it is, for [`Amount::back_to`].
    pub fn mark(&self) -> (u64, u64) {
        (self.bar.position(), self.bar.length().unwrap_or_default())
    }

    /// What came since was for nothing.
    pub fn back_to(&self, (position, length): (u64, u64)) {
        self.bar.set_position(position);
        self.bar.set_length(length);
    }

    /// A line that stays; without a terminal too.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_moment() {
        let mut bar = Bar::new();
        let mut rate = |phase, ms, completed| {
            let elapsed = Duration::from_millis(ms);
            bar.show(&Progress { phase, elapsed, fraction: 0.5, completed, failed: 1 });
            bar.per_second
        };
        assert_eq!(rate(Phase::Preload, 100, 500), 5000.0);
        assert_eq!(rate(Phase::Preload, 300, 900), 5000.0, "too soon for a new one");
        assert_eq!(rate(Phase::Preload, 600, 1500), 2000.0);
        assert_eq!(rate(Phase::Preload, 1600, 1500), 0.0, "an outage shows");
        assert_eq!(rate(Phase::Measure, 100, 10), 100.0, "a new phase begins anew");
    }
}
