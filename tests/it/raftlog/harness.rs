//! A log on a simulated disk beside a model of what it must hold.

use std::{collections::BTreeMap, path::Path};

use raft::{
    EntryId, EntryKind, EntrySpec, GroupId, HardState, Index, NodeId, Standing, Term, TermRun, Time,
    encode_entry, entry_bytes,
};
use raftlog::{BatchSeq, Log, LogError, OpenError, Options, ReadError, Recovered};
use ringraft_tests::disk::{SimDisk, block_on};

pub(super) const GROUPS: u32 = 3;
pub(super) const SEGMENT_BYTES: u64 = 32 * 1024;

pub(super) fn dir() -> &'static Path {
    Path::new("/log")
}

pub(super) fn options(seed: u64) -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        cap_bytes: 24 * SEGMENT_BYTES,
        cache_bytes_max: 32 * 1024,
        unsynced_bytes_max: 1 << 20,
        seed,
        ..Options::new([7; 16], 1, 2)
    }
}

/// As few files as there may be: every segment is used again as soon as it is free.
pub(super) fn tight_options(seed: u64) -> Options {
    Options { cap_bytes: 6 * SEGMENT_BYTES, segments_ready: 1, ..options(seed) }
}

/// A few files: random lives fill it to every tier.
pub(super) fn small_options(seed: u64) -> Options {
    Options { cap_bytes: 12 * SEGMENT_BYTES, segments_ready: 1, ..options(seed) }
}

/// Logs of all sizes, some of which take many turns for each list.
pub(super) fn any_options(seed: u64) -> Options {
    let options =
        [options, tight_options, small_options][usize::try_from(seed % 3).expect("below three")](seed);
    let looks_per_turn =
        if seed.is_multiple_of(2) { 1 + usize::from(seed.is_multiple_of(5)) } else { options.looks_per_turn };
    Options { looks_per_turn, ..options }
}

/// One group as the log must show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupModel {
    /// Which of the groups of this number; 0 before it has entries.
    pub(super) incarnation: u32,
    pub(super) hard_state: HardState,
    pub(super) compacted: EntryId,
    pub(super) snapshot: Option<(EntryId, Vec<u8>)>,
    /// By index, from `compacted.index + 1` on without holes.
    pub(super) entries: BTreeMap<u64, (Term, Vec<u8>)>,
}

impl GroupModel {
    pub(super) fn last(&self) -> EntryId {
        self.entries
            .last_key_value()
            .map_or(self.compacted, |(index, (term, _))| EntryId::new(*term, Index(*index)))
    }

    fn term_at(&self, index: u64) -> Term {
        self.entries.get(&index).map_or(self.compacted.term, |(term, _)| *term)
    }

    fn compact(&mut self, id: EntryId) {
        if id.index > self.compacted.index {
            self.entries = self.entries.split_off(&(id.index.0 + 1));
            self.compacted = id;
        }
    }

    fn memberships(&self) -> Vec<(Index, Vec<u8>)> {
        let entries =
            self.entries.iter().map(|(index, (term, command))| (EntryId::new(*term, Index(*index)), command));
        let memberships = entries.filter(|(id, _)| kind(*id) == EntryKind::Membership);
        memberships.map(|(id, command)| (id.index, command.clone())).collect()
    }

    fn runs(&self) -> Vec<TermRun> {
        let mut runs: Vec<TermRun> = Vec::new();
        for (index, (term, _)) in &self.entries {
            if runs.last().is_none_or(|run| run.term != *term) {
                runs.push(TermRun { first: Index(*index), term: *term });
            }
        }
        runs
    }
}

pub(super) type Model = BTreeMap<u32, GroupModel>;

/// Some entries are configurations; which, tells their id.
fn kind(id: EntryId) -> EntryKind {
    if (id.index.0 + id.term.0).is_multiple_of(5) { EntryKind::Membership } else { EntryKind::Command }
}

/// A running log, the model after every batch, and what was acknowledged.
pub(super) struct Life {
    pub(super) log: Log<SimDisk>,
    pub(super) disk: SimDisk,
    pub(super) model: Model,
    /// The model after the last thing added to each batch.
    pub(super) after: BTreeMap<u64, Model>,
    pub(super) acked: BatchSeq,
    /// What relocations found damaged.
    pub(super) found: Vec<(GroupId, ReadError)>,
    options: Options,
    unique: u64,
    now: Time,
}

pub(super) fn open(disk: &SimDisk, seed: u64) -> Result<(Log<SimDisk>, Recovered), OpenError> {
    block_on(Log::open(disk.clone(), dir(), options(seed)))
}

impl Life {
    pub(super) fn first(seed: u64) -> Life {
        Life::with(options(seed))
    }

    pub(super) fn with(options: Options) -> Life {
        let disk = SimDisk::new();
        let (log, recovered) = block_on(Log::open(disk.clone(), dir(), options.clone())).expect("a new log");
        assert!(recovered.groups.is_empty());
        let after = BTreeMap::from([(0, Model::new())]);
        let (now, unique) = (Time(1_000_000), options.seed << 32);
        Life {
            log,
            disk,
            model: Model::new(),
            after,
            acked: BatchSeq(0),
            found: Vec::new(),
            options,
            unique,
            now,
        }
    }

    /// Recovers after a crash; what is found must be the model after some batch that was issued, not older than
    /// what was acknowledged.
    pub(super) fn reopen(self, seed: u64) -> Life {
        let options = Options { seed, ..self.options.clone() };
        let opened = block_on(Log::open(self.disk.clone(), dir(), options.clone()));
        let (log, recovered) = opened.expect("a crash is no damage");
        let found = recovered.report.last_batch;
        assert!(found >= self.acked, "batch {} was acknowledged, {found} is the last found", self.acked);
        let (_, model) = self.after.range(..=found.0).next_back().expect("the model before the first batch");
        check(&log, &recovered, model);
        let model = clipped(model);
        let after = BTreeMap::from([(found.0, model.clone())]);
        Life { log, model, after, acked: found, options, ..self }
    }

    fn note(&mut self) {
        self.after.insert(self.log.building().0, self.model.clone());
    }

    pub(super) fn group(&mut self, group: u32) -> &mut GroupModel {
        self.model.entry(group).or_default()
    }

    /// Appends `count` entries from `first` on, with commands that were never used before.
    pub(super) fn append(&mut self, group: u32, first: EntryId, count: u32, command_bytes: usize) {
        let commands: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                self.unique += 1;
                self.unique.to_le_bytes().into_iter().cycle().take(command_bytes).collect()
            })
            .collect();
        let each = entry_bytes(command_bytes);
        let model = self.model.entry(group).or_default();
        model.incarnation = model.incarnation.max(1);
        let incarnation = model.incarnation;
        model.entries.split_off(&first.index.0);
        let bytes = each * count as usize;
        let space = self.log.entries_space(GroupId(group), incarnation, first, count, bytes);
        for (index, (command, place)) in
            (first.index.0..).zip(commands.into_iter().zip(space.chunks_exact_mut(each)))
        {
            let id = EntryId::new(first.term, Index(index));
            let spec = EntrySpec { group: GroupId(group), incarnation, id, kind: kind(id) };
            encode_entry(place, spec, command_bytes, |out| out.copy_from_slice(&command));
            model.entries.insert(index, (first.term, command));
        }
        self.note();
    }

    /// Appends one entry with this command.
    pub(super) fn append_command(&mut self, group: u32, id: EntryId, command: &[u8]) {
        let space = self.log.entries_space(GroupId(group), 1, id, 1, entry_bytes(command.len()));
        let spec = EntrySpec { group: GroupId(group), incarnation: 1, id, kind: kind(id) };
        encode_entry(space, spec, command.len(), |out| out.copy_from_slice(command));
        let model = self.model.entry(group).or_default();
        model.incarnation = 1;
        model.entries.split_off(&id.index.0);
        model.entries.insert(id.index.0, (id.term, command.to_vec()));
        self.note();
    }

    /// The group is gone, and another one of its number begins.
    pub(super) fn begin_anew(&mut self, group: u32, count: u32, command_bytes: usize) {
        let model = self.group(group);
        let term = model.last().term.next();
        // What it voted in stays: an older one would be a lie.
        *model = GroupModel {
            incarnation: model.incarnation + 1,
            hard_state: model.hard_state,
            ..GroupModel::default()
        };
        self.append(group, EntryId::new(term, Index(1)), count, command_bytes);
    }

    /// Appends behind the last entry, in its term.
    pub(super) fn append_next(&mut self, group: u32, count: u32, command_bytes: usize) {
        let last = self.group(group).last();
        let first = EntryId::new(last.term.max(Term(1)), last.index.next());
        self.append(group, first, count, command_bytes);
    }

    pub(super) fn hard_state(&mut self, group: u32, hard_state: HardState) {
        self.log.hard_state(GroupId(group), hard_state);
        self.group(group).hard_state = hard_state;
        self.note();
    }

    pub(super) fn snapshot(&mut self, group: u32, id: EntryId, body: &[u8], reset: bool) {
        self.log.snapshot(GroupId(group), id, body, reset);
        let model = self.group(group);
        model.snapshot = Some((id, body.to_vec()));
        if reset {
            model.entries.clear();
            model.compacted = id;
        } else {
            model.compact(id);
        }
        self.note();
    }

    pub(super) fn compact(&mut self, group: u32, id: EntryId) {
        self.log.compact(GroupId(group), id);
        self.group(group).compact(id);
        self.note();
    }

    pub(super) fn compact_all(&mut self) {
        for group in 0..GROUPS {
            let last = self.group(group).last();
            if last.index > Index(0) {
                self.snapshot(group, last, b"all", false);
            }
        }
    }

    /// One random thing a turn may do.
    pub(super) fn random(&mut self, rng: &mut fastrand::Rng) {
        let group = rng.u32(..GROUPS);
        let last = self.group(group).last();
        let compacted = self.group(group).compacted;
        let bytes = if rng.u8(..10) == 0 { rng.usize(..6000) } else { rng.usize(..300) };
        let term = Term(last.term.0.max(1) + u64::from(rng.u8(..6) == 0));
        match rng.u8(..20) {
            0..10 => self.append(group, EntryId::new(term, last.index.next()), rng.u32(1..4), bytes),
            10..13 if last.index > compacted.index => {
                let first = Index(rng.u64(compacted.index.0 + 1..=last.index.0));
                self.append(group, EntryId::new(last.term.next(), first), rng.u32(1..4), bytes);
            }
            13..16 => {
                let vote = rng.bool().then_some(NodeId(rng.u16(1..4)));
                let commit = Index(rng.u64(compacted.index.0..=last.index.0));
                let standing = [Standing::Normal, Standing::Joining, Standing::Recovering, Standing::Faulted]
                    [rng.usize(..4)];
                self.hard_state(group, HardState { term: last.term, vote, commit, standing });
            }
            16..18 if last.index > compacted.index => {
                let index = rng.u64(compacted.index.0 + 1..=last.index.0);
                let id = EntryId::new(self.group(group).term_at(index), Index(index));
                let body = vec![rng.u8(..); rng.usize(..200)];
                self.snapshot(group, id, &body, false);
            }
            18 if last.index > compacted.index => {
                let index = rng.u64(compacted.index.0 + 1..=last.index.0);
                let id = EntryId::new(self.group(group).term_at(index), Index(index));
                self.compact(group, id);
            }
            19 if rng.u8(..4) == 0 => {
                let id = EntryId::new(last.term.next(), Index(last.index.0 + rng.u64(1..9)));
                self.snapshot(group, id, b"installed", true);
            }
            _ => self.append(group, EntryId::new(term, last.index.next()), 1, bytes),
        }
    }

    /// The end of a turn and all that happens around it; held writes complete by chance.
    pub(super) fn turn(&mut self, rng: &mut fastrand::Rng) {
        self.log.submit();
        let mut held = self.disk.held();
        rng.shuffle(&mut held);
        held.truncate(rng.usize(..=held.len()));
        held.into_iter().for_each(|id| self.disk.release(id));
        self.settle();
    }

    /// Polls, ticks, and does the background work that is due.
    pub(super) fn settle(&mut self) {
        self.try_settle().expect("no fault was injected");
    }

    /// The same on a disk that may fail.
    pub(super) fn try_settle(&mut self) -> Result<(), LogError> {
        let durable = self.log.poll()?;
        assert!(durable >= self.acked, "acknowledgements never go back");
        self.acked = durable;
        assert!(self.log.stats().file_bytes <= self.options.cap_bytes, "{:?}", self.log.stats());
        self.now = Time(self.now.0 + 1500);
        self.log.tick(self.now);
        if let Some(job) = self.log.wanted() {
            let prepared = block_on(job.run(&self.disk));
            self.log.prepared(prepared);
        }
        if let Some(job) = self.log.relocation() {
            let relocation = block_on(job.run());
            self.found.extend(self.log.relocated(relocation));
        }
        Ok(())
    }

    /// Everything submitted is durable, and nothing waits.
    pub(super) fn quiesce(&mut self) {
        self.log.submit();
        for _ in 0..1000 {
            self.disk.release_all();
            self.settle();
            if self.log.stats().unsynced_bytes == 0 && self.log.deadline() == Time::NEVER {
                return;
            }
        }
        panic!("the log never comes to rest: {:?}", self.log.stats());
    }
}

/// What a recovery makes of a model: a commit beyond the log is cut.
pub(super) fn clipped(model: &Model) -> Model {
    let mut model = model.clone();
    for group in model.values_mut() {
        group.hard_state.commit = group.hard_state.commit.min(group.last().index);
    }
    model
}

/// The recovered log is exactly the model: cursors, states, and every entry's bytes read back from the disk.
pub(super) fn check(log: &Log<SimDisk>, recovered: &Recovered, model: &Model) {
    let model = clipped(model);
    let touched: Vec<u32> = model.keys().copied().collect();
    let found: Vec<u32> = recovered.groups.iter().map(|group| group.group.0).collect();
    assert!(found.iter().all(|group| touched.contains(group)), "groups {found:?} of {touched:?}");
    for (group, model) in &model {
        let Some(found) = recovered.groups.iter().find(|found| found.group.0 == *group) else {
            assert_eq!(*model, GroupModel::default(), "group {group} is lost");
            continue;
        };
        assert_eq!(found.hard_state, model.hard_state, "group {group}");
        assert_eq!(found.incarnation, model.incarnation, "group {group}");
        assert_eq!(found.compacted, model.compacted, "group {group}");
        assert_eq!(found.last, model.last().index, "group {group}");
        assert_eq!(found.runs, model.runs(), "group {group}");
        assert_eq!(found.memberships, model.memberships(), "group {group}");
        let snapshot = found.snapshot.clone().map(|body| (found.snapshot_id, body));
        assert_eq!(snapshot, model.snapshot, "group {group}");
        check_entries(log, GroupId(*group), model, 700);
    }
}

/// Reads all entries of `group`, a few at a time, and compares.
pub(super) fn check_entries(log: &Log<SimDisk>, group: GroupId, model: &GroupModel, bytes_max: usize) {
    let mut next = model.compacted.index.next();
    while next <= model.last().index {
        let parts =
            block_on(log.read(group, next, model.last().index, bytes_max)).expect("entries are there");
        let before = next;
        for entry in parts.iter().flat_map(|part| raft::entries(part, raft::Check::Checksum)) {
            let entry = entry.expect("whole entries");
            let (term, command) = &model.entries[&next.0];
            assert_eq!((entry.id, entry.command), (EntryId::new(*term, next), &command[..]), "group {group}");
            next = next.next();
        }
        assert!(next > before, "a read makes progress");
    }
}
