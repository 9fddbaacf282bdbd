//! Hash slots: which of the 16384 a key belongs to, and which group owns it.

use raft::GroupId;
use std::ops::Range;

/// How many hash slots there are.
pub const SLOT_COUNT: u16 = 16_384;

/// CRC-16/XMODEM, the polynomial of the cluster protocol, one byte at a time.
const CRC16: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut byte = 0_u16;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The slot of a key. Of a key with a `{tag}` only the tag counts: what stands between the first `{` and the
/// next `}`, unless that is nothing.
pub fn key_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        match rest.iter().position(|&byte| byte == b'}') {
            None | Some(0) => None,
            Some(close) => Some(&rest[..close]),
        }
    });
    crc16(tag.unwrap_or(key)) % SLOT_COUNT
}

/// How the slots are dealt to groups: `groups` even ranges, in order. Group 0 owns none (it keeps the cluster's
/// own records); group g owns `[(g-1) * 16384 / groups, g * 16384 / groups)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotMap {
    groups: u16,
}

impl SlotMap {
    /// Deals the slots to groups 1 to `groups`.
    ///
    /// # Panics
    /// If `groups` is not in 1..=16384: the caller has checked its settings.
    pub fn new(groups: u16) -> Self {
        assert!((1..=SLOT_COUNT).contains(&groups), "{groups} groups cannot share {SLOT_COUNT} slots");
        Self { groups }
    }

    /// How many groups hold keys.
    pub fn groups(&self) -> u16 {
        self.groups
    }

    /// The groups that hold keys, in slot order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = GroupId> + use<> {
        (1..=u32::from(self.groups)).map(GroupId)
    }

    /// The group that owns a slot.
    ///
    /// # Panics
    /// If `slot` is not below 16384.
    pub fn group(&self, slot: u16) -> GroupId {
        assert!(slot < SLOT_COUNT, "slot {slot} does not exist");
        // The largest g with (g-1) * 16384 / groups <= slot.
        GroupId((u32::from(slot + 1) * u32::from(self.groups) - 1) / u32::from(SLOT_COUNT) + 1)
    }

    /// The slots of a group; none for group 0 and for groups that do not exist.
    pub fn slots(&self, group: GroupId) -> Range<u16> {
        if group.0 == 0 || group.0 > u32::from(self.groups) {
            return 0..0;
        }
        let bound = |g: u32| {
            u16::try_from(g * u32::from(SLOT_COUNT) / u32::from(self.groups)).expect("at most 16384")
        };
        bound(group.0 - 1)..bound(group.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_protocol() {
        // CRC-16/XMODEM's check value, and slots that Redis documents.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(key_slot(b""), 0);
        assert_eq!(key_slot(b"foo"), 12182);
        assert_eq!(key_slot(b"somekey"), 11058);
        assert_eq!(key_slot(b"foo{hash_tag}"), 2515);
        assert_eq!(key_slot(b"foo{hash_tag}"), key_slot(b"bar{hash_tag}"));
    }

    #[test]
    fn only_the_first_nonempty_tag_counts() {
        assert_eq!(key_slot(b"{user1000}.following"), key_slot(b"user1000"));
        assert_eq!(key_slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOT_COUNT);
        assert_eq!(key_slot(b"foo{{bar}}zap"), key_slot(b"{bar"));
        assert_eq!(key_slot(b"foo{bar}{zap}"), key_slot(b"bar"));
        assert_eq!(key_slot(b"foo{bar"), crc16(b"foo{bar") % SLOT_COUNT);
    }

    #[test]
    fn every_slot_has_the_group_whose_range_holds_it() {
        for groups in [1, 2, 3, 5, 7, 16, 100, 1000, 4097, 16_383, 16_384] {
            let map = SlotMap::new(groups);
            let mut next = 0;
            for group in map.all() {
                let slots = map.slots(group);
                assert_eq!(slots.start, next);
                assert!(!slots.is_empty());
                for slot in slots.clone() {
                    assert_eq!(map.group(slot), group, "{groups} groups, slot {slot}");
                }
                next = slots.end;
            }
            assert_eq!(next, SLOT_COUNT);
            assert!(map.slots(GroupId(0)).is_empty() && map.slots(GroupId(u32::from(groups) + 1)).is_empty());
        }
    }
}
