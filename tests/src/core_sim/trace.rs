//! The last steps of a run, readable. Nothing is written down while seeds pass: a seed that fails is
//! run again, aloud.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    digest: DefaultHasher,
    count: u64,
    digested: u64,
    kept_max: usize,
    hidden: String,
}

/// A handle to the trace of one run, which outlives the run's end by unwinding.
#[derive(Clone, Default)]
pub struct Trace(Option<Rc<RefCell<Lines>>>);

impl Trace {
    /// A trace that keeps its last `kept_max` lines.
    #[must_use]
    pub fn aloud(kept_max: usize) -> Trace {
        Trace(Some(Rc::new(RefCell::new(Lines { kept_max, ..Lines::default() }))))
    }

    /// A trace that keeps nothing, at no cost.
    #[must_use]
    pub fn silent() -> Trace {
        Trace(None)
    }

    /// Whether lines are kept.
    #[must_use]
    pub fn is_aloud(&self) -> bool {
        self.0.is_some()
    }

    /// From now on this is left out of all lines: what is the same in no two runs.
    pub fn hide(&self, hidden: String) {
        if let Some(lines) = &self.0 {
            lines.borrow_mut().hidden = hidden;
        }
    }

    /// Adds a line, which is made only if somebody reads it.
    pub fn say(&self, line: impl FnOnce() -> String) {
        self.add(line, true);
    }

    /// Adds a line that counts for nothing: what others report, who may be silent at times.
    pub fn relay(&self, line: impl FnOnce() -> String) {
        self.add(line, false);
    }

    fn add(&self, line: impl FnOnce() -> String, counts: bool) {
        let Some(lines) = &self.0 else { return };
        let mut line = line();
        let mut lines = lines.borrow_mut();
        if !lines.hidden.is_empty() && line.contains(&lines.hidden) {
            line = line.replace(&lines.hidden, "");
        }
        if counts {
            lines.digest.write(line.as_bytes());
            lines.digested += 1;
        }
        lines.count += 1;
        if lines.kept.len() == lines.kept_max {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
    }

    /// The kept lines, oldest first.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(lines) = &self.0 {
            let lines = lines.borrow();
            let dropped = lines.count - lines.kept.len() as u64;
            if dropped > 0 {
                writeln!(text, "  ... {dropped} steps before").expect("a string takes everything");
            }
            lines.kept.iter().for_each(|line| text = std::mem::take(&mut text) + line + "\n");
        }
        text
    }

    /// How many lines there were, and a hash over all of them: equal for equal runs.
    #[must_use]
    pub fn digest(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |lines| (lines.borrow().digested, lines.borrow().digest.finish()))
    }
}
