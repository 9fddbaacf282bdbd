//! A replica whose disk has lost what it acknowledged stands again only when it holds all of it that
//! matters: everything that was committed when the loss was found. And it knows every term in which it
//! may have voted.

use raft::{Event, Index};

use super::super::disk::{Entry, index_of};
use super::super::violation::require;
use super::Scene;

const CHECK: &str = "checks::recovery";

/// Judges a replica that says it has recovered.
pub fn check(scene: &Scene, history: &[Entry]) {
    let machine = scene.machine();
    let recovered = scene.outcome.events.iter().any(|event| matches!(event, Event::Recovered));
    let Some(loss) = machine.loss.as_ref().filter(|_| recovered) else { return };
    let node = &scene.life().node;
    for (at, committed) in history[..loss.committed].iter().enumerate() {
        let index = Index(index_of(at) + 1);
        let acked = loss.before.log.get(index) == Some(committed);
        require!(
            !acked || index <= node.log.compacted.index || node.log.get(index) == Some(committed),
            CHECK,
            "{} stands again without entry {index}, which it had acknowledged",
            machine.id
        );
    }
    require!(
        node.raft.term() >= loss.before.hard_state.term,
        CHECK,
        "{} stands again in term {}, and had voted in {:?}",
        machine.id,
        node.raft.term(),
        loss.before.hard_state.term
    );
}
