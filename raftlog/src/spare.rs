//! Memory of batches that nobody needs any more, for the next ones: new memory is zeroed first and costs a page fault per block,
//! which for large batches is more than all else that the log does to them.

use runtime::{Buffer, BufferMut};

/// What is kept at most, in bytes: as much as a full pipeline of large batches.
const SPARE_BYTES_MAX: usize = 8 << 20;
/// How many buffers are kept at most, so that the search for one stays short.
const SPARE_COUNT_MAX: usize = 16;

/// Buffers to be written over. They hold old bytes: whoever takes one leaves none of them between what is written.
#[derive(Default)]
pub(crate) struct Spare {
    buffers: Vec<BufferMut>,
    bytes: usize,
}

impl Spare {
    /// Memory for at least `bytes` bytes and at most twice as many, holding anything.
    pub(crate) fn take(&mut self, bytes: usize) -> BufferMut {
        let fits = |buffer: &BufferMut| (bytes..=2 * bytes).contains(&buffer.len());
        // The newest is the likeliest to be in the processor's caches.
        match self.buffers.iter().rposition(fits) {
            Some(at) => {
                let buffer = self.buffers.swap_remove(at);
                self.bytes -= buffer.len();
                buffer
            }
            None => BufferMut::zeroed(bytes),
        }
    }

    /// Keeps the memory behind `buffer` if nobody else looks at it and there is room.
    pub(crate) fn give(&mut self, buffer: Buffer) {
        if let Ok(buffer) = buffer.try_unique() {
            self.give_back(buffer);
        }
    }

    /// Keeps `buffer` if there is room.
    pub(crate) fn give_back(&mut self, buffer: BufferMut) {
        if self.buffers.len() < SPARE_COUNT_MAX && self.bytes + buffer.len() <= SPARE_BYTES_MAX {
            self.bytes += buffer.len();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_in_about_the_size_asked_for() {
        let mut spare = Spare::default();
        let buffer = BufferMut::zeroed(3 * 4096).freeze();
        let (view, at) = (buffer.slice(5..9), buffer.as_ptr());
        spare.give(buffer);
        assert_ne!(spare.take(3 * 4096).as_ptr(), at, "somebody still reads it");
        spare.give(view);
        assert_ne!(spare.take(4096).as_ptr(), at, "three times too large");
        assert_ne!(spare.take(4 * 4096).as_ptr(), at, "too small");
        assert_eq!(spare.take(2 * 4096).as_ptr(), at);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut spare = Spare::default();
        for _ in 0..100 {
            spare.give_back(BufferMut::zeroed(1 << 20));
        }
        assert_eq!((spare.buffers.len(), spare.bytes), (8, SPARE_BYTES_MAX));
        let mut spare = Spare::default();
        for _ in 0..100 {
            spare.give_back(BufferMut::zeroed(1));
        }
        assert_eq!(spare.buffers.len(), SPARE_COUNT_MAX);
    }
}
