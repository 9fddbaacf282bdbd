//! One thread of load: a poll loop over its connections.
//!
//! A pass: send what is due, one write per connection; sleep until an answer comes or something is due; read
//! everything that came. The clock is read per pass and per socket that has something, not per request.

use super::encode::Encoder;
use super::gaps::Gaps;
use super::keys;
use super::ledger::Ledger;
use super::link::{InFlight, Link};
use super::routes::{Owners, Routes};
use super::source::{Class, Next, Operation, Source};
use super::stats::Stats;
use super::workload::Workload;
use crate::cli::resp;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIMER: Token = Token(usize::MAX);
/// How often time-outs, reconnects and owners are looked after.
const CARE_NS: u64 = 20_000_000;
/// How often the owners of slots are asked for: leaders move without a word to clients that are proxied.
const OWNERS_NS: u64 = 1_000_000_000;
/// Without a single answer for this long, a phase without an end of its own is given up.
const PATIENCE_NS: u64 = 30_000_000_000;
/// Nearer than this it does not pay to sleep.
const NAP_NS: u64 = 20_000;

/// What all threads of a phase share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Instant,
    pub(super) start_ns: u64,
    pub(super) stop: AtomicBool,
    pub(super) completed: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) gaps: Option<Gaps>,
    /// Why the phase cannot go on.
    pub(super) hopeless: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).expect("584 years")
    }

    /// Ends the phase on all threads. The first reason stays.
    pub(super) fn give_up(&self, why: String) {
        self.hopeless.lock().expect("no thread panics with it").get_or_insert(why);
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One thread's connections and keys; they outlive the phases.
pub(super) struct Worker {
    pub(super) links: Vec<Link>,
    pub(super) routes: Routes,
    pub(super) ledger: Option<Ledger>,
    pub(super) stats: Stats,
    pub(super) source: Source,
    pub(super) cluster: bool,
    /// Requests that are not answered.
    pub(super) outstanding: usize,
    pub(super) answered_ns: u64,
    links_per_endpoint: usize,
    window: usize,
    pipeline: usize,
    timeout_ns: u64,
    wants_slot: bool,
    key_prefix: String,
    key: Vec<u8>,
    encoder: Encoder,
    rng: fastrand::Rng,
    poll: Poll,
    timer: OwnedFd,
    started: bool,
    care_ns: u64,
    owners_ns: u64,
}

impl Worker {
    /// Thread `thread` of `workload`'s. `owners` is empty unless in cluster mode.
    pub(super) fn new(workload: &Workload, run: u32, thread: usize, owners: &Owners) -> io::Result<Worker> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let seed = workload.seed.wrapping_add(thread as u64);
        let key_bytes = workload.key_prefix.len() + keys::DIGITS;
        let mut encoder = Encoder::new(key_bytes, workload.value_bytes, workload.seed);
        let (own, threads) = (thread as u64, workload.threads as u64);
        let ledger =
            workload.verify.then(|| Ledger::new(run, own, threads, workload.keys, encoder.value_mut()));
        let connections = (thread..workload.connections).step_by(workload.threads);
        let mut worker = Worker {
            links: Vec::new(),
            routes: Routes::new(),
            ledger,
            stats: Stats::default(),
            source: Source::nothing(),
            cluster: workload.cluster,
            outstanding: 0,
            answered_ns: 0,
            links_per_endpoint: 0,
            window: connections.len() * workload.pipeline,
            pipeline: workload.pipeline,
            timeout_ns: u64::try_from(workload.timeout.as_nanos()).unwrap_or(u64::MAX),
            wants_slot: workload.cluster || workload.groups.is_some(),
            key_prefix: workload.key_prefix.clone(),
            key: Vec::new(),
            encoder,
            rng: fastrand::Rng::with_seed(seed),
            poll,
            timer,
            started: false,
            care_ns: 0,
            owners_ns: OWNERS_NS,
        };
        worker.spread(workload, connections, owners);
        Ok(worker)
    }

    fn spread(
        &mut self,
        workload: &Workload,
        connections: impl ExactSizeIterator<Item = usize>,
        owners: &Owners,
    ) {
        if self.cluster {
            self.routes.learn(owners);
            self.links_per_endpoint = (connections.len() / self.routes.endpoints.len().max(1)).max(1);
            self.open_links();
            return;
        }
        // One endpoint per target: a broken connection may move on to any of them.
        for target in &workload.targets {
            self.routes.endpoint(*target);
        }
        for connection in connections {
            self.open_link(connection % self.routes.endpoints.len());
        }
    }

    fn open_link(&mut self, endpoint: usize) {
        let link = self.links.len();
        self.links.push(Link::new(Token(link), endpoint));
        self.routes.endpoints[endpoint].links.push(link);
    }

    /// Every endpoint gets its connections, those that were learned of late too.
    pub(super) fn open_links(&mut self) {
        for endpoint in 0..self.routes.endpoints.len() {
            while self.routes.endpoints[endpoint].links.len() < self.links_per_endpoint {
                self.open_link(endpoint);
            }
        }
    }

    /// Runs `source` to its end.
    pub(super) fn run(&mut self, shared: &Shared, source: Source) -> io::Result<Stats> {
        self.source = source;
        self.stats = Stats::default();
        self.answered_ns = shared.now_ns();
        let mut events = Events::with_capacity(256);
        let mut reported = (0, 0);
        let mut sent_all_ns = None;
        loop {
            let now_ns = shared.now_ns();
            self.care(shared, now_ns);
            let pass = if sent_all_ns.is_none() { self.send_due(shared, now_ns) } else { Pass::SentAll };
            if matches!(pass, Pass::SentAll) {
                sent_all_ns.get_or_insert(now_ns);
            }
            self.flush(now_ns);
            if sent_all_ns.is_some() && self.outstanding == 0 {
                break;
            }
            self.sleep(&mut events, pass, shared.now_ns())?;
            self.receive(shared, &events);
            reported = self.report(shared, reported);
        }
        self.report(shared, reported);
        let sent_all_ns = sent_all_ns.expect("the loop ended");
        (self.stats.unsent, self.stats.lag_max_ns) = self.source.close(sent_all_ns);
        self.stats.ended_ns = self.answered_ns.max(sent_all_ns);
        Ok(std::mem::take(&mut self.stats))
    }

    fn send_due(&mut self, shared: &Shared, now_ns: u64) -> Pass {
        if shared.stop.load(Ordering::Relaxed) {
            return Pass::SentAll;
        }
        if !self.started {
            // Until every connection was tried once, the first few would get all requests.
            self.started = self.links.iter().all(Link::was_tried);
            return Pass::Full;
        }
        while self.outstanding < self.window {
            // A place first: what is taken from the source counts as sent.
            let Some(place) = self.routes.with_room(&self.links, self.pipeline, now_ns) else { break };
            match self.source.next(now_ns, &mut self.rng, self.ledger.as_mut()) {
                Next::Send(operation) => self.send(operation, place, now_ns),
                Next::At(due_ns) => return Pass::Until(due_ns),
                Next::Wait if self.outstanding == 0 => return Pass::SentAll,
                Next::Wait => break,
                Next::Done => return Pass::SentAll,
            }
        }
        Pass::Full
    }

    /// Puts a request into a connection: `place`, or in cluster mode one to the owner of its slot.
    pub(super) fn send(&mut self, operation: Operation, place: usize, now_ns: u64) {
        keys::name(&mut self.key, &self.key_prefix, operation.key);
        let slot = if self.wants_slot { keys::slot(&self.key) } else { 0 };
        let operation = Operation { slot, ..operation };
        let place = match self.cluster {
            false => place,
            true => self.routes.link_to_owner(slot, &self.links, self.pipeline, now_ns).unwrap_or(place),
        };
        let link = &mut self.links[place];
        match operation.class {
            Class::Read => self.encoder.get(&mut link.out, &self.key),
            Class::Write => {
                if let Some(ledger) = &self.ledger {
                    ledger.fill(operation.key, operation.sequence, self.encoder.value_mut());
                }
                self.encoder.set(&mut link.out, &self.key);
            }
        }
        link.in_flight.push_back(InFlight { operation: Some(operation), sent_ns: now_ns });
        self.outstanding += 1;
    }

    fn flush(&mut self, now_ns: u64) {
        for link in 0..self.links.len() {
            if !self.links[link].out.is_empty()
                && let Err(error) = self.links[link].flush()
            {
                self.break_link(link, &kind_of(&error), now_ns);
            }
        }
    }

    fn sleep(&mut self, events: &mut Events, pass: Pass, now_ns: u64) -> io::Result<()> {
        let mut timeout = Some(Duration::from_nanos(self.care_ns.saturating_sub(now_ns)));
        if let Pass::Until(due_ns) = pass {
            let wait_ns = due_ns.min(self.care_ns).saturating_sub(now_ns);
            timeout = match wait_ns {
                ..NAP_NS => Some(Duration::ZERO),
                _ => self.wake_in(wait_ns).map(|()| None)?,
            };
        }
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// Poll counts in milliseconds; the timer does not.
    fn wake_in(&self, wait_ns: u64) -> io::Result<()> {
        let nanos = i64::try_from(wait_ns).expect("at most the care interval, far below a second");
        let it_value = Timespec { tv_sec: 0, tv_nsec: nanos };
        let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    fn receive(&mut self, shared: &Shared, events: &Events) {
        let now_ns = shared.now_ns();
        for event in events.iter().filter(|event| event.token() != TIMER) {
            let link = event.token().0;
            if event.is_writable() || event.is_error() {
                match self.links[link].connected() {
                    Ok(()) => {}
                    Err(error) => self.break_link(link, &kind_of(&error), now_ns),
                }
                if let Err(error) = self.links[link].flush() {
                    self.break_link(link, &kind_of(&error), now_ns);
                }
            }
            if (event.is_readable() || event.is_read_closed()) && self.links[link].is_up() {
                self.receive_from(shared, link);
            }
        }
    }

    /// Looks after what no event tells of.
    fn care(&mut self, shared: &Shared, now_ns: u64) {
        if now_ns < self.care_ns {
            return;
        }
        self.care_ns = now_ns + CARE_NS;
        for link in 0..self.links.len() {
            if self.links[link].is_overdue(now_ns, self.timeout_ns) {
                self.break_link(link, "timed out", now_ns);
            } else if self.links[link].wants_connect(now_ns) {
                self.connect(link, now_ns);
            }
        }
        if self.cluster && now_ns >= self.owners_ns {
            self.ask_for_owners(now_ns);
        }
        if !self.source.ends_in_time() && now_ns.saturating_sub(self.answered_ns) > PATIENCE_NS {
            shared.give_up(format!("no request was answered for {} s", PATIENCE_NS / 1_000_000_000));
        }
    }

    fn connect(&mut self, link: usize, now_ns: u64) {
        let address = self.routes.endpoints[self.links[link].endpoint].address;
        if self.links[link].connect(self.poll.registry(), address, now_ns).is_err() {
            self.links[link].close(now_ns);
        }
    }

    fn ask_for_owners(&mut self, now_ns: u64) {
        self.owners_ns = now_ns + OWNERS_NS;
        let turn = self.rng.usize(0..self.links.len());
        let order = (0..self.links.len()).map(|step| (turn + step) % self.links.len());
        let Some(link) = order.into_iter().find(|link| self.links[*link].is_usable(now_ns)) else { return };
        let link = &mut self.links[link];
        resp::encode(&mut link.out, &[b"CLUSTER", b"SLOTS"]);
        link.in_flight.push_back(InFlight { operation: None, sent_ns: now_ns });
    }

    /// Owners have changed: ask soon, but not for every sign of it.
    pub(super) fn owners_changed(&mut self, now_ns: u64) {
        self.owners_ns = self.owners_ns.min(now_ns + 100_000_000);
    }

    fn report(&self, shared: &Shared, reported: (u64, u64)) -> (u64, u64) {
        let totals = (self.stats.completed(), self.stats.failed());
        shared.completed.fetch_add(totals.0 - reported.0, Ordering::Relaxed);
        shared.failed.fetch_add(totals.1 - reported.1, Ordering::Relaxed);
        totals
    }
}

/// How a round of sending ended.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// Nothing is due before this time.
    Until(u64),
    /// There is no room, or nothing to send before something is answered.
    Full,
    /// The source has no more.
    SentAll,
}

/// A name for an I/O error that is short enough to be counted by.
pub(super) fn kind_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "connection closed".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset".into(),
        kind => kind.to_string(),
    }
}
