//! From what clients recorded to what the search needs: which operations count, what is known of those
//! without a reply, and where the history falls into windows.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::values::{ABSENT, Action, Sum, UNSEEN, Values};
use crate::history::{Operation, Outcome, Reply, Request};

/// An operation as the search sees it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) called: u64,
    /// By when it has taken effect; `None`: at any time after `called`, or never.
    pub(super) by: Option<u64>,
    /// Its place in the key's recorded operations.
    pub(super) source: usize,
    /// An earlier optional step with the same effect. It is as good and available earlier, so this one
    /// need not be tried before it: k equal lost writes cost k + 1 cases instead of 2^k.
    pub(super) twin: Option<usize>,
}

/// The steps of one key in the order of their calls.
pub(super) fn steps(operations: &[&Operation], values: &mut Values) -> Vec<Step> {
    let observed = Observed::of(operations);
    let deletes = operations.iter().any(|o| matches!(o.request, Request::Del));
    let mut steps: Vec<Step> = Vec::with_capacity(operations.len());
    for (source, operation) in operations.iter().enumerate() {
        let reply = match &operation.outcome {
            Outcome::Fail => continue,
            Outcome::Unknown => None,
            Outcome::Ok { reply, .. } => Some(reply),
        };
        let by = match reply {
            Some(_) => operation.returned(),
            None => observed.first_return(&operation.request),
        };
        let Some(action) = action(&operation.request, reply, &observed, values) else { continue };
        let invisible = action == Action::Set(UNSEEN) && !deletes;
        if by.is_none() && invisible {
            continue; // No reply of this key can depend on it.
        }
        steps.push(Step { action, called: operation.called, by, source, twin: None });
    }
    link_twins(&mut steps);
    steps
}

/// What reads of this key returned, and who can have written it.
struct Observed<'a> {
    /// When the first read that returned a value did so.
    first: HashMap<&'a [u8], u64>,
    /// How often each value was SET.
    writers: HashMap<&'a [u8], usize>,
    /// Some request computes its value from the old one, so a value says little about who wrote it.
    derived: bool,
}

impl<'a> Observed<'a> {
    fn of(operations: &[&'a Operation]) -> Self {
        let mut observed = Observed { first: HashMap::new(), writers: HashMap::new(), derived: false };
        for operation in operations {
            match &operation.request {
                Request::Set(value) => *observed.writers.entry(value).or_default() += 1,
                Request::Incr(_) | Request::Append(_) => observed.derived = true,
                Request::Get | Request::Del => {}
            }
            if let Outcome::Ok { returned, reply: Reply::Value(Some(value)) } = &operation.outcome {
                let at = observed.first.entry(value).or_insert(*returned);
                *at = (*at).min(*returned);
            }
        }
        observed
    }

    /// Whether it makes no difference to any reply which value this is.
    fn nobody_saw(&self, value: &[u8]) -> bool {
        !self.derived && !self.first.contains_key(value)
    }

    /// An unanswered SET of a value that nobody else wrote has taken effect by the time the first read of
    /// that value returned. One pass is a fixpoint: only answered reads observe, and there are no more of
    /// them once a write is resolved.
    fn first_return(&self, request: &Request) -> Option<u64> {
        match request {
            Request::Set(value) if !self.derived && self.writers[value.as_slice()] == 1 => {
                self.first.get(value.as_slice()).copied()
            }
            _ => None,
        }
    }
}

fn action(
    request: &Request,
    reply: Option<&Reply>,
    observed: &Observed<'_>,
    values: &mut Values,
) -> Option<Action> {
    let number = match reply {
        Some(Reply::Integer(number)) => Some(*number),
        _ => None,
    };
    Some(match request {
        Request::Get => Action::Get(match reply? {
            Reply::Value(Some(value)) => values.id(value),
            _ => ABSENT,
        }),
        Request::Set(value) if reply.is_none() && observed.nobody_saw(value) => Action::Set(UNSEEN),
        Request::Set(value) => Action::Set(values.id(value)),
        Request::Del => Action::Del(number),
        Request::Incr(by) => {
            let refused = matches!(reply, Some(Reply::NotAnInteger)).then_some(Sum::NotAnInteger);
            Action::Incr { by: *by, sum: number.map(Sum::Is).or(refused) }
        }
        Request::Append(tail) => Action::Append { tail: tail.clone(), length: number },
    })
}

fn link_twins(steps: &mut [Step]) {
    let mut last = HashMap::<Action, usize>::new();
    for (at, step) in steps.iter_mut().enumerate() {
        if step.by.is_none() {
            step.twin = last.insert(step.action.clone(), at);
        }
    }
}

/// Cuts the steps where nothing is in flight, into windows of at least `len_min` steps each. What holds
/// before a cut has returned before anything after it was called; optional steps reach over cuts.
pub(super) fn windows(steps: &[Step], len_min: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = 0;
    let mut quiet_after = 0;
    for (at, step) in steps.iter().enumerate() {
        if at - start >= len_min.max(1) && step.called > quiet_after {
            windows.push(start..at);
            start = at;
        }
        quiet_after = quiet_after.max(step.by.unwrap_or(0));
    }
    if start < steps.len() {
        windows.push(start..steps.len());
    }
    windows
}

/// The steps `keep` of a window that failed, cut down to as few as still fail. `fails` answers whether a
/// list of steps cannot be ordered; it is asked a bounded number of times.
pub(super) fn shrink(
    steps: &[Step],
    mut keep: Vec<usize>,
    mut fails: impl FnMut(&[usize]) -> bool,
) -> Vec<usize> {
    let mut size = keep.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < keep.len() {
            let end = (start + size).min(keep.len());
            let without = without_removable(steps, &keep, start..end);
            if without.len() < keep.len() && fails(&without) {
                keep = without;
            } else {
                start = end;
            }
        }
        size /= 2;
    }
    keep
}

/// A read can always be left out of an illegal history's evidence: fewer reads constrain less. A SET can
/// be left out when no kept reply depends on its value.
fn without_removable(steps: &[Step], keep: &[usize], range: Range<usize>) -> Vec<usize> {
    let outside = || keep.iter().enumerate().filter(|(at, _)| !range.contains(at)).map(|(_, step)| *step);
    let mut read = HashSet::new();
    let mut only_get_and_set = true;
    for &step in keep {
        only_get_and_set &= matches!(steps[step].action, Action::Get(_) | Action::Set(_));
    }
    for step in outside() {
        if let Action::Get(value) = steps[step].action {
            read.insert(value);
        }
    }
    let stays = |(at, step): (usize, &usize)| {
        let removable = match &steps[*step].action {
            Action::Get(_) => true,
            Action::Set(value) => only_get_and_set && !read.contains(value),
            _ => false,
        };
        (!range.contains(&at) || !removable).then_some(*step)
    };
    keep.iter().enumerate().filter_map(stays).collect()
}
