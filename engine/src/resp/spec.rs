//! What there is to know about each command: how many arguments, where its keys are, what COMMAND tells.

use super::spec_table::COMMANDS;

/// A command or subcommand.
#[derive(Debug)]
pub(super) struct Spec {
    pub verb: Verb,
    /// The name, or the subcommand's part of it, in lower case.
    pub name: &'static str,
    /// `client|id` for the subcommand `id` of `client`.
    pub full_name: &'static str,
    /// How many arguments with the name; negative: at least so many.
    pub arity: i8,
    /// Flags, parted by spaces.
    pub flags: &'static str,
    pub keys: Keys,
    /// What it does to its keys, parted by spaces.
    pub key_flags: &'static str,
    /// Categories of access rights beyond those that follow from the flags, parted by spaces.
    pub categories: &'static str,
    /// Hints to clients, parted by spaces.
    pub tips: &'static str,
    pub group: &'static str,
    pub since: &'static str,
    pub summary: &'static str,
    pub subcommands: &'static [Spec],
}

/// Which arguments are keys: from `first` to `last` (negative: from the end) by steps; none if `first` is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub first: i8,
    pub last: i8,
    pub step: i8,
}

impl Keys {
    pub const NONE: Keys = Keys { first: 0, last: 0, step: 0 };
    pub const ONE: Keys = Keys { first: 1, last: 1, step: 1 };
    pub const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
    pub const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

    /// The keys among a command's arguments.
    pub fn of<'a>(self, args: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
        let end = match (self.first, self.last) {
            (0, _) => 0,
            (_, last) if last < 0 => args.len() - usize::from(last.unsigned_abs()) + 1,
            (_, last) => usize::from(last.unsigned_abs()) + 1,
        };
        let first = usize::from(self.first.unsigned_abs());
        args.iter().take(end).skip(first).step_by(usize::from(self.step.unsigned_abs()).max(1)).copied()
    }
}

impl Spec {
    /// Whether it takes `count` arguments, its name included.
    pub fn takes(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= arity } else { count == arity }
    }

    /// The subcommand of a name in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Spec> {
        self.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// All commands, in the order of the table.
pub(super) fn all() -> &'static [Spec] {
    &COMMANDS
}

/// The command of a name in any case.
pub(super) fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    // A slot of the index has few names; most have one or none.
    let mut at = INDEX[hash(lower)];
    while at != NO_COMMAND {
        let spec = &COMMANDS[usize::from(at)];
        if spec.name.as_bytes() == lower {
            return Some(spec);
        }
        at = NEXT[usize::from(at)];
    }
    None
}

const NAME_BYTES_MAX: usize = 10;
const INDEX_LEN: usize = 256;
const NO_COMMAND: u8 = u8::MAX;

/// From a name's length and its first and last letters: enough to keep most names apart.
const fn hash(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let middle = name[name.len() / 2] as usize;
    (name.len() * 7 + name[0] as usize * 31 + middle * 13 + name[name.len() - 1] as usize * 5) % INDEX_LEN
}

/// The first command of each hash, and for each command the next one of the same hash.
const TABLES: ([u8; INDEX_LEN], [u8; COMMANDS.len()]) = {
    let mut first = [NO_COMMAND; INDEX_LEN];
    let mut next = [NO_COMMAND; COMMANDS.len()];
    let mut at = 0_u8;
    while (at as usize) < COMMANDS.len() {
        let name = COMMANDS[at as usize].name.as_bytes();
        assert!(name.len() <= NAME_BYTES_MAX);
        let slot = hash(name);
        next[at as usize] = first[slot];
        first[slot] = at;
        at += 1;
    }
    (first, next)
};
static INDEX: [u8; INDEX_LEN] = TABLES.0;
static NEXT: [u8; COMMANDS.len()] = TABLES.1;

/// What a command is, once its name is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Append,
    Asking,
    Auth,
    ClientGetName,
    ClientId,
    ClientInfo,
    ClientList,
    ClientNoEvict,
    ClientNoTouch,
    ClientSetInfo,
    ClientSetName,
    ClusterCountKeysInSlot,
    ClusterGetKeysInSlot,
    ClusterInfo,
    ClusterKeySlot,
    ClusterMyId,
    ClusterNodes,
    ClusterShards,
    ClusterSlots,
    Command,
    CommandCount,
    CommandDocs,
    CommandGetKeys,
    CommandInfo,
    CommandList,
    ConfigGet,
    ConfigResetStat,
    ConfigSet,
    /// A command of subcommands only.
    Container,
    DbSize,
    Decr,
    DecrBy,
    Del,
    Echo,
    Exists,
    FlushAll,
    FlushDb,
    FunctionFlush,
    Get,
    GetDel,
    GetRange,
    GetSet,
    Hello,
    /// The HELP of any container.
    Help,
    Incr,
    IncrBy,
    Info,
    Keys,
    MGet,
    MSet,
    Ping,
    Quit,
    RandomKey,
    ReadOnly,
    ReadWrite,
    Reset,
    RingraftFiles,
    RingraftMember,
    RingraftRead,
    RingraftSnapshot,
    RingraftStatus,
    RingraftTransfer,
    Role,
    Scan,
    Select,
    Set,
    SetNx,
    SetRange,
    StrLen,
    SubStr,
    Time,
    Touch,
    Type,
    Unlink,
    Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case_and_nothing_else() {
        for spec in all() {
            assert_eq!(find(spec.name.as_bytes()).map(|found| found.name), Some(spec.name));
            assert_eq!(
                find(spec.name.to_ascii_uppercase().as_bytes()).map(|found| found.verb),
                Some(spec.verb)
            );
            assert!(find(format!("{}x", spec.name).as_bytes()).is_none());
            for sub in spec.subcommands {
                assert_eq!(sub.full_name, format!("{}|{}", spec.name, sub.name));
                assert!(spec.subcommand(sub.name.to_uppercase().as_bytes()).is_some());
            }
        }
        for unknown in [&b""[..], b"a", b"debug", b"gat", b"\xff\xff\xff", b"a-name-longer-than-any"] {
            assert!(find(unknown).is_none());
        }
    }

    #[test]
    fn chains_of_the_index_are_short() {
        let next = |&at: &u8| Some(NEXT[usize::from(at)]).filter(|&at| at != NO_COMMAND);
        let firsts = INDEX.iter().filter(|&&at| at != NO_COMMAND);
        let longest = firsts.map(|&first| std::iter::successors(Some(first), next).count()).max();
        assert!(longest <= Some(3), "{longest:?}");
    }

    #[test]
    fn keys_are_where_the_table_says() {
        let args: [&[u8]; 5] = [b"x", b"1", b"2", b"3", b"4"];
        let keys = |keys: Keys| keys.of(&args).map(|key| key[0]).collect::<Vec<u8>>();
        assert_eq!(keys(Keys::NONE), b"");
        assert_eq!(keys(Keys::ONE), b"1");
        assert_eq!(keys(Keys::ALL), b"1234");
        assert_eq!(keys(Keys::PAIRS), b"13");
    }
}
