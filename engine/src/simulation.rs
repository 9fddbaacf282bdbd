//! A whole node without threads, sockets and a clock, for the simulator of `ringraft-tests`: the production shards,
//! log, snapshots and data directory, to which a simulated world gives time, connections and disks.
//!
//! The world visits a shard whenever something concerns it: input arrived, its deadline came, its disk finished
//! something, or it asked to be visited again ([`Node::wants_visit`]). A visit is what one pass of the production
//! driver's loop is.

mod looks;
mod slot;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use raft::{EntryId, EntryKind, GroupId, Index, Raft, Time};
use raftlog::Cached;
use runtime::{Disk, Doorbell, MailboxSender, SocketId};

pub use crate::shard::looks::{Bound, Promise, Said, SnapshotLook};
pub use crate::shard::{Action, ClientData, Dialer, Input};

use crate::builder::Builder;
use crate::engine::{Factory, Prepared, places};
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::node::{DataDir, Random};
use crate::shard::{Shard, ShardMessage};
use crate::state_machine::StateMachine;
use slot::{Slot, Stage, open_on};

/// Bytes of entries looked at in one go; a single one may be larger.
const LOOK_BYTES: usize = 1 << 20;

/// Opens the data directory of the node that `builder` describes; `random` gives a new one its random numbers.
///
/// # Errors
/// [`StartError`] as in production.
pub fn open_data_dir(builder: &Builder, random: Random<'_>) -> Result<DataDir, StartError> {
    crate::engine::open_data_dir(builder, random)
}

/// How a node ended by itself.
#[derive(Debug)]
pub enum End {
    /// It could not start.
    NotStarted(StartError),
    /// It could not go on.
    Fatal(Fatal),
}

/// An entry of a replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLook {
    /// Which.
    pub id: EntryId,
    /// What it holds.
    pub kind: EntryKind,
    /// The checksum of its bytes.
    pub checksum: u32,
}

/// Messages that a shard of a simulated node has waiting: far fewer than in production, where their places are made once, not for
/// every start of thousands of lives. Senders meet a full mailbox here as there.
const MAIL_MAX: usize = 1024;

/// One node of a simulated cluster, from its start to its end. Dropping it is `kill -9`.
pub struct Node<S: StateMachine, D: Disk> {
    factory: Factory<S>,
    shards: Vec<Slot<S, D>>,
    senders: Vec<MailboxSender<ShardMessage>>,
    now: Rc<Cell<Time>>,
    meshed: bool,
}

impl<S: StateMachine, D: Disk> Drop for Node<S, D> {
    fn drop(&mut self) {
        if self.is_closing() {
            runtime::mark!("stop.cut_short");
        }
    }
}

impl<S: StateMachine, D: Disk> Node<S, D> {
    /// Starts a node with the settings of `builder` in its opened data directory; `disk` gives each shard's disk.
    /// `randomness` seeds elections, and names the cluster if this node founds it. Shards open in their first visits.
    ///
    /// # Errors
    /// [`StartError`] as in production.
    pub fn start(
        builder: &Builder,
        data_dir: DataDir,
        randomness: [u8; 24],
        disk: impl Fn(u16) -> D,
        factory: Factory<S>,
        now: Time,
    ) -> Result<Node<S, D>, StartError> {
        let prepared = Prepared::new(builder, data_dir)?;
        let mut node = Node {
            shards: Vec::new(),
            senders: Vec::new(),
            now: Rc::new(Cell::new(now)),
            meshed: false,
            factory,
        };
        for shard in 0..prepared.shards {
            let settings = prepared.settings(shard, builder, randomness);
            let places = places(builder, &prepared.identity, &settings, prepared.shards);
            let opening = Box::pin(open_on(disk(shard), places, Arc::clone(&node.factory)));
            let doorbell = Doorbell::unheard().map_err(|error| StartError::Settings(error.to_string()))?;
            let (sender, mailbox) = runtime::mailbox(MAIL_MAX, doorbell);
            node.senders.push(sender);
            node.shards.push(Slot {
                stage: Stage::Opening(Box::new(settings), opening),
                mailbox,
                messages: Vec::new(),
                background: Vec::new(),
                losses: Vec::new(),
                again: Rc::new(Cell::new(true)),
            });
        }
        Ok(node)
    }

    /// How many shards it has.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("shards are counted in 16 bits")
    }

    /// Whether every shard has recovered: its listeners are bound then.
    pub fn is_ready(&self) -> bool {
        self.meshed
    }

    /// Whether all shards have handed over and stopped, after [`Node::shut_down`].
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(|slot| matches!(slot.stage, Stage::Over))
    }

    /// Whether some shard closes its log, after [`Node::shut_down`].
    pub fn is_closing(&self) -> bool {
        self.shards.iter().any(|slot| matches!(slot.stage, Stage::Closing(_)))
    }

    /// Whether `shard` is to be visited without anything from outside.
    pub fn wants_visit(&self, shard: u16) -> bool {
        let slot = &self.shards[usize::from(shard)];
        match slot.stage {
            Stage::Opening(..) | Stage::Running(_) => slot.again.get() || !slot.mailbox.is_empty(),
            Stage::Closing(_) => slot.again.get(), // nobody opens its mail
            Stage::Over => false,
        }
    }

    /// When `shard` is to be visited even if nothing happens.
    pub fn deadline(&self, shard: u16) -> Time {
        match &self.shards[usize::from(shard)].stage {
            Stage::Running(running) => running.deadline(),
            Stage::Opening(..) | Stage::Closing(_) | Stage::Over => Time::NEVER,
        }
    }

    /// One pass of the driver's loop: opening goes on, or `inputs` (emptied) are turned into what is to be done at the
    /// sockets, appended to `actions`. Of a dial that was carried out, [`Node::dialing`] tells the shard.
    ///
    /// # Errors
    /// [`End`]: the node is over, all of its shards; nothing of `actions` may be carried out.
    pub fn visit(
        &mut self,
        shard: u16,
        now: Time,
        inputs: &mut Vec<Input>,
        actions: &mut Vec<Action>,
    ) -> Result<(), End> {
        self.now.set(now);
        let clock = Rc::clone(&self.now);
        let slot = &mut self.shards[usize::from(shard)];
        slot.again.set(false);
        slot.go_on_opening(&self.factory, now, clock)?;
        if self.shards.iter().all(|slot| matches!(slot.stage, Stage::Running(_))) && !self.meshed {
            self.meshed = true;
            for sender in &self.senders {
                let _full = sender.try_send(ShardMessage::Mesh(self.senders.clone())); // the first of an empty mailbox
            }
        }
        self.shards[usize::from(shard)].turn(now, inputs, actions)
    }

    /// The world carried out an [`Action::Dial`] of `shard`.
    pub fn dialing(&mut self, shard: u16, dialer: Dialer, socket: SocketId) {
        if let Stage::Running(running) = &mut self.shards[usize::from(shard)].stage {
            running.dialing(dialer, socket);
        }
    }

    /// Has every shard save its groups' states.
    pub fn take_snapshots(&self) {
        self.tell_all(|| ShardMessage::TakeSnapshots);
    }

    /// Has every shard hand over its leaderships, close its log and stop.
    pub fn shut_down(&self) {
        self.tell_all(|| ShardMessage::Shutdown);
    }

    fn tell_all(&self, message: impl Fn() -> ShardMessage) {
        for sender in &self.senders {
            let _full = sender.try_send(message()); // a simulated mailbox is never that full: see MAIL_MAX
        }
    }

    /// The groups of `shard` that something happened to since this was last asked, in no order and perhaps twice.
    pub fn touched(&mut self, shard: u16) -> Vec<GroupId> {
        match &mut self.shards[usize::from(shard)].stage {
            Stage::Running(running) => std::mem::take(&mut running.touched),
            Stage::Opening(..) | Stage::Closing(_) | Stage::Over => Vec::new(),
        }
    }

    /// The groups that have a replica on `shard`.
    pub fn groups(&self, shard: u16) -> Vec<GroupId> {
        let replicas = self.running(shard).map(|running| running.replicas.iter());
        replicas.into_iter().flatten().map(|replica| replica.group).collect()
    }

    /// The core of a replica.
    pub fn raft(&self, shard: u16, group: GroupId) -> Option<&Raft> {
        let running = self.running(shard)?;
        running.local(group).map(|number| &running.replicas[number].raft)
    }

    /// The user's machine of a replica.
    pub fn machine(&mut self, shard: u16, group: GroupId) -> Option<&mut S> {
        let Stage::Running(running) = &mut self.shards[usize::from(shard)].stage else { return None };
        let number = running.local(group)?;
        running.replicas[number].machine.user()
    }

    /// Whether a shard has looked at all blocks of its snapshot files since it started.
    pub fn has_seen_files(&self, shard: u16) -> bool {
        self.running(shard).is_some_and(Shard::has_seen_files)
    }

    /// The log of a shard.
    pub fn log(&self, shard: u16) -> Option<&raftlog::Log<D>> {
        Some(&self.running(shard)?.log)
    }

    /// The entries `first..=last` of a replica that are in memory, in order.
    pub fn entries(&self, shard: u16, group: GroupId, first: Index, last: Index) -> Vec<EntryLook> {
        let (mut looks, mut first) = (Vec::new(), first);
        let Some(log) = self.log(shard) else { return looks };
        while first <= last {
            let mut buffers = Vec::new();
            let Cached::Hit { last: reached, .. } = log.cached(group, first, last, LOOK_BYTES, &mut buffers)
            else {
                break;
            };
            for entry in buffers.iter().flat_map(|buffer| raft::entries(buffer, raft::Check::Shape)).flatten()
            {
                looks.push(EntryLook {
                    id: entry.id,
                    kind: entry.kind,
                    checksum: crc32fast::hash(entry.bytes),
                });
            }
            first = reached.next();
        }
        looks
    }

    fn running(&self, shard: u16) -> Option<&Shard<S, D>> {
        match &self.shards.get(usize::from(shard))?.stage {
            Stage::Running(running) => Some(running),
            Stage::Opening(..) | Stage::Closing(_) | Stage::Over => None,
        }
    }
}
