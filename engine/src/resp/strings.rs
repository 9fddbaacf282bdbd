//! Commands on keys that are named: arguments in, the machine's commands out.

use super::gather::Gather;
use super::plan::{Context, Plan, Request, key_too_long, refuse, wrong_arity};
use super::spec::Verb;
use super::view::Redirect;
use crate::kv::{
    Command, Condition, KEY_BYTES_MAX, List, NOT_AN_INTEGER, TOO_LONG, VALUE_BYTES_MAX, key_slot,
};
use net::resp::parse_integer;
use raft::GroupId;
use smallvec::SmallVec;

/// Plans a command on one key.
pub(super) fn plan<'a>(verb: Verb, context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let args = context.args;
    let key = args[1];
    match command(verb, args) {
        Ok(command) => context.one(key, command, out),
        Err(text) => refuse(out, format_args!("{text}")),
    }
}

/// The machine's command for arguments of the right number, or the text of an error.
fn command<'a>(verb: Verb, args: &'a [&'a [u8]]) -> Result<Command<'a>, &'static str> {
    let key = args[1];
    Ok(match verb {
        Verb::Get => Command::Get { key },
        Verb::GetDel => Command::GetDel { key },
        Verb::Type => Command::Type { key },
        Verb::StrLen => Command::StrLen { key },
        Verb::Set => set(args)?,
        Verb::SetNx => Command::SetNx { key, value: value(args[2])? },
        Verb::GetSet => Command::Set { key, value: value(args[2])?, condition: Condition::Always, get: true },
        Verb::Append => Command::Append { key, value: value(args[2])? },
        Verb::GetRange | Verb::SubStr => {
            Command::GetRange { key, start: integer(args[2])?, end: integer(args[3])? }
        }
        Verb::SetRange => set_range(args)?,
        Verb::Incr => Command::IncrBy { key, by: 1 },
        Verb::Decr => Command::IncrBy { key, by: -1 },
        Verb::IncrBy => Command::IncrBy { key, by: integer(args[2])? },
        Verb::DecrBy => {
            let by = integer(args[2])?.checked_neg().ok_or("ERR decrement would overflow")?;
            Command::IncrBy { key, by }
        }
        _ => unreachable!("{verb:?} is not on one key"),
    })
}

fn set<'a>(args: &'a [&'a [u8]]) -> Result<Command<'a>, &'static str> {
    const SYNTAX: &str = "ERR syntax error";
    let mut condition = Condition::Always;
    let mut get = false;
    let mut expiry: Option<&'static str> = None;
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if is("NX") && condition != Condition::Present {
            condition = Condition::Absent;
        } else if is("XX") && condition != Condition::Absent {
            condition = Condition::Present;
        } else if is("GET") {
            get = true;
        } else if is("KEEPTTL") && expiry.is_none() {
            expiry = Some("ERR SET option KEEPTTL is not supported: keys do not expire yet");
        } else if let Some(refused) = expiry_refused(option).filter(|_| expiry.is_none()) {
            options.next().ok_or(SYNTAX)?;
            expiry = Some(refused);
        } else {
            return Err(SYNTAX);
        }
    }
    match expiry {
        Some(refused) => Err(refused),
        None => Ok(Command::Set { key: args[1], value: value(args[2])?, condition, get }),
    }
}

fn expiry_refused(option: &[u8]) -> Option<&'static str> {
    const REFUSED: [(&[u8], &str); 4] = [
        (b"EX", "ERR SET option EX is not supported: keys do not expire yet"),
        (b"PX", "ERR SET option PX is not supported: keys do not expire yet"),
        (b"EXAT", "ERR SET option EXAT is not supported: keys do not expire yet"),
        (b"PXAT", "ERR SET option PXAT is not supported: keys do not expire yet"),
    ];
    REFUSED.iter().find(|(name, _)| option.eq_ignore_ascii_case(name)).map(|&(_, text)| text)
}

fn set_range<'a>(args: &'a [&'a [u8]]) -> Result<Command<'a>, &'static str> {
    let offset = u64::try_from(integer(args[2])?).map_err(|_| "ERR offset is out of range")?;
    let value = value(args[3])?;
    let end = offset.saturating_add(value.len() as u64);
    if !value.is_empty() && end > VALUE_BYTES_MAX as u64 {
        return Err(TOO_LONG);
    }
    Ok(Command::SetRange { key: args[1], offset, value })
}

fn integer(arg: &[u8]) -> Result<i64, &'static str> {
    parse_integer(arg).ok_or(NOT_AN_INTEGER)
}

fn value(arg: &[u8]) -> Result<&[u8], &'static str> {
    if arg.len() > VALUE_BYTES_MAX { Err(TOO_LONG) } else { Ok(arg) }
}

/// Plans a command on any number of keys: for one group if they are all there, else in parts.
pub(super) fn plan_many<'a>(verb: Verb, context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let args = context.args;
    let step = if verb == Verb::MSet { 2 } else { 1 };
    if !(args.len() - 1).is_multiple_of(step) {
        return wrong_arity(out, "mset");
    }
    let keys = || args[1..].iter().step_by(step);
    if keys().any(|key| key.len() > KEY_BYTES_MAX) {
        return key_too_long(out);
    }
    if verb == Verb::MSet && args[1..].iter().any(|arg| arg.len() > VALUE_BYTES_MAX) {
        return refuse(out, format_args!("{TOO_LONG}"));
    }
    let map = context.view.slot_map();
    let slot = key_slot(args[1]);
    let one_slot = keys().all(|key| key_slot(key) == slot);
    let must_be_one_slot = verb == Verb::MSet || context.view.redirect() == Redirect::Moved;
    if !one_slot && must_be_one_slot && map.groups() > 1 {
        return refuse(out, format_args!("CROSSSLOT Keys in request don't hash to the same slot"));
    }
    let group = map.group(slot);
    if one_slot || keys().all(|key| map.group(key_slot(key)) == group) {
        return context.at_slot(slot, many(verb, List::slice(&args[1..])), out);
    }
    let parts = by_group(args, |key| map.group(key_slot(key)));
    let gather = match verb {
        Verb::MGet => Gather::values(parts.iter().map(|(_, picked)| picked.clone()).collect()),
        _ => Gather::sum(parts.len()),
    };
    let request = |(group, picked): (GroupId, Picked)| Request {
        group,
        slot: key_slot(args[picked[0] as usize]),
        command: many(verb, List::picked(args, picked)),
    };
    Plan::Scatter(parts.into_iter().map(request).collect(), gather)
}

/// Which arguments go to a group.
pub(super) type Picked = SmallVec<[u32; 4]>;

/// The keys behind the command's name by group, groups ascending.
fn by_group(args: &[&[u8]], group: impl Fn(&[u8]) -> GroupId) -> Vec<(GroupId, Picked)> {
    let mut keys: Vec<(GroupId, u32)> =
        args.iter().zip(0..).skip(1).map(|(key, at)| (group(key), at)).collect();
    keys.sort_unstable();
    let groups = keys.chunk_by(|a, b| a.0 == b.0);
    groups.map(|keys| (keys[0].0, keys.iter().map(|&(_, at)| at).collect())).collect()
}

fn many(verb: Verb, list: List<'_>) -> Command<'_> {
    match verb {
        Verb::MGet => Command::MGet { keys: list },
        Verb::MSet => Command::MSet { pairs: list },
        Verb::Del | Verb::Unlink => Command::Del { keys: list },
        Verb::Exists | Verb::Touch => Command::Exists { keys: list },
        _ => unreachable!("{verb:?} is not on many keys"),
    }
}
