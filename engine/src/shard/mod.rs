//! A shard: one core's groups, log, peers and clients, stepped one turn at a time. Synchronous: it never
//! awaits, and everything it knows of time, disk and network came in as a value.

mod accepted;
#[cfg(test)]
mod alone;
mod answers;
mod applying;
mod background;
mod backlog;
mod blocks;
mod callers;
mod client;
mod clients;
mod control;
mod deliver;
mod dispatch;
mod driver;
mod events;
mod forming;
mod frames;
mod heal;
mod io;
mod leading;
mod leases;
mod left_reads;
mod links;
mod liveness;
pub(crate) mod loader;
mod loads;
#[cfg(feature = "simulation")]
pub(crate) mod looks;
mod machine;
mod mapping;
mod membership;
mod message;
mod milestones;
mod neighbours;
mod opening;
mod outbox;
mod peers;
mod reads;
mod receives;
mod replica;
mod replies;
pub(crate) mod request;
pub(crate) mod residence;
mod restore;
mod routing;
mod save_plan;
mod save_rate;
mod save_task;
mod saves;
mod sends;
mod settings;
mod ticking;
mod timers;
mod transfers;
mod waiters;

use std::rc::Rc;
use std::sync::Arc;

use raft::{GroupId, Time};
use raftlog::{BatchSeq, Log, RecoveredGroup};
use runtime::{Buffer, Disk};

pub(crate) use control::{Handover, transfer_request};
pub(crate) use driver::{ShardStart, run};
pub use io::{Action, Dialer, Input};
pub(crate) use message::{CallAnswer, ShardMessage};
pub(crate) use settings::{ELECTION_TIMEOUT_MIN, ShardSettings, SharedDataDir};
pub(crate) use {loader::ServingLimits, opening::Places, request::Kind, request::Outcome};

#[cfg(feature = "simulation")]
pub use io::ClientData;
#[cfg(any(feature = "simulation", feature = "fuzzing"))]
pub(crate) use opening::open;
#[cfg(feature = "simulation")]
pub(crate) use save_task::Pause;
#[cfg(feature = "fuzzing")]
pub(crate) use {forming::restored, frames::open_frame};

use answers::Answers;
use background::{Background, Backgrounds};
use clients::Clients;
use dispatch::{Buckets, Requests};
use links::Links;
use liveness::BatchClock;
use loads::Loads;
use machine::Machine;
use replica::Replica;
use request::RequestBody;
use routing::Route;
use ticking::Watched;
use timers::Timers;

use crate::directory::Directory;
use crate::fatal::Fatal;
use crate::state_machine::StateMachine;

/// One shard of one node.
pub(crate) struct Shard<S: StateMachine, D: Disk> {
    now: Time,
    shard: u16,
    settings: ShardSettings,
    raft_settings: Rc<raft::Settings>,
    directory: Arc<Directory>,
    factory: Arc<dyn Fn(GroupId) -> S + Send + Sync>,
    pub(crate) log: Log<D>,
    disk: D,
    background: Backgrounds<S, D>,
    /// What recovery found, until the cluster's record says that the groups may start.
    recovered: Option<Vec<(RecoveredGroup, Machine<S>)>>,
    pub(crate) replicas: Vec<Replica<S>>,
    /// Requests that came before the cluster had formed.
    unstarted: Route,
    /// Replicas with something to do before this turn ends.
    dirty: Vec<usize>,
    durable: BatchSeq,
    /// How long batches have been under way.
    batches: BatchClock,
    links: Links,
    /// On shard 0: the cluster's forming.
    former: Option<net::forming::Former>,
    /// On shard 0: the record that the disk has no room for yet.
    unstored: Option<forming::Unstored>,
    /// Those the cluster formed with.
    founders: Vec<net::forming::Tombstone>,
    clients: Clients,
    mesh: deliver::Mesh,
    calls: deliver::Calls,
    answers: Answers,
    buckets: Buckets,
    loads: Loads,
    blocks: blocks::Blocks,
    saves: saves::Saves<D>,
    transfers: transfers::Transfers<D>,
    preferences: leading::Preferences,
    backlog: backlog::Backlog,
    membership: membership::Membership,
    slices: Vec<Buffer>,
    timers: Timers,
    watched: Watched,
    next_beat: Time,
    /// Replicas of this start that stopped for a contradiction.
    faults: u64,
    /// Reads the clock, within a turn.
    clock: Rc<dyn Fn() -> Time>,
    /// Replicas that have answered reads by lease in this turn.
    leased: Vec<usize>,
    more: bool,
    stopping: Option<Time>,
    stopped: bool,
    /// Why the node cannot go on.
    ended: Option<Fatal>,
    /// Who was looked after in this turn, for the simulator.
    #[cfg(feature = "simulation")]
    pub(crate) touched: Vec<GroupId>,
    /// What the driver does at the sockets after this turn.
    pub(crate) actions: Vec<Action>,
}

/// What a shard has on disk, opened and read.
pub(crate) struct Opened<S, D: Disk> {
    pub(crate) log: Log<D>,
    pub(crate) disk: D,
    pub(crate) loader: loader::Loader<D>,
    /// What the log knows of each group, with the state of its snapshot.
    pub(crate) groups: Vec<(RecoveredGroup, Machine<S>)>,
    /// What its log could not read, for the checks.
    #[cfg(feature = "simulation")]
    pub(crate) losses: Vec<raftlog::Loss>,
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// A shard over its recovered log. Its groups start when the cluster's record is known.
    pub(crate) fn new(
        now: Time,
        settings: ShardSettings,
        factory: Arc<dyn Fn(GroupId) -> S + Send + Sync>,
        opened: Opened<S, D>,
        wake: Rc<dyn Fn()>,
        pause: save_task::Pause,
        clock: Rc<dyn Fn() -> Time>,
    ) -> Shard<S, D> {
        let Opened { mut log, disk, loader, groups, .. } = opened;
        log.note_time(now);
        let directory = Arc::clone(&settings.directory);
        let saves = saves::Saves::new(now, &settings, loader::Loader { pause, ..loader }, &log);
        let mut shard = Shard {
            now,
            shard: settings.shard,
            raft_settings: Rc::new(settings.raft()),
            links: Links::new(&settings),
            former: None,
            unstored: None,
            founders: Vec::new(),
            clients: Clients::new(&settings),
            directory,
            factory,
            durable: log.building(),
            batches: BatchClock::new(log.building()),
            log,
            disk,
            background: Backgrounds::new(wake),
            recovered: Some(groups),
            replicas: Vec::new(),
            unstarted: Route::default(),
            dirty: Vec::new(),
            mesh: deliver::Mesh::default(),
            calls: deliver::Calls::default(),
            answers: Answers::new(saves.loader.residence.lookups().clone()),
            buckets: Buckets::default(),
            loads: Loads::default(),
            blocks: blocks::Blocks::default(),
            saves,
            transfers: transfers::Transfers::new(now, &settings),
            preferences: leading::Preferences::default(),
            backlog: backlog::Backlog::default(),
            membership: membership::Membership::default(),
            slices: Vec::new(),
            timers: Timers::default(),
            watched: Watched::default(),
            next_beat: now,
            faults: 0,
            clock,
            leased: Vec::new(),
            more: false,
            stopping: None,
            stopped: false,
            ended: None,
            #[cfg(feature = "simulation")]
            touched: Vec::new(),
            actions: Vec::new(),
            settings,
        };
        shard.start_if_formed();
        shard
    }

    /// One turn: everything that arrived, then everything that follows from it.
    ///
    /// # Errors
    /// [`Fatal`]: the log failed, or this node is no member any more. It must end; nothing after the last durable batch was
    /// acknowledged.
    pub(crate) fn turn(
        &mut self,
        now: Time,
        inputs: &mut Vec<Input>,
        messages: &mut Vec<ShardMessage>,
    ) -> Result<(), Fatal> {
        self.now = now;
        self.more = false;
        self.log.note_time(now);
        self.take_durable()?;
        self.take_loaded();
        self.take_finished();
        self.take_inputs(inputs);
        let arrivals = self.clients.take_arrivals();
        let owned = self.take_messages(messages);
        let mut requests = Requests::default();
        for request in &owned {
            requests.push(request.head, RequestBody::Bytes(&request.bytes));
        }
        let serves = !arrivals.is_empty() || !owned.is_empty();
        let parsed = self.clients.parse(&arrivals);
        let quoted = parsed.quoted();
        self.clients.plan(self.now, &parsed, &quoted, &mut requests);
        self.dispatch(&requests);
        drop(requests);
        drop(quoted);
        let used = parsed.into_used();
        self.clients.keep_rest(arrivals, &used);
        self.take_asked();
        self.tick();
        self.pace_saves(serves);
        self.advance_saves();
        self.drive_transfers();
        self.settle();
        if let Some(fatal) = self.ended.take() {
            return Err(fatal);
        }
        self.log.note_time((self.clock)());
        self.log.submit();
        self.batches.submitted(self.now, self.log.building());
        self.prepare_segments();
        self.apply();
        self.publish_members();
        self.check_leases();
        self.bring_blocks();
        self.check_served()?;
        self.deliver_answers();
        self.flush();
        Ok(())
    }

    /// Reads the events of the cores that changed and moves what they want durable into the batch.
    fn settle(&mut self) {
        let mut at = 0;
        while at < self.dirty.len() {
            let number = self.dirty[at];
            at += 1;
            self.take_events(number);
            self.retry_held(number);
            let wrote = self.replicas[number].collect_write(&mut self.log);
            self.watch(number, wrote);
        }
    }

    /// Builds a frame for every link that can take one and sends what clients are owed.
    fn flush(&mut self) {
        self.links.flush(self.now, self.durable, &mut self.replicas, &self.log, &mut self.loads);
        self.follow_links();
        self.clients.flush(self.now, &mut self.actions);
    }

    fn mark_dirty(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        if !replica.dirty {
            replica.dirty = true;
            self.dirty.push(number);
        }
    }

    /// The driver carried out [`Action::Dial`].
    pub(crate) fn dialing(&mut self, dialer: Dialer, socket: runtime::SocketId) {
        match dialer {
            Dialer::Link(link) => self.links.dialed(link, socket),
            Dialer::Transfer(number) => self.dialed_transfer(number, socket),
        }
    }

    /// True when the next turn has work already.
    pub(crate) fn has_more(&self) -> bool {
        self.more || self.clients.has_more()
    }

    /// The end of a shard that is stopped: what its log holds is listed, for the next start.
    ///
    /// # Errors
    /// [`Fatal::Log`].
    pub(crate) async fn close_log(&mut self) -> Result<(), Fatal> {
        // A disk that did not answer until time was up would not now.
        if self.replicas.iter().any(Replica::has_writes) {
            runtime::mark!("stop.log_left");
            return Ok(());
        }
        match self.log.close().await {
            // Without a segment to list it in the next start reads more.
            Err(error) if error.kind != std::io::ErrorKind::StorageFull => {
                Err(Fatal::Log { shard: self.shard, reason: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// True once the shard has handed over and nothing more is to be done.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// True when another shard of this node is dead: this one must not say another word.
    pub(crate) fn is_silenced(&self) -> bool {
        self.directory.is_dead()
    }

    /// Work to run beside the turns, at low priority.
    pub(crate) fn take_background(&mut self) -> Vec<Background> {
        self.background.take()
    }
}
