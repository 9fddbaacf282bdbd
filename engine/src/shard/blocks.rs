//! Blocks of snapshot files that machines look at and that are not in memory: brought beside the turns, while who needs them
//! waits and all other groups go on.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use raft::Time;
use runtime::Disk;
use snapshot::SnapshotError;

use super::Shard;
use super::background::Finished;
use super::residence::Piece;
use crate::fatal::Fatal;
use crate::state_machine::StateMachine;

/// What is brought in one go while nobody waits: about a millisecond, which is what one who asks then waits besides.
const WARMED_BYTES: u64 = 1 << 20;

/// What there is no room for is only looked at, once after a start, at so many bytes a second: as fast as the log is scrubbed.
const LOOKED_AT_BYTES_PER_SECOND: u64 = 4 << 20;

/// A disk that does not give what nobody waits for is asked again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What of a shard waits for blocks.
#[derive(Default)]
pub(super) struct Blocks {
    waiting: Vec<usize>,
    is_under_way: bool,
    /// When more may be looked at than there is room for.
    look_at: Time,
    /// Before that nothing is tried that nobody waits for: something else than damage was in the way.
    retry_at: Time,
    /// The file for which the shard ends.
    damaged: Option<PathBuf>,
}

/// Blocks were brought, or could not be.
pub(super) struct BringEnd {
    waiting: Vec<usize>,
    result: Result<Vec<Piece>, SnapshotError>,
}

impl Blocks {
    /// The replica can go on when what its machine asked for is there.
    pub(super) fn wait(&mut self, replica: usize) {
        if !self.waiting.contains(&replica) {
            self.waiting.push(replica);
        }
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Has brought what machines asked for; if that is nothing, what they may ask for next, as far as there is room.
    pub(super) fn bring_blocks(&mut self) {
        let residence = Rc::clone(&self.saves.loader.residence);
        if self.blocks.is_under_way || self.blocks.waiting.is_empty() && residence.is_looked_at() {
            return;
        }
        let mut pieces = residence.pieces(residence.lookups().take_wanted());
        if pieces.is_empty() {
            let waiting = std::mem::take(&mut self.blocks.waiting);
            self.more |= !waiting.is_empty();
            self.go_on_with(waiting); // what they wait for came meanwhile
            if self.stopping.is_none() && self.now >= self.blocks.retry_at {
                pieces.extend(residence.next_unseen(WARMED_BYTES, self.now >= self.blocks.look_at));
            }
        }
        if pieces.is_empty() {
            return;
        }
        let (loader, waiting) = (self.saves.loader.clone(), std::mem::take(&mut self.blocks.waiting));
        self.blocks.is_under_way = true;
        self.background.spawn(async move {
            let given_back = loader.residence.take_given_back();
            let result = (loader.access.bring_blocks)(pieces, given_back).await;
            Finished::Brought(BringEnd { waiting, result })
        });
    }

    /// When a turn is due to look at more of what nobody asks for.
    pub(super) fn looks_at_blocks_at(&self) -> Time {
        let is_idle = self.blocks.is_under_way || self.saves.loader.residence.is_looked_at();
        if is_idle { Time::NEVER } else { self.blocks.look_at.max(self.blocks.retry_at) }
    }

    pub(super) fn take_brought(&mut self, end: BringEnd) {
        self.blocks.is_under_way = false;
        let residence = Rc::clone(&self.saves.loader.residence);
        match end.result {
            Ok(pieces) => {
                let beyond_room: u64 = pieces.iter().filter(|piece| !piece.is_kept()).map(Piece::bytes).sum();
                let pause_us = beyond_room * 1_000_000 / LOOKED_AT_BYTES_PER_SECOND;
                self.blocks.look_at = self.blocks.look_at.max(Time(self.now.0 + pause_us));
                residence.brought(&pieces);
                let facts = &self.directory.shard(self.shard).blocks;
                facts.bytes.store(residence.bytes(), Relaxed);
                facts.brought.fetch_add(pieces.iter().map(|piece| piece.blocks.len() as u64).sum(), Relaxed);
                facts.waits.fetch_add(end.waiting.len() as u64, Relaxed);
            }
            // In no machine's answer, and never to be.
            Err(error)
                if error.is_corrupt()
                    || error.is_unreadable() && !runtime::mutant!("blocks.unreadable_is_empty") =>
            {
                runtime::mark!("blocks.damaged");
                if error.is_unreadable() {
                    runtime::mark!("blocks.unreadable");
                }
                residence.lookups().found_damage(error);
            }
            // Who goes on asking is given it at last, and waits for the disk.
            Err(error) => {
                tracing::warn!(%error, "cannot bring a part of a snapshot to memory");
                self.blocks.retry_at = self.now + RETRY_AFTER;
            }
        }
        self.go_on_with(end.waiting);
    }

    /// What machines answered in this turn they found in sound files.
    pub(super) fn check_served(&mut self) -> Result<(), Fatal> {
        let Some(error) = self.saves.loader.residence.lookups().take_damage() else { return Ok(()) };
        self.blocks.damaged = error.path().map(Path::to_path_buf);
        Err(Fatal::Corruption { shard: self.shard, reason: error.to_string() })
    }

    /// Whether the shard ends for a damaged snapshot file.
    #[cfg(feature = "simulation")]
    pub(crate) fn is_damaged(&self) -> bool {
        self.blocks.damaged.is_some()
    }

    /// Whether all blocks of its files were looked at since the start.
    #[cfg(feature = "simulation")]
    pub(crate) fn has_seen_files(&self) -> bool {
        self.saves.loader.residence.is_looked_at()
    }

    /// Not another word of this node.
    #[cfg(feature = "simulation")]
    pub(crate) fn silence(&self) {
        self.directory.set_dead();
    }

    /// The last thing a shard does that ends for a damaged snapshot file: the next start is to take what it held from peers, if there
    /// are any.
    pub(crate) async fn set_damaged_aside(&mut self) {
        let loader = &self.saves.loader;
        let Some(path) = self.blocks.damaged.take().filter(|_| loader.heals) else { return };
        match loader.store.set_aside(&path).await {
            Ok(aside) => {
                tracing::error!(aside = %aside.display(), "a damaged file is set aside: the next start heals")
            }
            Err(error) => tracing::error!(%error, "a damaged file stays where it is"),
        }
    }

    fn go_on_with(&mut self, waiting: Vec<usize>) {
        for number in waiting {
            self.replicas[number].is_cold = false;
            self.mark_dirty(number);
            if self.replicas[number].machine.wants_thaw() {
                self.saves.thaw_later(number);
            }
        }
    }
}
