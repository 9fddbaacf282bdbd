//! Clients that write as fast as a node takes it, until the power goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ledger::{KINDS, Kind, Sent, Session};
use crate::client::{Client, Value, encode};

/// Requests that a client sends before it waits for the replies: a multiple of the kinds.
const PIPELINE: u32 = 2;
/// No reply takes longer while there is power.
const PATIENCE: Duration = Duration::from_secs(5);

/// The clients of one round.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Session>>,
}

impl Load {
    pub(super) fn start(round: u32, clients: u32, targets: &[SocketAddr]) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let run = |client: u32| {
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            let target = targets[client as usize % targets.len()];
            std::thread::spawn(move || {
                let mut session = Session { round, client, sent: Vec::new() };
                // The end of the connection is the end of the round.
                let _ = write(&mut session, target, &stop, &acknowledged);
                session
            })
        };
        let threads = (0..clients).map(run).collect();
        Load { stop, acknowledged, threads }
    }

    /// Writes that were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits for the clients, whose nodes are gone.
    pub(super) fn stop(self) -> Vec<Session> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

/// The length or zero that an acknowledgement carries; `None`: this write is not acknowledged.
fn acknowledged(kind: Kind, reply: &Value) -> Option<i64> {
    match (kind, reply) {
        (Kind::Once | Kind::Over, Value::Simple(text)) if text == "OK" => Some(0),
        (Kind::Append | Kind::Shared, Value::Integer(length)) => Some(*length),
        _ => None,
    }
}

fn write(
    session: &mut Session,
    target: SocketAddr,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut client = Client::connect(target, PATIENCE)?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let first = session.sent.len();
        let mut bytes = Vec::new();
        for _ in 0..PIPELINE {
            number += 1;
            for kind in KINDS {
                let (key, value) = (session.key(kind, number), session.value(kind, number));
                let command: &[u8] = if matches!(kind, Kind::Once | Kind::Over) { b"SET" } else { b"APPEND" };
                bytes.extend(encode(&[command, key.as_bytes(), value.as_bytes()]));
                session.sent.push(Sent { kind, number, acknowledged: None });
            }
        }
        client.send(&bytes)?;
        let mut all = true;
        for sent in &mut session.sent[first..] {
            let reply = client.receive()?;
            sent.acknowledged = acknowledged(sent.kind, &reply);
            count.fetch_add(u64::from(sent.acknowledged.is_some()), Ordering::Relaxed);
            all &= sent.acknowledged.is_some();
        }
        if !all {
            // A refused write may still take effect, behind later ones: this client is done.
            return Ok(());
        }
    }
    Ok(())
}
