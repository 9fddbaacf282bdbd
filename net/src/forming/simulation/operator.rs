//! What group 0 commits, and how members learn of it.

use super::*;

impl World {
    /// What the operator does: adds one who waits, in the place of a lost disk if there was one; now and then takes
    /// one out that had joined, and empties its disk. Group 0 needs a quorum of founders for it.
    pub(super) fn operate(&mut self) {
        let holds = |node: &&Node| node.founder && node.disk.is_some();
        let founders = self.nodes.iter().filter(|node| node.founder).count();
        if founders == self.nodes.len() || self.nodes.iter().filter(holds).count() * 2 <= founders {
            return;
        }
        let record =
            self.nodes.iter().find_map(|node| node.disk.as_ref()).expect("just counted").record.clone();
        let mut roster = self.rosters.last().cloned().unwrap_or_else(|| Roster::as_formed(&record));
        roster.version += 1;
        let out = self.random.usize(..self.nodes.len());
        if self.chaos && !self.nodes[out].founder && self.random.u8(..4) == 0 {
            if !remove(&mut roster, node_id(out)) {
                return;
            }
            self.wipe(out);
        } else {
            let formers = self.nodes.iter().filter_map(|node| node.former.as_ref());
            let Some(birth) = formers.flat_map(Former::joiners).next().cloned() else { return };
            if roster.has_removed(birth.node, birth.incarnation) || roster.lists(&birth) {
                return;
            }
            remove(&mut roster, birth.node);
            roster.members.push(Member {
                node: birth.node,
                incarnation: birth.incarnation,
                shard_count: birth.shard_count,
                peer: birth.peer().expect("it is listed").clone(),
                client: birth.client.clone(),
            });
            roster.members.sort_by_key(|member| member.node);
        }
        self.rosters.push(roster);
    }

    /// A member applies the next change of group 0.
    pub(super) fn learn(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(former) = node.former.as_mut().filter(|former| former.record().is_some()) else { return };
        if let Some(roster) = self.rosters.get(node.learned) {
            node.learned += 1;
            former.update(roster.clone());
        }
    }
}

/// Takes a member out, if there is one with this id.
fn remove(roster: &mut Roster, node: NodeId) -> bool {
    let Some(at) = roster.members.iter().position(|member| member.node == node) else { return false };
    let Member { incarnation, .. } = roster.members.remove(at);
    roster.removed.push(Tombstone { node, incarnation });
    let surplus = roster.removed.len().saturating_sub(REMOVED_MAX);
    roster.removed.drain(..surplus);
    true
}
