//! One node: a replica, and what a shard does for it, in miniature.

use std::collections::VecDeque;
use std::rc::Rc;

use raft::{
    Body, Change, ChangeError, Config, EntryId, Event, Index, Message, NodeId, ProposeError, Raft, ReadId,
    Settings, Time, Write,
};

use super::GROUP;
use super::disk::{Disk, Entry, Log, Record};

/// A message on its way, with the entries that follow it in the frame.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
    pub entries: Vec<Entry>,
    /// The configurations among them.
    pub configs: Vec<(Index, Config)>,
}

#[derive(Debug)]
struct Batch {
    write: Write,
    records: Vec<Record>,
}

#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub raft: Raft,
    /// What is in memory: written or about to be.
    pub log: Log,
    pub disk: Disk,
    building: Vec<Record>,
    in_flight: VecDeque<Batch>,
    /// What happened, until the cluster looks.
    pub events: VecDeque<Event>,
    /// A snapshot that a leader has offered.
    pub offered: Option<(NodeId, EntryId)>,
    pub reads: Vec<(ReadId, Index)>,
}

impl Node {
    pub fn start(settings: Settings, preferred: bool, disk: Disk, now: Time) -> Node {
        let id = settings.node;
        let raft = Raft::new(&Rc::new(settings), GROUP, preferred, disk.restored(), now);
        let log = disk.log.clone();
        let (building, in_flight) = (Vec::new(), VecDeque::new());
        let (events, reads) = (VecDeque::new(), Vec::new());
        Node { id, raft, log, disk, building, in_flight, events, offered: None, reads }
    }

    /// Takes events out of the replica and does what the shard must do for them.
    pub fn settle(&mut self, now: Time) {
        while let Some(event) = self.raft.take_event() {
            match event {
                Event::BecameLeader { noop, .. } => {
                    self.add(noop.index, vec![Entry { term: noop.term, value: 0 }], Vec::new());
                }
                Event::ConfigAppended { id, ref config } => {
                    let entry = Entry { term: id.term, value: 0 };
                    self.add(id.index, vec![entry], vec![(id.index, config.clone())]);
                }
                Event::NeedsSnapshot { to } => self.raft.offer_snapshot(now, to, self.log.compacted),
                Event::SnapshotOffered { from, id } => self.offered = Some((from, id)),
                Event::SteppedDown { .. } => self.reads.clear(),
                _ => {}
            }
            self.events.push_back(event);
        }
        self.raft.applied(self.raft.committed());
    }

    fn add(&mut self, first: Index, entries: Vec<Entry>, configs: Vec<(Index, Config)>) {
        self.log.write(first, &entries, &configs);
        self.building.push(Record::Entries { first, entries, configs });
    }

    pub fn step(&mut self, now: Time, envelope: Envelope) {
        let prev = match envelope.message.body {
            Body::Append { prev, .. } => prev.index.0,
            _ => 0,
        };
        let accepted = self.raft.step(now, envelope.from, envelope.message, &envelope.configs);
        if let Some(accepted) = accepted {
            let position = |index: Index| usize::try_from(index.0 - prev - 1).unwrap();
            let range = position(accepted.first)..=position(accepted.last);
            let configs = envelope.configs.into_iter().filter(|(index, _)| *index >= accepted.first);
            self.add(accepted.first, envelope.entries[range].to_vec(), configs.collect());
        }
        self.settle(now);
    }

    pub fn propose(&mut self, values: &[u64]) -> Result<EntryId, ProposeError> {
        let first = self.raft.propose(values.len() as u64, 64 * values.len() as u64)?;
        let entries = values.iter().map(|&value| Entry { term: first.term, value }).collect();
        self.add(first.index, entries, Vec::new());
        Ok(first)
    }

    pub fn change(&mut self, now: Time, changes: &[Change]) -> Result<EntryId, ChangeError> {
        let id = self.raft.change(now, changes)?;
        self.settle(now);
        Ok(id)
    }

    /// Hands what changed to the log.
    pub fn submit(&mut self) {
        if let Some(write) = self.raft.take_write() {
            let mut records = std::mem::take(&mut self.building);
            records.extend(write.hard_state().map(Record::HardState));
            self.in_flight.push_back(Batch { write, records });
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The oldest batch in flight is durable, and the replica learns of it.
    pub fn persist(&mut self, now: Time) {
        if let Some(batch) = self.in_flight.pop_front() {
            self.disk.apply(&batch.records);
            self.raft.persisted(batch.write);
            self.settle(now);
        }
    }

    /// The end of this run: what was in flight is lost, but for the first `survive` batches, which
    /// reached the disk without anybody hearing of it.
    pub fn crash(mut self, survive: usize) -> Disk {
        for batch in self.in_flight.iter().take(survive) {
            self.disk.apply(&batch.records);
        }
        self.disk
    }

    pub fn compact(&mut self, to: Index) {
        let to = to.min(self.raft.applied_index()).min(self.raft.persisted_index());
        if to > self.log.compacted.index {
            let id = EntryId::new(self.log.term_at(to).unwrap(), to);
            self.log.compact(id);
            self.disk.log.compact(id);
            self.raft.compact(to);
        }
    }

    /// The snapshot that was offered has arrived, made in `config`.
    pub fn install(&mut self, now: Time, config: &Config) -> bool {
        let Some((_, id)) = self.offered.take() else { return false };
        let installed = self.raft.snapshot_installed(now, id, config);
        if installed {
            self.log.install(id, config);
            self.building.push(Record::Snapshot(id, config.clone()));
        }
        self.settle(now);
        installed
    }

    /// All that goes to `to` now; appends carry at most `entries_max` entries.
    pub fn send(&mut self, now: Time, to: NodeId, entries_max: u64, out: &mut Vec<Envelope>) {
        while let Some(plan) = self.raft.next_append(to) {
            let last = plan.last.min(Index(plan.prev.index.0 + entries_max));
            let entries: Vec<Entry> =
                (plan.first.0..=last.0).map(|index| self.log.get(Index(index)).unwrap()).collect();
            let bytes = u32::try_from(entries.len() * 64).unwrap();
            let message = self.raft.append(now, to, last, bytes);
            let range = self.log.configs.range(plan.first..=last);
            let configs = range.map(|(index, config)| (*index, config.clone())).collect();
            out.push(Envelope { from: self.id, to, message, entries, configs });
        }
        while self.raft.has_messages(to) {
            let Some(message) = self.raft.take_message(now, to) else { break };
            out.push(Envelope { from: self.id, to, message, entries: Vec::new(), configs: Vec::new() });
        }
        if let Some(confirmed) = self.raft.take_reads() {
            self.reads.push(confirmed);
        }
    }
}
