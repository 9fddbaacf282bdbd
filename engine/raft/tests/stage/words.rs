//! How messages, events and nodes are told in a story.

use raft::{Body, Event, Message, NodeId, Role, Standing, Status};

fn granted(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}

pub fn message(from: NodeId, to: NodeId, message: &Message) -> String {
    let said = match &message.body {
        Body::PreVote { last } => format!("PreVote last={last}"),
        Body::PreVoteReply { granted: given } => format!("PreVoteReply {}", granted(*given)),
        Body::Vote { last, transfer: false } => format!("Vote last={last}"),
        Body::Vote { last, transfer: true } => format!("Vote last={last} for a transfer"),
        Body::VoteReply { granted: given } => format!("VoteReply {}", granted(*given)),
        Body::Append { prev, last, commit, round, .. } if *last == prev.index => {
            format!("Append prev={prev} no entries, commit={commit} round={round}")
        }
        Body::Append { prev, last, commit, round, .. } => {
            format!("Append prev={prev} entries {}..={last}, commit={commit} round={round}", prev.index.0 + 1)
        }
        Body::AppendAck { matched, round, .. } => format!("AppendAck matched={matched} round={round}"),
        Body::AppendReject { probe, hint, .. } => format!("AppendReject probe={probe} hint={hint}"),
        Body::AppendBusy { round } => format!("AppendBusy round={round}"),
        Body::Beat { commit, round } => format!("Beat commit={commit} round={round}"),
        Body::BeatAck { round, proven: true, .. } => format!("BeatAck round={round}"),
        Body::BeatAck { round, proven: false, .. } => format!("BeatAck round={round}, unproven"),
        Body::Quiesce { last, round } => format!("Quiesce last={last} round={round}"),
        Body::Recover { nonce: _ } => "Recover".to_owned(),
        Body::RecoverFloor { nonce: _, last } => format!("RecoverFloor last={last}"),
        Body::SnapshotOffer { id } => format!("SnapshotOffer {id}"),
        Body::SnapshotAck { id, installed: true } => format!("SnapshotAck {id} installed"),
        Body::SnapshotAck { id, installed: false } => format!("SnapshotAck {id} declined"),
        Body::TimeoutNow { last } => format!("TimeoutNow last={last}"),
    };
    format!("{from}->{to} term {}: {said}", message.term)
}

pub fn event(node: NodeId, event: &Event) -> String {
    match event {
        Event::BecameLeader { term, noop } => format!("{node} leads term {term}, no-op {noop}"),
        Event::SteppedDown { term } => format!("{node} stepped down from term {term}"),
        Event::LeaderChanged { leader: Some(leader) } if *leader == node => format!("{node} follows itself"),
        Event::LeaderChanged { leader: Some(leader) } => format!("{node} follows {leader}"),
        Event::LeaderChanged { leader: None } => format!("{node} knows no leader"),
        Event::NeedsSnapshot { to } => format!("{node} needs a snapshot for {to}"),
        Event::SnapshotOffered { from, id } => format!("{node} is offered snapshot {id} by {from}"),
        Event::Protocol { from, problem } => format!("{node} reports {from}: {problem:?}"),
        Event::ConfigAppended { id, config } => format!("{node} appends configuration {config} as {id}"),
        Event::ConfigCommitted { index, config } => {
            format!("{node} has configuration {config} of {index} for good")
        }
        Event::Recovered => format!("{node} has recovered"),
        Event::Faulted { fault } => format!("{node} faulted: {fault:?}"),
        other => panic!("{other:?}"),
    }
}

/// One line about a node. A log `[9@2 | 2x4 3]` is compacted up to entry 9 of term 2, and has four entries
/// of term 2 and one of term 3 after it.
pub fn status(node: NodeId, status: &Status, terms: &[u64]) -> String {
    let role = match status.role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    let compacted =
        if status.compacted.index.0 > 0 { format!("{} | ", status.compacted) } else { String::new() };
    let runs: Vec<String> = terms
        .chunk_by(|a, b| a == b)
        .map(|run| if run.len() == 1 { run[0].to_string() } else { format!("{}x{}", run[0], run.len()) })
        .collect();
    let runs = runs.join(" ");
    let mut line = format!(
        "{node}: {role} of term {}, log [{compacted}{runs}], persisted {}, committed {}",
        status.term, status.persisted, status.committed
    );
    for follower in &status.followers {
        let (state, matched, next) = (follower.state, follower.matched, follower.next);
        let learner = if follower.learner { " learner" } else { "" };
        line += &format!("; {}: {state:?} matched={matched} next={next}{learner}", follower.node);
    }
    if let Some(to) = status.transfer {
        line += &format!("; handing over to {to}");
    }
    if status.config_index.0 > 0 {
        let certainty = if status.config_committed { "" } else { ", not committed" };
        line += &format!("; configuration {} of {}{certainty}", status.config, status.config_index);
    }
    if status.quiesced {
        line += "; at rest";
    }
    match status.standing {
        Standing::Normal => {}
        Standing::Joining => line += "; joining",
        Standing::Recovering => line += "; recovering",
        Standing::Faulted => line += "; faulted",
    }
    line
}
