//! Memory that the ring, the log and the snapshot files hand to each other without copying.
//!
//! All memory is made of whole 4096-byte blocks aligned to 4096 bytes, as O_DIRECT wants it. A [`BufferMut`] has one
//! owner and can be written; [`BufferMut::freeze`] turns it into a [`Buffer`], a cheap view that can be cloned and
//! sliced but not written until the last other view is gone.

use std::{
    fmt,
    ops::{Deref, DerefMut, Range},
    rc::Rc,
};

use bytemuck::{Pod, Zeroable};

/// The unit of buffers and of direct disk I/O, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// One block. Its only purpose is its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
pub(crate) struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);

/// Memory with one owner: 4096-aligned, a multiple of 4096 bytes long, zeroed at birth.
pub struct BufferMut {
    blocks: Box<[Block]>,
}

impl BufferMut {
    /// Zeroed memory for at least `bytes` bytes, rounded up to whole blocks.
    pub fn zeroed(bytes: usize) -> BufferMut {
        BufferMut { blocks: bytemuck::allocation::zeroed_slice_box(bytes.div_ceil(BLOCK_BYTES)) }
    }

    /// How many bytes it holds: a multiple of [`BLOCK_BYTES`].
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Whether it holds no byte at all.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Ends writing: the whole memory as a view that can be cloned and sliced.
    pub fn freeze(self) -> Buffer {
        let range = 0..self.len();
        Buffer { blocks: Rc::new(self.blocks), start: range.start, end: range.end }
    }

    pub(crate) fn into_blocks(self) -> Box<[Block]> {
        self.blocks
    }

    pub(crate) fn from_blocks(blocks: Box<[Block]>) -> BufferMut {
        BufferMut { blocks }
    }
}

impl Deref for BufferMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.blocks)
    }
}

impl DerefMut for BufferMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.blocks)
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferMut({} bytes)", self.len())
    }
}

/// A read-only view of bytes in shared memory. Cloning and slicing copy no bytes. Stays on its thread.
#[derive(Clone)]
pub struct Buffer {
    blocks: Rc<Box<[Block]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// A view of no bytes.
    pub fn empty() -> Buffer {
        BufferMut::zeroed(0).freeze()
    }

    /// Copies `bytes` into memory of its own.
    pub fn copy_from(bytes: &[u8]) -> Buffer {
        let mut buffer = BufferMut::zeroed(bytes.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer.freeze().slice(0..bytes.len())
    }

    /// How many bytes the view shows.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether the view shows no byte.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// A view of the bytes `range` of this view.
    ///
    /// # Panics
    ///
    /// When `range` is not within the view.
    pub fn slice(&self, range: Range<usize>) -> Buffer {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "slice {range:?} of {} bytes",
            self.len()
        );
        Buffer {
            blocks: Rc::clone(&self.blocks),
            start: self.start + range.start,
            end: self.start + range.end,
        }
    }

    /// Takes the whole memory back for writing if this is the last view of it. The bytes are as they were.
    ///
    /// # Errors
    ///
    /// Gives the view back when another one (perhaps one that the ring holds for a write in flight) is alive.
    pub fn try_unique(self) -> Result<BufferMut, Buffer> {
        let Buffer { blocks, start, end } = self;
        match Rc::try_unwrap(blocks) {
            Ok(blocks) => Ok(BufferMut { blocks }),
            Err(blocks) => Err(Buffer { blocks, start, end }),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[self.start..self.end]
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_rounded_up() {
        for (asked, given) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
            let buffer = BufferMut::zeroed(asked);
            assert_eq!(buffer.len(), given);
            assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn slices_of_slices_show_the_right_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let view = Buffer::copy_from(&bytes).slice(10..200).slice(5..7);
        assert_eq!(&view[..], &[15, 16]);
        assert_eq!(view.slice(2..2).len(), 0);
    }

    #[test]
    #[should_panic(expected = "slice")]
    fn a_slice_does_not_reach_past_its_view() {
        let _ = Buffer::copy_from(b"hello").slice(0..3).slice(0..4);
    }

    #[test]
    fn memory_comes_back_only_from_the_last_view() {
        let mut buffer = BufferMut::zeroed(10);
        buffer[3] = 7;
        let view = buffer.freeze();
        let other = view.slice(0..4);
        let view = view.try_unique().expect_err("another view is alive");
        drop(view);
        let back = other.try_unique().expect("the last view");
        assert_eq!(back.len(), 4096);
        assert_eq!(back[3], 7);
    }
}
