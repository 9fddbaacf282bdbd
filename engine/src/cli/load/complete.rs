//! What answers mean: success, refusal, redirection, doubt.

use super::keys::SLOTS;
use super::ledger::Outcome;
use super::link::{InFlight, Received};
use super::routes;
use super::source::{Class, Operation};
use super::worker::{Shared, Worker, kind_of};
use super::workload::Phase;
use crate::cli::resp::{self, Reply};

/// How long a connection rests after the server said 'not now'.
const REST_NS: u64 = 10_000_000;
/// More redirections of one request than a cluster in order ever gives.
const MOVES_MAX: u8 = 5;
/// Words of errors that pass by themselves. `TIMEOUT` is ringraft's 'outcome unknown'.
const TRANSIENT: [&str; 8] =
    ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "BUSY", "MASTERDOWN", "MOVED", "TIMEOUT", "NOSPACE"];
/// Words of errors after which it is certain that a write did not and will not take effect.
const NOT_APPLIED: [&str; 10] =
    ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "BUSY", "MASTERDOWN", "MOVED", "ERR", "NOAUTH", "OOM", "NOSPACE"];

impl Worker {
    pub(super) fn receive_from(&mut self, shared: &Shared, link: usize) {
        loop {
            let received = self.links[link].receive();
            // After the read: what came during a long pass must not look as if it had come before it.
            let now_ns = shared.now_ns();
            // What came before the end of a connection still counts.
            let understood = self.take_replies(shared, link, now_ns);
            match (received, understood) {
                (Ok(Received::More), Ok(())) if self.links[link].is_up() => {}
                (Ok(_), Ok(())) => return,
                (Err(error), Ok(())) => {
                    return self.break_link(link, &kind_of(&error), now_ns);
                }
                (_, Err(bad)) => return self.break_link(link, &bad, now_ns),
            }
        }
    }

    fn take_replies(&mut self, shared: &Shared, link: usize, now_ns: u64) -> Result<(), String> {
        let input = std::mem::take(&mut self.links[link].input);
        let filled = self.links[link].filled;
        let mut taken = 0;
        let outcome = loop {
            match resp::decode(&input[taken..filled]) {
                Ok(None) => break Ok(()),
                Err(bad) => break Err(bad.to_string()),
                Ok(Some((reply, consumed))) => {
                    taken += consumed;
                    match self.links[link].in_flight.pop_front() {
                        Some(request) => self.answered(shared, link, request, reply, now_ns),
                        None => break Err("an answer to no question".into()),
                    }
                }
            }
        };
        let link = &mut self.links[link];
        link.input = input;
        link.input.copy_within(taken..filled, 0);
        link.filled = filled - taken;
        outcome
    }

    fn answered(&mut self, shared: &Shared, link: usize, request: InFlight, reply: Reply<'_>, now_ns: u64) {
        let Some(operation) = request.operation else {
            let asked = self.routes.endpoints[self.links[link].endpoint].address;
            if let Ok(owners) = routes::owners(reply, asked) {
                self.routes.learn(&owners);
                self.open_links();
            }
            return;
        };
        self.outstanding -= 1;
        let value = match (operation.class, reply) {
            (Class::Read, Reply::Bulk(value)) => Some(value),
            (Class::Read, Reply::Null) | (Class::Write, Reply::Simple(_)) => None,
            (_, Reply::Error(text)) => return self.refused(shared, link, operation, text, now_ns),
            _ => return self.failed(operation, "odd answer", Outcome::Unknown),
        };
        self.answered_ns = now_ns;
        let class = match operation.class {
            Class::Read => {
                self.stats.hits += u64::from(value.is_some());
                self.stats.misses += u64::from(value.is_none());
                &mut self.stats.reads
            }
            Class::Write => &mut self.stats.writes,
        };
        class.latency.record(now_ns.saturating_sub(operation.due_ns));
        class.service.record(now_ns.saturating_sub(request.sent_ns));
        self.note(shared, &operation, value, now_ns);
    }

    /// Enters a success into the ledger and the gaps.
    fn note(&mut self, shared: &Shared, operation: &Operation, value: Option<&[u8]>, now_ns: u64) {
        if let (Class::Write, Some(gaps)) = (operation.class, &shared.gaps) {
            gaps.acknowledged(operation.slot, now_ns);
        }
        let read_back = self.source.is(Phase::ReadBack);
        let Some(ledger) = &mut self.ledger else { return };
        match operation.class {
            Class::Write => ledger.settle(operation.key, operation.sequence, Outcome::Acknowledged),
            Class::Read if read_back => ledger.read_back(operation.key, value),
            Class::Read => ledger.read(operation.key, operation.sequence, value),
        }
    }

    fn refused(&mut self, shared: &Shared, link: usize, operation: Operation, text: &[u8], now_ns: u64) {
        let word = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let word = String::from_utf8_lossy(word);
        if word == "MOVED" && operation.moves < MOVES_MAX && self.redirect(link, operation, text, now_ns) {
            return;
        }
        if TRANSIENT.contains(&&*word) {
            self.links[link].rest_until_ns = now_ns + REST_NS;
            self.owners_changed(now_ns);
        } else if self.source.is(Phase::Preload) {
            shared.give_up(format!("the server refuses to be written to: {}", String::from_utf8_lossy(text)));
        }
        let certain = NOT_APPLIED.contains(&&*word);
        self.failed(operation, &word, if certain { Outcome::Refused } else { Outcome::Unknown });
    }

    /// Follows `-MOVED`. False: this run does not, or it cannot be understood.
    fn redirect(&mut self, link: usize, operation: Operation, text: &[u8], now_ns: u64) -> bool {
        let asked = self.routes.endpoints[self.links[link].endpoint].address;
        let Some((slot, address)) = routes::moved(text, asked).filter(|_| self.cluster) else { return false };
        debug_assert!(slot < SLOTS);
        self.routes.moved(slot, address);
        self.open_links();
        self.owners_changed(now_ns);
        self.stats.redirects += 1;
        self.send(Operation { moves: operation.moves + 1, ..operation }, link, now_ns);
        true
    }

    /// A request without the answer it wanted.
    fn failed(&mut self, operation: Operation, kind: &str, outcome: Outcome) {
        let in_doubt = outcome == Outcome::Unknown && operation.class == Class::Write;
        let kinds = if in_doubt { &mut self.stats.unknown } else { &mut self.stats.errors };
        kinds.add(kind, 1);
        let mut again = true;
        if let (Class::Write, Some(ledger)) = (operation.class, &mut self.ledger) {
            ledger.settle(operation.key, operation.sequence, outcome);
            again = !in_doubt;
        }
        if again {
            self.source.again(&operation);
        }
    }

    /// Gives a connection up: what waits in it may or may not have reached the server.
    pub(super) fn break_link(&mut self, link: usize, kind: &str, now_ns: u64) {
        let was_up = self.links[link].is_up();
        self.links[link].close(now_ns);
        self.stats.breaks += u64::from(was_up);
        let lost = std::mem::take(&mut self.links[link].in_flight);
        for operation in lost.iter().filter_map(|request| request.operation) {
            self.outstanding -= 1;
            self.failed(operation, kind, Outcome::Unknown);
        }
        if self.cluster {
            self.owners_changed(now_ns);
        } else {
            let from = self.links[link].endpoint;
            self.links[link].endpoint = self.routes.move_on(link, from);
        }
    }
}
