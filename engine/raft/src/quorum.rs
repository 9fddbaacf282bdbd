//! The arithmetic of majorities, and of joint configurations, which need a majority of both halves
//! (thesis 4.3). Checked against the corpus of etcd's quorum tests.

/// A set of slots, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots(pub u32);

/// Slots are bits of a `u32`: seven nodes are the most there are, and a change may replace them all.
pub(crate) const SLOTS_MAX: usize = 32;

impl Slots {
    pub(crate) fn with(self, slot: usize) -> Slots {
        Slots(self.0 | 1 << slot)
    }

    pub(crate) fn without(self, slot: usize) -> Slots {
        Slots(self.0 & !(1 << slot))
    }

    pub(crate) fn has(self, slot: usize) -> bool {
        self.0 & 1 << slot != 0
    }

    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }

    fn and(self, other: Slots) -> Slots {
        Slots(self.0 & other.0)
    }

    /// The slots, if they are three.
    fn three(self) -> Option<[usize; 3]> {
        let after_one = self.0 & self.0.wrapping_sub(1);
        let after_two = after_one & after_one.wrapping_sub(1);
        let is_three = after_two != 0 && after_two & (after_two - 1) == 0;
        is_three.then(|| [self.0, after_one, after_two].map(|slots| slots.trailing_zeros() as usize))
    }

    /// Ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let slot = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (slot < u32::BITS).then_some(slot as usize)
        })
    }
}

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Won,
    Pending,
    Lost,
}

/// The largest value that a majority of `half` has reached: the commit index when values are what is
/// durable where. Without members every value is reached, so that an empty half decides nothing.
fn half_value(half: Slots, value: impl Fn(usize) -> u64) -> u64 {
    if let Some(slots) = half.three() {
        // Nearly every group, and this runs for every ack: the middle one of three.
        let [a, b, c] = slots.map(&value);
        let best = a.max(b).max(c);
        return if mutant!(CommitsByOne) { best } else { a.min(b).max(a.max(b).min(c)) };
    }
    let mut values = [0; SLOTS_MAX];
    let mut len = 0;
    for slot in half.iter() {
        values[len] = value(slot);
        len += 1;
    }
    values[..len].sort_unstable_by(|a, b| b.cmp(a));
    let needed = if mutant!(CommitsByOne) { 0 } else { len / 2 };
    values[..len].get(needed).copied().unwrap_or(u64::MAX)
}

/// The largest value that a majority of each half has reached.
pub(crate) fn quorum_value(halves: [Slots; 2], value: impl Fn(usize) -> u64) -> u64 {
    let [incoming, outgoing] = halves;
    let first = half_value(incoming, &value);
    if outgoing == Slots::default() || mutant!(OutgoingIgnored) {
        first
    } else {
        first.min(half_value(outgoing, value))
    }
}

fn half_tally(half: Slots, granted: Slots, rejected: Slots) -> Tally {
    let needed = half.count() / 2 + 1;
    if half.count() == 0 || half.and(granted).count() >= needed {
        Tally::Won
    } else if half.count() - half.and(rejected).count() < needed {
        Tally::Lost
    } else {
        Tally::Pending
    }
}

/// How an election stands that needs a majority of each half.
pub(crate) fn tally(halves: [Slots; 2], granted: Slots, rejected: Slots) -> Tally {
    match halves.map(|half| half_tally(half, granted, rejected)) {
        [Tally::Won, Tally::Won] => Tally::Won,
        [Tally::Lost, _] | [_, Tally::Lost] => Tally::Lost,
        _ => Tally::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, spelt out: the largest value of which most members have at least that much.
    fn naive(half: Slots, values: &[u64]) -> u64 {
        let reached = |bar: u64| half.iter().filter(|&slot| values[slot] >= bar).count();
        let candidates = half.iter().map(|slot| values[slot]);
        candidates.filter(|&bar| reached(bar) * 2 > half.iter().count()).max().unwrap_or(u64::MAX)
    }

    proptest! {
        #[test]
        fn quorum_value_agrees_with_its_definition(
            values in proptest::collection::vec(0_u64..20, 9), incoming in 0_u32..512, outgoing in 0_u32..512,
        ) {
            let halves = [Slots(incoming), Slots(outgoing)];
            let expected = naive(halves[0], &values).min(naive(halves[1], &values));
            prop_assert_eq!(quorum_value(halves, |slot| values[slot]), expected);
        }

        #[test]
        fn an_election_is_won_exactly_if_the_quorum_value_of_its_grants_is_one(
            granted in 0_u32..512, rejected in 0_u32..512, incoming in 1_u32..512, outgoing in 0_u32..512,
        ) {
            let (granted, rejected) = (Slots(granted), Slots(rejected & !granted));
            let halves = [Slots(incoming), Slots(outgoing)];
            let now = quorum_value(halves, |slot| u64::from(granted.has(slot)));
            let hope = quorum_value(halves, |slot| u64::from(!rejected.has(slot)));
            let expected = if now >= 1 { Tally::Won } else if hope >= 1 { Tally::Pending } else { Tally::Lost };
            prop_assert_eq!(tally(halves, granted, rejected), expected);
        }
    }
}
