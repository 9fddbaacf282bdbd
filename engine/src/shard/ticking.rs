//! What passes with time alone: the cores' deadlines, the shard's beat, and what is looked at now and then. A shard whose
//! groups are all at rest does here what a shard with one group does.

use std::collections::VecDeque;

use raft::Time;
use raftlog::BatchSeq;
use runtime::Disk;

use super::Shard;
use super::request::Outcome;
use super::settings::ELECTION_TIMEOUT_MIN;
use crate::fatal::Fatal;
use crate::state_machine::StateMachine;
use crate::wire::Beat;

/// The shard's beat: links say that it lives, deadlines of waiting requests are looked at. On whole multiples of it, so
/// that an idle shard wakes once for everything.
const BEAT_INTERVAL_US: u64 = 100_000;

/// The replicas that a turn must look at, so that it need not look at all of them.
#[derive(Default)]
pub(super) struct Watched {
    /// Who handed something to the log, with the batch it is in, in the order of the batches.
    pub(super) writing: VecDeque<(BatchSeq, usize)>,
    /// Where somebody waits, each once.
    pub(super) waiting: Vec<usize>,
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Learns which batches became durable and lets the promises go that waited for them.
    pub(super) fn take_durable(&mut self) -> Result<(), Fatal> {
        let durable =
            self.log.poll().map_err(|error| Fatal::Log { shard: self.shard, reason: error.to_string() })?;
        if durable == self.durable {
            return Ok(());
        }
        self.durable = durable;
        self.batches.durable(durable);
        while let Some((batch, number)) = self.watched.writing.front().copied()
            && batch <= durable
        {
            self.watched.writing.pop_front();
            if self.replicas[number].persisted(durable) {
                self.take_events(number);
                self.mark_dirty(number);
            }
        }
        self.publish_recorded(durable);
        Ok(())
    }

    /// Notes what the turn has given `number` to wait for.
    pub(super) fn watch(&mut self, number: usize, wrote: bool) {
        if wrote {
            self.watched.writing.push_back((self.log.building(), number));
        }
        let replica = &mut self.replicas[number];
        self.timers.schedule(number, replica.raft.deadline());
        if !replica.watched && replica.has_waiting() {
            replica.watched = true;
            self.watched.waiting.push(number);
        }
    }

    /// Lets the cores know the time, where one wants to.
    pub(super) fn tick(&mut self) {
        while let Some(number) = self.timers.take_due(self.now) {
            let raft = &mut self.replicas[number].raft;
            if raft.deadline() <= self.now {
                raft.tick(self.now);
                self.take_events(number);
                self.mark_dirty(number); // and with that its next deadline is noted
            } else {
                self.timers.schedule(number, raft.deadline());
            }
        }
        if self.links.deadline() <= self.now {
            self.links.tick(self.now);
        }
        if let Some(former) = self.former.as_mut().filter(|former| former.deadline() <= self.now) {
            former.tick(self.now);
        }
        self.store_if_due();
        if self.next_beat <= self.now {
            self.next_beat = Time((self.now.0 / BEAT_INTERVAL_US + 1) * BEAT_INTERVAL_US);
            self.beat();
            self.expire();
            self.give_up_overdue();
            self.unstarted.expire(self.now, |head| self.answers.fail(head.reply_to, Outcome::Refused));
            self.clients.tick(self.now, &mut self.actions);
            self.save_if_due();
            self.look_at_backlog();
            self.lead_as_preferred();
            self.follow_directory();
            self.directory.shard(self.settings.shard).log.publish(&self.log.stats());
            self.stop_if_due();
        }
        self.log.tick(self.now);
    }

    /// Says on all links that this shard lives, and looks which others do.
    fn beat(&mut self) {
        let vouches = self.batches.vouches(self.now, ELECTION_TIMEOUT_MIN / 2);
        // Starts are counted from 1 and by far fewer than 2^48: a replica that stopped is like a new start to the peers.
        let boot = self.settings.boot ^ (self.faults << 48);
        let is_unfit = self.backlog.is_large() || self.log.is_stuck();
        self.links.beat(Beat { boot, vouches, is_unfit });
        while let Some(link) = self.links.liveness.take_silent(self.now) {
            self.peer_is_lost(link);
        }
    }

    /// Answers whoever has waited too long.
    fn expire(&mut self) {
        for number in std::mem::take(&mut self.watched.waiting) {
            let replica = &mut self.replicas[number];
            replica.expire(self.now, self.log.is_full(), &mut self.answers);
            replica.watched = replica.has_waiting();
            if replica.watched {
                self.watched.waiting.push(number);
            }
            self.mark_dirty(number); // what is held is offered again
        }
    }

    /// When the next turn is due even if nothing arrives.
    pub(crate) fn deadline(&self) -> Time {
        let former = self.former.as_ref().map_or(Time::NEVER, |former| former.deadline());
        let own = self.timers.next().min(self.next_beat).min(self.transfers.wake_at);
        let unstored = self.unstored.as_ref().map_or(Time::NEVER, |unstored| unstored.due);
        let own = own.min(self.looks_at_blocks_at()).min(self.saves.rate.deadline());
        own.min(self.log.deadline()).min(self.links.deadline()).min(former).min(unstored)
    }
}
