//! Work that runs beside the turns at low priority, and its results, which come back as values of a turn.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use raftlog::{PreparedSegment, Relocation, Scrubbed};
use runtime::Disk;

use super::Shard;
use super::blocks::BringEnd;
use super::receives::ReceiveEnd;
use super::saves::SaveEnd;
use super::sends::SendEnd;
use super::transfers::ReadEnd;
use crate::state_machine::StateMachine;

/// Work for the executor's background queue.
pub(crate) type Background = Pin<Box<dyn Future<Output = ()>>>;

/// What background work came to.
pub(super) enum Finished<S, D: Disk> {
    /// A segment of the log is ready, or could not be made.
    Segment(PreparedSegment<D::File>),
    /// Entries of an old segment were read, to be written once more.
    Relocated(Relocation),
    /// A piece of the log was looked at.
    Scrubbed(Scrubbed),
    /// A state is saved, or could not be.
    Saved(SaveEnd),
    /// A step of sending a snapshot.
    Sent(SendEnd<D>),
    /// A step of receiving one.
    Received(ReceiveEnd<S, D>),
    /// A piece of a snapshot was read for a client.
    Copied(ReadEnd<D>),
    /// Blocks of snapshot files are in memory, or could not be brought there.
    Brought(BringEnd),
    /// So many old snapshot files are gone.
    Collected(usize),
}

/// The background work of a shard: what is to be started, and what has finished.
pub(super) struct Backgrounds<S, D: Disk> {
    start: Vec<Background>,
    finished: Rc<RefCell<Vec<Finished<S, D>>>>,
    /// Starts a turn.
    wake: Rc<dyn Fn()>,
}

impl<S: StateMachine, D: Disk> Backgrounds<S, D> {
    pub(super) fn new(wake: Rc<dyn Fn()>) -> Backgrounds<S, D> {
        Backgrounds { start: Vec::new(), finished: Rc::default(), wake }
    }

    /// Runs `work` beside the turns; its result comes back in a later one.
    pub(super) fn spawn(&mut self, work: impl Future<Output = Finished<S, D>> + 'static) {
        let (finished, wake) = (Rc::clone(&self.finished), Rc::clone(&self.wake));
        self.start.push(Box::pin(async move {
            let result = work.await;
            finished.borrow_mut().push(result);
            wake();
        }));
    }

    /// What is to be started now.
    pub(super) fn take(&mut self) -> Vec<Background> {
        std::mem::take(&mut self.start)
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Has segments made before the log needs them, and old ones emptied when there may be no more.
    pub(super) fn prepare_segments(&mut self) {
        while let Some(job) = self.log.wanted() {
            let disk = self.disk.clone();
            self.background.spawn(async move { Finished::Segment(job.run(&disk).await) });
        }
        if let Some(job) = self.log.relocation() {
            self.background.spawn(async move { Finished::Relocated(job.run().await) });
        }
        self.scrub();
    }

    /// Takes in what background work came to.
    pub(super) fn take_finished(&mut self) {
        let finished = std::mem::take(&mut *self.background.finished.borrow_mut());
        for result in finished {
            match result {
                Finished::Segment(prepared) => self.log.prepared(prepared),
                Finished::Relocated(relocation) => self.take_relocated(relocation),
                Finished::Scrubbed(scrubbed) => self.take_scrubbed(scrubbed),
                Finished::Saved(end) => self.take_saved(end),
                Finished::Sent(end) => self.take_sender(end),
                Finished::Received(end) => self.take_received(end),
                Finished::Copied(end) => self.take_copied(end),
                Finished::Brought(end) => self.take_brought(end),
                Finished::Collected(files) => self.take_collected(files),
            }
        }
    }
}
