//! CLIENT: what a connection is called, and what is known about it.

use super::plan::{Context, Plan, refuse, refuse_bytes, syntax_error};
use super::session::Session;
use super::spec::Verb;
use net::resp::{Proto, parse_integer, reply};
use std::fmt::Write;
use std::time::Duration;

/// Redis's words for a name that would not fit into CLIENT LIST.
pub(super) const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Whether bytes may be a connection's name: anything printable but blanks.
pub(super) fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub(super) fn plan<'a>(
    verb: Verb,
    session: &mut Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let args = context.args;
    let now = context.view.unix_time();
    match verb {
        Verb::ClientId => reply::integer(out, session.id.cast_signed()),
        Verb::ClientInfo => reply::verbatim(out, *b"txt", line(session, now).as_bytes(), session.proto),
        Verb::ClientList => return list(session, now, &args[2..], out),
        Verb::ClientGetName if session.name.is_empty() => reply::null(out, session.proto),
        Verb::ClientGetName => reply::bulk(out, &session.name),
        Verb::ClientSetName => {
            if !is_valid_name(args[2]) {
                return refuse(out, format_args!("{BAD_NAME}"));
            }
            session.name = args[2].to_vec();
            reply::ok(out);
        }
        Verb::ClientSetInfo => return set_info(session, args[2], args[3], out),
        Verb::ClientNoEvict | Verb::ClientNoTouch => {
            if !args[2].eq_ignore_ascii_case(b"on") && !args[2].eq_ignore_ascii_case(b"off") {
                return syntax_error(out);
            }
            reply::ok(out);
        }
        _ => unreachable!("{verb:?} is not of CLIENT"),
    }
    Plan::Done
}

fn set_info<'a>(session: &mut Session, name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Plan<'a> {
    let field = if name.eq_ignore_ascii_case(b"LIB-NAME") {
        &mut session.lib_name
    } else if name.eq_ignore_ascii_case(b"LIB-VER") {
        &mut session.lib_version
    } else {
        return refuse_bytes(out, &[b"ERR Unrecognized option '", name, b"'"]);
    };
    if !is_valid_name(value) {
        let lower = name.to_ascii_lowercase();
        return refuse_bytes(
            out,
            &[b"ERR ", &lower, b" cannot contain spaces, newlines or special characters."],
        );
    }
    *field = value.to_vec();
    reply::ok(out);
    Plan::Done
}

/// CLIENT LIST knows this connection only: others live on other shards, and nobody needs to wait for those.
fn list<'a>(session: &Session, now: Duration, args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    let listed = match *args {
        [] => true,
        [by, kind] if by.eq_ignore_ascii_case(b"TYPE") => {
            let known = [&b"normal"[..], b"master", b"replica", b"slave", b"pubsub"];
            if !known.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
                return refuse_bytes(out, &[b"ERR Unknown client type '", kind, b"'"]);
            }
            kind.eq_ignore_ascii_case(b"normal")
        }
        [by, ref ids @ ..] if by.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
            let ids: Option<Vec<i64>> = ids.iter().map(|id| parse_integer(id)).collect();
            let Some(ids) = ids else { return refuse(out, format_args!("ERR Invalid client ID")) };
            ids.contains(&session.id.cast_signed())
        }
        _ => return syntax_error(out),
    };
    let lines = if listed { line(session, now) } else { String::new() };
    reply::verbatim(out, *b"txt", lines.as_bytes(), session.proto);
    Plan::Done
}

/// The line about a connection. What is not counted here stands as 0.
fn line(session: &Session, now: Duration) -> String {
    let age = now.saturating_sub(session.since).as_secs();
    let name = String::from_utf8_lossy(&session.name);
    let resp = if session.proto == Proto::Resp3 { 3 } else { 2 };
    let mut line = format!(
        "id={} addr={} laddr={} fd=0 name={name} age={age} idle=0 flags={} db=0 sub=0 psub=0 ssub=0 multi=-1 \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
         user=default redir=-1 resp={resp}",
        session.id,
        session.address,
        session.local_address,
        if session.readonly { "r" } else { "N" },
        session.last_command,
    );
    let library = [("lib-name", &session.lib_name), ("lib-ver", &session.lib_version)];
    for (field, value) in library.into_iter().filter(|(_, value)| !value.is_empty()) {
        write!(line, " {field}={}", String::from_utf8_lossy(value)).expect("writing to memory cannot fail");
    }
    line.push('\n');
    line
}
