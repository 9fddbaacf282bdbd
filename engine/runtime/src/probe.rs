//! What tests see of code that is deep inside, and do to it: **marks** say that a place was reached, **mutants** are known
//! bugs that are injected on purpose. Both are off, and cost nothing, in every build but those of the tests that turn on
//! the features `marks` and `mutants`. The core has mutants of its own (`raft::mutant`), since it depends on nothing.

#[cfg(feature = "mutants")]
use std::cell::Cell;
#[cfg(feature = "marks")]
use std::{cell::RefCell, collections::BTreeMap};

/// Notes that this place was reached, under a name that no other place has.
#[macro_export]
macro_rules! mark {
    ($name:literal) => {
        $crate::probe::mark($name)
    };
}

/// Whether the bug of this name is injected into this thread: false in every build but the mutant runner's.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::probe::is_mutant($name)
    };
}

#[cfg(feature = "marks")]
thread_local! {
    static MARKS: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

#[cfg(feature = "mutants")]
thread_local! {
    static MUTANT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// See [`mark!`].
#[inline(always)]
pub fn mark(name: &'static str) {
    #[cfg(feature = "marks")]
    MARKS.with_borrow_mut(|marks| *marks.entry(name).or_default() += 1);
    #[cfg(not(feature = "marks"))]
    let _ = name;
}

/// See [`mutant!`].
#[inline(always)]
pub fn is_mutant(name: &'static str) -> bool {
    #[cfg(feature = "mutants")]
    return MUTANT.get() == Some(name);
    #[cfg(not(feature = "mutants"))]
    {
        let _ = name;
        false
    }
}

/// How often each marked place was reached in this thread since this was last asked.
#[cfg(feature = "marks")]
pub fn take_marks() -> BTreeMap<&'static str, u64> {
    MARKS.take()
}

/// Injects this bug, or none, into this thread.
#[cfg(feature = "mutants")]
pub fn set_mutant(name: Option<&'static str>) {
    MUTANT.set(name);
}
