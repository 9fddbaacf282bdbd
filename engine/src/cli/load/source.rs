//! What to send next.

use super::keys::Picker;
use super::ledger::Ledger;
use super::schedule::Schedule;
use super::workload::Phase;

/// Reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Read,
    Write,
}

/// One request that is to be sent, or was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) class: Class,
    pub(super) key: u64,
    /// Its hash slot, once it is known and if it matters.
    pub(super) slot: u16,
    /// Of a verified write: its own. Of a verified read: the least it must return.
    pub(super) sequence: u32,
    /// When it was due: from here its latency counts.
    pub(super) due_ns: u64,
    /// How often it was sent elsewhere.
    pub(super) moves: u8,
}

/// What [`Source::next`] has.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this.
    Send(Operation),
    /// Nothing is due before this time.
    At(u64),
    /// Nothing now; answers that are under way may change that.
    Wait,
    /// All was sent.
    Done,
}

/// One thread's requests of one phase.
#[derive(Debug)]
pub(super) enum Source {
    Mix(Mix),
    Sweep(Sweep),
}

/// Random keys, reads and writes in a given proportion.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) picker: Picker,
    pub(super) reads_percent: u8,
    /// Requests that are left.
    pub(super) left: u64,
    pub(super) end_ns: u64,
    /// None: a request is due when there is room for it.
    pub(super) schedule: Option<Schedule>,
}

/// Every key once, and again until it worked.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) phase: Phase,
    pub(super) class: Class,
    /// The next key; `threads` further the one after it.
    pub(super) next: u64,
    pub(super) threads: u64,
    pub(super) keys: u64,
    pub(super) again: Vec<u64>,
}

impl Source {
    /// Of a thread that has nothing to do yet.
    pub(super) fn nothing() -> Source {
        let (phase, class) = (Phase::Preload, Class::Read);
        Source::Sweep(Sweep { phase, class, next: 0, threads: 1, keys: 0, again: Vec::new() })
    }

    pub(super) fn next(&mut self, now_ns: u64, rng: &mut fastrand::Rng, ledger: Option<&mut Ledger>) -> Next {
        match self {
            Source::Mix(mix) => mix.next(now_ns, rng, ledger),
            Source::Sweep(sweep) => sweep.next(now_ns, ledger),
        }
    }

    /// The request was not answered as wanted, and had no effect that matters: a sweep sends it again.
    pub(super) fn again(&mut self, operation: &Operation) {
        if let Source::Sweep(sweep) = self {
            sweep.again.push(operation.key);
        }
    }

    /// All was sent, at `now_ns`: how many requests were due by then and never sent, and how far (in
    /// nanoseconds) the schedule was behind at worst.
    pub(super) fn close(&mut self, now_ns: u64) -> (u64, u64) {
        match self {
            Source::Mix(Mix { schedule: Some(schedule), end_ns, .. }) => {
                (schedule.close(now_ns.min(*end_ns)), schedule.lag_max_ns())
            }
            _ => (0, 0),
        }
    }

    /// Whether it ends at a certain time, whatever happens.
    pub(super) fn ends_in_time(&self) -> bool {
        matches!(self, Source::Mix(mix) if mix.end_ns != u64::MAX)
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        matches!(self, Source::Sweep(sweep) if sweep.phase == phase)
    }
}

impl Mix {
    fn next(&mut self, now_ns: u64, rng: &mut fastrand::Rng, ledger: Option<&mut Ledger>) -> Next {
        if self.left == 0 || now_ns >= self.end_ns {
            return Next::Done;
        }
        let due_ns = match &mut self.schedule {
            None => now_ns,
            Some(schedule) if schedule.due() >= self.end_ns => return Next::Done,
            Some(schedule) if schedule.due() > now_ns => return Next::At(schedule.due()),
            Some(schedule) => schedule.take(now_ns),
        };
        self.left -= 1;
        let class = if rng.u8(0..100) < self.reads_percent { Class::Read } else { Class::Write };
        let key = self.picker.pick(rng);
        let operation = Operation { class, key, slot: 0, sequence: 0, due_ns, moves: 0 };
        Next::Send(match ledger {
            None => operation,
            Some(ledger) => verified(ledger, Operation { key: ledger.own(key), ..operation }),
        })
    }
}

/// With a ledger a write may have to go to a neighbour, or to become a read when all of them are taken.
fn verified(ledger: &mut Ledger, operation: Operation) -> Operation {
    if operation.class == Class::Write
        && let Some(key) = ledger.writable(operation.key)
    {
        return Operation { key, sequence: ledger.attempt(key), ..operation };
    }
    Operation { class: Class::Read, sequence: ledger.floor(operation.key), ..operation }
}

impl Sweep {
    fn next(&mut self, now_ns: u64, ledger: Option<&mut Ledger>) -> Next {
        let key = match self.again.pop() {
            Some(key) => key,
            None if self.next < self.keys => {
                self.next += self.threads;
                self.next - self.threads
            }
            None => return Next::Wait,
        };
        let sequence = match (ledger, self.class) {
            (None, _) => 0,
            (Some(ledger), Class::Write) => ledger.attempt(key),
            (Some(ledger), Class::Read) => ledger.floor(key),
        };
        Next::Send(Operation { class: self.class, key, slot: 0, sequence, due_ns: now_ns, moves: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Distribution;
    use super::super::ledger::Outcome;
    use super::super::schedule::Arrival;
    use super::*;

    fn mix(left: u64, end_ns: u64, schedule: Option<Schedule>) -> Source {
        let picker = Picker::new(Distribution::Uniform, 100);
        Source::Mix(Mix { picker, reads_percent: 30, left, end_ns, schedule })
    }

    /// Runs in virtual time: time passes only when the source has nothing due.
    fn drain(source: &mut Source, mut now_ns: u64) -> (Vec<Operation>, u64) {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut sent = Vec::new();
        loop {
            match source.next(now_ns, &mut rng, None) {
                Next::Send(operation) => sent.push(operation),
                Next::At(at) => now_ns = at,
                Next::Wait | Next::Done => return (sent, now_ns),
            }
        }
    }

    #[test]
    fn a_rate_is_kept_until_the_end() {
        let schedule = Schedule::new(Arrival::Fixed, 1000.0, 0, 0.0, 1);
        let (sent, now) = drain(&mut mix(u64::MAX, 2_000_000_000, Some(schedule)), 0);
        assert_eq!(sent.len(), 2000);
        assert!(now < 2_000_000_000);
        assert!(sent.iter().zip(0u64..).all(|(operation, n)| operation.due_ns == n * 1_000_000));
    }

    #[test]
    fn requests_end_a_mix_too_and_have_the_proportion() {
        let (sent, _) = drain(&mut mix(10_000, u64::MAX, None), 7);
        assert_eq!(sent.len(), 10_000);
        let reads = sent.iter().filter(|operation| operation.class == Class::Read).count();
        assert!((2_800..3_200).contains(&reads), "{reads} reads of 30 %");
        assert!(sent.iter().all(|operation| operation.key < 100 && operation.due_ns == 7));
    }

    #[test]
    fn a_sweep_sends_each_own_key_and_repeats_on_demand() {
        let sweep =
            Sweep { phase: Phase::Preload, class: Class::Write, next: 1, threads: 3, keys: 8, again: vec![] };
        let mut source = Source::Sweep(sweep);
        let (sent, _) = drain(&mut source, 0);
        assert_eq!(sent.iter().map(|operation| operation.key).collect::<Vec<_>>(), [1, 4, 7]);
        source.again(&sent[1]);
        let (sent, _) = drain(&mut source, 0);
        assert_eq!(sent.iter().map(|operation| operation.key).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn verified_writes_never_meet() {
        let mut ledger = Ledger::new(1, 0, 1, 5, &[b'x'; 40]);
        let mut rng = fastrand::Rng::with_seed(4);
        let picker = Picker::new(Distribution::Uniform, 5);
        let mut source =
            Source::Mix(Mix { picker, reads_percent: 0, left: 12, end_ns: u64::MAX, schedule: None });
        let mut sent = Vec::new();
        while let Next::Send(operation) = source.next(0, &mut rng, Some(&mut ledger)) {
            sent.push(operation);
        }
        let writes: Vec<&Operation> =
            sent.iter().filter(|operation| operation.class == Class::Write).collect();
        let mut keys: Vec<u64> = writes.iter().map(|operation| operation.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2, 3, 4], "each key is written once while nothing is answered");
        assert_eq!(sent.len(), 12, "the rest became reads");
        for write in writes {
            ledger.settle(write.key, write.sequence, Outcome::Acknowledged);
        }
        assert_eq!(ledger.verdict().acknowledged, 5);
    }
}
