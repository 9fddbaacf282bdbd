//! Servers that misbehave on demand: several ports over one map of values.

use super::keys::slot;
use crate::cli::resp::{self, Reply};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A GET or SET as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// The port it came to.
    pub(super) node: usize,
    /// Counts the requests of all ports from 0.
    pub(super) number: u64,
    pub(super) is_write: bool,
    pub(super) slot: u16,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Serve,
    /// Say that it was done, and do nothing.
    Pretend,
    /// Do nothing and answer with this error.
    Refuse(&'static str),
    /// Do it and answer with this error.
    ServeAndSay(&'static str),
    /// Do it, and close the connection without an answer.
    ServeAndHangUp,
    /// Answer that another node owns the slot.
    Moved(usize),
    /// Serve after this many milliseconds, and everything behind it too.
    Stall(u64),
}

type Rule = dyn Fn(Asked) -> Act + Send + Sync;

struct Shared {
    rule: Box<Rule>,
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    numbers: AtomicU64,
    served: Vec<AtomicU64>,
    addresses: Vec<SocketAddr>,
    /// `CLUSTER SLOTS`: inclusive ranges and their nodes.
    slots: Vec<(u16, u16, usize)>,
    dead: Vec<AtomicBool>,
    streams: Mutex<Vec<(usize, TcpStream)>>,
}

/// The servers; they end with it.
pub(super) struct Fake {
    shared: Arc<Shared>,
}

impl Fake {
    /// One node for each range of `slots`, all obeying `rule`.
    pub(super) fn new(slots: &[(u16, u16)], rule: impl Fn(Asked) -> Act + Send + Sync + 'static) -> Fake {
        let listeners: Vec<TcpListener> =
            slots.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let shared = Arc::new(Shared {
            rule: Box::new(rule),
            values: Mutex::default(),
            numbers: AtomicU64::new(0),
            served: slots.iter().map(|_| AtomicU64::new(0)).collect(),
            addresses: listeners.iter().map(|listener| listener.local_addr().unwrap()).collect(),
            slots: slots.iter().enumerate().map(|(node, (first, last))| (*first, *last, node)).collect(),
            dead: slots.iter().map(|_| AtomicBool::new(false)).collect(),
            streams: Mutex::default(),
        });
        for (node, listener) in listeners.into_iter().enumerate() {
            let shared = shared.clone();
            std::thread::spawn(move || accept(&shared, node, &listener));
        }
        Fake { shared }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.addresses.clone()
    }

    /// Requests that node answered itself.
    pub(super) fn served(&self, node: usize) -> u64 {
        self.shared.served[node].load(Ordering::Relaxed)
    }

    /// The node closes all its connections and accepts no more.
    pub(super) fn kill(&self, node: usize) {
        self.shared.dead[node].store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then drops the listener.
        let _ = TcpStream::connect(self.shared.addresses[node]);
        for (_, stream) in self.shared.streams.lock().unwrap().iter().filter(|(owner, _)| *owner == node) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        (0..self.shared.addresses.len()).for_each(|node| self.kill(node));
    }
}

fn accept(shared: &Arc<Shared>, node: usize, listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        if shared.dead[node].load(Ordering::Relaxed) {
            return;
        }
        shared.streams.lock().unwrap().push((node, stream.try_clone().unwrap()));
        let shared = shared.clone();
        std::thread::spawn(move || serve(&shared, node, stream));
    }
}

fn serve(shared: &Shared, node: usize, mut stream: TcpStream) {
    let (mut input, mut chunk) = (Vec::new(), [0; 64 << 10]);
    while let Ok(received @ 1..) = stream.read(&mut chunk) {
        input.extend_from_slice(&chunk[..received]);
        let (mut taken, mut out) = (0, Vec::new());
        let mut goes_on = true;
        while let Some((Reply::Array(parts), consumed)) = resp::decode(&input[taken..]).unwrap() {
            taken += consumed;
            let parts: Vec<&[u8]> =
                parts.map(|part| if let Reply::Bulk(part) = part { part } else { b"" }).collect();
            goes_on = answer(shared, node, &parts, &mut out);
            if !goes_on {
                break;
            }
        }
        input.drain(..taken);
        if stream.write_all(&out).is_err() || !goes_on {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// False: hang up.
fn answer(shared: &Shared, node: usize, parts: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let is_write = parts[0] == b"SET";
    match parts {
        [b"PING"] => out.extend_from_slice(b"+PONG\r\n"),
        [b"CLUSTER", b"SLOTS"] => cluster_slots(shared, out),
        [b"GET" | b"SET", key, ..] => {
            let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
            let act = (shared.rule)(Asked { node, number, is_write, slot: slot(key) });
            return obey(shared, node, act, parts, out);
        }
        _ => out.extend_from_slice(b"-ERR unknown command\r\n"),
    }
    true
}

fn obey(shared: &Shared, node: usize, act: Act, parts: &[&[u8]], out: &mut Vec<u8>) -> bool {
    match act {
        Act::Serve => perform(shared, node, parts, out),
        Act::Stall(ms) => {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            perform(shared, node, parts, out);
        }
        Act::Pretend => out.extend_from_slice(b"+OK\r\n"),
        Act::Refuse(error) => write!(out, "-{error}\r\n").unwrap(),
        Act::ServeAndSay(error) => {
            perform(shared, node, parts, &mut Vec::new());
            write!(out, "-{error}\r\n").unwrap();
        }
        Act::ServeAndHangUp => {
            perform(shared, node, parts, &mut Vec::new());
            return false;
        }
        Act::Moved(to) => {
            write!(out, "-MOVED {} {}\r\n", slot(parts[1]), shared.addresses[to]).unwrap();
        }
    }
    true
}

fn perform(shared: &Shared, node: usize, parts: &[&[u8]], out: &mut Vec<u8>) {
    shared.served[node].fetch_add(1, Ordering::Relaxed);
    let mut values = shared.values.lock().unwrap();
    match parts {
        [_, key, value] => {
            values.insert(key.to_vec(), value.to_vec());
            out.extend_from_slice(b"+OK\r\n");
        }
        [_, key] => match values.get(*key) {
            Some(value) => {
                resp::header(out, b'$', value.len());
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(b"$-1\r\n"),
        },
        _ => unreachable!("only GET and SET come here"),
    }
}

fn cluster_slots(shared: &Shared, out: &mut Vec<u8>) {
    resp::header(out, b'*', shared.slots.len());
    for (first, last, node) in &shared.slots {
        let address = shared.addresses[*node];
        write!(out, "*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", address.port()).unwrap();
    }
}
