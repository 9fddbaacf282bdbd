//! What must hold at every moment, whatever happens (thesis Figure 3.2), judged from outside: by
//! the replicas' outputs and by what is really on the disks.

use std::collections::HashMap;

use raft::{Body, EntryId, Event, Index, Message, NodeId, Term};

use super::disk::{Disk, Entry};
use super::node::Node;

/// What was seen so far, of all nodes.
#[derive(Default)]
pub struct Checker {
    /// Committed entries, from index 1.
    pub history: Vec<Entry>,
    leaders: HashMap<Term, NodeId>,
    votes: HashMap<(Term, NodeId), NodeId>,
    commits: HashMap<NodeId, Index>,
}

impl Checker {
    /// A node has sent `message`: it has one vote per term.
    pub fn sent(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if message.body == (Body::VoteReply { granted: true }) {
            let voted = *self.votes.entry((message.term, from)).or_insert(to);
            assert_eq!(voted, to, "{from:?} votes for two candidates in {:?}", message.term);
        }
    }

    /// A node has crashed, or starts anew: what it knows of commits may be less now.
    pub fn restarted(&mut self, node: NodeId) {
        self.commits.remove(&node);
    }

    /// A node has done something. `disks` are those of all nodes.
    pub fn check<'a>(
        &mut self,
        node: &Node,
        events: &[Event],
        disks: impl Iterator<Item = &'a Disk> + Clone,
    ) {
        events.iter().for_each(|event| self.event(node, event));
        self.commit(node, disks);
        let raft = &node.raft;
        assert_eq!(raft.last(), node.log.last());
        assert_eq!(raft.last_term(), node.log.term_at(raft.last()).unwrap());
        assert_eq!(raft.compacted(), node.log.compacted);
        assert!(raft.compacted().index <= raft.applied_index());
        assert!(raft.applied_index() <= raft.committed() && raft.committed() <= raft.last());
        let persisted = raft.persisted_index().0;
        for index in persisted.saturating_sub(16).max(node.log.compacted.index.0) + 1..=persisted {
            let index = Index(index);
            assert_eq!(node.disk.log.get(index), node.log.get(index), "{:?} {index:?} not durable", node.id);
        }
        let promised = node.disk.hard_state;
        assert!(promised.term <= raft.term() && promised.commit <= node.disk.log.last());
    }

    fn event(&mut self, node: &Node, event: &Event) {
        match event {
            Event::BecameLeader { term, noop } => {
                let leader = *self.leaders.entry(*term).or_insert(node.id);
                assert_eq!(leader, node.id, "election safety: two leaders in {term:?}");
                let durable = node.disk.hard_state;
                assert_eq!(
                    (durable.term, durable.vote),
                    (*term, Some(node.id)),
                    "led before its vote was durable"
                );
                assert!(noop.index.0 > self.history.len() as u64, "leader completeness: too short");
                for (at, committed) in self.history.iter().enumerate() {
                    let index = Index(at as u64 + 1);
                    let own = node.log.get(index);
                    assert!(
                        index <= node.log.compacted.index || own == Some(*committed),
                        "leader completeness: {:?} lacks {index:?}",
                        node.id
                    );
                }
            }
            Event::Protocol { .. } | Event::Faulted { .. } => panic!("{:?}: {event:?}", node.id),
            _ => {}
        }
    }

    fn commit<'a>(&mut self, node: &Node, disks: impl Iterator<Item = &'a Disk> + Clone) {
        let commit = node.raft.committed();
        let before = self.commits.insert(node.id, commit).unwrap_or_default();
        assert!(before <= commit, "{:?} forgets commits", node.id);
        for index in before.0.max(node.log.compacted.index.0) + 1..=commit.0 {
            let entry = node.log.get(Index(index)).expect("what is committed is in the log");
            match self.history.get(usize::try_from(index).unwrap() - 1) {
                Some(committed) => assert_eq!(*committed, entry, "two entries committed at {index}"),
                None => {
                    assert_eq!(self.history.len() as u64 + 1, index, "commits have no holes");
                    self.durable_on_quorum(Index(index), entry, disks.clone());
                    self.history.push(entry);
                }
            }
        }
    }

    fn durable_on_quorum<'a>(
        &self,
        index: Index,
        entry: Entry,
        disks: impl Iterator<Item = &'a Disk> + Clone,
    ) {
        let holders = disks.clone().filter(|disk| disk.log.get(index) == Some(entry)).count();
        assert!(2 * holders > disks.count(), "{index:?} committed, durable on {holders} only");
    }

    /// Log Matching: logs that share an entry's id share all before it.
    pub fn match_logs(&self, a: &Node, b: &Node) {
        let from = a.log.compacted.index.max(b.log.compacted.index);
        let mut same = false;
        for index in (from.0 + 1..=a.log.last().min(b.log.last()).0).rev().map(Index) {
            let (left, right) = (a.log.get(index).unwrap(), b.log.get(index).unwrap());
            same |= left.term == right.term;
            assert!(!same || left == right, "log matching: {:?} and {:?} at {index:?}", a.id, b.id);
        }
    }

    /// The id of the newest committed entry.
    pub fn newest(&self) -> EntryId {
        let term = self.history.last().map_or(Term(0), |entry| entry.term);
        EntryId::new(term, Index(self.history.len() as u64))
    }
}
