//! From a request to what must be done for it.

use super::files::FilesAsk;
use super::gather::Gather;
use super::session::Session;
use super::spec::{self, Spec, Verb};
use super::view::{ClusterView, Leader, Redirect};
use super::{client, cluster, command, config, connection, files, info, keyspace, members, strings};
use crate::kv::{Command, KEY_BYTES_MAX, key_slot};
use net::resp::reply;
use raft::GroupId;
use std::fmt::Arguments;
use std::time::Duration;

/// What must be done for a request.
#[derive(Debug)]
#[must_use = "a plan that nobody carries out leaves its client waiting"]
pub enum Plan<'a> {
    /// Nothing: the reply is written.
    Done,
    /// Nothing: the reply is written; close the connection once it is sent.
    Close,
    /// One group answers; its reply goes through [`to_proto`](super::to_proto).
    One(Request<'a>),
    /// Each part goes to its group, in any order or at once; the replies make one in the [`Gather`].
    Scatter(Vec<Request<'a>>, Gather),
    /// WAIT: answer, as an integer, how many replicas besides the leader hold all writes of this connection, once
    /// there are `replicas` of them or after `timeout` (none: wait for as long as it takes).
    Wait {
        /// How many are asked for.
        replicas: u64,
        /// How long to wait.
        timeout: Option<Duration>,
    },
    /// RINGRAFT MEMBER and TRANSFER: a group is asked something else than keys; its answer goes, as the only part,
    /// through the [`Gather`].
    Ask(Asked, Gather),
    /// RINGRAFT STATUS: the arguments behind STATUS.
    Status(&'a [&'a [u8]]),
    /// CONFIG RESETSTAT: the reply is written; what is counted for INFO starts anew.
    ResetStatistics,
    /// RINGRAFT SNAPSHOT: every group of this node is to be saved; the reply, `OK`, does not wait for that.
    TakeSnapshots,
    /// RINGRAFT FILES, READ and SNAPSHOT GROUP: this shard's files of a group are asked for; its answer is the reply.
    Files(FilesAsk),
}

/// What a group is asked beside keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The group.
    pub group: GroupId,
    /// How it is answered.
    pub way: Way,
    /// The question, encoded.
    pub bytes: Vec<u8>,
}

/// The way a question takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Through the log.
    Write,
    /// From the state.
    Read,
    /// By the leader itself.
    Control,
}

/// One group's part of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// The group.
    pub group: GroupId,
    /// The slot of its first key, or the group's first slot: what `-MOVED` would name.
    pub slot: u16,
    /// What the group shall do.
    pub command: Command<'a>,
}

impl Request<'_> {
    /// Whether it goes through the log.
    pub fn is_write(&self) -> bool {
        self.command.is_write()
    }
}

/// Says what must be done for a request, and answers it into `out` if that is all.
///
/// `args` is the command's name and its arguments, as parsed; no arguments at all are no request. Nothing is
/// allocated for commands of one key.
pub fn plan<'a>(
    session: &mut Session,
    args: &'a [&'a [u8]],
    view: &dyn ClusterView,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let Some(&name) = args.first() else { return Plan::Done };
    let Some(spec) = spec::find(name) else { return unknown_command(args, out) };
    let (spec, full_name) = match subcommand(spec, args) {
        Ok(found) => found,
        Err(sub) => {
            let upper = spec.name.to_ascii_uppercase();
            return refuse_bytes(
                out,
                &[b"ERR unknown subcommand '", cut(sub), b"'. Try ", upper.as_bytes(), b" HELP."],
            );
        }
    };
    if !spec.takes(args.len()) {
        return wrong_arity(out, full_name);
    }
    session.asking = false;
    session.last_command = full_name;
    dispatch(spec.verb, session, Context { args, view }, out)
}

/// A request and where it arrived.
#[derive(Clone, Copy)]
pub(super) struct Context<'a, 'v> {
    pub args: &'a [&'a [u8]],
    pub view: &'v dyn ClusterView,
}

fn subcommand<'a>(
    spec: &'static Spec,
    args: &'a [&'a [u8]],
) -> Result<(&'static Spec, &'static str), &'a [u8]> {
    match args.get(1) {
        Some(&sub) if !spec.subcommands.is_empty() => {
            let found = spec.subcommand(sub).ok_or(sub)?;
            Ok((found, found.full_name))
        }
        _ => Ok((spec, spec.name)),
    }
}

fn dispatch<'a>(verb: Verb, session: &mut Session, context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    use Verb as V;
    match verb {
        V::Get
        | V::Set
        | V::SetNx
        | V::GetSet
        | V::GetDel
        | V::Type
        | V::StrLen
        | V::Append
        | V::GetRange
        | V::SubStr
        | V::SetRange
        | V::Incr
        | V::Decr
        | V::IncrBy
        | V::DecrBy => strings::plan(verb, context, out),
        V::MGet | V::MSet | V::Del | V::Unlink | V::Exists | V::Touch => {
            strings::plan_many(verb, context, out)
        }
        V::Scan | V::Keys | V::RandomKey | V::DbSize | V::FlushAll | V::FlushDb => {
            keyspace::plan(verb, session, context, out)
        }
        V::Ping
        | V::Echo
        | V::Hello
        | V::Auth
        | V::Select
        | V::Quit
        | V::Reset
        | V::Time
        | V::Role
        | V::ReadOnly
        | V::ReadWrite
        | V::Asking
        | V::Wait
        | V::FunctionFlush
        | V::RingraftStatus => connection::plan(verb, session, context, out),
        V::ClientId
        | V::ClientInfo
        | V::ClientList
        | V::ClientGetName
        | V::ClientSetName
        | V::ClientSetInfo
        | V::ClientNoEvict
        | V::ClientNoTouch => client::plan(verb, session, context, out),
        V::Command
        | V::CommandCount
        | V::CommandInfo
        | V::CommandDocs
        | V::CommandList
        | V::CommandGetKeys => command::plan(verb, session, context, out),
        V::ConfigGet | V::ConfigSet | V::ConfigResetStat => config::plan(verb, session, context, out),
        V::Info => info::plan(session, context, out),
        V::ClusterSlots
        | V::ClusterShards
        | V::ClusterNodes
        | V::ClusterKeySlot
        | V::ClusterMyId
        | V::ClusterInfo
        | V::ClusterCountKeysInSlot
        | V::ClusterGetKeysInSlot => cluster::plan(verb, session, context, out),
        V::RingraftMember => members::plan_member(context, out),
        V::RingraftFiles | V::RingraftRead | V::RingraftSnapshot => files::plan(verb, context, out),
        V::RingraftTransfer => members::plan_transfer(context, out),
        V::Help => command::help(context, out),
        V::Container => wrong_arity(out, session.last_command),
    }
}

impl<'a> Context<'a, '_> {
    /// A plan for one key's group; refuses keys that are too long, and sends clients of the cluster view to where
    /// the key is led.
    pub fn one(&self, key: &[u8], command: Command<'a>, out: &mut Vec<u8>) -> Plan<'a> {
        if key.len() > KEY_BYTES_MAX {
            return key_too_long(out);
        }
        self.at_slot(key_slot(key), command, out)
    }

    /// A plan for the group of a slot, or where that is led if that is where the client should go.
    pub fn at_slot(&self, slot: u16, command: Command<'a>, out: &mut Vec<u8>) -> Plan<'a> {
        let group = self.view.slot_map().group(slot);
        // While an election goes on the request waits here for its end: the last leader is as lost as we are.
        if self.view.redirect() == Redirect::Moved
            && let Some(Leader { place, current: true }) = self.view.leader(group)
            && place != self.view.own()
        {
            cluster::moved(self.view, slot, place, out);
            return Plan::Done;
        }
        Plan::One(Request { group, slot, command })
    }
}

/// Writes an error reply; nothing is left to do.
pub(super) fn refuse<'a>(out: &mut Vec<u8>, message: Arguments<'_>) -> Plan<'a> {
    reply::error(out, message);
    Plan::Done
}

/// Writes an error reply that quotes a client's bytes as Redis does: up to a zero byte, line ends as blanks.
pub(super) fn refuse_bytes<'a>(out: &mut Vec<u8>, parts: &[&[u8]]) -> Plan<'a> {
    out.push(b'-');
    for part in parts {
        let shown = part.iter().take_while(|&&byte| byte != 0);
        out.extend(shown.map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    }
    out.extend_from_slice(b"\r\n");
    Plan::Done
}

pub(super) fn syntax_error<'a>(out: &mut Vec<u8>) -> Plan<'a> {
    refuse(out, format_args!("ERR syntax error"))
}

pub(super) fn wrong_arity<'a>(out: &mut Vec<u8>, name: &str) -> Plan<'a> {
    refuse(out, format_args!("ERR wrong number of arguments for '{name}' command"))
}

pub(super) fn key_too_long<'a>(out: &mut Vec<u8>) -> Plan<'a> {
    refuse(out, format_args!("ERR key exceeds maximum allowed size ({KEY_BYTES_MAX} bytes)"))
}

/// Redis quotes at most this much of a name, and of all arguments together.
const QUOTED_BYTES_MAX: usize = 128;

fn cut(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(QUOTED_BYTES_MAX)]
}

fn unknown_command<'a>(args: &[&[u8]], out: &mut Vec<u8>) -> Plan<'a> {
    let mut quoted = Vec::new();
    for arg in &args[1..] {
        if quoted.len() >= QUOTED_BYTES_MAX {
            break;
        }
        let room = QUOTED_BYTES_MAX - quoted.len();
        quoted.push(b'\'');
        quoted.extend(arg.iter().take(room).take_while(|&&byte| byte != 0));
        quoted.extend_from_slice(b"' ");
    }
    refuse_bytes(out, &[b"ERR unknown command '", cut(args[0]), b"', with args beginning with: ", &quoted])
}
