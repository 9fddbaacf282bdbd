//! Commands on no key in particular: they ask every group, or walk from group to group.

use super::gather::Gather;
use super::plan::{Context, Plan, Request, refuse, syntax_error};
use super::session::Session;
use super::spec::Verb;
use super::view::{ClusterView, Redirect};
use crate::kv::{Command, NOT_AN_INTEGER, Position, SLOT_COUNT};
use net::resp::{parse_integer, reply};
use raft::GroupId;

pub(super) fn plan<'a>(
    verb: Verb,
    session: &mut Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let Context { args, view } = context;
    match verb {
        Verb::Scan => scan(args, view, out),
        Verb::Keys => everywhere(view, &Command::Keys { pattern: args[1] }, Gather::concat),
        Verb::RandomKey => {
            let seed = session.next_random();
            everywhere(view, &Command::RandomKey { seed }, |parts| Gather::random_key(parts, seed))
        }
        Verb::DbSize => everywhere(view, &Command::DbSize, Gather::sum),
        Verb::FlushAll | Verb::FlushDb => match args[1..] {
            [] => everywhere(view, &Command::Flush, Gather::ok),
            [how] if how.eq_ignore_ascii_case(b"ASYNC") || how.eq_ignore_ascii_case(b"SYNC") => {
                everywhere(view, &Command::Flush, Gather::ok)
            }
            _ => syntax_error(out),
        },
        _ => unreachable!("{verb:?} is not on all keys"),
    }
}

/// The groups that this port answers for: all, or, as a node of a Redis Cluster, those led by this shard.
fn groups(view: &dyn ClusterView) -> impl Iterator<Item = GroupId> {
    view.slot_map().all().filter(move |&group| {
        view.redirect() == Redirect::Proxy
            || view.leader(group).is_some_and(|leader| leader.place == view.own())
    })
}

/// The same command for each of them.
fn everywhere<'a>(
    view: &dyn ClusterView,
    command: &Command<'a>,
    gather: impl FnOnce(usize) -> Gather,
) -> Plan<'a> {
    let map = view.slot_map();
    let request = |group| Request { group, slot: map.slots(group).start, command: command.clone() };
    let parts: Vec<Request<'a>> = groups(view).map(request).collect();
    let gather = gather(parts.len());
    Plan::Scatter(parts, gather)
}

/// SCAN goes through one group after the other, in the order of slots; the cursor says where it is, and the group
/// that comes to its end answers where the next one starts.
fn scan<'a>(args: &'a [&'a [u8]], view: &dyn ClusterView, out: &mut Vec<u8>) -> Plan<'a> {
    let Some(cursor) = cursor(args[1]) else { return refuse(out, format_args!("ERR invalid cursor")) };
    let options = match scan_options(&args[2..]) {
        Ok(options) => options,
        Err(text) => return refuse(out, format_args!("{text}")),
    };
    let map = view.slot_map();
    let slot = Position::from_cursor(cursor).slot();
    let mut ahead =
        groups(view).map(|group| (group, map.slots(group))).skip_while(|(_, slots)| slots.end <= slot);
    let Some((group, slots)) = ahead.next().filter(|_| slot < SLOT_COUNT) else {
        reply::array_header(out, 2);
        reply::bulk(out, b"0");
        reply::array_header(out, 0);
        return Plan::Done;
    };
    let then = ahead.next().map_or(0, |(_, slots)| Position::slot_start(slots.start).cursor());
    let cursor = cursor.max(Position::slot_start(slots.start).cursor());
    let ScanOptions { count, pattern, kind } = options;
    let command = Command::Scan { cursor, then, count, pattern, kind };
    Plan::One(Request { group, slot: slot.max(slots.start), command })
}

struct ScanOptions<'a> {
    count: u32,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

fn scan_options<'a>(args: &[&'a [u8]]) -> Result<ScanOptions<'a>, &'static str> {
    let mut options = ScanOptions { count: 10, pattern: None, kind: None };
    for option in args.chunks(2) {
        let &[name, value] = option else { return Err("ERR syntax error") };
        if name.eq_ignore_ascii_case(b"COUNT") {
            let count = parse_integer(value).ok_or(NOT_AN_INTEGER)?;
            if count < 1 {
                return Err("ERR syntax error");
            }
            options.count = u32::try_from(count).unwrap_or(u32::MAX);
        } else if name.eq_ignore_ascii_case(b"MATCH") {
            options.pattern = Some(value);
        } else if name.eq_ignore_ascii_case(b"TYPE") {
            options.kind = Some(value);
        } else {
            return Err("ERR syntax error");
        }
    }
    Ok(options)
}

/// A cursor as Redis reads it, which is as C's `strtoul` does: a sign is welcome, and nothing at all is 0.
fn cursor(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        [] => return Some(0),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}
