//! A node gives one vote per term (thesis 3.4), over all its restarts.

use std::collections::BTreeMap;

use raft::{Body, NodeId, Term};

use super::super::violation::require;
use super::Scene;

/// Which node, as which incarnation, in which term.
type Voter = (Term, NodeId, u32);

/// Who voted for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes(BTreeMap<Voter, NodeId>);

impl Votes {
    /// Judges the votes that a step sends, those for itself included.
    pub fn check(&mut self, scene: &Scene) {
        for sent in &scene.outcome.sent {
            let candidate = match sent.message.body {
                Body::VoteReply { granted: true } => sent.to.0,
                Body::Vote { .. } => sent.from.0,
                _ => continue,
            };
            let voter = (sent.message.term, sent.from.0, sent.from.1);
            let voted = *self.0.entry(voter).or_insert(candidate);
            require!(
                voted == candidate,
                "checks::one_vote",
                "{} votes for {voted} and {candidate} in term {}",
                sent.from.0,
                sent.message.term
            );
        }
    }
}
