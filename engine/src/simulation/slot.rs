//! One shard of a simulated node, from the opening of its disk to its end.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use raft::Time;
use runtime::{Disk, Mailbox};

use super::{End, MAIL_MAX};
use crate::engine::Factory;
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::shard::loader::by_reading;
use crate::shard::{Action, Input, Opened, Pause, Places, Shard, ShardMessage, ShardSettings, open};
use crate::state_machine::StateMachine;

type Opening<S, D> = Pin<Box<dyn Future<Output = Result<Opened<S, D>, StartError>>>>;
type Background = Pin<Box<dyn Future<Output = ()>>>;
type Closing = Pin<Box<dyn Future<Output = Result<(), Fatal>>>>;

/// One shard of it.
pub(super) struct Slot<S: StateMachine, D: Disk> {
    pub(super) stage: Stage<S, D>,
    pub(super) mailbox: Mailbox<ShardMessage>,
    pub(super) messages: Vec<ShardMessage>,
    pub(super) background: Vec<Background>,
    /// What its start could not read.
    pub(super) losses: Vec<raftlog::Loss>,
    /// Somebody rang, or work was put off: it is to be visited again at once.
    pub(super) again: Rc<Cell<bool>>,
}

pub(super) enum Stage<S: StateMachine, D: Disk> {
    Opening(Box<ShardSettings>, Opening<S, D>),
    Running(Box<Shard<S, D>>),
    /// It handed over, and closes its log.
    Closing(Closing),
    Over,
}

/// Opens what a shard has on its disk. The data directory made the folders, on another disk in a simulation.
pub(super) async fn open_on<S: StateMachine, D: Disk>(
    disk: D,
    places: Places,
    factory: Factory<S>,
) -> Result<Opened<S, D>, StartError> {
    for dir in [&places.log_dir, &places.snapshots_dir] {
        let made = disk.create_dir(dir).await;
        made.map_err(|error| StartError::DataDir(format!("{}: {error}", dir.display())))?;
    }
    open(&disk, &places, &*factory, by_reading(&disk)).await
}

impl<S: StateMachine, D: Disk> Slot<S, D> {
    pub(super) fn go_on_opening(
        &mut self,
        factory: &Factory<S>,
        now: Time,
        clock: Rc<Cell<Time>>,
    ) -> Result<(), End> {
        let Stage::Opening(settings, opening) = &mut self.stage else { return Ok(()) };
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(opened) = opening.as_mut().poll(&mut context) else { return Ok(()) };
        let mut opened = opened.map_err(End::NotStarted)?;
        self.losses = std::mem::take(&mut opened.losses);
        let ring = Rc::clone(&self.again);
        let wake = Rc::new(move || ring.set(true));
        let again = Rc::clone(&self.again);
        let pause: Pause = Rc::new(move |_rest| Box::pin(Yield { again: Rc::clone(&again), done: false }));
        let clock = Rc::new(move || clock.get());
        let settings = ShardSettings::clone(settings);
        let shard = Shard::new(now, settings, Arc::clone(factory), opened, wake, pause, clock);
        self.stage = Stage::Running(Box::new(shard));
        self.again.set(true);
        Ok(())
    }

    pub(super) fn turn(
        &mut self,
        now: Time,
        inputs: &mut Vec<Input>,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        let mut context = Context::from_waker(Waker::noop());
        self.background.retain_mut(|work| work.as_mut().poll(&mut context).is_pending());
        if let Stage::Closing(closing) = &mut self.stage
            && let Poll::Ready(closed) = closing.as_mut().poll(&mut context)
        {
            self.stage = Stage::Over;
            return closed.map_err(End::Fatal);
        }
        let Stage::Running(shard) = &mut self.stage else { return Ok(()) };
        if shard.is_silenced() {
            return Ok(());
        }
        let messages = &mut self.messages;
        self.mailbox.drain(MAIL_MAX, |message| messages.push(message));
        if let Err(fatal) = shard.turn(now, inputs, messages) {
            return self.end(fatal);
        }
        actions.append(&mut shard.actions);
        // Background work begins in a visit of its own, as on an executor.
        let started = shard.take_background();
        if shard.has_more() || !started.is_empty() {
            self.again.set(true);
        }
        self.background.extend(started);
        if shard.is_stopped() {
            self.close();
        }
        Ok(())
    }

    /// The shard cannot go on. A damaged file is set aside in the next visits, as the driver does.
    fn end(&mut self, fatal: Fatal) -> Result<(), End> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(mut shard) if shard.is_damaged() => {
                shard.silence();
                self.stage = Stage::Closing(Box::pin(async move {
                    shard.set_damaged_aside().await;
                    Err(fatal)
                }));
                self.again.set(true);
                Ok(())
            }
            _ => Err(End::Fatal(fatal)),
        }
    }

    /// The shard is stopped: its log is closed in the next visits, as the driver does behind its loop.
    fn close(&mut self) {
        if let Stage::Running(mut shard) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Closing(Box::pin(async move { shard.close_log().await }));
            self.again.set(true);
        }
    }
}

/// Lets a turn go first.
struct Yield {
    again: Rc<Cell<bool>>,
    done: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.done = true;
        self.again.set(true);
        Poll::Pending
    }
}
