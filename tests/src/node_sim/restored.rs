//! What backups held, judged by what was applied: a group's keys are those that its entries up to the backup's leave behind, and
//! no write is missing that was acknowledged before the backup began. Then one is restored into another cluster, of other nodes,
//! shards and groups, which must hold just that.

use std::collections::{BTreeMap, BTreeSet};

use ringraft::cli::backup::simulated::{GroupState, Restore};

use super::backups::{CHECK, Done};
use super::machine::client_address;
use super::profile::Profile;
use super::violated_if;
use super::witnessed::aside;
use super::world::{Happening, World};
use crate::checkers::witness::Entry;
use crate::client::{Value, encode};
use crate::core_sim::violation::violated;
use crate::history::{Bytes, Operation, Request, printable};

/// The cluster that is restored into is to do what it is asked within this.
const WITHIN_US: u64 = 60_000_000;
/// An answer comes within this, or the connection is given up.
const ANSWER_US: u64 = 5_000_000;
/// Between two tries.
const RETRY_US: u64 = 100_000;
/// Keys that are read in one write.
const READ_AT_ONCE: usize = 200;

type State = BTreeMap<Bytes, Bytes>;

impl World {
    /// Judges all backups of this life, by the entries that were applied and whose they are.
    pub(super) fn check_backups(&self, operations: &[Operation], entries: &[Entry]) {
        for Done { began_us, states } in &self.backups.done {
            for state in states {
                let of_group = || entries.iter().filter(|entry| entry.group == state.group);
                check_keys(state, operations, of_group());
                check_acknowledged(state, operations, of_group(), began_us * 1000);
            }
            let groups: BTreeSet<u32> = states.iter().map(|state| state.group).collect();
            violated_if(groups != (1..=self.profile.groups).collect(), CHECK, || {
                format!("a backup is of the groups {groups:?}")
            });
        }
    }

    /// Restores the last backup of this life into a cluster of its own.
    pub(super) fn restore_last_backup(&mut self) {
        let Some(Done { states, .. }) = self.backups.done.pop() else { return };
        let state: State = states.into_iter().flat_map(|state| state.keys).collect();
        let random = &mut self.random;
        let mut profile = Profile::plain([1, 3, 3, 5][random.usize(..4)]);
        (profile.clients, profile.shards) = (0, random.u16(1..=3));
        profile.groups = [1, 3, 7][random.usize(..3)];
        profile.segment_bytes = 2 << 20; // lists grow large
        profile.snapshot_after_bytes = [16 << 10, 1 << 30][random.usize(..2)];
        let seed = random.u64(..);
        self.say(|| format!("{} keys are restored into {profile:?}", state.len()));
        let trace = self.trace.clone();
        aside(|| {
            let mut world = World::new(fastrand::Rng::with_seed(seed), profile, trace);
            world.operator.is_scripted = true;
            world.begin();
            world.restore(&state);
            (0..world.machines.len()).for_each(|machine| world.check_restored(machine, &state));
        });
    }

    /// Writes all keys through any node; one of them is killed meanwhile.
    fn restore(&mut self, state: &State) {
        let mut restore = Restore::default();
        let killed_at = self.random.usize(..=state.len());
        for (place, (key, value)) in state.iter().enumerate() {
            if place == killed_at {
                let machine = self.random.usize(..self.machines.len());
                self.kill(machine);
                self.plan(1_000, Happening::Start { machine });
            }
            if restore.add(key, value) {
                self.write_all(&mut restore);
            }
        }
        self.write_all(&mut restore);
    }

    fn write_all(&mut self, restore: &mut Restore) {
        let until_us = self.now_us + WITHIN_US;
        while restore.left() > 0 {
            violated_if(self.now_us >= until_us, CHECK, || "nothing is restored any more".to_owned());
            let machine = self.random.usize(..self.machines.len());
            let shard = self.random.u16(..self.profile.shards);
            self.ask(machine, shard, restore.requests(), restore.left());
            let heard = std::mem::take(&mut self.caller.heard);
            restore.hear(&heard).unwrap_or_else(|what| violated(CHECK, format!("a key is refused: {what}")));
            self.run_until(self.now_us + RETRY_US);
        }
    }

    /// Asks through one shard of a node, and waits for so many replies, as long as there is hope.
    fn ask(&mut self, machine: usize, shard: u16, requests: Vec<u8>, replies: usize) {
        self.caller_calls(client_address(machine, shard));
        self.caller_asks(requests);
        let waits = |world: &World| world.caller.is_connected() && world.caller.replies.len() < replies;
        self.run_while(self.now_us + ANSWER_US, waits);
        self.caller_hangs_up();
    }

    /// What a node answers, once there is one that is no error of the moment.
    fn answers(&mut self, machine: usize, requests: &[Vec<u8>]) -> Vec<Value> {
        let until_us = self.now_us + WITHIN_US;
        loop {
            self.ask(machine, 0, requests.concat(), requests.len());
            let replies = std::mem::take(&mut self.caller.replies);
            if replies.len() == requests.len() && replies.iter().all(|reply| reply.error_code().is_none()) {
                return replies;
            }
            violated_if(self.now_us >= until_us, CHECK, || {
                format!("machine {machine} does not say what was restored: {replies:?}")
            });
            self.run_until(self.now_us + RETRY_US);
        }
    }

    /// A node of the new cluster knows what was in the backup, and nothing else.
    fn check_restored(&mut self, machine: usize, state: &State) {
        let count = self.answers(machine, &[encode(&[b"DBSIZE"])]);
        let is_right =
            matches!(count[..], [Value::Integer(keys)] if usize::try_from(keys) == Ok(state.len()));
        violated_if(!is_right, CHECK, || format!("machine {machine} has {count:?} keys of {}", state.len()));
        let all: Vec<(&Bytes, &Bytes)> = state.iter().collect();
        for some in all.chunks(READ_AT_ONCE) {
            let requests: Vec<Vec<u8>> = some.iter().map(|(key, _)| encode(&[b"GET", key])).collect();
            for ((key, value), found) in some.iter().zip(self.answers(machine, &requests)) {
                violated_if(found != Value::Bulk((*value).clone()), CHECK, || {
                    format!("machine {machine} restored {found:?} for {}", printable(key))
                });
            }
        }
    }
}

/// The keys are those that the group's entries up to the backup's leave behind.
fn check_keys<'a>(backup: &GroupState, operations: &[Operation], entries: impl Iterator<Item = &'a Entry>) {
    let mut state = State::new();
    for entry in entries.filter(|entry| entry.index <= backup.index) {
        let Some(Operation { key, request, .. }) = entry.operation.map(|at| &operations[at]) else {
            continue;
        };
        apply(&mut state, key, request);
    }
    let found: State = backup.keys.iter().cloned().collect();
    let id = (backup.group, backup.index, backup.term);
    violated_if(found.len() != backup.keys.len(), CHECK, || format!("{id:?} has a key twice"));
    let different = state.keys().chain(found.keys()).find(|key| state.get(*key) != found.get(*key));
    if let Some(key) = different {
        let shown = |state: &State| state.get(key).map(|value| printable(value));
        let (is, should) = (shown(&found), shown(&state));
        violated(CHECK, format!("{id:?} has {is:?} under {}, and {should:?} was applied", printable(key)));
    }
}

/// Does what a request does.
fn apply(state: &mut State, key: &Bytes, request: &Request) {
    match request {
        Request::Get => {}
        Request::Set(value) => drop(state.insert(key.clone(), value.clone())),
        Request::Del => drop(state.remove(key)),
        Request::Append(value) => state.entry(key.clone()).or_default().extend_from_slice(value),
        Request::Incr(by) => {
            let before =
                state.get(key).and_then(|value| std::str::from_utf8(value).ok()?.parse::<i64>().ok());
            state.insert(key.clone(), (before.unwrap_or(0) + by).to_string().into_bytes());
        }
    }
}

/// What was acknowledged before the backup began stands at an entry that is in it.
fn check_acknowledged<'a>(
    backup: &GroupState,
    operations: &[Operation],
    entries: impl Iterator<Item = &'a Entry>,
    began_ns: u64,
) {
    for entry in entries.filter(|entry| entry.index > backup.index) {
        let Some(operation) = entry.operation.map(|at| &operations[at]) else { continue };
        violated_if(operation.returned().is_some_and(|returned| returned < began_ns), CHECK, || {
            let Operation { key, request, .. } = operation;
            let (group, index, at) = (backup.group, backup.index, entry.index);
            format!(
                "group {group} at {index} lacks {request} of {} at {at}, acknowledged before",
                printable(key)
            )
        });
    }
}
