//! Leader Completeness (thesis Figure 3.2): whoever wins a term holds all that leaders of earlier
//! terms have committed. By the term of the leader that committed, not the term of the entry: a leader
//! of an old term may come late, when a newer one has committed already.

use raft::{Event, Index, Term};

use super::super::disk::{Entry, index_of};
use super::super::violation::require;
use super::Scene;

/// Judges the elections of a step. `committed_in[i]` is the term of the leader that committed entry
/// `i + 1`.
pub fn check(scene: &Scene, history: &[Entry], committed_in: &[Term]) {
    for event in &scene.outcome.events {
        let Event::BecameLeader { term, .. } = event else { continue };
        let log = &scene.life().node.log;
        let before = committed_in.iter().take_while(|by| *by < term).count();
        for (at, committed) in history[..before].iter().enumerate() {
            let index = Index(index_of(at) + 1);
            require!(
                index <= log.compacted.index || log.get(index) == Some(committed),
                "checks::leader_completeness",
                "{} leads {term:?} without the committed entry {index}",
                scene.machine().id
            );
        }
    }
}
