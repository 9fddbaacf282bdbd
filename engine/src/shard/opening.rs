//! What a shard does before its first turn, a restart's only long step: it reads the log back and loads the snapshots
//! that the log names.

use std::path::PathBuf;

use raft::{GroupId, Index};
use raftlog::{Log, Lost, OpenError};
use runtime::Disk;

use super::Opened;
use super::loader::{Opener, ServingLimits};
use super::machine::Machine;
use super::restore::open_snapshots;
use crate::error::StartError;
use crate::state_machine::StateMachine;

/// Where a shard's data is.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) shard: u16,
    pub(crate) log_dir: PathBuf,
    pub(crate) log_options: raftlog::Options,
    pub(crate) snapshots_dir: PathBuf,
    pub(crate) serving: ServingLimits,
}

/// So many lost ranges are named at a start, one a line.
const LOST_TOLD_MAX: usize = 20;

/// Names the entries that are not any more what was written: those of a group whose peers have them.
fn tell(shard: u16, lost: &[Lost]) {
    for range in lost.iter().take(LOST_TOLD_MAX) {
        tracing::error!(shard, "lost, and to come from its peers: {range}");
    }
    if lost.len() > LOST_TOLD_MAX {
        tracing::error!(
            shard,
            "lost, and to come from their peers: {} more ranges of entries",
            lost.len() - LOST_TOLD_MAX
        );
    }
}

/// Opens the log and loads the snapshots it names.
///
/// # Errors
/// [`StartError::Recovery`], which says whether acknowledged data is damaged.
pub(crate) async fn open<S: StateMachine, D: Disk>(
    disk: &D,
    places: &Places,
    factory: &dyn Fn(GroupId) -> S,
    access: Opener,
) -> Result<Opened<S, D>, StartError> {
    let shard = places.shard;
    let opened = Log::open(disk.clone(), &places.log_dir, places.log_options.clone()).await;
    let (mut log, recovered) = opened.map_err(|error| {
        let corrupt = matches!(
            error,
            OpenError::Damaged { .. }
                | OpenError::Foreign { .. }
                | OpenError::Missing { .. }
                | OpenError::Truncated { .. }
        );
        StartError::Recovery { shard, reason: error.to_string(), corrupt }
    })?;
    tell(shard, &recovered.lost);
    let machine = |group| Machine::new(group, factory);
    let opened = open_snapshots(
        disk,
        &places.snapshots_dir,
        recovered.groups,
        &machine,
        (access, places.serving),
        places.log_options.heals,
    )
    .await;
    let (loader, groups) = opened.map_err(|error| StartError::Recovery {
        shard,
        reason: error.to_string(),
        corrupt: error.is_corrupt(),
    })?;
    for (known, _) in groups.iter().filter(|(known, _)| known.is_lost) {
        if log.last(known.group).index > known.last {
            log.lose(known.group, Index::ZERO); // its snapshot is gone
        }
    }
    Ok(Opened {
        log,
        disk: disk.clone(),
        loader,
        groups,
        #[cfg(feature = "simulation")]
        losses: recovered.losses,
    })
}
