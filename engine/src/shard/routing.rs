//! Where a group's requests go: to this replica if it leads, else to the node that does, else they are held
//! until a leader is known or their deadline passes.
//!
//! Order: one connection's requests for one group take effect in the order sent. So nothing overtakes a held
//! request, and a route changes only after everything sent along the old one has been answered.

use std::collections::VecDeque;

use raft::{NodeId, Time};

use super::request::{Request, RequestHead};

/// Requests one group holds at most while it has no leader: beyond it they are refused at once. With 1 KiB
/// requests this is 4 MiB a group, and a shard's connections are paused long before (their own limit of
/// unanswered requests).
pub(crate) const HELD_REQUESTS_MAX: usize = 4096;

/// Bytes one group holds at most while it has no leader.
pub(crate) const HELD_BYTES_MAX: usize = 16 << 20;

/// One group's way to its leader.
#[derive(Default)]
pub(crate) struct Route {
    held: VecDeque<Request>,
    held_bytes: usize,
    /// The node that requests are passed on to, and how many of them are unanswered.
    target: Option<NodeId>,
    outstanding: usize,
    /// Requests that came back unapplied, in their order; they go in front of the held ones once nothing is
    /// outstanding, so that none overtakes another.
    refused: Vec<Request>,
}

impl Route {
    /// May a request go to `leader` now? (`leader` may be ourselves.) Not while older ones are held or are
    /// unanswered along another way.
    pub(crate) fn open_to(&self, leader: NodeId) -> bool {
        self.outstanding == 0 || (self.target == Some(leader) && self.refused.is_empty())
    }

    /// A request was passed on to `leader`.
    pub(crate) fn passed_on(&mut self, leader: NodeId) {
        assert!(self.open_to(leader), "a route changes only when it is empty");
        self.target = Some(leader);
        self.outstanding += 1;
    }

    /// A request passed on was answered, or its link is gone. `unapplied` gives it back when it surely was
    /// not applied and may be asked again.
    pub(crate) fn returned(&mut self, unapplied: Option<Request>) {
        assert!(self.outstanding > 0, "more answers than requests");
        self.outstanding -= usize::from(!runtime::mutant!("request.return_forgotten"));
        self.refused.extend(unapplied);
        if self.outstanding == 0 {
            let refused = std::mem::take(&mut self.refused);
            self.hold_in_front(refused);
        }
    }

    /// Keeps a request until there is a way. Gives it back when the bound is reached: the caller refuses it.
    pub(crate) fn hold(&mut self, request: Request) -> Result<(), Request> {
        if self.held.len() >= HELD_REQUESTS_MAX || self.held_bytes + request.bytes.len() > HELD_BYTES_MAX {
            return Err(request);
        }
        self.held_bytes += request.bytes.len();
        self.held.push_back(request);
        Ok(())
    }

    /// Keeps requests that were older than everything held, in their order. Not bounded: they were counted
    /// before, where they come from.
    pub(crate) fn hold_in_front(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.held_bytes += request.bytes.len();
            self.held.push_front(request);
        }
    }

    /// Takes all that is held, to be offered again in this order.
    pub(crate) fn take_held(&mut self) -> VecDeque<Request> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// True while a new request would have to queue behind older ones.
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty() || !self.refused.is_empty()
    }

    /// How many requests it holds, and their bytes.
    #[cfg(feature = "simulation")]
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.len() + self.refused.len(), self.held_bytes)
    }

    /// How many requests passed on are unanswered.
    #[cfg(feature = "simulation")]
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Removes and names the held requests whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Time, mut expired: impl FnMut(RequestHead)) {
        while self.held.front().is_some_and(|request| request.head.deadline <= now) {
            let request = self.held.pop_front().expect("just seen");
            self.held_bytes -= request.bytes.len();
            expired(request.head);
        }
    }
}
