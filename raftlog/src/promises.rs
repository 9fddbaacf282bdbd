//! Terms, votes and standings: what a replica has promised, and nobody can give back. Each is written twice, in its batch and in
//! the next one, so that a batch that cannot be read any more takes none with it.

use bytemuck::Zeroable;
use raft::{GroupId, HardState};
use runtime::Disk;

use crate::{
    Log,
    build::Builder,
    format::{RecordHeader, RecordKind, hard_state_flags},
    group::GroupLog,
};

impl<D: Disk> Log<D> {
    /// Records term, vote, commit and standing of `group`.
    pub fn hard_state(&mut self, group: GroupId, hard_state: HardState) {
        self.open_batch(0);
        let log = self.groups.get_or_new(group);
        let promise = |of: &HardState| (of.term, of.vote, of.standing);
        if promise(&log.hard_state) != promise(&hard_state) && self.promised.last() != Some(&group) {
            self.promised.push(group);
        }
        log.hard_state = hard_state;
        let header = hard_state_record(group, log);
        self.building.as_mut().expect("open_batch made it").push(header, 0);
    }

    /// What the batch before promised is said once more: were that batch lost, the votes in it would not be.
    pub(crate) fn repeat_promises(&mut self, builder: &mut Builder) {
        for group in self.promised.drain(..) {
            builder.push(hard_state_record(group, self.groups.get_or_new(group)), 0);
        }
    }
}

fn hard_state_record(group: GroupId, log: &GroupLog) -> RecordHeader {
    let hard_state = &log.hard_state;
    RecordHeader {
        group: u64::from(group.0),
        term: hard_state.term.0,
        commit: hard_state.commit.0,
        incarnation: log.incarnation,
        kind: RecordKind::HardState.byte(),
        flags: hard_state_flags(hard_state),
        aux: hard_state.vote.map_or(0, |node| node.0),
        ..RecordHeader::zeroed()
    }
}
