//! How a check says that something is wrong: it unwinds with a [`Violation`], which the runner
//! catches, names and prints with the seed.

use std::panic::resume_unwind;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that saw it: the name of its file in `checks`, or of its part of the specification.
    pub check: &'static str,
    /// What it saw.
    pub text: String,
}

/// Ends the run. Unwinds without calling the panic hook, so that thousands of mutants die in silence.
pub fn violated(check: &'static str, text: String) -> ! {
    resume_unwind(Box::new(Violation { check, text }))
}

/// Ends the run unless the condition holds.
macro_rules! require {
    ($holds:expr, $check:expr, $($text:tt)+) => {
        if !$holds {
            $crate::core_sim::violation::violated($check, format!($($text)+));
        }
    };
}

pub(crate) use require;
