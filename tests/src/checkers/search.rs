//! The search for an order: Wing and Gong's, with Lowe's memory of what was tried.
//!
//! The calls and returns of a window stand in one list by time. The search takes the first call in the
//! list whose effect fits the value so far, lifts it and its return out of the list, and starts again at
//! the front; at a return it has gone too far, because that operation should have been placed already, and
//! it takes back its latest choice. A pair (set of placed steps, value) that was reached once leads nowhere
//! new the second time. Sets are remembered by a 128-bit fingerprint: with the 10^7 pairs that fit a budget,
//! two of them collide with a probability of about 10^-25.

use std::collections::HashSet;
use std::time::Instant;

use super::prepare::Step;
use super::values::{ValueId, Values};

/// Where a window can start or end: the value, and which optional steps have been used for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Config {
    pub(super) value: ValueId,
    /// Ascending.
    pub(super) used: Vec<usize>,
}

/// The search ran out of steps or of time.
pub(super) struct Exhausted;

/// What may still be spent on a key.
pub(super) struct Budget {
    pub(super) tries: u64,
    pub(super) deadline: Instant,
}

impl Budget {
    fn spend(&mut self) -> Result<(), Exhausted> {
        const CLOCK_EVERY: u64 = 4096;
        self.tries = self.tries.checked_sub(1).ok_or(Exhausted)?;
        if self.tries.is_multiple_of(CLOCK_EVERY) && Instant::now() >= self.deadline {
            return Err(Exhausted);
        }
        Ok(())
    }
}

/// Whether one way through a window is enough, or all its ends are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    AnyEnd,
    AllEnds,
}

/// What a window allows.
pub(super) struct Found {
    /// Empty: there is no way through the window.
    pub(super) ends: HashSet<Config>,
    /// The step whose return no order got past, when there is no end.
    pub(super) stuck: Option<usize>,
}

/// Searches a window of `steps` from each of `starts`. `window` lists the steps that it must place and may
/// place (those without a `by`), in the order of their calls.
pub(super) fn search(
    steps: &[Step],
    window: &[usize],
    starts: &[Config],
    goal: Goal,
    values: &mut Values,
    budget: &mut Budget,
) -> Result<Found, Exhausted> {
    let mut found = Found { ends: HashSet::new(), stuck: None };
    let mut tried = HashSet::new();
    let mut furthest = 0;
    for start in starts {
        let mut search = Search::new(steps, window, start);
        search.run(goal, values, budget, &mut tried, &mut found.ends)?;
        if search.furthest > furthest {
            furthest = search.furthest;
            found.stuck = Some(search.events[furthest].step);
        }
        if goal == Goal::AnyEnd && !found.ends.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// A call or a return. The first and the last of the list are neither.
struct Event {
    step: usize,
    is_return: bool,
    /// Of a call: where its return is; 0 for a step that need not return.
    pair: usize,
}

/// A choice that can be taken back.
struct Choice {
    call: usize,
    value: ValueId,
}

struct Search<'a> {
    steps: &'a [Step],
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The steps of the window, and of earlier ones, that may be left out.
    optional: Vec<usize>,
    /// By step: placed in the order, here or in an earlier window.
    placed: Vec<bool>,
    fingerprint: u128,
    value: ValueId,
    /// Steps that must be placed and are not.
    missing: usize,
    choices: Vec<Choice>,
    /// The latest return that blocked the search, as a place in `events`.
    furthest: usize,
}

const HEAD: usize = 0;

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], window: &[usize], start: &Config) -> Self {
        let mut placed = vec![false; steps.len()];
        let mut fingerprint = 0;
        for &step in &start.used {
            placed[step] = true;
            fingerprint ^= mark(step);
        }
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(window.len() * 2);
        for &step in window.iter().filter(|step| !placed[**step]) {
            times.push((steps[step].called, false, step));
            times.extend(steps[step].by.map(|by| (by, true, step)));
        }
        // At equal times calls come first: the clock cannot tell which was first, so both are allowed.
        times.sort_unstable();
        let mut returns = vec![0; steps.len()];
        for (at, &(_, is_return, step)) in times.iter().enumerate() {
            if is_return {
                returns[step] = at + 1;
            }
        }
        let end = || Event { step: usize::MAX, is_return: true, pair: 0 };
        let mut events = vec![end()];
        events.extend(times.iter().map(|&(_, is_return, step)| Event {
            step,
            is_return,
            pair: if is_return { 0 } else { returns[step] },
        }));
        events.push(end());
        let count = events.len();
        Search {
            steps,
            missing: times.iter().filter(|(_, is_return, _)| *is_return).count(),
            events,
            next: (1..=count).collect(),
            previous: (0..count).map(|at| at.saturating_sub(1)).collect(),
            optional: window.iter().copied().filter(|step| steps[*step].by.is_none()).collect(),
            placed,
            fingerprint,
            value: start.value,
            choices: Vec::new(),
            furthest: 0,
        }
    }

    fn run(
        &mut self,
        goal: Goal,
        values: &mut Values,
        budget: &mut Budget,
        tried: &mut HashSet<(u128, ValueId)>,
        ends: &mut HashSet<Config>,
    ) -> Result<(), Exhausted> {
        let mut at = self.next[HEAD];
        loop {
            if self.missing == 0 {
                ends.insert(self.end());
                if goal == Goal::AnyEnd {
                    return Ok(());
                }
            }
            let event = &self.events[at];
            if self.missing == 0 || event.is_return {
                if self.missing > 0 {
                    self.furthest = self.furthest.max(at);
                }
                match self.take_back() {
                    Some(call) => at = self.next[call],
                    None => return Ok(()),
                }
                continue;
            }
            budget.spend()?;
            let step = event.step;
            let after =
                if self.allowed(step) { values.after(self.value, &self.steps[step].action) } else { None };
            let useless = self.steps[step].by.is_none() && after == Some(self.value);
            match after {
                Some(value) if !useless && tried.insert((self.fingerprint ^ mark(step), value)) => {
                    self.place(at, value);
                    at = self.next[HEAD];
                }
                _ => at = self.next[at],
            }
        }
    }

    fn allowed(&self, step: usize) -> bool {
        self.steps[step].twin.is_none_or(|twin| self.placed[twin])
    }

    fn end(&self) -> Config {
        let used = self.optional.iter().copied().filter(|step| self.placed[*step]).collect();
        Config { value: self.value, used }
    }

    fn place(&mut self, call: usize, value: ValueId) {
        let Event { step, pair, .. } = self.events[call];
        self.choices.push(Choice { call, value: self.value });
        self.value = value;
        self.placed[step] = true;
        self.fingerprint ^= mark(step);
        self.unlink(call);
        if pair != 0 {
            self.unlink(pair);
            self.missing -= 1;
        }
    }

    fn take_back(&mut self) -> Option<usize> {
        let Choice { call, value } = self.choices.pop()?;
        let Event { step, pair, .. } = self.events[call];
        if pair != 0 {
            self.relink(pair);
            self.missing += 1;
        }
        self.relink(call);
        self.fingerprint ^= mark(step);
        self.placed[step] = false;
        self.value = value;
        Some(call)
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    /// Undoes the latest unlink that is not yet undone.
    fn relink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}

/// A step's random mark; the marks of a set are combined by exclusive or. (SplitMix64, twice.)
fn mark(step: usize) -> u128 {
    let mix = |seed: u64| {
        let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let step = step as u64 * 2;
    u128::from(mix(step)) << 64 | u128::from(mix(step + 1))
}
