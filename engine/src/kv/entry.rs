//! What stands under a key, and its bytes in a save.

use super::hash::Position;
use crate::state_machine::RestoreError;
use std::num::NonZeroU64;

/// The type of a value. The numbers are part of the saved format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The key was deleted: stands in a layer to hide what lies below. Saved only in runs that lie over others.
    Tombstone = 0,
    /// A string.
    String = 1,
}

/// What stands under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its type.
    pub kind: Kind,
    /// When it ends, in milliseconds of Unix time. Never set yet; its place in the format is kept.
    pub expires_ms: Option<NonZeroU64>,
    /// The bytes of a string; an empty string is a value.
    pub value: Vec<u8>,
}

/// Saved flag: eight bytes of expiry follow the flags.
const HAS_EXPIRY: u8 = 1;

impl Entry {
    /// A string without expiry.
    pub fn string(value: &[u8]) -> Self {
        Self { kind: Kind::String, expires_ms: None, value: value.to_vec() }
    }

    /// The mark of a deleted key.
    pub fn tombstone() -> Self {
        Self { kind: Kind::Tombstone, expires_ms: None, value: Vec::new() }
    }

    /// Makes this a string without expiry. Keeps the memory of the old value where it fits well.
    pub fn set_string(&mut self, value: &[u8]) {
        self.kind = Kind::String;
        self.expires_ms = None;
        if self.value.capacity() <= 2 * value.len() + 64 {
            self.value.clear();
            self.value.extend_from_slice(value);
        } else {
            self.value = value.to_vec();
        }
    }

    /// Whether a key with this entry exists.
    pub fn is_live(&self) -> bool {
        self.kind != Kind::Tombstone
    }

    /// The value of a key that exists.
    pub(super) fn live_value(&self) -> Option<&[u8]> {
        self.is_live().then_some(&*self.value)
    }

    /// Appends the saved form: the head, then the value.
    pub fn save(&self, out: &mut Vec<u8>) {
        self.save_head(out);
        out.extend_from_slice(&self.value);
    }

    /// Appends the head of the saved form: type, flags, expiry if flagged (8 bytes, little-endian).
    pub fn save_head(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        match self.expires_ms {
            None => out.push(0),
            Some(at) => {
                out.push(HAS_EXPIRY);
                out.extend_from_slice(&at.get().to_le_bytes());
            }
        }
    }

    /// The entry behind a saved form.
    ///
    /// # Errors
    /// It is cut short, or of a type or with flags that this version does not know.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let (kind, expires_ms, value) = parse(bytes)?;
        Ok(Self { kind, expires_ms, value: value.to_vec() })
    }
}

/// Takes a saved form apart, as [`Entry::restore`] does.
pub(super) fn parse(bytes: &[u8]) -> Result<(Kind, Option<NonZeroU64>, &[u8]), RestoreError> {
    let (&[kind, flags], rest) =
        bytes.split_first_chunk().ok_or_else(|| RestoreError::new("entry without type and flags"))?;
    let kind = match kind {
        0 => Kind::Tombstone,
        1 => Kind::String,
        other => return Err(RestoreError::new(format!("entry of unknown type {other}"))),
    };
    let (expires_ms, value) = match flags {
        0 => (None, rest),
        HAS_EXPIRY => {
            let (at, value) =
                rest.split_first_chunk().ok_or_else(|| RestoreError::new("entry ends in its expiry"))?;
            let at = NonZeroU64::new(u64::from_le_bytes(*at));
            (Some(at.ok_or_else(|| RestoreError::new("entry with expiry 0"))?), value)
        }
        other => return Err(RestoreError::new(format!("entry with unknown flags {other:#04x}"))),
    };
    if kind == Kind::Tombstone && !value.is_empty() {
        return Err(RestoreError::new("deleted entry with a value"));
    }
    Ok((kind, expires_ms, value))
}

/// The string in a saved form that was checked before; None for a deleted key.
pub(super) fn saved_value(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [kind, 0, value @ ..] if *kind == Kind::String as u8 => Some(value),
        _ => None,
    }
}

/// Appends a key's saved form, which sorts by (slot, hash, key): 6 bytes of position, then the key.
pub fn save_key(position: Position, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&position.to_sort_bytes());
    out.extend_from_slice(key);
}

/// The key behind a saved form.
///
/// # Errors
/// It is cut short, or its position is not that of the key.
pub fn restore_key(bytes: &[u8]) -> Result<(Position, &[u8]), RestoreError> {
    let (position, key) =
        bytes.split_first_chunk().ok_or_else(|| RestoreError::new("key without position"))?;
    let position = Position::from_sort_bytes(*position);
    if position != Position::of(key) {
        return Err(RestoreError::new("key stands at a position that is not its own"));
    }
    Ok((position, key))
}

/// The parts of a key's saved form that was checked before; None for what is no key's.
pub(super) fn split_key(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let (position, key) = bytes.split_first_chunk()?;
    Some((Position::from_sort_bytes(*position), key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn saved_entries_come_back(value: Vec<u8>, expires: u64) {
            let entry = Entry { expires_ms: NonZeroU64::new(expires), ..Entry::string(&value) };
            let mut bytes = Vec::new();
            entry.save(&mut bytes);
            prop_assert_eq!(Entry::restore(&bytes), Ok(entry));
        }

        #[test]
        fn any_bytes_restore_or_are_refused(bytes: Vec<u8>) {
            let _ = Entry::restore(&bytes);
            let _ = restore_key(&bytes);
        }

        #[test]
        fn saved_keys_come_back_and_wrong_positions_are_refused(key: Vec<u8>, at in 0_usize..6) {
            let mut bytes = Vec::new();
            save_key(Position::of(&key), &key, &mut bytes);
            prop_assert_eq!(restore_key(&bytes), Ok((Position::of(&key), key.as_slice())));
            bytes[at] ^= 1;
            prop_assert!(restore_key(&bytes).is_err());
        }
    }

    #[test]
    fn saved_form_is_pinned() {
        let mut bytes = Vec::new();
        Entry::string(b"bar").save(&mut bytes);
        assert_eq!(bytes, b"\x01\x00bar");
        bytes.clear();
        Entry { expires_ms: NonZeroU64::new(258), ..Entry::string(b"") }.save(&mut bytes);
        assert_eq!(bytes, b"\x01\x01\x02\x01\0\0\0\0\0\0");
        assert!(Entry::restore(b"\x02\x00bar").is_err());
        assert!(Entry::restore(b"\x01\x02bar").is_err());
        assert!(Entry::restore(b"\x01").is_err());
    }
}
