//! What replicas owe their peers, put into frames when a link can take one.

use std::sync::atomic::Ordering::Relaxed;

use raft::{Check, GroupId, Raft, Time};
use raftlog::{BatchSeq, Log};
use runtime::{Buffer, Disk};

use super::Links;
use crate::shard::frames::{FRAME_ENTRY_BYTES_MAX, Filled};
use crate::shard::loads::Loads;
use crate::shard::replica::Replica;
use crate::wire::Beat;

impl Links {
    /// Notes which peers `replica` owes something.
    pub(in crate::shard) fn note(&mut self, replica: usize, group: GroupId, raft: &Raft) {
        for link in 0..self.entries.len() {
            let entry = &self.entries[link];
            let node = entry.peer.node;
            let owes = || raft.has_messages(node) || raft.next_append(node).is_some();
            if entry.up && self.concerned(entry, group) && owes() {
                self.note_one(link, replica);
            }
        }
    }

    /// Has every link say that this shard lives, as soon as it can take a frame.
    pub(in crate::shard) fn beat(&mut self, beat: Beat) {
        self.beat = beat;
        for entry in &mut self.entries {
            entry.owes_beat = entry.up;
        }
    }

    fn note_one(&mut self, link: usize, replica: usize) {
        let entry = &mut self.entries[link];
        if entry.noted.len() <= replica {
            entry.noted.resize(replica + 1, false);
        }
        if !entry.noted[replica] {
            entry.noted[replica] = true;
            entry.pending.push(replica);
        }
    }

    /// What replicas said since this was last asked.
    #[cfg(feature = "simulation")]
    pub(in crate::shard) fn take_said(&mut self) -> Vec<crate::shard::looks::Said> {
        std::mem::take(&mut self.builder.said)
    }

    /// How full what has a limit is.
    #[cfg(feature = "simulation")]
    pub(in crate::shard) fn bounds(&self, bounds: &mut Vec<crate::shard::looks::Bound>) {
        bounds.extend(self.entries.iter().flat_map(|entry| entry.outbox.bounds()));
    }

    /// What waits for peers.
    #[cfg(feature = "simulation")]
    pub(in crate::shard) fn leftovers(&self, left: &mut Vec<(&'static str, usize)>) {
        let outboxes = || self.entries.iter().map(|entry| &entry.outbox);
        left.extend([
            ("unanswered requests on links", outboxes().map(|outbox| outbox.unanswered()).sum()),
            ("links with something to say", outboxes().filter(|outbox| outbox.is_pending()).count()),
            ("entries read for peers", self.entries.iter().map(|entry| entry.loaded.len()).sum()),
        ]);
    }

    /// Entries read back from disk for the peer of `link`.
    pub(in crate::shard) fn loaded(&mut self, link: usize, replica: usize, buffers: Vec<Buffer>) {
        self.entries[link].loaded.extend(buffers.into_iter().map(|entries| (replica, entries)));
        self.note_one(link, replica);
    }

    /// Builds and sends a frame on every link that can take one.
    pub(in crate::shard) fn flush<S, D: Disk>(
        &mut self,
        now: Time,
        durable: BatchSeq,
        replicas: &mut [Replica<S>],
        log: &Log<D>,
        loads: &mut Loads,
    ) {
        for link in 0..self.entries.len() {
            let entry = &mut self.entries[link];
            let owed = entry.owes_beat
                || !entry.pending.is_empty()
                || entry.outbox.is_pending()
                || !entry.loaded.is_empty();
            if !owed || !entry.link.as_ref().is_some_and(|link| link.can_send()) {
                continue;
            }
            let to = entry.peer.node;
            let pending = std::mem::take(&mut entry.pending);
            for replica in &pending {
                entry.noted[*replica] = false;
            }
            while let Some((replica, entries)) = entry.loaded.pop_front() {
                if !self.builder.has_room_for(entries.len()) {
                    entry.loaded.push_front((replica, entries));
                    break;
                }
                let first = raft::decode_entry(&entries, Check::Shape).map(|entry| entry.id.index);
                if let Ok(first) = first {
                    self.builder.add_loaded(&mut replicas[replica], now, to, first, &entries);
                }
            }
            let large_waits = self.entries[link].outbox.wants_frame_without(FRAME_ENTRY_BYTES_MAX);
            // Appends first: each carries the commit index and the round, so no beat is owed beside it.
            for replica in &pending {
                let of = &mut replicas[*replica];
                match if self.builder.is_full() || large_waits {
                    Filled::FrameFull
                } else {
                    self.builder.add_appends(of, log, now, to)
                } {
                    Filled::All => {}
                    Filled::FrameFull => self.note_one(link, *replica),
                    // What is damaged cannot be sent; a snapshot will be, soon.
                    Filled::NotCached(first) if first <= of.damaged_to => {}
                    Filled::NotCached(first) => {
                        loads.load_to_send(log, *replica, (link, to), of.group, first, of.raft.last())
                    }
                }
            }
            for replica in pending {
                self.builder.add_messages(&mut replicas[replica], now, to);
            }
            let entry = &mut self.entries[link];
            self.builder.add_outbox(&mut entry.outbox, now);
            self.builder.body.beat = std::mem::take(&mut entry.owes_beat).then_some(self.beat);
            if !self.builder.is_empty() {
                let facts = self.directory.shard(self.shard);
                facts.raft_messages.fetch_add(self.builder.body.messages.len() as u64, Relaxed);
                facts.beats.fetch_add(u64::from(self.builder.body.beat.is_some()), Relaxed);
                let (body, tail) = self.builder.finish();
                entry.link.as_mut().expect("asked above").send_frame(now, durable.0, body, tail);
            }
        }
    }
}
