//! The link itself.

mod traffic;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use raft::{NodeId, Time};
use runtime::BufferMut;

use super::connection::Connection;
use super::{Backoff, Counters, Greeted, Local, LogBudget, Lost, Output, PeerShard, Settings};
use crate::frame::FrameReader;
use crate::handshake::{Hello, Identity, Kind, Message, Refusal, Refused, Welcome, judge_answer};

/// A connection on which something came within this time is no dead one: peers say something more often.
const HEARD_LATELY: Duration = Duration::from_secs(1);

/// A connection that was up for so long worked: the next wait is a short one.
const SETTLED: Duration = Duration::from_secs(1);

/// The link to one shard of a peer. See the module.
///
/// After each input: [`Link::next`] until it answers `None` (if it was [`Link::received`]), then
/// [`Link::take_output`] until it answers `None`.
#[derive(Debug)]
pub struct Link<S> {
    settings: Settings,
    peer: PeerShard,
    /// What it is unless it is stopped.
    turn: Role,
    role: Role,
    phase: Phase<S>,
    backoff: Backoff,
    outputs: VecDeque<Output<S>>,
    counters: Counters,
    log_budget: LogBudget,
}

/// Who makes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller,
    /// The peer does; this end only out of turn, when its patience ends.
    Called,
    /// Nobody any more.
    Stopped,
}

#[derive(Debug)]
enum Phase<S> {
    /// No connection.
    Waiting { dial_at: Time },
    /// Asked for a connection; the socket is known once the asked has it.
    Dialing { socket: Option<S>, deadline: Time },
    /// Has greeted, waits for the answer.
    Greeting { connection: Connection<S>, hello: Box<Hello>, deadline: Time },
    /// Both ends know each other.
    Up(Box<Up<S>>),
}

#[derive(Debug)]
struct Up<S> {
    connection: Connection<S>,
    peer: Identity,
    our_shard: u16,
    since: Time,
    /// This end made the connection.
    dialed: bool,
    forming: bool,
    frames_in: u64,
    frames_out: u64,
}

impl<S: Copy + Eq + Debug> Link<S> {
    /// The link of `node`'s shard to a shard of a peer. It dials at once if it is the one to dial: for Raft
    /// the lower id, for a snapshot whoever makes the link.
    pub fn new(now: Time, node: NodeId, peer: PeerShard, settings: Settings) -> Link<S> {
        assert!(node != peer.node, "no link of a node to itself");
        let calls = settings.kind == Kind::Snapshot || node < peer.node;
        let turn = if calls { Role::Caller } else { Role::Called };
        let mut link = Link {
            peer,
            turn,
            role: Role::Stopped,
            phase: Phase::Waiting { dial_at: Time::NEVER },
            backoff: Backoff::new(settings.backoff_min, settings.backoff_max, settings.seed),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            log_budget: LogBudget::default(),
            settings,
        };
        link.start(now);
        link
    }

    /// Dials, as after [`Link::new`], if it was stopped.
    pub fn start(&mut self, now: Time) {
        if self.role == Role::Stopped {
            self.role = self.turn;
            if matches!(self.phase, Phase::Waiting { .. }) {
                self.wait(now, Duration::ZERO);
            }
        }
    }

    /// The other end.
    pub fn peer(&self) -> PeerShard {
        self.peer
    }

    /// Whether frames pass.
    pub fn is_up(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if !up.forming)
    }

    /// Who is at the other end, while the link is up.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.phase {
            Phase::Up(up) => Some(&up.peer),
            _ => None,
        }
    }

    /// The connection, if there is one.
    pub fn socket(&self) -> Option<S> {
        match &self.phase {
            Phase::Waiting { .. } => None,
            Phase::Dialing { socket, .. } => *socket,
            Phase::Greeting { connection, .. } => Some(connection.socket),
            Phase::Up(up) => Some(up.connection.socket),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What to do next; `None`: nothing.
    pub fn take_output(&mut self) -> Option<Output<S>> {
        self.outputs.pop_front()
    }

    /// [`Output::Dial`] was carried out: this socket is connecting.
    pub fn dialed(&mut self, socket: S) {
        match &mut self.phase {
            Phase::Dialing { socket: place @ None, .. } => *place = Some(socket),
            // The peer's own connection came first.
            _ => self.outputs.push_back(Output::Close { socket }),
        }
    }

    /// The socket is connected.
    pub fn connected(&mut self, now: Time, socket: S, local: &Local) {
        let Phase::Dialing { socket: dialed, deadline } = &self.phase else { return };
        if *dialed != Some(socket) {
            return;
        }
        let hello = Hello {
            kind: self.settings.kind,
            caller: local.identity.clone(),
            wanted: self.peer.node,
            wanted_shard: self.peer.shard,
        };
        let deadline = *deadline;
        let mut connection = Connection::new(now, socket, FrameReader::new(self.settings.buffer_bytes));
        connection.say(now, &Message::Hello(hello.clone()), &mut self.outputs, &mut self.counters);
        connection.receive(&mut self.outputs);
        self.phase = Phase::Greeting { connection, hello: Box::new(hello), deadline };
    }

    /// The peer has dialled, greeted, and is welcome: its connection replaces the one there is, unless it is
    /// of an earlier start of the peer, or called out of turn while this end's own call is under way or works.
    pub fn adopt(&mut self, now: Time, greeted: Greeted<S>, local: &Local) {
        let caller = &greeted.hello.caller;
        assert_eq!((caller.node, caller.shard), (self.peer.node, self.peer.shard), "the link of this caller");
        let older = matches!(&self.phase, Phase::Up(up)
            if up.peer.incarnation == caller.incarnation && up.peer.boot > caller.boot);
        if older || self.has_own_call(now, caller) {
            self.outputs.push_back(Output::Close { socket: greeted.socket });
            return;
        }
        if self.socket().is_some() {
            self.fail(now, Lost::Replaced);
        }
        let Greeted { socket, hello, mut reader } = greeted;
        reader.set_usual_bytes(self.settings.buffer_bytes);
        let mut connection = Connection::new(now, socket, reader);
        let welcome = Message::Welcome(Welcome { answerer: local.identity.clone() });
        connection.say(now, &welcome, &mut self.outputs, &mut self.counters);
        self.establish(now, connection, hello.caller, &local.identity, false);
    }

    /// Both ends called: then the call of the lower id is the one that stays.
    fn has_own_call(&self, now: Time, caller: &Identity) -> bool {
        self.role == Role::Caller
            && match &self.phase {
                Phase::Waiting { .. } => false,
                Phase::Dialing { .. } | Phase::Greeting { .. } => true,
                Phase::Up(up) => {
                    let same = (up.peer.incarnation, up.peer.boot) == (caller.incarnation, caller.boot);
                    up.dialed && same && now.saturating_sub(up.connection.heard_at) < HEARD_LATELY
                }
            }
    }

    /// A receive ended; `filled` bytes of its buffer are valid now, counted from its start.
    pub fn received(&mut self, now: Time, socket: S, buffer: BufferMut, filled: usize, local: &Local) {
        let Some(connection) = connection_mut(&mut self.phase, socket) else { return };
        self.counters.bytes_in += connection.reader.filled(buffer, filled) as u64;
        connection.heard_at = now;
        if matches!(self.phase, Phase::Greeting { .. }) {
            self.read_answer(now, local);
        }
    }

    /// [`Output::Send`] was carried out wholly.
    pub fn sent(&mut self, now: Time, socket: S) {
        if let Some(connection) = connection_mut(&mut self.phase, socket) {
            connection.sent(now, &mut self.outputs, &mut self.counters);
        }
    }

    /// The connection failed or ended.
    pub fn closed(&mut self, now: Time, socket: S) {
        if self.socket() == Some(socket) {
            self.fail(now, Lost::Closed);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if now < self.deadline() {
            return;
        }
        match &self.phase {
            Phase::Waiting { .. } => {
                self.counters.dials += 1;
                let deadline = now + self.settings.greeting_time_max;
                self.phase = Phase::Dialing { socket: None, deadline };
                self.outputs.push_back(Output::Dial);
            }
            Phase::Up(up) if now < up.connection.heard_at + self.settings.silence_max => {
                self.fail(now, Lost::Stuck);
            }
            _ => self.fail(now, Lost::Silent),
        }
    }

    /// [`Link::tick`] does nothing before.
    pub fn deadline(&self) -> Time {
        match &self.phase {
            Phase::Waiting { dial_at } => *dial_at,
            Phase::Dialing { deadline, .. } | Phase::Greeting { deadline, .. } => *deadline,
            Phase::Up(up) => {
                let stuck = up.connection.send_deadline(self.settings.send_time_max);
                stuck.min(up.connection.heard_at + self.settings.silence_max)
            }
        }
    }

    /// Both ends are formed now: a link for forming ends, and the dialling end greets again at once.
    pub fn regreet(&mut self, now: Time) {
        if matches!(&self.phase, Phase::Up(up) if up.forming) {
            self.fail(now, Lost::Regreeted);
        }
    }

    /// The peer is a member with this disk: closes the connection to another one.
    pub fn keep_only(&mut self, now: Time, incarnation: u64) {
        if matches!(&self.phase, Phase::Up(up) if up.peer.incarnation != incarnation) {
            self.fail(now, Lost::NoMember);
        }
    }

    /// The peer is no member any more: closes the connection and dials no more. The peer's own calls can still be
    /// adopted.
    pub fn stop(&mut self, now: Time) {
        if self.socket().is_some() {
            self.fail(now, Lost::NoMember);
        }
        self.role = Role::Stopped;
        self.phase = Phase::Waiting { dial_at: Time::NEVER };
    }

    /// Reads what the peer answers to the greeting.
    fn read_answer(&mut self, now: Time, local: &Local) {
        let Phase::Greeting { connection, hello, .. } = &mut self.phase else { return };
        match Message::decode(connection.reader.unread()) {
            Ok(None) => connection.receive(&mut self.outputs),
            Ok(Some((Message::Welcome(Welcome { answerer }), bytes))) => {
                connection.reader.consume(bytes);
                match judge_answer(hello, &local.directory, &answerer) {
                    Ok(()) => self.establish_dialed(now, answerer),
                    Err(refusal) => {
                        let refused = Refused::new(&refusal, &local.identity);
                        self.refused(now, refused, true);
                    }
                }
            }
            Ok(Some((Message::Refused(refused), _))) => self.refused(now, refused, false),
            Ok(Some(_)) => self.fail(now, Lost::OutOfPlace),
            Err(error) => self.fail(now, Lost::Handshake(error)),
        }
    }

    fn establish_dialed(&mut self, now: Time, peer: Identity) {
        let waiting = Phase::Waiting { dial_at: Time::NEVER };
        if let Phase::Greeting { connection, hello, .. } = std::mem::replace(&mut self.phase, waiting) {
            self.establish(now, connection, peer, &hello.caller, true);
        }
    }

    fn establish(
        &mut self,
        now: Time,
        connection: Connection<S>,
        peer: Identity,
        ours: &Identity,
        dialed: bool,
    ) {
        let forming = !(peer.cluster_id.is_formed() && ours.cluster_id.is_formed());
        self.counters.established += 1;
        self.outputs.push_back(Output::Established { peer: peer.clone(), forming });
        let our_shard = ours.shard;
        let up = Up { connection, peer, our_shard, since: now, dialed, forming, frames_in: 0, frames_out: 0 };
        self.phase = Phase::Up(Box::new(up));
    }

    fn refused(&mut self, now: Time, refused: Refused, by_us: bool) {
        self.counters.refused += 1;
        if let Some(socket) = self.socket() {
            self.outputs.push_back(Output::Close { socket });
        }
        let passes = Refusal::passes(refused.code);
        let wait = if passes { self.backoff.next_wait() } else { self.backoff.longest_wait() };
        self.outputs.push_back(Output::Refused { refused, by_us });
        self.wait(now, wait);
    }

    /// The connection is no more, or must not go on.
    fn fail(&mut self, now: Time, lost: Lost) {
        if let Some(socket) = self.socket() {
            self.outputs.push_back(Output::Close { socket });
        }
        if lost.is_garbage() {
            self.counters.garbage += 1;
            if let Some(suppressed) = self.log_budget.allow(now) {
                let PeerShard { node, shard } = self.peer;
                tracing::warn!(%node, shard, suppressed, "closing the link: {lost}");
            }
        }
        let mut wait = None;
        match &self.phase {
            Phase::Waiting { .. } => return,
            Phase::Dialing { .. } | Phase::Greeting { .. } => self.counters.dials_failed += 1,
            Phase::Up(up) => {
                self.counters.lost += 1;
                self.counters.silent += u64::from(lost == Lost::Silent);
                self.counters.replaced += u64::from(lost == Lost::Replaced);
                if now.saturating_sub(up.since) >= SETTLED {
                    self.backoff.reset();
                }
                if lost == Lost::Regreeted {
                    wait = Some(Duration::ZERO);
                }
                self.outputs.push_back(Output::Lost(lost));
            }
        }
        let wait = wait.unwrap_or_else(|| self.backoff.next_wait());
        self.wait(now, wait);
    }

    fn wait(&mut self, now: Time, wait: Duration) {
        let dial_at = match (self.role, self.settings.patience) {
            (Role::Caller, _) => now + wait,
            (Role::Called, Some(patience)) => now + patience + wait,
            (Role::Called, None) | (Role::Stopped, _) => Time::NEVER,
        };
        self.phase = Phase::Waiting { dial_at };
    }
}

/// The connection, if it is this one.
fn connection_mut<S: Copy + Eq>(phase: &mut Phase<S>, socket: S) -> Option<&mut Connection<S>> {
    let connection = match phase {
        Phase::Waiting { .. } | Phase::Dialing { .. } => return None,
        Phase::Greeting { connection, .. } => connection,
        Phase::Up(up) => &mut up.connection,
    };
    (connection.socket == socket).then_some(connection)
}
