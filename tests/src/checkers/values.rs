//! The sequential register: which values a key can have, and what each request does to them.

use std::collections::HashMap;

use crate::history::Bytes;

/// A value by number. Equal values have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ValueId(u32);

/// The key does not exist.
pub(super) const ABSENT: ValueId = ValueId(0);
/// The key exists with the value of an unanswered SET that no client ever saw: one number for all of them,
/// used only for keys whose requests cannot tell such values apart.
pub(super) const UNSEEN: ValueId = ValueId(1);

/// A request with the reply it must give, if that is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Get(ValueId),
    Set(ValueId),
    Del(Option<i64>),
    Incr { by: i64, sum: Option<Sum> },
    Append { tail: Bytes, length: Option<i64> },
}

/// What an increment answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sum {
    Is(i64),
    NotAnInteger,
}

/// All values met so far.
pub(super) struct Values {
    values: Vec<Option<Bytes>>,
    ids: HashMap<Bytes, ValueId>,
}

impl Values {
    pub(super) fn new() -> Self {
        Values { values: vec![None, Some(b"(a value nobody read)".to_vec())], ids: HashMap::new() }
    }

    pub(super) fn id(&mut self, value: &[u8]) -> ValueId {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values fit into memory"));
        self.values.push(Some(value.to_vec()));
        self.ids.insert(value.to_vec(), id);
        id
    }

    /// The bytes of a value; `None` when the key is absent.
    pub(super) fn bytes(&self, id: ValueId) -> Option<&[u8]> {
        self.values[id.0 as usize].as_deref()
    }

    /// The value after `action` on `value`; `None` if its reply could not have been given.
    pub(super) fn after(&mut self, value: ValueId, action: &Action) -> Option<ValueId> {
        match action {
            Action::Get(seen) => (*seen == value).then_some(value),
            Action::Set(new) => Some(*new),
            Action::Del(count) => {
                let deleted = i64::from(value != ABSENT);
                count.is_none_or(|count| count == deleted).then_some(ABSENT)
            }
            Action::Incr { by, sum } => {
                let found = self.integer(value).and_then(|number| number.checked_add(*by));
                let answer = found.map_or(Sum::NotAnInteger, Sum::Is);
                if sum.is_some_and(|sum| sum != answer) {
                    return None;
                }
                Some(found.map_or(value, |number| self.id(number.to_string().as_bytes())))
            }
            Action::Append { tail, length } => {
                let old = self.bytes(value).unwrap_or_default();
                let new_length = i64::try_from(old.len() + tail.len()).ok();
                if length.is_some() && *length != new_length {
                    return None;
                }
                let new = [old, tail].concat();
                Some(self.id(&new))
            }
        }
    }

    /// The number a value stands for, as Redis reads it: no spaces, no plus, no leading zeros.
    fn integer(&self, value: ValueId) -> Option<i64> {
        let Some(bytes) = self.bytes(value) else { return Some(0) };
        let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
        (number.to_string().as_bytes() == bytes).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn increments_read_numbers_as_redis_does() {
        let mut values = Values::new();
        for (text, sum) in
            [("7", Some(8)), ("-1", Some(0)), ("07", None), ("+7", None), (" 7", None), ("", None)]
        {
            let id = values.id(text.as_bytes());
            let answer = sum.map_or(Sum::NotAnInteger, Sum::Is);
            assert!(values.after(id, &Action::Incr { by: 1, sum: Some(answer) }).is_some(), "{text:?}");
        }
        let max = values.id(i64::MAX.to_string().as_bytes());
        let refused = Action::Incr { by: 1, sum: Some(Sum::NotAnInteger) };
        assert_eq!(values.after(max, &refused), Some(max), "a refused increment leaves the value alone");
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let mut values = Values::new();
        let empty = values.id(b"");
        assert_ne!(empty, ABSENT);
        assert_eq!(values.after(empty, &Action::Del(Some(1))), Some(ABSENT));
        assert_eq!(values.after(ABSENT, &Action::Append { tail: vec![], length: Some(0) }), Some(empty));
    }
}
