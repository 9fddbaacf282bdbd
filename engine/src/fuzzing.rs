//! Doors to private decoders, for the fuzzer in `tests/fuzz`. Not an interface: no other build has them.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use net::forming::{Record, Roster};
use raft::{Config, EntryId, GroupId, Index, Message, NodeId, Raft, Settings, Time};
use runtime::Disk;

use crate::kv::Kv;
use crate::members::Members;
use crate::shard::{self, Places};
use crate::state_machine::{Applied, StateMachine};
use crate::wire::{Beat, Body, Call, Reply};

pub use crate::members::command_again;
pub use crate::node::fuzzing::{boot_again, identity_again, record_again};

/// A message, where its entries stand in the tail, and the configurations among those.
pub type OpenedMessage = (Message, Range<usize>, Vec<(Index, Config)>);

/// What stands in a frame, taken apart.
#[derive(Debug)]
pub struct Opened {
    /// Messages with their entries.
    pub messages: Vec<OpenedMessage>,
    /// Where proxied requests stand in the tail.
    pub calls: Vec<Range<usize>>,
    /// Where answers stand in the tail.
    pub replies: Vec<Range<usize>>,
}

/// Takes a frame apart as a shard does. `body` is 16-aligned.
pub fn open_frame(body: &[u8], tail: &[u8]) -> Option<Opened> {
    let parcel = shard::open_frame(body, tail)?;
    Some(Opened {
        messages: parcel.messages,
        calls: parcel.calls.into_iter().map(|(_, range)| range).collect(),
        replies: parcel.replies.into_iter().map(|(_, _, range)| range).collect(),
    })
}

/// A frame's body as it is written again after it was read; `None`: it was refused. `body` is 16-aligned.
pub fn body_again(body: &[u8]) -> Option<Vec<u8>> {
    Body::decode(body).map(|body| body.encode())
}

/// A frame's body: messages, calls of so many bytes each, answers of so many bytes each, a beat.
pub fn body_of(messages: Vec<Message>, calls: &[u32], replies: &[u32]) -> Vec<u8> {
    let call = |&bytes: &u32| Call { group: GroupId(1), sequence: 7, kind: 0, time_left_us: 9, bytes };
    let reply = |&bytes: &u32| Reply { sequence: 7, outcome: 0, bytes };
    let body = Body {
        messages,
        calls: calls.iter().map(call).collect(),
        replies: replies.iter().map(reply).collect(),
        beat: Some(Beat { boot: 3, vouches: true, is_unfit: false }),
    };
    body.encode()
}

/// The directory of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(Members);

impl Directory {
    /// As the cluster formed.
    pub fn founded(record: &Record) -> Directory {
        Directory(Members::founded(record))
    }

    /// As a save has it; `None`: it was refused.
    pub fn restored(bytes: &[u8]) -> Option<Directory> {
        let mut members = Members::default();
        members.restore_entry(b"members", bytes).ok()?;
        members.restore_end().ok()?;
        Some(Directory(members))
    }

    /// A save of it.
    pub fn save(&self) -> Vec<u8> {
        self.0.encode()
    }

    /// Applies a command of entry `index`. False: it is none.
    pub fn apply(&mut self, index: Index, command: &[u8]) -> bool {
        let id = EntryId { index, ..EntryId::default() };
        self.0.apply(id, command, &mut Vec::new()) == Applied::Done
    }

    /// What other nodes are told.
    pub fn roster(&self) -> Roster {
        self.0.roster()
    }
}

/// Opens a shard's log and snapshots as a start does, and starts every replica from them.
///
/// # Errors
/// Why the start was refused.
pub async fn open_shard<D: Disk>(
    disk: &D,
    dir: &Path,
    log_options: raftlog::Options,
    settings: &Rc<Settings>,
) -> Result<Vec<Raft>, String> {
    // Whole, so that everything is looked at.
    let serving = shard::ServingLimits { mapped_bytes_max: u64::MAX, checked_at_start_bytes: u64::MAX };
    let places = Places {
        shard: 0,
        log_dir: dir.join("log"),
        log_options,
        snapshots_dir: dir.join("snapshots"),
        serving,
    };
    let opened = shard::open(disk, &places, &|_| Kv::new(0..16_384), shard::loader::by_reading(disk)).await;
    let opened = opened.map_err(|error| error.to_string())?;
    let replica = |(known, _machine): (raftlog::RecoveredGroup, _)| {
        let group = known.group;
        let restored = shard::restored(known, &[NodeId(1), NodeId(2), NodeId(3)], true);
        Raft::new(settings, group, false, restored, Time(1))
    };
    Ok(opened.groups.into_iter().map(replica).collect())
}
