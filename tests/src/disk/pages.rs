//! The bytes of a simulated file, page by page: what was never written takes no memory, and a copy shares all pages.

use std::{collections::BTreeMap, ops::Range, rc::Rc};

/// The unit of sharing.
const PAGE_BYTES: usize = 4096;

/// Bytes from 0 to `len`; those of absent pages are zero, and so are those of the last page behind `len`.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: usize,
    pages: BTreeMap<usize, Rc<[u8; PAGE_BYTES]>>,
}

impl Pages {
    pub(super) fn from_bytes(bytes: &[u8]) -> Pages {
        let mut pages = Pages::default();
        pages.write(0, bytes);
        pages
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts, or adds zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE_BYTES));
            if let Some(last) = self.pages.get_mut(&(len / PAGE_BYTES)) {
                Rc::make_mut(last)[len % PAGE_BYTES..].fill(0);
            }
        }
        self.len = len;
    }

    /// Overwrites, and grows if need be.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        self.len = self.len.max(offset + data.len());
        for (page, within, part) in pieces(offset, data.len()) {
            let bytes = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE_BYTES]));
            let len = within.len();
            Rc::make_mut(bytes)[within].copy_from_slice(&data[part..part + len]);
        }
    }

    /// The bytes of a range, as far as there are any.
    pub(super) fn read(&self, range: Range<usize>) -> Vec<u8> {
        let start = range.start.min(self.len);
        let mut bytes = vec![0; range.end.min(self.len).saturating_sub(start)];
        for (page, within, part) in pieces(start, bytes.len()) {
            if let Some(known) = self.pages.get(&page) {
                bytes[part..part + within.len()].copy_from_slice(&known[within]);
            }
        }
        bytes
    }
}

/// The pages that a range touches: the page, the range within it, and where in the range that begins.
fn pieces(offset: usize, len: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
    let end = offset + len;
    let first = offset / PAGE_BYTES;
    let last = if len == 0 { first } else { (end - 1) / PAGE_BYTES + 1 };
    (first..last).map(move |page| {
        let start = offset.max(page * PAGE_BYTES);
        let until = end.min((page + 1) * PAGE_BYTES);
        (page, start - page * PAGE_BYTES..until - page * PAGE_BYTES, start - offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_a_vector_of_bytes() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut pages, mut plain) = (Pages::default(), Vec::new());
        for _ in 0..2_000 {
            let (offset, len) = (random.usize(..20_000), random.usize(..9_000));
            match random.u8(..4) {
                0 => {
                    pages.resize(offset);
                    plain.resize(offset, 0);
                }
                1 => {
                    let data: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                    let copy = pages.clone();
                    pages.write(offset, &data);
                    assert_eq!(copy.read(0..copy.len()), plain, "a copy is its own");
                    plain.resize(plain.len().max(offset + len), 0);
                    plain[offset..offset + len].copy_from_slice(&data);
                }
                _ => {
                    let end = (offset + len).min(plain.len());
                    assert_eq!(pages.read(offset..offset + len), plain[offset.min(end)..end]);
                }
            }
            assert_eq!(pages.len(), plain.len());
        }
    }
}
