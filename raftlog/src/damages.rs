//! What was found damaged since the log was opened and still lives: each piece counts once, whoever finds it, and its segment is
//! left alone until what was in it has been got back from elsewhere.

use raft::{GroupId, Index};
use runtime::Disk;

use crate::{Log, group::Record, segments::Segment};

/// One record that cannot be read.
#[derive(Clone, Copy, Debug)]
struct Piece {
    group: GroupId,
    /// The last of its entries that was found damaged.
    index: Index,
    record: Record,
}

/// The records that were found damaged and still live.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    pieces: Vec<Piece>,
}

impl Damages {
    /// Whether one of them stands in `segment`: nothing is moved out of it then, since it could not be emptied.
    pub(crate) fn are_in<F>(&self, segment: &Segment<F>) -> bool {
        self.pieces.iter().any(|piece| segment.holds(piece.record.batch))
    }
}

impl<D: Disk> Log<D> {
    /// The entry at `index` of `group` was read, and is not what was written. Once for each piece of the log this is counted
    /// ([`Stats::damages`](crate::Stats::damages)), and the answer is true.
    pub fn damaged(&mut self, group: GroupId, index: Index) -> bool {
        let found = self.groups.get(group).filter(|log| index > log.compacted.index);
        let Some(record) = found.and_then(|log| log.record_at(index)).copied() else { return false };
        let same = |piece: &&mut Piece| piece.group == group && is_same(&piece.record, &record);
        if let Some(piece) = self.damages.pieces.iter_mut().find(same) {
            piece.index = piece.index.max(index);
            return false;
        }
        self.damages.pieces.push(Piece { group, index, record });
        self.stats.damages += 1;
        true
    }

    /// What was found damaged and does not live any more, a snapshot or other entries having taken its place, keeps its segment no
    /// longer.
    pub(crate) fn forget_healed(&mut self) {
        let groups = &self.groups;
        self.damages.pieces.retain(|piece| {
            let log = groups.get(piece.group).filter(|log| piece.index > log.compacted.index);
            let there = log.and_then(|log| log.record_at(piece.index));
            there.is_some_and(|record| is_same(record, &piece.record))
        });
    }
}

/// Whether both are the same bytes of the disk.
fn is_same(one: &Record, other: &Record) -> bool {
    (one.batch, one.body_offset) == (other.batch, other.body_offset)
}
