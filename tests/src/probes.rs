//! How long nobody was served: one small write per group every few milliseconds, sent whether or not the one before it
//! has been answered.
//!
//! Each group has a connection of its own, since replies of one connection come in the order of its requests: a group
//! without a leader would hide the others. A connection that breaks, or from which nothing has come for [`PATIENCE`], is
//! replaced by one to the next node, as a client does. What is not probed: group 0, which holds no keys.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, Value, encode, read_reply};
use crate::poll;

/// A connection that says nothing for this long is given up: a little more than a node holds a request (2 s).
pub const PATIENCE: Duration = Duration::from_millis(2_500);
/// How long connecting to one node may take.
const CONNECT_TIME: Duration = Duration::from_millis(500);
/// Keys tried to find one of every group: each group misses all of them with a chance below 10^-9 at 64 groups.
const KEYS_TRIED: u32 = 2_000;
const SLOTS: u64 = 16_384;
/// What is kept to explain a silence.
const HEARD_MAX: usize = 40;

/// One group's probe.
#[derive(Debug)]
struct Lane {
    group: u64,
    command: Vec<u8>,
    /// Where the next probe is written; `None` while there is no connection.
    writer: Mutex<Option<TcpStream>>,
    /// When probes were acknowledged, since the last mark and once before it.
    acknowledged: Mutex<Vec<Instant>>,
    /// What else was heard since the last mark: refusals, and connections that came and went.
    heard: Mutex<Vec<(Instant, String)>>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<SocketAddr>,
    interval: Duration,
    stop: AtomicBool,
    lanes: Vec<Lane>,
}

/// Running probes. Dropping them ends them.
#[derive(Debug)]
pub struct Probes {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Probes {
    /// Starts one probe for every group of the cluster that `targets` belong to, each every `interval`.
    ///
    /// # Errors
    ///
    /// A sentence, when no target tells where keys belong.
    pub fn start(targets: Vec<SocketAddr>, groups: u64, interval: Duration) -> Result<Probes, String> {
        let keys = key_of_each_group(&targets, groups)?;
        let lane = |(group, key): (u64, String)| Lane {
            group,
            command: encode(&[b"SET", key.as_bytes(), b"x"]),
            writer: Mutex::new(None),
            acknowledged: Mutex::default(),
            heard: Mutex::default(),
        };
        let lanes = (1..).zip(keys).map(lane).collect();
        let shared = Arc::new(Shared { targets, interval, stop: AtomicBool::new(false), lanes });
        let listen = |lane| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.listen(lane))
        };
        let mut threads: Vec<JoinHandle<()>> = (0..shared.lanes.len()).map(listen).collect();
        let sender = shared.clone();
        threads.push(std::thread::spawn(move || sender.send()));
        Ok(Probes { shared, threads })
    }

    /// Forgets all acknowledgements but each group's last: what is asked later is about the time from now on, and the
    /// silence that reaches into it.
    pub fn mark(&self) {
        for lane in &self.shared.lanes {
            let mut acknowledged = lane.acknowledged();
            let keep = acknowledged.len().saturating_sub(1);
            acknowledged.drain(..keep);
            lane.heard().clear();
        }
    }

    /// The longest time between two acknowledgements of one of these groups since the mark, or since its last one;
    /// with the group. A group that never got one is silent since `since`.
    pub fn longest_silence(&self, since: Instant, wanted: impl Fn(u64) -> bool) -> (Duration, u64) {
        let now = Instant::now();
        let lanes = self.shared.lanes.iter().filter(|lane| wanted(lane.group));
        let silence = |lane: &Lane| {
            let acknowledged = lane.acknowledged();
            let first = acknowledged.first().copied().unwrap_or(since);
            let ends = acknowledged.iter().copied().skip(1).chain([now]);
            let mut last = first;
            let gaps = ends.map(|end| end.saturating_duration_since(std::mem::replace(&mut last, end)));
            (gaps.max().unwrap_or_default(), lane.group)
        };
        lanes.map(silence).max().unwrap_or_default()
    }

    /// What a group's probe heard since the mark, acknowledgements aside, in milliseconds after `since`.
    pub fn heard(&self, group: u64, since: Instant) -> String {
        let lanes = self.shared.lanes.iter().filter(|lane| lane.group == group);
        let lines = lanes.flat_map(|lane| {
            let acknowledged = lane.acknowledged().clone();
            let heard = lane.heard().clone();
            heard.into_iter().map(move |(at, what)| {
                let served = acknowledged.iter().filter(|served| **served < at).count();
                let at_ms = at.saturating_duration_since(since).as_millis();
                format!("      {at_ms} ms: {what}, after {served} acknowledgements\n")
            })
        });
        lines.collect()
    }

    /// True when every group has been acknowledged after `since`.
    pub fn all_served_since(&self, since: Instant) -> bool {
        self.shared.lanes.iter().all(|lane| lane.acknowledged().last().is_some_and(|last| *last > since))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for lane in &self.shared.lanes {
            if let Some(writer) = lane.writer().take() {
                let _ = writer.shutdown(std::net::Shutdown::Both);
            }
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Lane {
    fn acknowledged(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, String)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hears(&self, what: String) {
        let mut heard = self.heard();
        if heard.len() < HEARD_MAX {
            heard.push((Instant::now(), what));
        }
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Option<TcpStream>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes one probe of each group per interval, for the connections there are.
    fn send(&self) {
        let mut turn = Instant::now();
        while !self.stopped() {
            for lane in &self.lanes {
                let mut writer = lane.writer();
                if let Some(stream) = writer.as_mut()
                    && stream.write_all(&lane.command).is_err()
                {
                    *writer = None;
                }
            }
            turn = (turn + self.interval).max(Instant::now());
            poll::until(turn, || self.stopped());
        }
    }

    /// Keeps one group's connection, and notes its acknowledgements.
    fn listen(&self, number: usize) {
        let lane = &self.lanes[number];
        let mut target = number;
        while !self.stopped() {
            let address = self.targets[target % self.targets.len()];
            target += 1;
            let Some(stream) = connect(address) else {
                poll::until(Instant::now() + self.interval, || self.stopped());
                continue;
            };
            let Ok(writer) = stream.try_clone() else { continue };
            *lane.writer() = Some(writer);
            lane.hears(format!("connected to {address}"));
            let mut replies = BufReader::new(stream);
            let broken = loop {
                match read_reply(&mut replies) {
                    Ok(Value::Simple(_)) => lane.acknowledged().push(Instant::now()),
                    Ok(reply) => lane.hears(format!("{address} answers {reply:?}")),
                    Err(error) => break error,
                }
            };
            lane.hears(format!("{address}: {broken}"));
            *lane.writer() = None;
        }
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIME).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(CONNECT_TIME)).ok()?;
    Some(stream)
}

/// A key of each group, from group 1 on, as the cluster itself says where keys belong.
fn key_of_each_group(targets: &[SocketAddr], groups: u64) -> Result<Vec<String>, String> {
    let first = targets.first().ok_or("there is no node to ask")?;
    let failed = |error: std::io::Error| format!("{first}: {error}");
    let mut client = Client::connect(*first, Duration::from_secs(5)).map_err(failed)?;
    let mut keys = vec![None; usize::try_from(groups).map_err(|_| "too many groups")?];
    for number in 0..KEYS_TRIED {
        let key = format!("probe{number}");
        let slot = match client.call(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]).map_err(failed)? {
            Value::Integer(slot) => u64::try_from(slot).map_err(|_| "a negative slot")?,
            other => return Err(format!("CLUSTER KEYSLOT answered {other:?}")),
        };
        // Group g has the slots from (g - 1) * SLOTS / groups on.
        let place = (0..groups).rfind(|place| place * SLOTS / groups <= slot);
        let place = place.and_then(|place| usize::try_from(place).ok()).ok_or("a slot without a group")?;
        keys[place].get_or_insert(key);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().collect::<Option<Vec<String>>>().ok_or_else(|| "a group got no key".to_string())
}
