//! Header, footer and meta of a file: read and checked cheaply when it is opened.

use std::ops::Range;

use raft::{EntryId, GroupId, Index, Term};

use crate::error::{Damage, ensure};
use crate::format::{
    CHUNK_BYTES, FILTER_ALIGN, FOOTER_BYTES, FOOTER_MAGIC, FileHeader, Footer, HEADER_BYTES, HEADER_MAGIC,
    INDEX_ENTRY_BYTES, KEY_BYTES_MAX, MEMBERSHIP_BYTES_MAX, META_HEADER_BYTES, MetaHeader, PAGE_BYTES,
    PREFIX_BYTES, SECTION_ALIGN, VERSION, align_up, read_pod,
};

const PAGE: u64 = PAGE_BYTES as u64;
const META_BYTES_MAX: u64 = (META_HEADER_BYTES + MEMBERSHIP_BYTES_MAX + 2 * KEY_BYTES_MAX) as u64;

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The data directory it was built in.
    pub store: [u8; 16],
    /// The shard it was built on.
    pub shard: u32,
    /// The group whose state it holds.
    pub group: GroupId,
    /// The last entry whose effect is in it.
    pub id: EntryId,
    /// The membership in force at that entry, as the caller gave it.
    pub membership: Vec<u8>,
    /// How many items it holds.
    pub items: u64,
    /// Bytes of all keys.
    pub keys_bytes: u64,
    /// Bytes of all values.
    pub values_bytes: u64,
    /// The smallest key; None in an empty file.
    pub first_key: Option<Vec<u8>>,
    /// The largest key; None in an empty file.
    pub last_key: Option<Vec<u8>>,
    /// Size of the file.
    pub file_bytes: u64,
    /// The footer's checksum, which covers every byte of the file by way of the checksum table.
    pub checksum: u32,
}

/// The decoded frame of a file, its offsets proven to fit each other and the file.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub summary: Summary,
    pub footer: Footer,
}

pub(crate) fn decode_header(bytes: &[u8]) -> Result<FileHeader, Damage> {
    let header: FileHeader = read_pod(bytes).ok_or(Damage::new(0, "the header is cut off"))?;
    ensure(header.magic == HEADER_MAGIC, 0, "the header's magic is wrong: not a snapshot file")?;
    ensure(header.checksum == header.sum(), 60, "the header's checksum does not match")?;
    check_version(header.version)?;
    ensure(header.zero_a == 0, 36, "reserved bytes of the header are not zero")?;
    ensure(header.zero_b == 0, 56, "reserved bytes of the header are not zero")?;
    Ok(header)
}

/// Of what has the right checksum.
fn check_version(version: u32) -> Result<(), Damage> {
    if version == VERSION { Ok(()) } else { Err(Damage::version(8, version)) }
}

/// Decodes the footer, which is the last `FOOTER_BYTES` of a file of `file_bytes`, and proves its offsets.
pub(crate) fn decode_footer(bytes: &[u8], file_bytes: u64) -> Result<Footer, Damage> {
    let base = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let footer: Footer = read_pod(bytes).ok_or(Damage::new(base, "the footer is cut off"))?;
    footer_checks(&footer, file_bytes).map_err(|damage| damage.shift(base))?;
    Ok(footer)
}

fn footer_checks(footer: &Footer, file_bytes: u64) -> Result<(), Damage> {
    const BAD_OFFSET: &str = "the footer's offsets do not fit the file";
    let bad = |offset| Damage::new(offset, BAD_OFFSET);
    ensure(
        footer.magic == FOOTER_MAGIC,
        0,
        "the footer's magic is wrong: the file is cut off or not finished",
    )?;
    ensure(footer.checksum == footer.sum(), 124, "the footer's checksum does not match")?;
    check_version(footer.version)?;
    ensure(footer.zero == [0; 3], 112, "reserved bytes of the footer are not zero")?;
    ensure(footer.file_bytes == file_bytes, 72, "the file's size is not the one in its footer")?;

    let index_offset_min =
        PAGE.checked_add(footer.blocks.checked_mul(PAGE).ok_or(bad(80))?).ok_or(bad(80))?;
    let aligned = footer.index_offset.is_multiple_of(PAGE);
    ensure(aligned && footer.index_offset >= index_offset_min, 16, BAD_OFFSET)?;
    let block_bytes = (PREFIX_BYTES + INDEX_ENTRY_BYTES) as u64;
    let entries_bytes = footer.blocks.checked_mul(block_bytes).ok_or(bad(80))?;
    ensure(footer.index_bytes >= entries_bytes, 24, BAD_OFFSET)?;
    let filter_offset = after(footer.index_offset, footer.index_bytes, FILTER_ALIGN).ok_or(bad(24))?;
    let meta_offset = after(filter_offset, footer.filter_bytes, SECTION_ALIGN);
    ensure(meta_offset == Some(footer.meta_offset), 40, BAD_OFFSET)?;
    let meta_bytes = META_HEADER_BYTES as u64..=META_BYTES_MAX;
    ensure(meta_bytes.contains(&footer.meta_bytes), 48, BAD_OFFSET)?;
    let table_offset = after(footer.meta_offset, footer.meta_bytes, SECTION_ALIGN);
    ensure(table_offset == Some(footer.table_offset), 56, BAD_OFFSET)?;
    ensure(footer.table_bytes == 4 * footer.table_offset.div_ceil(CHUNK_BYTES as u64), 64, BAD_OFFSET)?;
    let end = after(footer.table_offset, footer.table_bytes + FOOTER_BYTES as u64, PAGE);
    ensure(end == Some(file_bytes), 72, BAD_OFFSET)
}

/// Where a section ends that has `bytes` from `offset` on, and the next begins.
fn after(offset: u64, bytes: u64, align: u64) -> Option<u64> {
    offset.checked_add(bytes).and_then(|end| align_up(end, align))
}

impl Footer {
    /// Where the index is, of a footer whose offsets were proven.
    pub fn index_range(&self) -> Range<u64> {
        self.index_offset..self.index_offset + self.index_bytes
    }

    /// Where the filters are.
    pub fn filter_range(&self) -> Range<u64> {
        let offset = after(self.index_offset, self.index_bytes, FILTER_ALIGN).expect("proven");
        offset..offset + self.filter_bytes
    }

    /// Proves the checksum of the filter section.
    pub fn check_filters(&self, filters: &[u8]) -> Result<(), Damage> {
        let sum = crc32fast::hash(filters);
        let at = self.filter_range().start;
        ensure(sum == self.filter_checksum, at, "the filter section's checksum does not match")
    }
}

impl Layout {
    /// Puts together what header, footer and the meta section's bytes say.
    pub fn decode(header: FileHeader, footer: Footer, meta: &[u8]) -> Result<Layout, Damage> {
        let header_sum = crc32fast::hash(bytemuck::bytes_of(&header));
        ensure(
            footer.header_checksum == header_sum,
            0,
            "the header is not the one the footer was written for",
        )?;
        let base = footer.meta_offset;
        let whole = usize::try_from(footer.meta_bytes).is_ok_and(|bytes| bytes == meta.len());
        ensure(whole, base, "the meta section is cut off")?;
        ensure(
            footer.meta_checksum == crc32fast::hash(meta),
            base,
            "the meta section's checksum does not match",
        )?;
        let summary = decode_meta(header, footer, meta).map_err(|damage| damage.shift(base))?;
        Ok(Layout { summary, footer })
    }

    /// Bytes of chunk `number` of those the checksum table covers.
    pub fn chunk_range(&self, number: u64) -> std::ops::Range<u64> {
        let start = number.saturating_mul(CHUNK_BYTES as u64).min(self.footer.table_offset);
        start..start.saturating_add(CHUNK_BYTES as u64).min(self.footer.table_offset)
    }

    /// How many chunks the checksum table covers.
    pub fn chunks(&self) -> u64 {
        self.footer.table_bytes / 4
    }
}

fn decode_meta(header: FileHeader, footer: Footer, bytes: &[u8]) -> Result<Summary, Damage> {
    let meta: MetaHeader = read_pod(bytes).ok_or(Damage::new(0, "the meta section is cut off"))?;
    ensure(meta.zero_a == 0 && meta.zero_b == 0, 52, "reserved bytes of the meta section are not zero")?;
    ensure(
        (meta.index, meta.term) == (header.index, header.term),
        0,
        "the meta section names another entry",
    )?;
    ensure(meta.items == footer.items, 16, "the meta section counts other items than the footer")?;
    let sizes = [meta.membership_bytes, meta.first_key_bytes, meta.last_key_bytes];
    let sizes = sizes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let bounded = sizes[0] <= MEMBERSHIP_BYTES_MAX && sizes[1] <= KEY_BYTES_MAX && sizes[2] <= KEY_BYTES_MAX;
    ensure(bounded, 40, "a length in the meta section is out of bounds")?;
    let rest = &bytes[META_HEADER_BYTES..];
    ensure(sizes.iter().sum::<usize>() == rest.len(), 40, "the lengths in the meta section do not fit it")?;
    let (membership, keys) = rest.split_at(sizes[0]);
    let (first, last) = keys.split_at(sizes[1]);
    let key = |bytes: &[u8]| (meta.items > 0).then(|| bytes.to_vec());
    ensure(meta.items > 0 || keys.is_empty(), 44, "a file without items has a key range")?;
    ensure(first <= last, 44, "the key range is upside down")?;
    Ok(Summary {
        store: header.store,
        shard: header.shard,
        group: GroupId(header.group),
        id: EntryId { term: Term(header.term), index: Index(header.index) },
        membership: membership.to_vec(),
        items: meta.items,
        keys_bytes: meta.keys_bytes,
        values_bytes: meta.values_bytes,
        first_key: key(first),
        last_key: key(last),
        file_bytes: footer.file_bytes,
        checksum: footer.checksum,
    })
}

/// The smallest possible file: header page, and one page of sections and footer.
pub(crate) const FILE_BYTES_MIN: u64 = 2 * PAGE;

/// A file's size must be one that a builder could have written.
pub(crate) fn check_file_bytes(file_bytes: u64) -> Result<(), Damage> {
    let fits = file_bytes >= FILE_BYTES_MIN && file_bytes.is_multiple_of(PAGE);
    ensure(fits, file_bytes, "the file is cut off: its size is not a whole number of pages, at least two")
}

const _: () = assert!(HEADER_BYTES <= PAGE_BYTES);
