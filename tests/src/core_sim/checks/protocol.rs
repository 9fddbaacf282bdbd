//! Correct replicas never take each other for liars, and never find their own history impossible.

use raft::Event;

use super::super::violation::violated;
use super::Scene;

/// Judges the events of a step.
pub fn check(scene: &Scene) {
    for event in &scene.outcome.events {
        if matches!(event, Event::Protocol { .. } | Event::Faulted { .. }) {
            violated("checks::protocol", format!("{}: {event:?}", scene.machine().id));
        }
    }
}
