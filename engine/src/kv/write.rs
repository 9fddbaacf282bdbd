//! What the writing commands do.

use super::command::{Command, Condition, VALUE_BYTES_MAX};
use super::machine::Kv;
use super::read::count;
use net::resp::{INTEGER_BYTES_MAX, Proto, format_integer, parse_integer, reply};

/// Redis's words for a value that would get too long.
pub(crate) const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// Redis's words for what should be an integer and is not.
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

impl Kv {
    pub(super) fn write(&mut self, command: &Command<'_>, out: &mut Vec<u8>) {
        match *command {
            Command::Set { key, value, condition, get } => self.set(key, value, condition, get, out),
            Command::SetNx { key, value } => {
                let absent = self.get(key).is_none();
                if absent {
                    self.put(key, value);
                }
                reply::integer(out, i64::from(absent));
            }
            Command::GetDel { key } => {
                self.read(&Command::Get { key }, out);
                self.remove(key);
            }
            Command::MSet { ref pairs } => {
                for (key, value) in pairs.pairs() {
                    self.put(key, value);
                }
                reply::ok(out);
            }
            Command::Del { ref keys } => {
                let removed = keys.iter().filter(|key| self.remove(key)).count();
                count(out, removed);
            }
            Command::Append { key, value } => self.append(key, value, out),
            Command::SetRange { key, offset, value } => self.set_range(key, offset, value, out),
            Command::IncrBy { key, by } => self.incr_by(key, by, out),
            Command::Flush => {
                self.clear();
                reply::ok(out);
            }
            ref read => self.read(read, out),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], condition: Condition, get: bool, out: &mut Vec<u8>) {
        if get {
            self.read(&Command::Get { key }, out);
        }
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => self.get(key).is_none(),
            Condition::Present => self.get(key).is_some(),
        };
        if holds {
            self.put(key, value);
        }
        if !get {
            if holds { reply::ok(out) } else { reply::null(out, Proto::Resp2) }
        }
    }

    fn append(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let before = self.get(key).map_or(0, <[u8]>::len);
        if before + value.len() > VALUE_BYTES_MAX {
            return reply::error(out, format_args!("{TOO_LONG}"));
        }
        if self.edit(key, |old| old.extend_from_slice(value)).is_none() {
            self.put(key, value);
        }
        count(out, before + value.len());
    }

    fn set_range(&mut self, key: &[u8], offset: u64, value: &[u8], out: &mut Vec<u8>) {
        let before = self.get(key).map(<[u8]>::len);
        if value.is_empty() {
            return count(out, before.unwrap_or(0));
        }
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_add(value.len()));
        let Some(end) = end.filter(|&end| end <= VALUE_BYTES_MAX) else {
            return reply::error(out, format_args!("{TOO_LONG}"));
        };
        if before.is_none() {
            self.put(key, b"");
        }
        let len = self.edit(key, |old| {
            if old.len() < end {
                old.resize(end, 0);
            }
            old[end - value.len()..end].copy_from_slice(value);
            old.len()
        });
        count(out, len.expect("the key was put above"));
    }

    fn incr_by(&mut self, key: &[u8], by: i64, out: &mut Vec<u8>) {
        let before = match self.get(key) {
            None => Some(0),
            Some(value) => parse_integer(value),
        };
        let Some(before) = before else { return reply::error(out, format_args!("{NOT_AN_INTEGER}")) };
        let Some(after) = before.checked_add(by) else {
            return reply::error(out, format_args!("ERR increment or decrement would overflow"));
        };
        self.put(key, format_integer(after, &mut [0; INTEGER_BYTES_MAX]));
        reply::integer(out, after);
    }
}
