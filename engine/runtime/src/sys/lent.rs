//! Values that stay where they are while the kernel uses them.

use std::{fmt, ptr::NonNull};

use crate::buffer::{Block, BufferMut};

/// A value on the heap that is only reached through its raw address, so that moving the owner neither moves the value
/// nor claims it from the kernel.
pub(crate) struct Pinned<T> {
    value: NonNull<T>,
}

impl<T> Pinned<T> {
    pub(crate) fn new(value: T) -> Pinned<T> {
        Pinned { value: NonNull::from(Box::leak(Box::new(value))) }
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }

    /// The value, for changing it while no operation uses it: only the owner of the operation can call this, and the
    /// ring owns operations in flight.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: the address comes from a leaked box that is freed in `drop` alone, and `self` is borrowed uniquely.
        unsafe { self.value.as_mut() }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the address comes from a leaked box, and nothing else frees it.
        drop(unsafe { Box::from_raw(self.value.as_ptr()) });
    }
}

impl<T> fmt::Debug for Pinned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

/// A [`BufferMut`] lent to the kernel, which may write it.
pub(crate) struct Lent {
    blocks: NonNull<[Block]>,
}

impl Lent {
    pub(crate) fn new(buffer: BufferMut) -> Lent {
        Lent { blocks: NonNull::from(Box::leak(buffer.into_blocks())) }
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len() * crate::BLOCK_BYTES
    }

    /// The address of byte `at`.
    pub(crate) fn as_ptr(&self, at: usize) -> *mut u8 {
        assert!(at <= self.len(), "byte {at} of a buffer of {} bytes", self.len());
        // SAFETY: just checked to be within the allocation, or one past its end.
        unsafe { self.blocks.as_ptr().cast::<u8>().add(at) }
    }

    /// Takes the buffer back: the operation that used it has ended.
    pub(crate) fn take(self) -> BufferMut {
        let blocks = self.blocks;
        std::mem::forget(self);
        // SAFETY: the address comes from a leaked box; forgetting `self` keeps `drop` from freeing it too.
        BufferMut::from_blocks(unsafe { Box::from_raw(blocks.as_ptr()) })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: the address comes from a leaked box, and `take` forgets itself.
        drop(unsafe { Box::from_raw(self.blocks.as_ptr()) });
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} bytes)", self.len())
    }
}
