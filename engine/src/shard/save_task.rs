//! Writing one frozen image to a file, beside the turns.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use runtime::Disk;
use snapshot::{BuildSpec, Builder, Guard, ItemError, Manifest, Slot, SnapshotError};

use crate::state_machine::{Frozen, Progress, SaveSink};

/// Lets the shard's turns go first: awaited by background work between slices of at most a millisecond.
pub(crate) type Pause = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>>;

/// What one slice of a save or a restore moves: small entries of this many bytes take a fraction of a millisecond.
pub(super) const SLICE_BYTES: usize = 64 << 10;

/// Why a save came to nothing. The log keeps what it would have let go.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the state machine's image breaks its contract: {0}")]
    Image(#[from] ItemError),
    #[error("the state machine's image breaks its contract: a value is not as long as it was said to be")]
    ValueBytes,
}

/// Writes all of `frozen` and answers with the manifest of the file, which is synced under its final name.
pub(super) async fn save<D: Disk>(
    slot: Slot<D>,
    spec: BuildSpec,
    mut frozen: Box<dyn Frozen>,
    pause: Pause,
) -> Result<(Manifest, Guard), SaveError> {
    let membership = spec.membership.clone();
    let name = slot.name();
    let mut builder = Builder::create(slot, spec).await?;
    let mut value_left = 0;
    loop {
        let mut sink = Sink { builder: &mut builder, value_left, error: None };
        let progress = frozen.write(&mut sink, SLICE_BYTES);
        value_left = sink.value_left;
        if let Some(error) = sink.error {
            return Err(error);
        }
        builder.flush().await?;
        if progress == Progress::Done {
            break;
        }
        pause().await;
    }
    if value_left > 0 {
        return Err(SaveError::ValueBytes);
    }
    drop(frozen);
    let finished = builder.finish().await?;
    let manifest = Manifest { group: name.group, id: name.id, membership, runs: vec![finished.reference] };
    Ok((manifest, finished.guard))
}

/// Hands entries to the builder and keeps the first thing that is wrong with them.
struct Sink<'a, D: Disk> {
    builder: &'a mut Builder<D>,
    /// What is missing of the value that was begun.
    value_left: usize,
    error: Option<SaveError>,
}

impl<D: Disk> Sink<'_, D> {
    fn take(&mut self, what: impl FnOnce(&mut Builder<D>) -> Result<(), ItemError>) {
        if self.error.is_none() && self.value_left > 0 {
            self.error = Some(SaveError::ValueBytes);
        }
        if self.error.is_none() {
            self.error = what(self.builder).err().map(SaveError::Image);
        }
    }
}

impl<D: Disk> SaveSink for Sink<'_, D> {
    fn entry(&mut self, key: &[u8], value: &[u8]) {
        // Flushed after every slice, which is far smaller than what the builder may hold.
        self.take(|builder| builder.push(key, value).map(|_room| ()));
    }

    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.take(|builder| builder.push_value(key, value_bytes));
        self.value_left = value_bytes;
    }

    fn part(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        match self.value_left.checked_sub(bytes.len()) {
            Some(left) => {
                self.value_left = left;
                let _flushed_after_the_slice = self.builder.extend_value(bytes);
            }
            None => self.error = Some(SaveError::ValueBytes),
        }
    }
}
