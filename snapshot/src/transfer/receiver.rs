//! The receiving side.

use std::collections::VecDeque;

use runtime::{BufferMut, Disk};

use super::message::{Begin, ChunkHeader, Message, TransferId};
use crate::aside::Aside;
use crate::begun::Begun;
use crate::checksums::Rolling;
use crate::error::SnapshotError;
use crate::file_run::FileRun;
use crate::manifest::RunReference;
use crate::name::SnapshotName;
use crate::store::{Guard, Slot};

/// Chunks whose writes are under way while the next is checked: enough to keep a disk busy, and little memory.
const WRITES_UNDER_WAY_MAX: usize = 3;

/// What a chunk led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is written and more are to come; or it was here already, or was sent before the sender heard of a bad one
    /// and comes again.
    More,
    /// All bytes are here: [`Receiver::finish`].
    Complete,
}

/// A chunk that was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Answer with [`Receiver::resume`], and close the connection after many: nothing is lost but time.
    #[error("the chunk at byte {offset} {problem}")]
    BadChunk {
        /// Where it claims to belong.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Give the transfer up.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// A received file: whole, each byte verified when it came, durable under its final name. Whoever uses it verifies its blocks
/// as they come back from the disk.
#[derive(Debug)]
pub struct Received {
    /// What the manifest says about the file, by its name here.
    pub reference: RunReference,
    /// Its name at the sender, as in the sender's manifest.
    pub sent_as: SnapshotName,
    /// Keeps the file until it is published.
    pub guard: Guard,
}

/// Receives one file, over as many connections as it takes. What is here lives in `.run.part` until it is whole;
/// dropping the receiver gives it up.
pub struct Receiver<D: Disk> {
    aside: Aside<D>,
    begin: Begin,
    /// Bytes before this are here, written or being written, but not synced.
    received_bytes: u64,
    /// Their writes, from the oldest on.
    writes: VecDeque<Begun<'static, ()>>,
    /// Their checksums, as the file has them in its table.
    checksums: Rolling,
    /// A chunk was refused: those sent behind it before the sender heard of that are ignored.
    refused: bool,
}

impl<D: Disk> Receiver<D> {
    /// Creates the file in `slot`, from [`Store::begin_receive`](crate::Store::begin_receive) for the group and
    /// entry of `begin`.
    ///
    /// Bytes that are here are trusted only for as long as the process lives, so a restart begins anew.
    ///
    /// # Errors
    ///
    /// `Io` when it cannot be created.
    ///
    /// # Panics
    ///
    /// When the slot is for another group or entry.
    pub async fn create(slot: Slot<D>, begin: Begin) -> Result<Receiver<D>, SnapshotError> {
        let name = slot.name();
        assert_eq!((name.group, name.id), (begin.name.group, begin.name.id), "the slot is for this file");
        let aside = Aside::create(slot).await?;
        let (writes, checksums) = (VecDeque::new(), Rolling::default());
        Ok(Receiver { aside, begin, received_bytes: 0, writes, checksums, refused: false })
    }

    /// The transfer, as its newest `Begin` called it.
    pub fn transfer(&self) -> TransferId {
        self.begin.transfer
    }

    /// Takes the `Begin` of a new connection. True: it is the same content, the transfer goes on from
    /// [`Receiver::resume_from`]. False: it is another file, drop this receiver and create one.
    pub fn resumes(&mut self, begin: &Begin) -> bool {
        let content = |begin: &Begin| (begin.name.group, begin.name.id, begin.file_bytes, begin.checksum);
        let same = content(begin) == content(&self.begin);
        if same {
            runtime::mark!("snapshot.receive.resumed");
            self.begin = begin.clone();
            self.refused = false;
        }
        same
    }

    /// Everything before this offset is here.
    pub fn resume_from(&self) -> u64 {
        self.received_bytes
    }

    /// The answer to `Begin` and to a bad chunk. With all bytes here there is nothing to send: None, finish instead.
    pub fn resume(&self) -> Option<Message> {
        let more = self.received_bytes < self.begin.file_bytes;
        more.then_some(Message::Resume { transfer: self.begin.transfer, offset: self.received_bytes })
    }

    /// Checks one chunk and begins to write it. A write that fails shows in a later call.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`].
    pub async fn chunk(&mut self, header: ChunkHeader, data: &[u8]) -> Result<Progress, ReceiveError> {
        let next = self.is_next(&header, data);
        self.refused |= next.is_err();
        if !next? {
            return Ok(Progress::More);
        }
        self.refused = false;
        let mut buffer = BufferMut::zeroed(data.len());
        buffer[..data.len()].copy_from_slice(data);
        while self.writes.len() >= WRITES_UNDER_WAY_MAX
            && let Some(oldest) = self.writes.pop_front()
        {
            oldest.end().await?;
        }
        let write = self.aside.begin_write(header.offset, buffer.freeze()).await?;
        self.writes.push_back(write);
        self.checksums.take(data, header.data_checksum);
        self.received_bytes += data.len() as u64;
        let complete = self.received_bytes == self.begin.file_bytes;
        Ok(if complete { Progress::Complete } else { Progress::More })
    }

    /// True: the chunk is the one wanted now, and sound. False: it is here already, or will be sent again.
    fn is_next(&self, header: &ChunkHeader, data: &[u8]) -> Result<bool, ReceiveError> {
        let ChunkHeader { transfer, offset, file_bytes, data_bytes, data_checksum } = *header;
        let ensure =
            |holds, problem| if holds { Ok(()) } else { Err(ReceiveError::BadChunk { offset, problem }) };
        ensure(transfer == self.begin.transfer, "belongs to another transfer")?;
        ensure(file_bytes == self.begin.file_bytes, "belongs to a file of another size")?;
        ensure(usize::try_from(data_bytes) == Ok(data.len()), "is cut off")?;
        let end = offset.checked_add(u64::from(data_bytes));
        if end.is_some_and(|end| end <= self.received_bytes) {
            return Ok(false);
        }
        if self.refused && offset > self.received_bytes {
            return Ok(false);
        }
        ensure(offset == self.received_bytes, "is not the next")?;
        let left = file_bytes - offset;
        let due = u64::from(self.begin.chunk_bytes).min(left);
        ensure(u64::from(data_bytes) == due, "has another length than agreed")?;
        ensure(crc32fast::hash(data) == data_checksum, "has a checksum that does not match")?;
        Ok(true)
    }

    /// Syncs the file, verifies that what came is the announced file: its footer, its table, and of each chunk in the table that
    /// its checksum is that of the bytes that came. Then gives it its final name and syncs the directory.
    ///
    /// # Errors
    ///
    /// `Io`; or `Corrupt` and `Mismatch` when the bytes are not the announced file: begin anew. The file is given
    /// up.
    ///
    /// # Panics
    ///
    /// Before all bytes are here.
    pub async fn finish(self) -> Result<Received, SnapshotError> {
        let Receiver { mut aside, begin, received_bytes, writes, checksums, .. } = self;
        assert_eq!(received_bytes, begin.file_bytes, "all chunks are here");
        for write in writes {
            write.end().await?;
        }
        aside.set_len(begin.file_bytes).await?;
        aside.sync().await?;
        let run = FileRun::of_file(aside.file().clone(), aside.path()).await?;
        let announced =
            RunReference { name: begin.name, offset: 0, bytes: begin.file_bytes, checksum: begin.checksum };
        run.expect(&announced)?;
        run.verify_received(&checksums).await?;
        drop(run);
        let reference = RunReference { name: aside.name(), ..announced };
        let guard = aside.complete().await?;
        Ok(Received { reference, sent_as: begin.name, guard })
    }
}
