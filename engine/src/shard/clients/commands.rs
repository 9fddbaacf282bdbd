//! From a turn's bytes to requests: found, planned, answered here or sent on.

use std::ops::Range;

use net::resp::Parse;
use raft::Time;

use super::{Arrival, Clients, FilesAsked};
use crate::resp::{Asked, Plan, Way, plan};
use crate::shard::dispatch::Requests;
use crate::shard::request::{Kind, ReplyTo, RequestBody, RequestHead};

/// The commands found in a turn's arrivals, before they are planned.
#[derive(Default)]
pub(in crate::shard) struct Parsed<'t> {
    words: Vec<&'t [u8]>,
    /// Words of inline commands that had to be unquoted.
    quoted: Vec<Vec<u8>>,
    commands: Vec<ParsedCommand>,
    /// How many bytes of each arrival are understood.
    used: Vec<usize>,
}

struct ParsedCommand {
    client: usize,
    words: Range<usize>,
    quoted: bool,
}

impl Parsed<'_> {
    /// The unquoted words as the planner takes them.
    pub(in crate::shard) fn quoted(&self) -> Vec<&[u8]> {
        self.quoted.iter().map(Vec::as_slice).collect()
    }

    /// How many bytes of each arrival were understood.
    pub(in crate::shard) fn into_used(self) -> Vec<usize> {
        self.used
    }
}

impl Clients {
    /// Finds the commands in `arrivals`, each client's as far as it has room.
    pub(in crate::shard) fn parse<'t>(&mut self, arrivals: &'t [Arrival]) -> Parsed<'t> {
        let mut parsed = Parsed::default();
        for arrival in arrivals {
            let used = match self.find(arrival.socket) {
                Some(slot) => self.parse_one(slot, arrival.bytes(), &mut parsed),
                None => arrival.bytes().len(),
            };
            parsed.used.push(used);
        }
        parsed
    }

    fn parse_one<'t>(&mut self, slot: usize, input: &'t [u8], parsed: &mut Parsed<'t>) -> usize {
        let client = self.table[slot].as_mut().expect("just found");
        let mut room = client.room();
        let mut used = 0;
        while room > 0 && used < input.len() {
            match client.parser.next(&input[used..], &self.limits) {
                Parse::Command { args, consumed } => {
                    let start = parsed.words.len();
                    parsed.words.extend_from_slice(&args);
                    let words = start..parsed.words.len();
                    parsed.commands.push(ParsedCommand { client: slot, words, quoted: false });
                    used += consumed;
                    room -= 1;
                }
                Parse::Quoted { words, consumed } => {
                    let start = parsed.quoted.len();
                    parsed.quoted.extend(words);
                    let words = start..parsed.quoted.len();
                    parsed.commands.push(ParsedCommand { client: slot, words, quoted: true });
                    used += consumed;
                    room -= 1;
                }
                Parse::Empty { consumed } => used += consumed,
                Parse::Incomplete { .. } => break,
                Parse::Error(error) => {
                    // Answered behind the commands before it, then the connection closes, as Redis does.
                    client.failed = Some(error);
                    used = input.len();
                }
            }
        }
        client.was_full = room == 0 && used < input.len();
        self.touch(slot);
        used
    }

    /// Plans every parsed command: answered here, or one or more requests.
    pub(in crate::shard) fn plan<'t>(
        &mut self,
        now: Time,
        parsed: &'t Parsed<'_>,
        quoted: &'t [&'t [u8]],
        requests: &mut Requests<'t>,
    ) {
        if parsed.commands.is_empty() {
            return self.answer_failed();
        }
        self.view.refresh();
        let deadline = Time(now.0 + self.deadline_us);
        for command in &parsed.commands {
            let words = if command.quoted {
                &quoted[command.words.clone()]
            } else {
                &parsed.words[command.words.clone()]
            };
            self.plan_one(command.client, words, deadline, requests);
        }
        let commands = parsed.commands.len() as u64;
        self.directory.shard(self.shard).commands.fetch_add(commands, std::sync::atomic::Ordering::Relaxed);
        self.answer_failed();
    }

    fn plan_one<'t>(
        &mut self,
        slot: usize,
        words: &'t [&'t [u8]],
        deadline: Time,
        requests: &mut Requests<'t>,
    ) {
        let client = self.table[slot].as_mut().expect("parsed this turn");
        if client.closing {
            return; // QUIT came before it
        }
        // A browser or a cross-protocol attack speaks HTTP: hang up without a word, as Redis does.
        if words
            .first()
            .is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
        {
            client.closing = true;
            return;
        }
        self.scratch.clear();
        let plan = plan(&mut client.session, words, &self.view, &mut self.scratch);
        match plan {
            Plan::Done => client.replies.push(&self.scratch, &mut client.out),
            Plan::Close => {
                client.replies.push(&self.scratch, &mut client.out);
                client.closing = true;
            }
            Plan::One(request) => {
                let reply_to = ReplyTo::Client {
                    socket: client.socket,
                    slot: client.replies.open(),
                    part: ReplyTo::WHOLE,
                };
                requests.push(head(&request, reply_to, deadline), RequestBody::Command(request.command));
            }
            Plan::Scatter(parts, gather) => {
                let reply = client.replies.open();
                client.gathering.push((reply, gather));
                for (part, request) in parts.into_iter().enumerate() {
                    let part = u32::try_from(part).expect("a command has at most a million arguments");
                    let reply_to = ReplyTo::Client { socket: client.socket, slot: reply, part };
                    requests.push(head(&request, reply_to, deadline), RequestBody::Command(request.command));
                }
            }
            Plan::Ask(Asked { group, way, bytes }, gather) => {
                let reply = client.replies.open();
                client.gathering.push((reply, gather));
                let kind = kind(way);
                let reply_to = ReplyTo::Client { socket: client.socket, slot: reply, part: 0 };
                let head = RequestHead { group, kind, reply_to, deadline, proxied: false };
                requests.push(head, RequestBody::Owned(bytes));
            }
            Plan::Wait { replicas, .. } => {
                // Every acknowledged write of this connection is on a quorum's disks already, and the reply
                // leaves behind those writes' replies.
                let _asked = replicas;
                let held = i64::try_from(self.directory.nodes().len() / 2).unwrap_or(i64::MAX);
                net::resp::reply::integer(&mut self.scratch, held);
                client.replies.push(&self.scratch, &mut client.out);
            }
            Plan::ResetStatistics => {
                self.directory.reset_statistics();
                net::resp::reply::simple(&mut self.scratch, "OK");
                client.replies.push(&self.scratch, &mut client.out);
            }
            Plan::TakeSnapshots => {
                self.wants_snapshots = true;
                net::resp::reply::simple(&mut self.scratch, "OK");
                client.replies.push(&self.scratch, &mut client.out);
            }
            Plan::Files(ask) => {
                let (socket, slot) = (client.socket, client.replies.open());
                self.asked.push(FilesAsked { socket, slot, ask });
            }
            Plan::Status(_) => {
                let status = crate::status::node_status(&self.directory);
                net::resp::reply::bulk(&mut self.scratch, status.as_bytes());
                client.replies.push(&self.scratch, &mut client.out);
            }
        }
    }

    /// Writes the error of those whose input is no RESP, behind everything they asked before.
    fn answer_failed(&mut self) {
        for index in 0..self.touched.len() {
            let Some(client) = self.table[self.touched[index]].as_mut() else { continue };
            if let Some(error) = client.failed.take().filter(|_| !client.closing) {
                self.scratch.clear();
                error.write(&mut self.scratch);
                client.replies.push(&self.scratch, &mut client.out);
                client.closing = true;
            }
        }
    }
}

fn kind(way: Way) -> Kind {
    match way {
        Way::Write => Kind::Write,
        Way::Read => Kind::Read,
        Way::Control => Kind::Control,
    }
}

fn head(request: &crate::resp::Request<'_>, reply_to: ReplyTo, deadline: Time) -> RequestHead {
    let kind = if request.is_write() { Kind::Write } else { Kind::Read };
    RequestHead { group: request.group, kind, reply_to, deadline, proxied: false }
}
