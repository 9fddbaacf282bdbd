//! The groups of a log, found in one step: a batch of a thousand groups asks for each of them several times.

use std::collections::BTreeMap;

use raft::GroupId;

use crate::group::GroupLog;

/// Groups below this number are found without a search, for four bytes each.
const NEAR_MAX: u32 = 1 << 16;

/// All groups of a log, by number.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    logs: Vec<GroupLog>,
    /// Places in `logs`; ascending when walked.
    places: BTreeMap<GroupId, u32>,
    /// The same places, plus one, of low numbers; zero for none.
    near: Vec<u32>,
}

impl Groups {
    pub(crate) fn len(&self) -> usize {
        self.logs.len()
    }

    fn place(&self, group: GroupId) -> Option<usize> {
        let place = if group.0 < NEAR_MAX {
            self.near.get(group.0 as usize)?.checked_sub(1)?
        } else {
            *self.places.get(&group)?
        };
        Some(place as usize)
    }

    pub(crate) fn get(&self, group: GroupId) -> Option<&GroupLog> {
        self.place(group).map(|place| &self.logs[place])
    }

    pub(crate) fn get_mut(&mut self, group: GroupId) -> Option<&mut GroupLog> {
        self.place(group).map(|place| &mut self.logs[place])
    }

    /// The groups from number `from` on, ascending.
    pub(crate) fn iter_from(&self, from: GroupId) -> impl Iterator<Item = (GroupId, &GroupLog)> {
        self.places.range(from..).map(|(group, place)| (*group, &self.logs[*place as usize]))
    }

    /// What is known of `group`; nothing, if it is new.
    pub(crate) fn get_or_new(&mut self, group: GroupId) -> &mut GroupLog {
        let place = self.place(group).unwrap_or_else(|| self.insert(group, GroupLog::default()));
        &mut self.logs[place]
    }

    fn insert(&mut self, group: GroupId, log: GroupLog) -> usize {
        let place = self.logs.len();
        self.logs.push(log);
        let place_u32 = u32::try_from(place).expect("no more groups than group numbers");
        self.places.insert(group, place_u32);
        if group.0 < NEAR_MAX {
            let at = group.0 as usize;
            self.near.resize(self.near.len().max(at + 1), 0);
            self.near[at] = place_u32 + 1;
        }
        place
    }

    /// All, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &GroupLog)> {
        self.places.iter().map(|(group, place)| (*group, &self.logs[*place as usize]))
    }
}

impl FromIterator<(GroupId, GroupLog)> for Groups {
    fn from_iter<I: IntoIterator<Item = (GroupId, GroupLog)>>(all: I) -> Groups {
        let mut groups = Groups::default();
        for (group, log) in all {
            groups.insert(group, log);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use raft::Index;

    use super::*;

    #[test]
    fn near_and_far_groups_are_found_and_walked_in_order() {
        let mut groups: Groups = [(GroupId(9), GroupLog::default())].into_iter().collect();
        for (number, group) in [NEAR_MAX + 5, 3, u32::MAX, NEAR_MAX - 1, 0].into_iter().enumerate() {
            assert!(groups.get(GroupId(group)).is_none());
            groups.get_or_new(GroupId(group)).held = Index(number as u64);
            assert_eq!(groups.get_mut(GroupId(group)).unwrap().held, Index(number as u64));
        }
        let order: Vec<u32> = groups.iter().map(|(group, _)| group.0).collect();
        assert_eq!(order, [0, 3, 9, NEAR_MAX - 1, NEAR_MAX + 5, u32::MAX]);
        assert_eq!((groups.len(), groups.get(GroupId(3)).unwrap().held), (6, Index(1)));
    }
}
