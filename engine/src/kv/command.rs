//! The commands of the key-value machine, as they are decided on, borrowed from wherever their bytes stand.

use super::codec::Reader;
use smallvec::SmallVec;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Longest value, in bytes, also as the result of a command.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One command on the keys of one group. Writes go through the log as [`encode`](Self::encode) writes them and
/// come back by [`decode`](Self::decode); reads run as they are, or encoded where they must wait or travel.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the fields are the arguments of the command of that name")]
pub enum Command<'a> {
    /// SET, and GETSET with `get`.
    Set { key: &'a [u8], value: &'a [u8], condition: Condition, get: bool },
    /// SETNX: as SET NX, but answers 1 or 0.
    SetNx { key: &'a [u8], value: &'a [u8] },
    /// GETDEL.
    GetDel { key: &'a [u8] },
    /// MSET; keys and values by turns.
    MSet { pairs: List<'a> },
    /// DEL and UNLINK.
    Del { keys: List<'a> },
    /// APPEND.
    Append { key: &'a [u8], value: &'a [u8] },
    /// SETRANGE; the offset is not negative.
    SetRange { key: &'a [u8], offset: u64, value: &'a [u8] },
    /// INCR, DECR, INCRBY, DECRBY.
    IncrBy { key: &'a [u8], by: i64 },
    /// FLUSHALL and FLUSHDB, for the keys of this group.
    Flush,
    /// GET.
    Get { key: &'a [u8] },
    /// MGET.
    MGet { keys: List<'a> },
    /// EXISTS and TOUCH.
    Exists { keys: List<'a> },
    /// TYPE.
    Type { key: &'a [u8] },
    /// STRLEN.
    StrLen { key: &'a [u8] },
    /// GETRANGE and SUBSTR.
    GetRange { key: &'a [u8], start: i64, end: i64 },
    /// SCAN of this group's keys from `cursor` on, looking at about `count` of them. After the last one it
    /// answers `then` as the next cursor: the first of the group that follows, or 0.
    Scan { cursor: u64, then: u64, count: u32, pattern: Option<&'a [u8]>, kind: Option<&'a [u8]> },
    /// KEYS.
    Keys { pattern: &'a [u8] },
    /// RANDOMKEY: answers an array of how many keys there are and, if any, one of them, picked by `seed`.
    RandomKey { seed: u64 },
    /// DBSIZE.
    DbSize,
    /// CLUSTER COUNTKEYSINSLOT.
    SlotLen { slot: u16 },
    /// CLUSTER GETKEYSINSLOT.
    SlotKeys { slot: u16, count: u32 },
}

impl Command<'_> {
    /// Whether it may change the state and so goes through the log.
    pub fn is_write(&self) -> bool {
        use Command::{Append, Del, Flush, GetDel, IncrBy, MSet, Set, SetNx, SetRange};
        matches!(
            self,
            Set { .. }
                | SetNx { .. }
                | GetDel { .. }
                | MSet { .. }
                | Del { .. }
                | Append { .. }
                | SetRange { .. }
                | IncrBy { .. }
                | Flush
        )
    }
}

impl<'a> Command<'a> {
    /// Names each key that it may change, and says whether it takes it away.
    pub(super) fn for_each_written(&self, mut name: impl FnMut(&'a [u8], bool)) {
        match self {
            Command::Set { key, .. }
            | Command::SetNx { key, .. }
            | Command::Append { key, .. }
            | Command::SetRange { key, .. }
            | Command::IncrBy { key, .. } => name(key, false),
            Command::GetDel { key } => name(key, true),
            Command::MSet { pairs } => pairs.pairs().for_each(|(key, _)| name(key, false)),
            Command::Del { keys } => keys.iter().for_each(|key| name(key, true)),
            _ => {}
        }
    }
}

/// When SET takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// In any case.
    #[default]
    Always,
    /// NX: if the key does not exist.
    Absent,
    /// XX: if the key exists.
    Present,
}

/// Several arguments of a command: all in a row, some of a client's, or encoded ones.
#[derive(Clone, Debug)]
pub struct List<'a>(Items<'a>);

#[derive(Clone, Debug)]
enum Items<'a> {
    Slice(&'a [&'a [u8]]),
    Picked(&'a [&'a [u8]], SmallVec<[u32; 4]>),
    Encoded(&'a [u8], usize),
}

impl<'a> List<'a> {
    /// All of these arguments.
    pub fn slice(args: &'a [&'a [u8]]) -> Self {
        Self(Items::Slice(args))
    }

    /// Those of `args` that `picked` names, in its order.
    ///
    /// # Panics
    /// If there is no such argument.
    pub fn picked(args: &'a [&'a [u8]], picked: SmallVec<[u32; 4]>) -> Self {
        assert!(picked.iter().all(|&at| (at as usize) < args.len()), "picked arguments exist");
        Self(Items::Picked(args, picked))
    }

    /// `len` encoded arguments; the decoder has walked through them once.
    pub(super) fn encoded(bytes: &'a [u8], len: usize) -> Self {
        Self(Items::Encoded(bytes, len))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Items::Slice(args) => args.len(),
            Items::Picked(_, picked) => picked.len(),
            Items::Encoded(_, len) => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The arguments in order.
    pub fn iter(&self) -> ListIter<'_, 'a> {
        match &self.0 {
            Items::Slice(args) => ListIter::Slice(args.iter()),
            Items::Picked(args, picked) => ListIter::Picked(args, picked.iter()),
            Items::Encoded(bytes, _) => ListIter::Encoded(Reader::new(bytes)),
        }
    }

    /// The arguments two by two.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut items = self.iter();
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }
}

impl PartialEq for List<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for List<'_> {}

/// The arguments of a [`List`] in order.
#[derive(Clone, Debug)]
pub enum ListIter<'l, 'a> {
    #[doc(hidden)]
    Slice(std::slice::Iter<'a, &'a [u8]>),
    #[doc(hidden)]
    Picked(&'a [&'a [u8]], std::slice::Iter<'l, u32>),
    #[doc(hidden)]
    Encoded(Reader<'a>),
}

impl<'a> Iterator for ListIter<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Slice(args) => args.next().copied(),
            Self::Picked(args, picked) => picked.next().map(|&at| args[at as usize]),
            Self::Encoded(reader) => reader.bytes().ok(),
        }
    }
}
