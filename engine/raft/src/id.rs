//! The names of things: nodes, groups, terms, indexes, entry ids, and points in time.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            rkyv::Archive, rkyv::Serialize, rkyv::Deserialize,
        )]
        #[rkyv(derive(Debug))]
        pub struct $name(
            #[doc = "The bare number, as it stands in files and messages."]
            pub $inner,
        );

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

newtype! {
    /// A process of the cluster.
    NodeId(u16), "n"
}
newtype! {
    /// One replicated log and its state machine.
    GroupId(u32), "g"
}
newtype! {
    /// A period of at most one leader. Grows for ever; 0 is before the first election.
    Term(u64), "t"
}
newtype! {
    /// A place in a group's log. The first entry has index 1; `Index(0)` is "before the log".
    Index(u64), "i"
}
newtype! {
    /// A moment: microseconds of the machine's boot clock, always handed in as an input.
    Time(u64), "us"
}

impl Term {
    /// The last term that a peer is believed: one a nanosecond reaches it after 292 years. What comes after a term is then a
    /// later one, always.
    pub const MAX: Term = Term(u64::MAX >> 1);

    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }
}

impl Index {
    /// Before the log.
    pub const ZERO: Index = Index(0);

    /// The last index of a log: an entry a nanosecond reaches it after 292 years. A peer that names a later one is not
    /// believed, so that counting on from any index here needs no check.
    pub const MAX: Index = Index(u64::MAX >> 1);

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The index before this one; `Index(0)` stays.
    #[must_use]
    pub const fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Time {
    /// Later than every moment: a deadline that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time passed since `earlier`, zero if `earlier` is the later one.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at [`Time::NEVER`].
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(micros(duration)))
    }
}

/// A duration in whole microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}

/// The name of one entry: two logs that hold an entry of the same id hold the same entries up to it
/// (the Log Matching property, Raft thesis 3.5). Ordered by term first, then index, which is the
/// order of "more up to date" in elections (3.6.1).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[rkyv(derive(Debug))]
pub struct EntryId {
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl EntryId {
    /// Before the log.
    pub const ZERO: EntryId = EntryId { term: Term(0), index: Index(0) };

    /// The entry `index` of `term`.
    #[must_use]
    pub const fn new(term: Term, index: Index) -> EntryId {
        EntryId { term, index }
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EntryId {
    /// `index@term`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index.0, self.term.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_order_by_term_before_index() {
        let old_and_long = EntryId::new(Term(2), Index(90));
        let new_and_short = EntryId::new(Term(3), Index(1));
        assert!(old_and_long < new_and_short);
        assert!(EntryId::ZERO < old_and_long);
    }

    #[test]
    fn time_saturates_on_both_ends() {
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
        assert_eq!(Time(5).saturating_sub(Time(9)), Duration::ZERO);
        assert_eq!(Time(9).saturating_sub(Time(5)), Duration::from_micros(4));
    }

    #[test]
    fn display_is_what_people_grep_for() {
        let id = EntryId::new(Term(3), Index(17));
        assert_eq!(id.to_string(), "17@3");
        assert_eq!(format!("{:?} {:?} {}", NodeId(2), GroupId(7), Term(4)), "n2 g7 4");
    }
}
