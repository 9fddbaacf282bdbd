//! The loop of a shard's thread: wait, gather, one turn, carry out what it decided.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use net::link::LogBudget;
use raft::{GroupId, Time};
use runtime::{Context, Disk as _, Event, ListenerId, Mailbox, MailboxSender, RealDisk, Ring};

use super::io::{Action, ClientData, Input};
use super::mapping::by_mapping;
use super::message::{MAILBOX_MESSAGES_MAX, ShardMessage};
use super::opening::{Places, open};
use super::save_task::Pause;
use super::{Shard, ShardSettings};
use crate::directory::Directory;
use crate::error::StartError;
use crate::fatal::{Fatal, FatalHook};
use crate::state_machine::StateMachine;

/// Messages from other threads taken in one turn: the rest waits a turn, so that sockets get theirs.
const MESSAGES_PER_TURN_MAX: usize = 4096;

/// What a shard's thread is started with.
pub(crate) struct ShardStart<S> {
    pub(crate) settings: ShardSettings,
    pub(crate) places: Places,
    pub(crate) client_listener: Option<std::net::TcpListener>,
    pub(crate) peer_listener: std::net::TcpListener,
    pub(crate) factory: Arc<dyn Fn(GroupId) -> S + Send + Sync>,
    pub(crate) fatal: FatalHook,
    /// Told once, when the shard has recovered or could not.
    pub(crate) ready: mpsc::Sender<Result<(u16, MailboxSender<ShardMessage>), StartError>>,
}

/// The main future of a shard's thread.
pub(crate) async fn run<S: StateMachine>(context: Context, mut start: ShardStart<S>) {
    let ring = context.ring();
    let shard_number = start.settings.shard;
    let directory = Arc::clone(&start.settings.directory);
    let start_fatal = Arc::clone(&start.fatal);
    let (sender, mailbox) = runtime::mailbox(MAILBOX_MESSAGES_MAX, ring.doorbell());
    choose_sync_mode(&context.disk(), &start.places).await;
    directory.shard(shard_number).log.set_sync_mode(context.disk().sync_mode());
    start.places.log_options.clock = now; // not where the options are made: the simulator makes them there, too
    let opened = match open(&context.disk(), &start.places, &*start.factory, by_mapping(&context)).await {
        Ok(opened) => opened,
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    let shard = {
        let doorbell = ring.doorbell();
        let wake = Rc::new(move || doorbell.ring());
        let beside = context.clone();
        let pause: Pause = Rc::new(move |rest| {
            let context = beside.clone();
            Box::pin(async move { context.pause(rest).await })
        });
        Shard::new(now(), start.settings, Arc::clone(&start.factory), opened, wake, pause, Rc::new(now))
    };
    let listeners = Listeners {
        client: start.client_listener.map(|listener| ring.listen(listener)),
        peer: ring.listen(start.peer_listener),
    };
    if start.ready.send(Ok((shard_number, sender))).is_err() {
        return; // the engine gave up starting
    }
    // Without descriptors every attempt fails, ten times a second.
    let accept_log = LogBudget::new(1, Duration::from_secs(10));
    let _guard = PanicGuard { directory: Arc::clone(&directory), fatal: Arc::clone(&start_fatal) };
    let mut driver = Driver {
        context,
        ring,
        shard,
        mailbox,
        listeners,
        inputs: Vec::new(),
        messages: Vec::new(),
        accept_log,
    };
    if let Err(fatal) = driver.run().await {
        directory.set_dead();
        driver.shard.set_damaged_aside().await;
        (start_fatal)(&fatal);
    }
}

/// How writes are made durable: what is faster on this disk. One that cannot even be probed keeps the default; whether it can
/// be used at all, opening the log tells.
async fn choose_sync_mode(disk: &RealDisk, places: &Places) {
    let dir = &places.log_dir;
    let probed = match disk.create_dir(dir).await {
        Ok(()) => disk.probe(dir).await,
        Err(error) => Err(error),
    };
    if let Err(error) = probed {
        tracing::warn!(%error, dir = %dir.display(), "how to make writes durable was not probed");
    }
}

/// A panic on a shard's thread is a bug, and ends the node: every shard falls silent, then the hook runs.
struct PanicGuard {
    directory: Arc<Directory>,
    fatal: FatalHook,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.set_dead();
            (self.fatal)(&Fatal::Panic(std::thread::current().name().unwrap_or("a shard").to_owned()));
        }
    }
}

struct Listeners {
    client: Option<ListenerId>,
    peer: ListenerId,
}

struct Driver<S: StateMachine> {
    context: Context,
    ring: Ring,
    shard: Shard<S, RealDisk>,
    mailbox: Mailbox<ShardMessage>,
    listeners: Listeners,
    inputs: Vec<Input>,
    messages: Vec<ShardMessage>,
    accept_log: LogBudget,
}

impl<S: StateMachine> Driver<S> {
    async fn run(&mut self) -> Result<(), Fatal> {
        let mut events = Vec::new();
        while !self.shard.is_stopped() {
            self.ring.wait().await;
            if self.shard.is_silenced() {
                return Ok(()); // another shard of this node is dead: not a frame, not a reply more
            }
            self.ring.events(&mut events);
            for event in events.drain(..) {
                self.take_in(event);
            }
            let messages = &mut self.messages;
            self.mailbox.drain(MESSAGES_PER_TURN_MAX, |message| messages.push(message));
            self.shard.turn(now(), &mut self.inputs, &mut self.messages)?;
            self.carry_out();
            self.ring.set_timer(std::time::Duration::from_micros(self.shard.deadline().0));
            self.ring.submit();
            if self.shard.has_more() || !self.mailbox.is_empty() {
                self.ring.doorbell().ring();
            }
        }
        self.shard.close_log().await
    }

    /// Turns what the ring saw into what the shard understands.
    fn take_in(&mut self, event: Event) {
        let input = match event {
            Event::Accepted { listener, socket } if Some(listener) == self.listeners.client => {
                let unknown = || SocketAddr::from(([0, 0, 0, 0], 0));
                let address = self.ring.peer_address(socket).unwrap_or_else(unknown);
                let local_address = self.ring.local_address(socket).unwrap_or_else(unknown);
                Input::ClientAccepted { socket, address, local_address }
            }
            Event::Accepted { listener, socket } if listener == self.listeners.peer => {
                Input::PeerAccepted { socket }
            }
            Event::Accepted { socket, .. } => return self.ring.close(socket),
            Event::AcceptFailed { error, .. } => {
                if let Some(suppressed) = self.accept_log.allow(now()) {
                    tracing::warn!(%error, suppressed, "cannot accept a connection; trying again");
                }
                return;
            }
            Event::Connected { socket } => Input::Connected { socket },
            Event::Received { socket, data } => Input::ClientData { socket, data: ClientData::Pooled(data) },
            Event::ReceivedInto { socket, buffer, filled } => Input::PeerData { socket, buffer, filled },
            Event::Sent { socket, parts } => Input::Sent { socket, parts },
            Event::Ended { socket, error } => Input::Ended { socket, orderly: error.is_none() },
            Event::ConnectFailed { socket, .. } | Event::SendFailed { socket, .. } => {
                Input::Ended { socket, orderly: false }
            }
        };
        self.inputs.push(input);
    }

    /// Does at the sockets what the turn decided, and starts its background work.
    fn carry_out(&mut self) {
        let Driver { ring, shard, context, .. } = self;
        for action in std::mem::take(&mut shard.actions) {
            match action {
                Action::Dial { dialer, address } => shard.dialing(dialer, ring.connect(address)),
                Action::Receive { socket } => ring.receive(socket),
                Action::ReceiveInto { socket, buffer, from } => ring.receive_into(socket, buffer, from),
                Action::Pause { socket } => ring.pause(socket),
                Action::Send { socket, parts } => ring.send(socket, parts),
                Action::Close { socket } => ring.close(socket),
            }
        }
        for work in shard.take_background() {
            context.spawn_background(work);
        }
    }
}

/// The boot clock, as the core counts it.
pub(crate) fn now() -> Time {
    Time(u64::try_from(runtime::now().as_micros()).unwrap_or(u64::MAX))
}
