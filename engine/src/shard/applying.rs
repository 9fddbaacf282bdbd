//! Applying what is committed, and answering reads, as far as what both look at is in memory.

use raft::{Check, Entry, EntryKind};
use runtime::Disk;

use super::Shard;
use super::answers::Answers;
use super::replica::{Applying, Replica};
use crate::state_machine::{Lookups, StateMachine};

/// What the next entry or read needs of the snapshot's files is brought in so many rounds, if it shows only little by little; then
/// the thread waits for the disk. Also the way out where all that one command needs is more than memory may hold.
pub(super) const COLD_ROUNDS_MAX: u32 = 16;

/// When one must wait, so many behind it are looked at as well: what they need comes in the same round.
const LOOKED_AT_MAX: usize = 64;

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Applies what is committed, publishes each group's line, and notes who owes messages.
    pub(super) fn apply(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let replica = &mut self.replicas[number];
            replica.dirty = false;
            #[cfg(feature = "simulation")]
            self.touched.push(replica.group);
            if !replica.loading && !replica.is_cold && !self.saves.holds(number) {
                match replica.apply(&self.log, &mut self.answers, &mut self.slices) {
                    Applying::Done => {}
                    Applying::More => self.more = true,
                    Applying::Cold => self.blocks.wait(number),
                    Applying::NotCached(first) => {
                        let to = replica.raft.committed();
                        replica.loading = true;
                        self.loads.load_to_apply(&self.log, number, replica.group, first, to);
                    }
                }
            }
            let replica = &self.replicas[number];
            if replica.reads.has_tentative() {
                self.leased.push(number);
            }
            if replica.machine.wants_thaw() {
                self.saves.thaw_later(number);
            }
            self.log.applied(replica.group, replica.raft.applied_index(), replica.raft.held_everywhere());
            self.directory.publish(replica.group, &replica.raft);
            self.links.note(number, replica.group, &replica.raft);
            self.tell_followers(number);
            if self.more {
                self.mark_dirty(number);
            }
        }
    }
}

impl<S: StateMachine> Replica<S> {
    /// Whether all that a command looks at is in memory. If not, that is asked for, and what the entries behind it in `bytes` need.
    pub(super) fn is_ready(&mut self, entry: &Entry<'_>, bytes: &[u8], lookups: &Lookups) -> bool {
        let machine = &self.machine;
        let is_ready = !lookups.some_are_away()
            || self.cold_rounds >= COLD_ROUNDS_MAX
            || lookups.at_hand(1, || machine.look_ahead(entry.command)).is_ok();
        if is_ready {
            self.cold_rounds = 0;
            return true;
        }
        runtime::mark!("apply.cold");
        self.is_cold = true;
        self.cold_rounds += 1;
        let behind = raft::entries(bytes, Check::Shape).filter_map(Result::ok);
        let behind =
            behind.filter(|other| other.id.index > entry.id.index && other.kind == EntryKind::Command);
        for other in behind.take(LOOKED_AT_MAX) {
            let _asked_for = lookups.at_hand(1, || machine.look_ahead(other.command));
        }
        false
    }

    /// Answers the reads that are proven and that the state already covers. False: the turn is full or what they look at is not in
    /// memory; some must wait.
    pub(super) fn serve_reads(&mut self, next_commits: bool, answers: &mut Answers) -> bool {
        let (machine, cold_rounds, is_cold) = (&self.machine, &mut self.cold_rounds, &mut self.is_cold);
        let all = self.reads.serve(self.raft.applied_index(), next_commits, |to, query| {
            if answers.are_full() {
                return None;
            }
            let place = answers.ask(to, *cold_rounds >= COLD_ROUNDS_MAX, |out| machine.query(query, out));
            *is_cold |= place.is_none();
            *cold_rounds = if place.is_none() { *cold_rounds + 1 } else { 0 };
            place
        });
        if self.is_cold {
            runtime::mark!("read.cold");
            for query in self.reads.waiting().skip(1).take(LOOKED_AT_MAX) {
                answers.probe(|out| machine.query(query, out));
            }
        }
        all
    }
}
