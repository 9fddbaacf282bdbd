//! What clients make of what they hear.

use std::net::SocketAddr;

use ringraft::simulation::Input;

use super::clients::{RETRY_US, Waiting};
use super::world::World;
use crate::client::{Value, read_reply};
use crate::history::{Outcome, Reply, Request, printable};
use crate::workload::session::{Answer, answer};

impl World {
    /// Something arrived for a client.
    pub fn client_hears(&mut self, number: usize, connection: usize, side: usize) {
        let mut inputs = Vec::new();
        self.connections[connection].take(side, &mut inputs, |len| len);
        self.let_sender_go_on(connection, 1 - side);
        if self.clients.list[number].connection != Some(connection) {
            return;
        }
        for input in inputs {
            match input {
                Input::ClientData { data, .. } => self.clients.list[number].heard.extend_from_slice(&data),
                Input::Ended { .. } => return self.client_gives_up(number, "the connection ended"),
                _ => {}
            }
        }
        self.client_reads(number);
        if self.clients.list[number].waiting.is_empty() {
            self.plan_client(number, self.profile.pace_us);
        }
    }

    fn client_reads(&mut self, number: usize) {
        loop {
            let client = &mut self.clients.list[number];
            let Some(waiting) = client.waiting.front().copied() else { return };
            let mut rest = client.heard.as_slice();
            let reply = match read_reply(&mut rest) {
                Ok(reply) => reply,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return,
                Err(_) if !client.heard.ends_with(b"\n") => return,
                Err(error) => super::violated("replies", format!("client {number} got no reply: {error}")),
            };
            let used = client.heard.len() - rest.len();
            client.heard.drain(..used);
            client.waiting.pop_front();
            self.client_is_told(number, waiting, reply);
        }
    }

    fn client_is_told(&mut self, number: usize, waiting: Waiting, reply: Value) {
        let returned = self.nanoseconds();
        self.say(|| format!("client {number} is told {reply:?}"));
        let asked = &mut self.clients.operations[waiting.operation];
        if let Some(address) = moved_to(&reply) {
            self.clients.list[number].moved_to = Some(address);
        }
        match answer(&asked.request, reply) {
            Answer::Ok(reply) => {
                let wrote = &mut self.clients.list[number].wrote;
                match (&asked.request, &reply, asked.key.first()) {
                    (Request::Set(value), Reply::Stored, Some(b'p')) => *wrote = Some(value.clone()),
                    (Request::Get, Reply::Value(seen), Some(b'p')) if waiting.pipelined => {
                        let seen_it = wrote.is_none() || *seen == *wrote;
                        super::violated_if(!seen_it, "pipelines", || {
                            let (wrote, seen) =
                                (wrote.as_deref().map(printable), seen.as_deref().map(printable));
                            format!("client {number}: a GET saw {seen:?}, not the SET before it of {wrote:?}")
                        });
                        *wrote = None;
                    }
                    _ => *wrote = None,
                }
                if let (Request::Set(value), Reply::Stored, Some(b'w')) =
                    (&asked.request, &reply, asked.key.first())
                {
                    self.clients.durable.push((asked.key.clone(), value.clone()));
                }
                asked.outcome = Outcome::Ok { returned, reply };
                self.counts.answered += 1;
            }
            Answer::Fail if asked.key.starts_with(b"p") => {
                self.clients.list[number].wrote = None;
                self.clients.unanswered(number, waiting, Outcome::Fail);
            }
            Answer::Fail => self.clients.unanswered(number, waiting, Outcome::Fail),
            Answer::Unknown => self.clients.unanswered(number, waiting, Outcome::Unknown),
            Answer::Wrong(what) => super::violated("replies", format!("client {number}: {what}")),
        }
        let client = &mut self.clients.list[number];
        if client.moved_to.is_some() && client.waiting.is_empty() {
            self.client_gives_up(number, "it was moved");
            self.client_connects(number);
        }
    }

    /// The client leaves its connection; what it waited for stays unknown.
    pub(super) fn client_gives_up(&mut self, number: usize, why: &str) {
        let client = &mut self.clients.list[number];
        let Some(connection) = client.connection.take() else { return };
        client.connected = false;
        let waiting = std::mem::take(&mut client.waiting);
        if !waiting.is_empty() {
            self.say(|| format!("client {number} gives up on {} requests: {why}", waiting.len()));
        }
        for waiting in waiting {
            self.clients.unanswered(number, waiting, Outcome::Unknown);
        }
        self.close(connection, 0);
        self.plan_client(number, RETRY_US);
    }
}

/// Where `-MOVED slot host:port` sends the client.
fn moved_to(reply: &Value) -> Option<SocketAddr> {
    let Value::Error(text) = reply else { return None };
    text.strip_prefix("MOVED ")?.split(' ').nth(1)?.parse().ok()
}
