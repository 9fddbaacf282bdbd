//! The operator: adds and removes nodes, hands over leaderships, replaces lost and damaged disks; through the same commands
//! that people use, one after the other, each repeated until somebody takes it.

use std::collections::VecDeque;

use ringraft::simulation::Input;
use runtime::{Part, SocketId};

use super::machine::{Process, client_address, peer_address};
use super::net::{Party, Reading};
use super::world::{Happening, World};
use crate::client::{Value, encode, read_reply};

/// How long the operator waits for an answer.
const PATIENCE_US: u64 = 5_000_000;
/// How long between two tries.
const RETRY_US: u64 = 300_000;
/// Commands that nobody has taken after so many tries are given up, unless the cluster needs them.
const TRIES_MAX: u32 = 40;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A command that is given until it is taken or refused for good.
    Tell(String),
    /// A removal, until the node is gone.
    Remove(u16),
    /// An addition, until it is taken.
    Add {
        /// The node.
        node: u16,
        /// Where it runs.
        machine: usize,
    },
    /// An empty disk.
    ReplaceDisk(usize),
    /// The machine's node is started.
    Start(usize),
}

/// What the operator is about.
#[derive(Default)]
pub struct Operator {
    errands: VecDeque<Errand>,
    connection: Option<usize>,
    asked: bool,
    heard: Vec<u8>,
    patience_until: u64,
    tries: u32,
    planned: bool,
    /// The machine it goes through; any that answers otherwise.
    pub through: Option<usize>,
    /// What was said to the last command that is done with.
    pub answer: Option<Value>,
    /// It does what it is told to and nothing by itself.
    pub is_scripted: bool,
}

impl Operator {
    /// Whether nothing is left to be done.
    pub fn is_idle(&self) -> bool {
        self.errands.is_empty()
    }

    /// What is left to be done.
    pub fn errands(&self) -> impl Iterator<Item = &Errand> {
        self.errands.iter()
    }
}

impl World {
    /// The client number that the operator connects as: the one after all clients.
    fn operator_number(&self) -> usize {
        self.clients.count()
    }

    /// Adds to the operator's list.
    pub fn order(&mut self, errands: impl IntoIterator<Item = Errand>) {
        self.operator.errands.extend(errands);
        self.plan_operator(1_000);
    }

    fn plan_operator(&mut self, after_us: u64) {
        if !std::mem::replace(&mut self.operator.planned, true) {
            self.plan(after_us, Happening::Operator);
        }
    }

    /// The operator does what is next.
    pub fn operator_goes_on(&mut self) {
        self.operator.planned = false;
        let Some(errand) = self.operator.errands.front().cloned() else { return };
        let line = match errand {
            Errand::ReplaceDisk(machine) => {
                if !matches!(self.machines[machine].process, Process::Up(_)) {
                    self.replace_disk(machine);
                }
                return self.errand_done();
            }
            Errand::Start(machine) => {
                self.start(machine);
                return self.errand_done();
            }
            Errand::Tell(line) => line,
            Errand::Remove(node) => format!("RINGRAFT MEMBER REMOVE {node}"),
            Errand::Add { node, machine } => {
                format!("RINGRAFT MEMBER ADD {node}={}", peer_address(machine, 0))
            }
        };
        if self.operator.connection.is_some() && self.operator.patience_until <= self.now_us {
            self.operator_hangs_up();
        }
        match self.operator.connection {
            None => self.operator_calls(),
            Some(connection) if !self.operator.asked => {
                self.operator.asked = true;
                let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                self.send(connection, 0, vec![Part::Bytes(encode(&words))]);
            }
            Some(_) => {}
        }
        self.plan_operator(RETRY_US);
    }

    fn operator_calls(&mut self) {
        let number = self.operator_number();
        // Whoever operates a cluster sees which of its nodes run.
        let up: Vec<usize> = (0..self.machines.len()).filter(|at| self.machines[*at].listens()).collect();
        if up.is_empty() {
            return;
        }
        let anyone = up[self.random.usize(..up.len())];
        let machine = self.operator.through.unwrap_or(anyone);
        let socket = SocketId::simulated(u32::try_from(number).expect("few clients"), 0);
        let connection = self.call(Party::Client(number), socket, client_address(machine, 0));
        self.connections[connection].read(0, Reading::All);
        let operator = &mut self.operator;
        (operator.connection, operator.asked) = (Some(connection), false);
        operator.heard.clear();
        operator.patience_until = self.now_us + PATIENCE_US;
    }

    fn operator_hangs_up(&mut self) {
        if let Some(connection) = self.operator.connection.take() {
            self.close(connection, 0);
        }
        self.operator.asked = false;
    }

    fn errand_done(&mut self) {
        if let Some(errand) = self.operator.errands.pop_front() {
            self.say(|| format!("operator: done with {errand:?}"));
        }
        self.operator.tries = 0;
        self.plan_operator(1_000);
    }

    /// Something arrived for the operator.
    pub fn operator_hears(&mut self, connection: usize, side: usize) {
        let mut inputs = Vec::new();
        self.connections[connection].take(side, &mut inputs, |len| len);
        if self.operator.connection != Some(connection) {
            return;
        }
        for input in inputs {
            match input {
                Input::ClientData { data, .. } => self.operator.heard.extend_from_slice(&data),
                Input::Ended { .. } => self.operator_hangs_up(),
                _ => {}
            }
        }
        let mut rest = self.operator.heard.as_slice();
        if let Ok(reply) = read_reply(&mut rest) {
            self.operator_hangs_up();
            self.operator_is_told(reply);
        }
    }

    fn operator_is_told(&mut self, reply: Value) {
        let Some(errand) = self.operator.errands.front().cloned() else { return };
        self.say(|| format!("operator: {errand:?} is answered {reply:?}"));
        let code = reply.error_code().unwrap_or("OK").to_owned();
        let unclear = ["CLUSTERDOWN", "TIMEOUT", "TRYAGAIN", "MOVED", "NOSPACE"].contains(&code.as_str());
        self.operator.tries += 1;
        let done = match errand {
            // Taken, the node is on its way out; until the directory has forgotten it, it is asked again.
            Errand::Remove(_) => code != "OK" && !unclear,
            Errand::Tell(_) => !unclear || self.operator.tries > TRIES_MAX,
            _ => !unclear,
        };
        self.operator.answer = Some(reply);
        if done { self.errand_done() } else { self.plan_operator(RETRY_US) }
    }

    /// What was to be done is not done any more.
    pub fn give_up_errands(&mut self) {
        self.operator_hangs_up();
        self.operator.errands.clear();
        self.operator.tries = 0;
    }

    /// A disk of no more use is replaced: its node leaves, comes back empty, and is added again.
    pub fn replace_node(&mut self, machine: usize) {
        if self.operator.is_scripted {
            return;
        }
        let node = self.machines[machine].node;
        let errands = [
            Errand::Remove(node),
            Errand::ReplaceDisk(machine),
            Errand::Start(machine),
            Errand::Add { node, machine },
        ];
        // Before everything else: what is dead may be in the way of what was wanted before. The answer to that would be taken
        // for one to these.
        self.operator_hangs_up();
        self.operator.tries = 0;
        for errand in errands.into_iter().rev() {
            self.operator.errands.push_front(errand);
        }
        self.plan_operator(1_000);
    }

    /// A node whose directory is of no more use ended.
    pub fn needs_replacement(&self, machine: usize) -> bool {
        let about = |errand: &Errand| match errand {
            Errand::Remove(node) => *node == self.machines[machine].node,
            Errand::ReplaceDisk(at) => *at == machine,
            _ => false,
        };
        matches!(self.machines[machine].process, Process::Ended) && !self.operator.errands().any(about)
    }
}
