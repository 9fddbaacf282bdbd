//! How many keys there are, in all and in each slot: so that DBSIZE need not walk, not even after a start. Saved with every image,
//! under the empty key, which stands before all others.

use super::hash::Position;
use crate::state_machine::RestoreError;
use std::ops::Range;

/// The key of counts in a save. That of an entry has six bytes at least.
pub(super) const COUNTS_KEY: &[u8] = b"";

/// The type in a save, where entries have theirs.
const COUNTS_TYPE: u8 = 2;

/// Whether a saved entry is that of counts.
#[cfg(feature = "cli")]
pub(crate) fn is_counts(key: &[u8], value: &[u8]) -> bool {
    key == COUNTS_KEY && Counts::restore(value).is_ok()
}

/// Numbers of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    len: usize,
    slots: Range<u16>,
    /// By slot of `slots`; empty until there is a key.
    slot_lens: Vec<u32>,
}

impl Counts {
    /// Of no keys in a group that owns `slots`.
    pub(super) fn new(slots: Range<u16>) -> Self {
        Self { len: 0, slots, slot_lens: Vec::new() }
    }

    /// How many keys exist.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slots that are counted.
    pub(super) fn slots(&self) -> Range<u16> {
        self.slots.clone()
    }

    /// How many keys a slot has.
    pub(super) fn slot_len(&self, slot: u16) -> usize {
        slot.checked_sub(self.slots.start)
            .and_then(|at| self.slot_lens.get(usize::from(at)))
            .map_or(0, |&len| len as usize)
    }

    /// A key has come or gone, if it has.
    pub(super) fn count(&mut self, position: Position, existed: bool, exists: bool) {
        if existed == exists {
            return;
        }
        self.len = if exists { self.len + 1 } else { self.len - 1 };
        if self.slot_lens.is_empty() {
            self.slot_lens = vec![0; self.slots.len()];
        }
        // None for a slot of another group, whose keys no plan sends here.
        let at = position.slot().checked_sub(self.slots.start);
        if let Some(len) = at.and_then(|at| self.slot_lens.get_mut(usize::from(at))) {
            *len = if exists { *len + 1 } else { *len - 1 };
        }
    }

    /// No key exists any more.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.slot_lens = Vec::new();
    }

    /// The saved form: type, flags (none), the first slot and the one behind the last, the number of keys, and that of each slot.
    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(14 + 4 * self.slots.len());
        out.extend_from_slice(&[COUNTS_TYPE, 0]);
        out.extend_from_slice(&self.slots.start.to_le_bytes());
        out.extend_from_slice(&self.slots.end.to_le_bytes());
        out.extend_from_slice(&(self.len as u64).to_le_bytes());
        for at in 0..self.slots.len() {
            out.extend_from_slice(&self.slot_lens.get(at).copied().unwrap_or(0).to_le_bytes());
        }
        out
    }

    /// The counts behind a saved form.
    ///
    /// # Errors
    /// It is none, or its numbers contradict each other.
    pub(super) fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let wrong = |reason| RestoreError::new(format!("the numbers of keys {reason}"));
        let Some((&[COUNTS_TYPE, 0, a, b, c, d], rest)) = bytes.split_first_chunk() else {
            return Err(wrong("are of an unknown form"));
        };
        let slots = u16::from_le_bytes([a, b])..u16::from_le_bytes([c, d]);
        let (len, lens) = rest.split_first_chunk().ok_or_else(|| wrong("are cut short"))?;
        let (lens, odd) = lens.as_chunks();
        if lens.len() != slots.len() || !odd.is_empty() {
            return Err(wrong("are not one for each slot"));
        }
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| wrong("are too large"))?;
        let slot_lens: Vec<u32> = lens.iter().map(|&len| u32::from_le_bytes(len)).collect();
        let counted = slot_lens.iter().try_fold(0_usize, |sum, &len| sum.checked_add(len as usize));
        if counted.is_none_or(|counted| counted > len) {
            return Err(wrong("do not add up"));
        }
        let slot_lens = if len == 0 { Vec::new() } else { slot_lens };
        Ok(Self { len, slots, slot_lens })
    }

    /// Whether these are the same numbers.
    pub(super) fn agree(&self, other: &Counts) -> bool {
        let slots = self.slots.clone();
        let by_slot = |slot| self.slot_len(slot) == other.slot_len(slot);
        self.len == other.len && slots == other.slots && { slots }.all(by_slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn saved_counts_come_back_and_are_pinned() {
        let mut counts = Counts::new(12_180..12_183);
        assert_eq!(Counts::restore(&counts.save()), Ok(counts.clone()));
        counts.count(Position::of(b"foo"), false, true); // slot 12182
        counts.count(Position::of(b"bar"), false, true); // of another group
        assert_eq!((counts.len(), counts.slot_len(12_182), counts.slot_len(12_181)), (2, 1, 0));
        let mut saved = b"\x02\0\x94\x2f\x97\x2f\x02\0\0\0\0\0\0\0".to_vec();
        saved.extend_from_slice(b"\0\0\0\0\0\0\0\0\x01\0\0\0");
        assert_eq!(counts.save(), saved);
        assert_eq!(Counts::restore(&saved), Ok(counts.clone()));
        counts.count(Position::of(b"foo"), true, false);
        counts.count(Position::of(b"bar"), true, false);
        assert!(counts.agree(&Counts::new(12_180..12_183)) && !counts.agree(&Counts::new(12_180..12_184)));
        let reason = |bytes: &[u8]| Counts::restore(bytes).unwrap_err().to_string();
        assert!(reason(&saved[..25]).ends_with("are not one for each slot"));
        assert!(reason(&saved[..9]).ends_with("are cut short"));
        saved[14] = 9;
        assert!(reason(&saved).ends_with("do not add up"));
        saved[1] = 1;
        assert!(reason(&saved).ends_with("are of an unknown form"));
    }

    proptest! {
        #[test]
        fn any_bytes_restore_or_are_refused(bytes: Vec<u8>) {
            let _ = Counts::restore(&bytes);
            let _ = Counts::restore(&[&b"\x02\0\0\0\x02\0"[..], &bytes].concat());
        }
    }
}
