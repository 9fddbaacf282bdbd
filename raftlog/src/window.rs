//! Reading a file from some place on, with pieces read ahead: a disk that is asked for one piece at a time rests in between.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use runtime::{Buffer, BufferMut, File};

use crate::salvage::{self, Salvaged};

/// Files are read in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;
/// How many pieces are on their way at most: enough for the fastest disks, 8 MiB of memory.
const AHEAD_MAX: usize = 8;

/// So many blocks may be refused, and counted as zeros: with more the disk is gone, not a place of it.
const REFUSED_MAX: usize = 64;

/// A piece on its way, or what came of it before anyone asked.
enum Coming {
    Reading(Pin<Box<dyn Future<Output = io::Result<Salvaged>>>>),
    Here(io::Result<Salvaged>),
}

impl Coming {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Coming::Reading(future) = self
            && let Poll::Ready(result) = future.as_mut().poll(context)
        {
            *self = Coming::Here(result);
        }
    }
}

/// A sequential reader: what is asked for never lies before what was asked for last.
pub(crate) struct Window<F> {
    file: F,
    /// Pieces that may still be asked for, back to back.
    pieces: VecDeque<Buffer>,
    /// Where the first of them starts.
    start: u64,
    coming: VecDeque<Coming>,
    /// Where the next one to be asked of the disk starts.
    next: u64,
    /// Grows piece by piece: of a file of which little is wanted, little is read.
    ahead: usize,
    pub(crate) read_bytes: u64,
    /// Where the disk refused blocks, for which zeros stand, ascending.
    pub(crate) refused: Vec<u64>,
}

impl<F: File> Window<F> {
    pub(crate) fn new(file: &F, from: u64) -> Window<F> {
        Window {
            file: file.clone(),
            pieces: VecDeque::new(),
            start: from,
            coming: VecDeque::new(),
            next: from,
            ahead: 1,
            read_bytes: 0,
            refused: Vec::new(),
        }
    }

    /// The `len` bytes at `offset`; fewer at the end of the file, and zeros where the disk refuses some blocks.
    pub(crate) async fn get(&mut self, offset: u64, len: usize) -> io::Result<Buffer> {
        debug_assert!(offset >= self.start, "what was passed is gone");
        let end = (offset + len as u64).min(self.file.file_bytes());
        while self.here_to() < end || self.pieces.front().is_some_and(|piece| self.is_passed(piece, offset)) {
            match self.pieces.front() {
                Some(piece) if self.is_passed(piece, offset) => {
                    self.start += piece.len() as u64;
                    self.pieces.pop_front();
                }
                _ => {
                    let piece = self.next_piece().await?;
                    if piece.is_empty() {
                        break; // the file is shorter than it was
                    }
                    self.pieces.push_back(piece);
                }
            }
        }
        let len = self.here_to().min(end).saturating_sub(offset);
        Ok(self.cut(offset, usize::try_from(len).expect("at most what was asked for")))
    }

    fn is_passed(&self, piece: &Buffer, offset: u64) -> bool {
        self.start + piece.len() as u64 <= offset
    }

    fn here_to(&self) -> u64 {
        self.start + self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }

    /// `len` bytes at `offset`, which are here: copied only where they lie in two pieces.
    fn cut(&self, offset: u64, len: usize) -> Buffer {
        let mut from = usize::try_from(offset - self.start).expect("in the first piece, or nothing is left");
        match self.pieces.front() {
            _ if len == 0 => return Buffer::empty(),
            Some(piece) if from + len <= piece.len() => return piece.slice(from..from + len),
            _ => {}
        }
        let mut whole = BufferMut::zeroed(len);
        let mut filled = 0;
        for piece in &self.pieces {
            let part = &piece[from..piece.len().min(from + len - filled)];
            whole[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
            from = 0;
            if filled == len {
                break;
            }
        }
        whole.freeze().slice(0..len)
    }

    async fn next_piece(&mut self) -> io::Result<Buffer> {
        std::future::poll_fn(|context| {
            self.read_ahead(context);
            match self.coming.front_mut() {
                None => Poll::Ready(()),
                Some(front) => {
                    front.poll(context);
                    if matches!(front, Coming::Here(_)) { Poll::Ready(()) } else { Poll::Pending }
                }
            }
        })
        .await;
        self.ahead = (self.ahead + 1).min(AHEAD_MAX);
        match self.coming.pop_front() {
            Some(Coming::Here(result)) => {
                let Salvaged { bytes, refused, error } = result?;
                self.read_bytes += bytes.len() as u64;
                self.refused.extend(refused);
                match error {
                    Some(error) if self.refused.len() >= REFUSED_MAX => Err(error),
                    _ => Ok(bytes),
                }
            }
            _ => Ok(Buffer::empty()), // the end of the file
        }
    }

    fn read_ahead(&mut self, context: &mut Context<'_>) {
        while self.coming.len() < self.ahead && self.next < self.file.file_bytes() {
            let (file, at) = (self.file.clone(), self.next);
            let mut piece =
                Coming::Reading(Box::pin(
                    async move { salvage::read(&file, at, PIECE_BYTES, REFUSED_MAX).await },
                ));
            piece.poll(context); // it begins now
            self.coming.push_back(piece);
            self.next += PIECE_BYTES as u64;
        }
    }
}
