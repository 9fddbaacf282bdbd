//! The sending side.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use runtime::{Buffer, Disk, File};

use super::message::{Begin, ChunkHeader, META_BYTES_MAX, Message, TransferId};
use super::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::begun::Begun;
use crate::error::SnapshotError;
use crate::file_run::FileRun;
use crate::format::PAGE_BYTES;
use crate::manifest::RunReference;
use crate::registry::Use;
use crate::store::Guard;

/// Chunks that are read while one is sent: a disk is slower if it is asked for one thing at a time.
const READS_AHEAD: usize = 2;

/// What the sender is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message (on every new connection it is the first).
    Send(Message),
    /// Send the next chunk: [`Sender::next_chunk`].
    SendChunk,
    /// Wait for a message from the receiver.
    Wait,
    /// It is over: the receiver has the file, or why it will not.
    Over(Result<(), String>),
}

/// The receiver does not keep to the protocol: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transfer {transfer:?}: unexpected {message} from the receiver")]
pub struct SendError {
    /// The transfer.
    pub transfer: TransferId,
    /// What came.
    pub message: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// `Begin` is to be sent on the current connection.
    Beginning,
    /// `Begin` was sent.
    Offered,
    /// Chunks from here on are to be sent.
    Sending {
        offset: u64,
    },
    /// The last chunk was sent.
    Sent,
    Over(Result<(), String>),
}

/// Sends one file, over as many connections as it takes. While it lives, the file does.
pub struct Sender<F> {
    file: F,
    path: PathBuf,
    begin: Begin,
    state: State,
    /// Chunks that are being read, by where they begin, which is one after the other.
    reads: VecDeque<(u64, Begun<'static, Buffer>)>,
    _guard: Guard,
}

impl<F: File> Sender<F> {
    /// Opens the file at `path` that `guard` keeps and `reference` describes.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` and `Mismatch` when it is not that file.
    ///
    /// # Panics
    ///
    /// When the guard is not for sending (alone, or beside another), `meta` is too long, or `chunk_bytes` is not whole pages between
    /// [`CHUNK_BYTES_MIN`] and [`CHUNK_BYTES_MAX`].
    pub async fn open<D: Disk<File = F>>(
        disk: &D,
        path: &Path,
        guard: Guard,
        reference: &RunReference,
        offer: Offer,
    ) -> Result<Sender<F>, SnapshotError> {
        let is_for_sending = matches!(guard.usage(), Use::Sending | Use::SendingBeside);
        assert!(is_for_sending && guard.name() == reference.name, "the guard is for this file");
        let Offer { transfer, chunk_bytes, meta } = offer;
        assert!(meta.len() <= META_BYTES_MAX, "a manifest is small");
        let whole_pages = usize::try_from(chunk_bytes).is_ok_and(|bytes| bytes.is_multiple_of(PAGE_BYTES));
        assert!(whole_pages && (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes), "whole pages");
        let file = disk.open(path).await.map_err(|error| SnapshotError::io(path, "open", error))?;
        FileRun::of_file(file.clone(), path).await?.expect(reference)?;
        let RunReference { name, bytes, checksum, .. } = *reference;
        let begin = Begin { transfer, name, file_bytes: bytes, checksum, chunk_bytes, meta };
        Ok(Sender {
            file,
            path: path.to_path_buf(),
            begin,
            state: State::Beginning,
            reads: VecDeque::new(),
            _guard: guard,
        })
    }

    /// The transfer.
    pub fn transfer(&self) -> TransferId {
        self.begin.transfer
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        match &self.state {
            State::Beginning => {
                self.state = State::Offered;
                Step::Send(Message::Begin(self.begin.clone()))
            }
            State::Sending { .. } => Step::SendChunk,
            State::Offered | State::Sent => Step::Wait,
            State::Over(outcome) => Step::Over(outcome.clone()),
        }
    }

    /// How many bytes the next chunk carries: what to ask the rate limit for. 0 when none is due.
    pub fn next_chunk_bytes(&self) -> u32 {
        let State::Sending { offset } = self.state else { return 0 };
        let left = u32::try_from(self.begin.file_bytes - offset).unwrap_or(u32::MAX);
        left.min(self.begin.chunk_bytes)
    }

    /// Reads the next chunk: its message and the data that follow it. None when none is due.
    ///
    /// # Errors
    ///
    /// `Io`, or `Corrupt` when the file has become shorter: abort the transfer.
    pub async fn next_chunk(&mut self) -> Result<Option<(Message, Buffer)>, SnapshotError> {
        let State::Sending { offset } = self.state else { return Ok(None) };
        let data_bytes = self.next_chunk_bytes();
        let data = self.read(offset).await?;
        if u32::try_from(data.len()) != Ok(data_bytes) {
            let (path, problem) = (self.path.clone(), "the file is cut off");
            return Err(SnapshotError::Corrupt { path, offset, problem });
        }
        let end = offset + u64::from(data_bytes);
        let done = end == self.begin.file_bytes;
        self.state = if done { State::Sent } else { State::Sending { offset: end } };
        let header = ChunkHeader {
            transfer: self.begin.transfer,
            offset,
            file_bytes: self.begin.file_bytes,
            data_bytes,
            data_checksum: crc32fast::hash(&data),
        };
        Ok(Some((Message::Chunk(header), data)))
    }

    /// The chunk at `offset`. Begins to read those behind it.
    async fn read(&mut self, offset: u64) -> Result<Buffer, SnapshotError> {
        if self.reads.front().is_none_or(|(at, _)| *at != offset) {
            self.reads.clear(); // of before the receiver asked for another chunk
        }
        let mut next = self.reads.back().map_or(offset, |(at, _)| at + u64::from(self.begin.chunk_bytes));
        while self.reads.len() <= READS_AHEAD && next < self.begin.file_bytes {
            let left = self.begin.file_bytes - next;
            let bytes = u64::from(self.begin.chunk_bytes).min(left);
            let count = usize::try_from(bytes).expect("a chunk fits memory");
            let (file, path) = (self.file.clone(), self.path.clone());
            let read = async move {
                let read = file.read_at(next, count).await;
                read.map_err(|error| SnapshotError::io(&path, "read", error))
            };
            self.reads.push_back((next, Begun::new(read).await));
            next += bytes;
        }
        let (_, read) = self.reads.pop_front().expect("there is a chunk at this offset");
        read.end().await
    }

    /// Takes a message from the receiver. One of another transfer, or after the end, changes nothing.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn receive(&mut self, message: Message) -> Result<(), SendError> {
        if message.transfer() != self.begin.transfer || matches!(self.state, State::Over(_)) {
            return Ok(());
        }
        let unexpected = |message| Err(SendError { transfer: self.begin.transfer, message });
        match message {
            Message::Resume { .. } if self.state == State::Beginning => {
                return unexpected("Resume before Begin");
            }
            Message::Resume { offset, .. } => {
                let starts_chunk = offset.is_multiple_of(PAGE_BYTES as u64) && offset < self.begin.file_bytes;
                if !starts_chunk {
                    return unexpected("Resume at an offset that starts no chunk");
                }
                self.state = State::Sending { offset };
            }
            Message::Done { ok, reason, .. } => {
                self.state = State::Over(if ok { Ok(()) } else { Err(reason) })
            }
            Message::Abort { reason, .. } => self.state = State::Over(Err(reason)),
            Message::Begin(_) => return unexpected("Begin"),
            Message::Chunk(_) => return unexpected("Chunk"),
        }
        Ok(())
    }

    /// The connection is gone: the next one begins with `Begin`, and goes on where the receiver says.
    pub fn disconnected(&mut self) {
        if !matches!(self.state, State::Over(_)) {
            self.state = State::Beginning;
        }
        self.reads.clear();
    }
}

/// How a file is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// A number that this sender uses once.
    pub transfer: TransferId,
    /// How many bytes a chunk carries.
    pub chunk_bytes: u32,
    /// The manifest that the file is part of.
    pub meta: Vec<u8>,
}
