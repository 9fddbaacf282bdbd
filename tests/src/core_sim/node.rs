//! One node: a replica, and what a shard does for it, in miniature.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use raft::{
    Body, Change, Config, EntryId, Event, GroupId, HardState, Index, NodeId, Raft, Settings, Standing, Time,
    Write,
};

use super::disk::{Disk, Entry, Log, Record, Roster, index_of, position_of};
use super::input::{Envelope, Input, Outcome};

/// The bytes every entry is said to take.
pub const ENTRY_BYTES: u64 = 64;

/// The group of the simulation.
pub const GROUP: GroupId = GroupId(1);

/// The configuration in every snapshot that was ever made, by the snapshot's last entry.
pub type Archive = BTreeMap<EntryId, Rc<Roster>>;

/// What lies outside the node.
pub struct Ground<'a> {
    /// Its disk.
    pub disk: &'a mut Disk,
    /// All snapshots.
    pub archive: &'a mut Archive,
    /// The present incarnation of every node, by id - 1.
    pub directory: &'a [u32],
}

#[derive(Clone, Debug)]
struct Batch {
    write: Write,
    records: Vec<Record>,
    submitted: Time,
}

/// A running node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Which life of a node of this id it is.
    pub incarnation: u32,
    /// The replica.
    pub raft: Raft,
    /// The log in memory: written or about to be.
    pub log: Log,
    building: Vec<Record>,
    in_flight: VecDeque<Batch>,
    /// A snapshot that the leader has offered.
    pub offered: Option<EntryId>,
    /// Where the log changed since the last look.
    pub changed_from: Option<Index>,
}

impl Node {
    /// A node reads its disk and runs.
    #[must_use]
    pub fn start(settings: &Rc<Settings>, incarnation: u32, preferred: bool, disk: &Disk, now: Time) -> Node {
        let raft = Raft::new(settings, GROUP, preferred, disk.restored(), now);
        Node {
            id: settings.node,
            incarnation,
            raft,
            log: disk.log.clone(),
            building: Vec::new(),
            in_flight: VecDeque::new(),
            offered: None,
            changed_from: None,
        }
    }

    /// How many batches are on their way to the disk.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Since when the oldest batch is on its way.
    #[must_use]
    pub fn waits_since(&self) -> Option<Time> {
        self.in_flight.front().map(|batch| batch.submitted)
    }

    /// What is on its way to the disk, oldest first, and last what no batch holds yet.
    pub fn unwritten(&self) -> impl Iterator<Item = &[Record]> {
        let batches = self.in_flight.iter().map(|batch| batch.records.as_slice());
        batches.chain(std::iter::once(self.building.as_slice()))
    }

    /// The newest hard state on its way to the disk.
    #[must_use]
    pub fn newest_hard_state(&self) -> Option<HardState> {
        self.in_flight.back().and_then(|batch| batch.write.hard_state())
    }

    /// The configuration this node acts under.
    #[must_use]
    pub fn roster(&self) -> &Rc<Roster> {
        self.log.roster_at(self.log.last()).1
    }

    /// Whether the transport lets a message through. Whoever the group has removed is not heard. Who is
    /// newer than this node knows is, or a node far behind would never hear its leader; but what it says
    /// does not count for the one this node takes it for.
    #[must_use]
    pub fn hears(&self, envelope: &Envelope, directory: &[u32]) -> bool {
        let (from, incarnation) = envelope.from;
        match self.roster().incarnation(from) {
            Some(known) if known == incarnation => true,
            Some(known) => incarnation > known && !envelope.is_counted(),
            None => incarnation == directory[usize::from(from.0) - 1],
        }
    }

    /// Lets the input happen, and does for its events what a shard does.
    pub fn run(&mut self, now: Time, input: &Input, ground: &mut Ground) -> Outcome {
        let mut outcome = Outcome { done: true, ..Outcome::default() };
        self.take(now, input, ground, &mut outcome);
        self.settle(now, ground, &mut outcome);
        outcome
    }

    fn take(&mut self, now: Time, input: &Input, ground: &mut Ground, outcome: &mut Outcome) {
        match input {
            Input::Tick => self.raft.tick(now),
            Input::Deliver(envelope) => outcome.appended = self.step(now, envelope),
            Input::Refuse(envelope) => self.raft.refuse(now, envelope.from.0, envelope.message.clone()),
            Input::Propose(values) => self.propose(values, outcome),
            Input::Change(changes) => self.change(now, changes, outcome),
            Input::Read => match self.raft.read(now) {
                Ok(read) => outcome.read = Some(read),
                Err(error) => outcome.refused = Some(error.to_string()),
            },
            Input::Transfer(to) => {
                outcome.refused = self.raft.transfer(now, *to).err().map(|error| error.to_string());
            }
            Input::Campaign => self.raft.campaign(now),
            Input::Submit => outcome.done = self.submit(now),
            Input::Persist => outcome.done = self.persist(ground.disk),
            Input::Apply(to) => self.raft.applied((*to).min(self.raft.committed())),
            Input::Compact(to) => outcome.done = self.compact(*to, ground),
            Input::Install => outcome.installed = self.install(now, ground.archive),
            Input::Decline => {
                let offered = self.offered.take();
                outcome.done = offered.is_some();
                offered.into_iter().for_each(|id| self.raft.decline_snapshot(id));
            }
            Input::SnapshotSent { to, id, ok } => self.raft.snapshot_sent(now, *to, *id, *ok),
            Input::Unreachable(peer) => self.raft.unreachable(*peer),
            Input::PeerLost(peer) => self.raft.peer_lost(now, *peer),
            Input::Recover => self.raft.recover(now),
            Input::Send { to, entries_max } => self.send(now, *to, *entries_max, ground, outcome),
        }
    }

    /// Takes events out of the replica and does what the shard must do for them.
    fn settle(&mut self, now: Time, ground: &Ground, outcome: &mut Outcome) {
        while let Some(event) = self.raft.take_event() {
            match &event {
                Event::BecameLeader { noop, .. } => {
                    self.add(noop.index, vec![Entry::command(noop.term, 0)]);
                    outcome.appended.get_or_insert(*noop);
                }
                Event::ConfigAppended { id, config } => {
                    let roster = Some(Rc::new(self.name(config, ground.directory)));
                    self.add(id.index, vec![Entry { term: id.term, value: 0, roster }]);
                    outcome.appended.get_or_insert(*id);
                }
                Event::NeedsSnapshot { to } => self.raft.offer_snapshot(now, *to, self.log.compacted),
                Event::SnapshotOffered { id, .. } => self.offered = Some(*id),
                _ => {}
            }
            outcome.events.push(event);
        }
        outcome.confirmed = self.raft.take_reads();
    }

    /// The members of `config` as whom this node knows them, newcomers as whom the operator named.
    fn name(&self, config: &Config, directory: &[u32]) -> Roster {
        let known = self.roster();
        let incarnations = config.members().into_iter().map(|node| {
            let newcomer = || directory[usize::from(node.0) - 1];
            (node, known.incarnation(node).unwrap_or_else(newcomer))
        });
        let incarnations = incarnations.collect();
        // What stands in the log is bytes; they must say the same.
        let config = Config::decode(&config.encode()).expect("a configuration survives its encoding");
        Roster { config, incarnations }
    }

    fn add(&mut self, first: Index, entries: Vec<Entry>) {
        self.log.write(first, &entries);
        self.changed_from = Some(self.changed_from.map_or(first, |before| before.min(first)));
        self.building.push(Record::Entries { first, entries });
    }

    fn step(&mut self, now: Time, envelope: &Envelope) -> Option<EntryId> {
        let prev = match envelope.message.body {
            Body::Append { prev, .. } => prev.index.0,
            _ => 0,
        };
        let configs: Vec<(Index, Config)> = envelope
            .entries
            .iter()
            .zip(prev + 1..)
            .filter_map(|(entry, index)| Some((Index(index), entry.roster.as_ref()?.config.clone())))
            .collect();
        let accepted = self.raft.step(now, envelope.from.0, envelope.message.clone(), &configs)?;
        let position = |index: Index| position_of(index.0 - prev - 1);
        let entries = envelope.entries[position(accepted.first)..=position(accepted.last)].to_vec();
        let first = EntryId::new(entries[0].term, accepted.first);
        self.add(accepted.first, entries);
        Some(first)
    }

    fn propose(&mut self, values: &[u64], outcome: &mut Outcome) {
        let count = index_of(values.len());
        match self.raft.propose(count, ENTRY_BYTES * count) {
            Ok(first) => {
                // A leader that asks for another configuration, or wakes, may have something to write first.
                let entries = values.iter().map(|&value| Entry::command(first.term, value)).collect();
                self.add(first.index, entries);
                outcome.appended = Some(first);
            }
            Err(error) => outcome.refused = Some(error.to_string()),
        }
    }

    fn change(&mut self, now: Time, changes: &[Change], outcome: &mut Outcome) {
        outcome.refused = self.raft.change(now, changes).err().map(|error| format!("{error:?}"));
    }

    /// Hands what changed to the log.
    fn submit(&mut self, now: Time) -> bool {
        let Some(write) = self.raft.take_write() else { return false };
        let mut records = std::mem::take(&mut self.building);
        records.extend(write.hard_state().map(Record::HardState));
        self.in_flight.push_back(Batch { write, records, submitted: now });
        true
    }

    fn persist(&mut self, disk: &mut Disk) -> bool {
        let Some(batch) = self.in_flight.pop_front() else { return false };
        disk.apply(&batch.records);
        self.raft.persisted(batch.write);
        true
    }

    /// The end of this run: what was in flight is lost, but for the first `survive` batches, which
    /// reached the disk without anybody hearing of it.
    pub fn crash(self, disk: &mut Disk, survive: usize) {
        self.in_flight.iter().take(survive).for_each(|batch| disk.apply(&batch.records));
    }

    /// A snapshot needs to say who belongs to the group: a node that does not know yet makes none.
    fn compact(&mut self, to: Index, ground: &mut Ground) -> bool {
        let to = to.min(self.raft.applied_index()).min(self.raft.persisted_index());
        let recovering = self.raft.status().standing != Standing::Normal;
        if to <= self.log.compacted.index || recovering || self.log.roster_at(to).1.incarnations.is_empty() {
            return false;
        }
        let id = EntryId::new(self.log.term_at(to).expect("it is in the log"), to);
        self.log.compact(id);
        ground.disk.log.compact(id);
        ground.archive.insert(id, Rc::clone(&self.log.base));
        self.raft.compact(to);
        true
    }

    fn install(&mut self, now: Time, archive: &Archive) -> Option<EntryId> {
        let id = self.offered.take()?;
        let base = archive.get(&id).expect("only snapshots that exist are offered");
        self.raft.snapshot_installed(now, id, &base.config).then(|| {
            self.log.install(id, base);
            self.changed_from = Some(id.index.next());
            self.building.push(Record::Snapshot { id, base: Rc::clone(base) });
            id
        })
    }

    fn send(&mut self, now: Time, to: NodeId, entries_max: u64, ground: &Ground, outcome: &mut Outcome) {
        let named = self.roster().incarnation(to);
        let present = ground.directory[usize::from(to.0) - 1];
        let from = (self.id, self.incarnation);
        while let Some(plan) = self.raft.next_append(to) {
            let last = plan.last.min(Index(plan.prev.index.0 + entries_max));
            let entry = |index| self.log.get(Index(index)).expect("what is planned is in the log").clone();
            let entries: Vec<Entry> = (plan.first.0..=last.0).map(entry).collect();
            let bytes = u32::try_from(index_of(entries.len()) * ENTRY_BYTES).expect("small");
            let message = self.raft.append(now, to, last, bytes);
            let meant = (to, named.unwrap_or(present));
            outcome.sent.push(Envelope { from, to: meant, message, entries });
        }
        while self.raft.has_messages(to) {
            let Some(message) = self.raft.take_message(now, to) else { break };
            let mut envelope = Envelope { from, to: (to, present), message, entries: Vec::new() };
            // An answer goes to whoever asked; a question, to the member that is meant.
            envelope.to.1 = if envelope.is_counted() { present } else { named.unwrap_or(present) };
            outcome.sent.push(envelope);
        }
    }
}
