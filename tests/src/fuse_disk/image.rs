//! What is on the disk, and what a power cut would leave of it.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;

/// What memory is taken in. Zeros take none.
const PAGE_BYTES: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

type Page = Box<[u8]>;

/// The bytes of a disk in memory, and for every page written since the last sync what it held before.
#[derive(Debug, Default)]
pub(super) struct Image {
    pages: HashMap<u64, Page>,
    before: BTreeMap<u64, Option<Page>>,
}

/// Where a range touches pages: the page, where in it, and where in the range.
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let page_bytes = PAGE_BYTES as u64;
    let first = usize::try_from(offset % page_bytes).expect("it is less than a page");
    let mut at = 0;
    std::iter::from_fn(move || {
        let (page, start) = ((offset + at as u64) / page_bytes, if at == 0 { first } else { 0 });
        let taken = (PAGE_BYTES - start).min(bytes - at);
        at += taken;
        (taken > 0).then(|| (page, start, at - taken..at))
    })
}

impl Image {
    /// Reads what was written last, durable or not.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        for (page, start, range) in pieces(offset, into.len()) {
            match self.pages.get(&page) {
                Some(bytes) => into[range.clone()].copy_from_slice(&bytes[start..start + range.len()]),
                None => into[range].fill(0),
            }
        }
    }

    /// Writes; not durable until [`Image::sync`].
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (page, start, range) in pieces(offset, bytes.len()) {
            let bytes = &bytes[range];
            let held = self.pages.get(&page);
            if held.is_none() && bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.before.entry(page).or_insert_with(|| held.cloned());
            let target = self.pages.entry(page).or_insert_with(|| vec![0; PAGE_BYTES].into());
            target[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) {
        self.before.clear();
    }

    /// Cuts the power: what is not durable is gone. With `torn`, each sector that is not durable is gone or not.
    pub(super) fn cut(&mut self, mut torn: Option<Rng>) {
        for (page, before) in std::mem::take(&mut self.before) {
            let before = before.unwrap_or_else(|| vec![0; PAGE_BYTES].into());
            let now = self.pages.get_mut(&page).expect("a written page exists");
            for start in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                if torn.as_mut().is_none_or(Rng::bool) {
                    let sector = start..start + SECTOR_BYTES;
                    now[sector.clone()].copy_from_slice(&before[sector]);
                }
            }
        }
    }

    /// Turns one bit, durably.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) {
        let page = self.pages.entry(offset / PAGE_BYTES as u64).or_insert_with(|| vec![0; PAGE_BYTES].into());
        let at = usize::try_from(offset % PAGE_BYTES as u64).expect("it is less than a page");
        page[at] ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(image: &Image, offset: u64, bytes: usize) -> Vec<u8> {
        let mut into = vec![9; bytes];
        image.read(offset, &mut into);
        into
    }

    #[test]
    fn what_was_not_synced_is_gone_after_a_cut() {
        let mut image = Image::default();
        image.write(4000, &[1; 5000]);
        image.sync();
        image.write(4090, &[2; 10]);
        image.write(100_000, &[3; 10]);
        assert_eq!(read(&image, 4089, 3), [1, 2, 2]);
        image.cut(None);
        assert_eq!(read(&image, 4000, 5000), [1; 5000]);
        assert_eq!(read(&image, 9000, 1), [0]);
        assert_eq!(read(&image, 100_000, 10), [0; 10]);
    }

    #[test]
    fn a_torn_cut_leaves_each_sector_old_or_new() {
        let mut image = Image::default();
        image.write(0, &[1; 64 << 10]);
        image.sync();
        image.write(0, &[2; 64 << 10]);
        image.cut(Some(Rng::with_seed(1)));
        let bytes = read(&image, 0, 64 << 10);
        let whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(bytes.chunks(SECTOR_BYTES).all(whole));
        let new = bytes.chunks(SECTOR_BYTES).filter(|sector| sector[0] == 2).count();
        assert!((32..96).contains(&new), "{new} of 128 sectors are new");
    }

    #[test]
    fn a_bit_turns_and_stays_turned() {
        let mut image = Image::default();
        image.write(5000, &[0b101]);
        image.sync();
        image.flip(5000, 1);
        image.cut(None);
        assert_eq!(read(&image, 5000, 1), [0b111]);
    }
}
