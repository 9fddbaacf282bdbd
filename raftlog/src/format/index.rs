//! The body of a SEGMENT_INDEX record: the live ENTRIES records of one segment, each as what differs from the one before.

use raft::{GroupId, Index, Term};

use super::{BODY_ALIGN, INDEX_MAX, Invalid, NUMBER_MAX, usize_of};
use crate::BatchSeq;

/// One live ENTRIES record of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexRow {
    pub(crate) group: GroupId,
    pub(crate) incarnation: u32,
    pub(crate) first: Index,
    /// Live entries from `first` on.
    pub(crate) count: u32,
    pub(crate) term: Term,
    /// The term of the entry before `first`, as far as it is known.
    pub(crate) before: Term,
    pub(crate) batch: BatchSeq,
    /// Where the batch begins, in blocks.
    pub(crate) block: u32,
    /// Where the body begins, from the start of the batch.
    pub(crate) body_offset: u32,
    /// The size of the whole body.
    pub(crate) body_bytes: u32,
    /// The body holds more entries than `count`.
    pub(crate) cut: bool,
    /// It was relocated.
    pub(crate) moved: bool,
    /// There are configurations among the entries.
    pub(crate) memberships: bool,
}

const CUT: u8 = 1;
const MOVED: u8 = 2;
const MEMBERSHIPS: u8 = 4;
/// Of the group and incarnation of the row before.
const SAME_GROUP: u8 = 8;

/// Appends `row` to `out`, behind `previous`, which is the default for the first row of a body.
pub(crate) fn encode_index_row(out: &mut Vec<u8>, previous: &IndexRow, row: &IndexRow) {
    let same = (previous.group, previous.incarnation) == (row.group, row.incarnation);
    let flag = |bit: u8, is: bool| if is { bit } else { 0 };
    out.push(
        flag(CUT, row.cut)
            | flag(MOVED, row.moved)
            | flag(MEMBERSHIPS, row.memberships)
            | flag(SAME_GROUP, same),
    );
    if !same {
        put(out, u64::from(row.group.0));
        put(out, u64::from(row.incarnation));
    }
    let base = if same {
        *previous
    } else {
        IndexRow { batch: previous.batch, block: previous.block, ..IndexRow::default() }
    };
    put_difference(out, base.first.0 + u64::from(base.count), row.first.0);
    put(out, u64::from(row.count));
    put_difference(out, base.term.0, row.term.0);
    put_difference(out, row.term.0, row.before.0);
    put_difference(out, base.batch.0, row.batch.0);
    put_difference(out, u64::from(base.block), u64::from(row.block));
    put(out, u64::from(row.body_offset));
    put(out, u64::from(row.body_bytes));
}

/// The `count` rows in `body`. Total.
pub(crate) fn decode_index(body: &[u8], count: u32) -> Result<Vec<IndexRow>, Invalid> {
    // A row takes nine bytes at least: what a damaged count claims is bounded by what is there.
    let mut rows = Vec::with_capacity(usize_of(count).min(body.len() / 9));
    let mut reader = Reader { rest: body };
    let mut previous = IndexRow::default();
    for _ in 0..count {
        let row =
            reader.row(&previous).ok_or(Invalid::new("a row of a segment index that makes no sense"))?;
        rows.push(row);
        previous = row;
    }
    Ok(rows)
}

/// LEB128.
fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f).to_le_bytes()[0];
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// From `base` to `value`, small differences in both directions as small numbers.
fn put_difference(out: &mut Vec<u8>, base: u64, value: u64) {
    let difference = value.wrapping_sub(base).cast_signed();
    put(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn from(&mut self, base: u64) -> Option<u64> {
        let coded = self.number()?;
        let difference = (coded >> 1).cast_signed() ^ -((coded & 1).cast_signed());
        Some(base.wrapping_add(difference.cast_unsigned()))
    }

    fn row(&mut self, previous: &IndexRow) -> Option<IndexRow> {
        let flags = self.byte().filter(|flags| *flags <= CUT | MOVED | MEMBERSHIPS | SAME_GROUP)?;
        let mut base = *previous;
        if flags & SAME_GROUP == 0 {
            let (group, incarnation) = (GroupId(self.small()?), self.small()?);
            let IndexRow { batch, block, .. } = base;
            base = IndexRow { group, incarnation, batch, block, ..IndexRow::default() };
        }
        let first = self.from(base.first.0.checked_add(u64::from(base.count))?)?;
        let count = self.small()?;
        let term = self.from(base.term.0)?;
        let row = IndexRow {
            first: Index(first),
            count,
            term: Term(term),
            before: Term(self.from(term)?),
            batch: BatchSeq(self.from(base.batch.0)?),
            block: u32::try_from(self.from(u64::from(base.block))?).ok()?,
            body_offset: self.small()?,
            body_bytes: self.small()?,
            cut: flags & CUT != 0,
            moved: flags & MOVED != 0,
            memberships: flags & MEMBERSHIPS != 0,
            ..base
        };
        let last = first.checked_add(u64::from(count))?;
        let is_sound = first > 0
            && count > 0
            && last <= INDEX_MAX
            && term > 0
            && row.before.0 <= term
            && row.batch.0 <= NUMBER_MAX
            && row.block > 0
            && usize_of(row.body_offset).is_multiple_of(BODY_ALIGN);
        is_sound.then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rng: &mut fastrand::Rng) -> IndexRow {
        let any = |rng: &mut fastrand::Rng, max: u64| rng.u64(..=max) >> rng.u32(..50);
        let term = any(rng, u64::MAX - 1) + 1;
        IndexRow {
            group: GroupId(rng.u32(..3)),
            incarnation: rng.u32(..2),
            first: Index(any(rng, INDEX_MAX / 2) + 1),
            count: rng.u32(1..=u32::MAX) >> rng.u32(..20) | 1,
            term: Term(term),
            before: Term(term - any(rng, u64::MAX).min(term)),
            batch: BatchSeq(any(rng, NUMBER_MAX)),
            block: rng.u32(1..),
            body_offset: rng.u32(..) & !15,
            body_bytes: rng.u32(..),
            cut: rng.bool(),
            moved: rng.bool(),
            memberships: rng.bool(),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            let rows: Vec<IndexRow> = (0..rng.usize(..20)).map(|_| random(&mut rng)).collect();
            let (mut body, mut previous) = (Vec::new(), IndexRow::default());
            for row in &rows {
                encode_index_row(&mut body, &previous, row);
                previous = *row;
            }
            let count = u32::try_from(rows.len()).expect("few");
            assert_eq!(decode_index(&body, count).as_deref(), Ok(&rows[..]));
            assert!(decode_index(&body, count + 1).is_err(), "one more is not there");
        }
    }

    #[test]
    fn consecutive_records_take_few_bytes() {
        let row = |at: u64| IndexRow {
            group: GroupId(7),
            incarnation: 1,
            first: Index(1_000_000 + at),
            count: 1,
            term: Term(9),
            before: Term(9),
            batch: BatchSeq(5_000 + at),
            block: u32::try_from(100 + at * 2).expect("small"),
            body_offset: 192,
            body_bytes: 304,
            ..IndexRow::default()
        };
        let mut body = Vec::new();
        encode_index_row(&mut body, &row(0), &row(1));
        assert!(body.len() <= 12, "{} bytes", body.len());
    }

    #[test]
    fn any_bytes_decode_to_an_answer() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let body: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..)).collect();
            let _rows_or_not = decode_index(&body, rng.u32(..) >> rng.u32(..32));
        }
    }
}
