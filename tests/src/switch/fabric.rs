//! What forwards frames: one thread per port reads, and writes what passes at once; one more writes what was held up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tun_tap::Iface;

use super::mac;
use super::rule::{Passed, Rule, Verdict, Way};

/// An Ethernet frame of a device with the default size of 1,500 bytes, header included.
const FRAME_BYTES_MAX: usize = 1514;
/// The bound on held frames: beyond it they are lost.
const HELD_MAX: usize = 50_000;

/// A frame to pass on later: ordered by time, then by arrival.
type Held = Reverse<(Duration, u64, usize, Vec<u8>)>;

#[derive(Debug)]
struct State {
    ways: BTreeMap<(u16, u16), Way>,
    rng: Rng,
    held: BinaryHeap<Held>,
    arrivals: u64,
    stopped: bool,
}

/// Ports, the rules between them, and the frames under way.
#[derive(Debug)]
pub(super) struct Fabric {
    taps: Vec<Iface>,
    start: Instant,
    state: Mutex<State>,
    /// The earliest held frame is another one, or all is over.
    changed: Condvar,
}

impl Fabric {
    /// Connects devices; their places in the list are their ports.
    pub fn new(taps: Vec<Iface>, seed: u64) -> Fabric {
        let state = State {
            ways: BTreeMap::new(),
            rng: Rng::with_seed(seed),
            held: BinaryHeap::new(),
            arrivals: 0,
            stopped: false,
        };
        Fabric { taps, start: Instant::now(), state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, from: u16, to: u16, rule: Rule) {
        self.lock().ways.entry((from, to)).or_default().rule = rule;
    }

    pub fn heal(&self) {
        self.lock().ways.values_mut().for_each(|way| way.rule = Rule::default());
    }

    pub fn passed(&self, from: u16, to: u16) -> Passed {
        self.lock().ways.get(&(from, to)).map(|way| way.passed).unwrap_or_default()
    }

    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Forwards what comes in at `port` until its device is gone.
    pub fn read_port(&self, port: u16) {
        let mut frame = [0; FRAME_BYTES_MAX];
        while let Ok(size) = self.taps[usize::from(port)].recv(&mut frame) {
            if self.lock().stopped {
                return;
            }
            let frame = &mut frame[..size];
            let Some(to) = self.destination(frame) else { continue };
            let now = self.start.elapsed();
            if self.judge(port, to, now, frame) {
                self.pass(usize::from(to), frame);
            }
        }
    }

    /// The port that a frame is for. What is for all (nobody needs it here) or for nobody is dropped.
    fn destination(&self, frame: &[u8]) -> Option<u16> {
        let address = frame.get(..6)?;
        let port = u16::from(address[5]);
        (usize::from(port) < self.taps.len() && address == mac(port)).then_some(port)
    }

    /// Holds a frame if it is to wait, and says whether it passes now.
    fn judge(&self, from: u16, to: u16, now: Duration, frame: &mut [u8]) -> bool {
        let state = &mut *self.lock();
        let way = state.ways.entry((from, to)).or_default();
        let Verdict { first, second } = way.judge(now, frame, &mut state.rng);
        let at_once = first == Some(Duration::ZERO);
        let later = first.filter(|wait| !wait.is_zero()).into_iter().chain(second);
        for wait in later {
            if state.held.len() < HELD_MAX {
                state.arrivals += 1;
                state.held.push(Reverse((now + wait, state.arrivals, usize::from(to), frame.to_vec())));
                self.changed.notify_all();
            }
        }
        at_once
    }

    /// Passes held frames on when their time has come, until all is over.
    pub fn deliver_late(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = self.start.elapsed();
            let next = state.held.peek().map(|Reverse((due, ..))| due.saturating_sub(now));
            state = match next {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if !wait.is_zero() => {
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let due = state.held.pop();
                    drop(state);
                    if let Some(Reverse((_, _, to, frame))) = due {
                        self.pass(to, &frame);
                    }
                    self.lock()
                }
            };
        }
    }

    /// A device that takes no frame (its node's queue is full, or it is gone) loses it, as a cable does.
    fn pass(&self, to: usize, frame: &[u8]) {
        let _ = self.taps[to].send(frame);
    }
}
