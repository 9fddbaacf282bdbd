//! From a peer's append into the log's batch.

use raft::{Accepted, Check, EntryId, GroupId};
use raftlog::Log;
use runtime::Disk;

/// Copies the accepted part of an append's entries into the batch, one record per term.
pub(super) fn write_accepted<D: Disk>(
    log: &mut Log<D>,
    group: GroupId,
    incarnation: u32,
    accepted: Accepted,
    entries: &[u8],
) {
    let mut run: Option<(EntryId, u32, usize, usize)> = None; // first id, count, start, end
    let mut offset = 0;
    let mut flush = |run: Option<(EntryId, u32, usize, usize)>| {
        if let Some((first, count, start, end)) = run {
            log.entries_space(group, incarnation, first, count, end - start)
                .copy_from_slice(&entries[start..end]);
        }
    };
    for entry in raft::entries(entries, Check::Shape) {
        let entry = entry.expect("the frame's entries were checked before the step");
        let (start, end) = (offset, offset + entry.bytes.len());
        offset = end;
        if entry.id.index < accepted.first || entry.id.index > accepted.last {
            continue;
        }
        run = match run {
            Some((first, count, from, _)) if first.term == entry.id.term => {
                Some((first, count + 1, from, end))
            }
            other => {
                flush(other);
                Some((entry.id, 1, start, end))
            }
        };
    }
    flush(run);
}
