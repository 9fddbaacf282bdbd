//! Listing what lives in complete segments, some records a turn: a segment may hold hundreds of thousands, and the turn that begins
//! the next one is not to wait for all of them.
//!
//! A list may be older than the checkpoint it is written with. What died since is listed still, and does no more harm than in a
//! segment that is walked: what killed it stands behind it in the log, or in the checkpoint.

use std::collections::VecDeque;

use raft::{GroupId, Index};
use runtime::Disk;

use crate::{
    Log,
    format::{IndexRow, encode_index_row},
    group::{GroupLog, Record},
    segments::{Fullness, Segment},
};

/// One record of an index holds about so much: several fit a batch of a checkpoint.
const CHUNK_BYTES: usize = 60 << 10;
/// What a row takes at most, in bytes.
const ROW_BYTES_MAX: usize = 1 + 12 * 10;

/// Rows of an index, encoded back to back, and how many.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) count: u32,
    pub(crate) body: Vec<u8>,
}

/// All that was found in one segment.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) segment: u64,
    /// One at least.
    pub(crate) chunks: Vec<Chunk>,
    previous: IndexRow,
}

impl List {
    fn new(segment: u64) -> List {
        List { segment, chunks: vec![Chunk::default()], previous: IndexRow::default() }
    }

    fn add(&mut self, row: IndexRow, chunk_bytes_max: usize) {
        let newest = self.chunks.last().expect("one at least");
        if newest.body.len() + ROW_BYTES_MAX > chunk_bytes_max {
            self.chunks.push(Chunk::default());
            self.previous = IndexRow::default(); // each can be read without those before it
        }
        let newest = self.chunks.last_mut().expect("one at least");
        encode_index_row(&mut newest.body, &self.previous, &row);
        newest.count += 1;
        self.previous = row;
    }
}

/// The lists for the next checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// It was decided which segments are listed: those that were complete by then.
    begun: bool,
    left: VecDeque<u64>,
    /// The list being made.
    list: Option<List>,
    /// Where it goes on: the group, and the first index that it did not look at yet.
    next: (GroupId, Index),
    made: Vec<List>,
}

impl Listing {
    /// Whether a list is being made: turns are needed for it to go on.
    pub(crate) fn is_under_way(&self) -> bool {
        self.begun
    }

    /// What was made, in the order of the segments; the next checkpoint has others.
    pub(crate) fn take(&mut self) -> Vec<List> {
        std::mem::take(self).made
    }
}

impl<D: Disk> Log<D> {
    /// Goes on listing what lives in segments that have no index, and looks at `looks_max` records and groups. Whether all is listed.
    pub(crate) fn list_on(&mut self, looks_max: usize) -> bool {
        // Where room is short it is the checkpoint that makes some: it does not wait.
        let looks_max = if self.segments.fullness() == Fullness::Short { usize::MAX } else { looks_max };
        let mut listing = std::mem::take(&mut self.listing);
        if !listing.begun {
            listing.begun = true;
            listing.left = self.segments.unindexed().into();
        }
        let chunk_bytes_max = CHUNK_BYTES.min(self.batch_bytes_max() / 2).max(2 * ROW_BYTES_MAX);
        let mut looks = looks_max;
        while looks > 0 {
            let Some(segment) =
                listing.list.as_ref().map(|list| list.segment).or_else(|| listing.left.pop_front())
            else {
                break;
            };
            let list = listing.list.get_or_insert_with(|| List::new(segment));
            let next = match self.segments.get(segment) {
                Some(segment) => self.list_groups(segment, listing.next, &mut looks, |row| {
                    list.add(row, chunk_bytes_max);
                }),
                None => None, // all of it died meanwhile
            };
            listing.next = next.unwrap_or_default();
            if next.is_none() {
                listing.made.extend(listing.list.take());
            }
        }
        let all = listing.list.is_none() && listing.left.is_empty();
        self.listing = listing;
        all
    }

    /// The rows of what lives in `segment`, by groups, from `next` on; where to go on if there were enough `looks`.
    fn list_groups(
        &self,
        segment: &Segment<D::File>,
        next: (GroupId, Index),
        looks: &mut usize,
        mut add: impl FnMut(IndexRow),
    ) -> Option<(GroupId, Index)> {
        for (group, log) in self.groups.iter_from(next.0) {
            let from = if group == next.0 && next.1 > Index::ZERO {
                next.1
            } else {
                if *looks == 0 {
                    return Some((group, Index::ZERO));
                }
                *looks -= 1;
                first_in(log, segment)
            };
            for record in log.records_from(from) {
                // Behind this one there are only newer ones, but for those that were moved.
                if record.batch > segment.last_batch_seq && !record.moved && !segment.has_moved {
                    break;
                }
                if *looks == 0 {
                    return Some((group, record.first.max(from)));
                }
                *looks -= 1;
                if segment.holds(record.batch) {
                    add(self.row(group, log, record));
                }
            }
        }
        None
    }

    fn row(&self, group: GroupId, log: &GroupLog, record: &Record) -> IndexRow {
        let (_, spot) = self.segments.find(record.batch);
        IndexRow {
            group,
            incarnation: log.incarnation,
            first: record.first,
            count: record.count,
            term: record.term,
            before: log.term_before(log.incarnation, record.first).min(record.term),
            batch: record.batch,
            block: spot.block,
            body_offset: spot.bodies_start + record.body_offset,
            body_bytes: record.body_bytes,
            cut: record.cut,
            moved: record.moved,
            memberships: record.memberships,
        }
    }
}

/// An index that the group's first record in `segment` holds, or one before it: of a group with many old records most are not looked at.
fn first_in<F>(log: &GroupLog, segment: &Segment<F>) -> Index {
    if segment.has_moved {
        return Index(1); // it may stand anywhere among the others
    }
    // Records stand in the order of their batches, but for those that were moved.
    let is_older = |record: &&Record| !record.moved && record.batch < segment.first_batch();
    log.records().rev().find(is_older).map_or(Index(1), |older| older.last().next())
}
