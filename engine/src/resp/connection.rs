//! Commands about the connection, answered on the spot.

use super::plan::{Context, Plan, refuse, refuse_bytes, syntax_error, wrong_arity};
use super::session::Session;
use super::spec::Verb;
use super::view::{ClusterView, Redirect};
use super::{REDIS_VERSION, client};
use crate::kv::NOT_AN_INTEGER;
use net::resp::{Proto, parse_integer, reply};
use std::time::Duration;

pub(super) fn plan<'a>(
    verb: Verb,
    session: &mut Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let Context { args, view } = context;
    match verb {
        Verb::Ping => match args[1..] {
            [] => reply::simple(out, "PONG"),
            [text] => reply::bulk(out, text),
            _ => return wrong_arity(out, "ping"),
        },
        Verb::Echo => reply::bulk(out, args[1]),
        Verb::Hello => return hello(session, args, view, out),
        Verb::Auth => return auth(&args[1..], out),
        Verb::Select => return select(args[1], view, out),
        Verb::Quit => {
            reply::ok(out);
            return Plan::Close;
        }
        Verb::Reset => {
            session.reset();
            reply::simple(out, "RESET");
        }
        Verb::Time => {
            let now = view.unix_time();
            reply::array_header(out, 2);
            reply::bulk(out, now.as_secs().to_string().as_bytes());
            reply::bulk(out, now.subsec_micros().to_string().as_bytes());
        }
        Verb::Role => {
            reply::array_header(out, 3);
            reply::bulk(out, b"master");
            reply::integer(out, 0);
            reply::array_header(out, 0);
        }
        Verb::ReadOnly | Verb::ReadWrite => {
            session.readonly = verb == Verb::ReadOnly;
            reply::ok(out);
        }
        Verb::Asking => {
            session.asking = true;
            reply::ok(out);
        }
        Verb::Wait => return wait(args, out),
        Verb::FunctionFlush => return function_flush(&args[2..], out),
        Verb::RingraftStatus => return Plan::Status(&args[2..]),
        _ => unreachable!("{verb:?} is not about the connection"),
    }
    Plan::Done
}

fn hello<'a>(
    session: &mut Session,
    args: &'a [&'a [u8]],
    view: &dyn ClusterView,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let proto = match args.get(1).map(|version| parse_integer(version)) {
        None => session.proto,
        Some(Some(2)) => Proto::Resp2,
        Some(Some(3)) => Proto::Resp3,
        Some(Some(_)) => return refuse(out, format_args!("NOPROTO unsupported protocol version")),
        Some(None) => {
            return refuse(out, format_args!("ERR Protocol version is not an integer or out of range"));
        }
    };
    let mut options = args.get(2..).unwrap_or_default();
    while let [option, rest @ ..] = options {
        options = match rest {
            [user, _password, rest @ ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                if *user != b"default" {
                    return wrong_password(out);
                }
                rest
            }
            [given, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                if !client::is_valid_name(given) {
                    return refuse(out, format_args!("{}", client::BAD_NAME));
                }
                session.name = given.to_vec();
                rest
            }
            _ => return refuse_bytes(out, &[b"ERR Syntax error in HELLO option '", option, b"'"]),
        };
    }
    session.proto = proto;
    reply::map_header(out, 7, proto);
    let mode = if view.redirect() == Redirect::Moved { "cluster" } else { "standalone" };
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"proto");
    reply::integer(out, if proto == Proto::Resp3 { 3 } else { 2 });
    reply::bulk(out, b"id");
    reply::integer(out, session.id.cast_signed());
    for (key, value) in [("mode", mode), ("role", "master")] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"modules");
    reply::array_header(out, 0);
    Plan::Done
}

/// There is one user, `default`, without a password.
fn auth<'a>(args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    match *args {
        [_password] => refuse(
            out,
            format_args!(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?"
            ),
        ),
        [b"default", _password] => {
            reply::ok(out);
            Plan::Done
        }
        [_user, _password] => wrong_password(out),
        _ => syntax_error(out),
    }
}

fn wrong_password<'a>(out: &mut Vec<u8>) -> Plan<'a> {
    refuse(out, format_args!("WRONGPASS invalid username-password pair or user is disabled."))
}

fn select<'a>(database: &[u8], view: &dyn ClusterView, out: &mut Vec<u8>) -> Plan<'a> {
    match parse_integer(database) {
        None => refuse(out, format_args!("{NOT_AN_INTEGER}")),
        Some(0) => {
            reply::ok(out);
            Plan::Done
        }
        Some(_) if view.redirect() == Redirect::Moved => {
            refuse(out, format_args!("ERR SELECT is not allowed in cluster mode"))
        }
        Some(_) => refuse(out, format_args!("ERR DB index is out of range")),
    }
}

fn wait<'a>(args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    let Some(replicas) = parse_integer(args[1]) else {
        return refuse(out, format_args!("{NOT_AN_INTEGER}"));
    };
    let Some(timeout) = parse_integer(args[2]) else {
        return refuse(out, format_args!("ERR timeout is not an integer or out of range"));
    };
    match u64::try_from(timeout) {
        Err(_) => refuse(out, format_args!("ERR timeout is negative")),
        Ok(timeout) => {
            let replicas = u64::try_from(replicas).unwrap_or(0);
            let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
            Plan::Wait { replicas, timeout }
        }
    }
}

fn function_flush<'a>(args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    match args {
        [] => reply::ok(out),
        [how] if how.eq_ignore_ascii_case(b"ASYNC") || how.eq_ignore_ascii_case(b"SYNC") => reply::ok(out),
        [_] => return refuse(out, format_args!("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => {
            return refuse(
                out,
                format_args!(
                    "ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP."
                ),
            );
        }
    }
    Plan::Done
}
