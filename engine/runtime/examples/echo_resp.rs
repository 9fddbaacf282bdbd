//! Answers every Redis command with +OK and does nothing else: what the ring costs, measured by a load tool for Redis.
//!
//! `cargo run --release -p ringraft-runtime --example echo_resp -- 127.0.0.1:6399`, then for instance
//! `redis-benchmark -p 6399 -t set -c 64 -d 128 -n 1000000 -P 16`.

use std::{collections::HashMap, net::SocketAddr};

use runtime::{Event, Part, Ring, ShardSpec, SocketId, spawn_shard};

/// One client: what came of its last command, the replies not yet sent, and whether a send is in flight.
#[derive(Default)]
struct Client {
    input: Vec<u8>,
    replies: Vec<u8>,
    sending: bool,
}

impl Client {
    fn received(&mut self, bytes: &[u8]) {
        if self.input.is_empty() {
            let used = self.answer(bytes);
            self.input.extend_from_slice(&bytes[used..]);
            return;
        }
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let used = self.answer(&input);
        self.input = input;
        self.input.drain(..used);
    }

    /// Answers all whole commands, and says how many bytes they are.
    fn answer(&mut self, input: &[u8]) -> usize {
        let mut used = 0;
        while let Some(bytes) = command_bytes(&input[used..]) {
            used += bytes;
            self.replies.extend_from_slice(b"+OK\r\n");
        }
        used
    }
}

/// How many bytes the first command has; `None` if it is not whole yet. An array of bulk strings, or one line.
fn command_bytes(input: &[u8]) -> Option<usize> {
    let (count, mut at) = number(input, b'*')?;
    for _ in 0..count {
        let (bytes, header) = number(&input[at..], b'$')?;
        at += header + bytes + 2;
        if at > input.len() {
            return None;
        }
    }
    Some(at)
}

/// The number in a header line that begins with `mark`, and the line's length. Zero for any other line.
fn number(input: &[u8], mark: u8) -> Option<(usize, usize)> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let digits = if input[0] == mark { &input[1..end] } else { &[] };
    let digit = |byte: &&u8| byte.is_ascii_digit();
    let value = digits.iter().take_while(digit).fold(0, |value, byte| value * 10 + usize::from(byte - b'0'));
    Some((value, end + 1))
}

fn turn(ring: &Ring, clients: &mut HashMap<SocketId, Client>, events: &mut Vec<Event>) {
    let mut answered = Vec::new();
    for event in events.drain(..) {
        match event {
            Event::Accepted { socket, .. } => {
                clients.insert(socket, Client::default());
                ring.receive(socket);
            }
            Event::Received { socket, data } => {
                let client = clients.entry(socket).or_default();
                client.received(&data);
                answered.push(socket);
            }
            Event::Sent { socket, .. } => {
                clients.entry(socket).or_default().sending = false;
                answered.push(socket);
            }
            Event::Ended { socket, .. } | Event::SendFailed { socket, .. } => {
                clients.remove(&socket);
                ring.close(socket);
            }
            _ => {}
        }
    }
    for socket in answered {
        let Some(client) = clients.get_mut(&socket) else { continue };
        if !client.sending && !client.replies.is_empty() {
            client.sending = true;
            ring.send(socket, vec![Part::Bytes(std::mem::take(&mut client.replies))]);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args().nth(1).unwrap_or("127.0.0.1:6399".into()).parse()?;
    let listener = runtime::bind(address)?;
    let spec = ShardSpec { name: "echo".into(), cpu: None };
    let shard = spawn_shard(spec, move |context| async move {
        let ring = context.ring();
        ring.listen(listener);
        let (mut clients, mut events) = (HashMap::new(), Vec::new());
        loop {
            ring.wait().await;
            ring.events(&mut events);
            turn(&ring, &mut clients, &mut events);
        }
    })?;
    println!("listening on {address}");
    Ok(shard.join()?)
}
