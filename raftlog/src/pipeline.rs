//! Batches on their way to the disk: issued in order, finished in any order, durable as a prefix.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use raft::Time;
use runtime::Buffer;

use crate::{BatchSeq, LogError, format::BLOCK, measures::WriteTimes};

/// One durable write that has been started.
struct Write {
    batch: BatchSeq,
    issued: Time,
    bytes: u64,
    path: PathBuf,
    offset: u64,
    /// `None` once it succeeded.
    future: Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>,
}

/// The writes in flight, oldest first.
#[derive(Default)]
pub(crate) struct Pipeline {
    writes: VecDeque<Write>,
    bytes: u64,
    durable: BatchSeq,
    error: Option<LogError>,
    /// How long they took.
    pub(crate) times: WriteTimes,
}

/// The front of a segment says that it is there, and nothing else does: if the disk lost that write or put it elsewhere, the
/// file would pass for what it was before, and all that is acknowledged in the segment would be forgotten without a trace. So
/// it is read back before anything in it counts, once per segment. What is lost further back, later batches tell of.
async fn check_front<F: runtime::File>(file: &F, written: &[u8]) -> io::Result<()> {
    let front = file.read_at(0, BLOCK).await?;
    if front[..] == written[..BLOCK] {
        return Ok(());
    }
    Err(io::Error::other("the segment's header is not there: the disk lost the write, or put it elsewhere"))
}

impl Pipeline {
    pub(crate) fn new(durable: BatchSeq) -> Pipeline {
        Pipeline { durable, ..Pipeline::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// Bytes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything up to here is on the disk.
    pub(crate) fn durable(&self) -> BatchSeq {
        self.durable
    }

    pub(crate) fn error(&self) -> Option<&LogError> {
        self.error.as_ref()
    }

    /// Starts writing `data` as batch `batch`; it is in the ring when this returns.
    pub(crate) fn start<F: runtime::File>(
        &mut self,
        batch: BatchSeq,
        file: &F,
        offset: u64,
        data: Buffer,
        now: Time,
        context: &mut Context<'_>,
    ) {
        let bytes = data.len() as u64;
        let path = file.map_path();
        let file = file.clone();
        let future: Pin<Box<dyn Future<Output = io::Result<()>>>> = Box::pin(async move {
            file.write_durable(offset, data.clone()).await?;
            let is_checked = offset == 0 && !runtime::mutant!("log.header_not_read_back");
            if is_checked { check_front(&file, &data).await } else { Ok(()) }
        });
        self.bytes += bytes;
        self.writes.push_back(Write { batch, issued: now, bytes, path, offset, future: Some(future) });
        self.poll_one(self.writes.len() - 1, now, context);
        self.advance(now);
    }

    /// Looks at all writes in flight. Errors are for ever.
    pub(crate) fn poll(&mut self, now: Time, context: &mut Context<'_>) {
        for at in 0..self.writes.len() {
            self.poll_one(at, now, context);
        }
        self.advance(now);
    }

    fn poll_one(&mut self, at: usize, now: Time, context: &mut Context<'_>) {
        let write = &mut self.writes[at];
        let Some(future) = &mut write.future else { return };
        match future.as_mut().poll(context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                write.future = None;
                let us = self.times.written.add(write.issued, now);
                self.times.spread.add(us);
            }
            Poll::Ready(Err(_)) if runtime::mutant!("log.failed_write_ignored") => write.future = None,
            Poll::Ready(Err(error)) => {
                write.future = None;
                let failure = LogError {
                    batch: write.batch,
                    path: write.path.clone(),
                    offset: write.offset,
                    kind: error.kind(),
                    what: error.to_string(),
                };
                tracing::error!(%failure, "the log is dead");
                self.error.get_or_insert(failure);
            }
        }
    }

    /// After an error nothing becomes durable any more: not even writes that succeeded after it.
    fn advance(&mut self, now: Time) {
        if runtime::mutant!("log.durable_out_of_order")
            && let Some(done) = self.writes.iter().rfind(|write| write.future.is_none())
        {
            self.durable = self.durable.max(done.batch);
        }
        while self.error.is_none()
            && let Some(oldest) = self.writes.front()
            && (oldest.future.is_none() || runtime::mutant!("log.acked_before_sync"))
        {
            self.durable = oldest.batch;
            self.bytes -= oldest.bytes;
            self.times.acked.add(oldest.issued, now);
            self.writes.pop_front();
        }
    }
}
