//! After each input the core and the specification say the same: term, vote, role, leader, log,
//! commit, configuration; and what the core calls durable would survive any crash.

use raft::{Index, Raft, Role};

use super::super::disk::position_of;
use super::super::node::Node;
use super::super::violation::require;
use super::Replica;

const CHECK: &str = "spec::agreement";

impl Replica {
    /// Compares the core with this replica. `changed_from` is where the core's log changed.
    pub fn agree(&self, node: &Node) {
        let raft = &node.raft;
        let core = (raft.term(), raft.role(), raft.leader(), raft.last().0, raft.committed().0);
        let own = (self.term, self.role, self.leader, self.last(), self.commit);
        require!(
            core == own,
            CHECK,
            "{}: the core says (term, role, leader, last, committed) {core:?}, the specification {own:?}",
            self.id
        );
        self.agree_on_hard_state(node);
        self.agree_on_log(node);
        self.agree_on_config(raft);
        if raft.is_leader() {
            self.agree_on_followers(raft);
        }
        let persisted = raft.persisted_index().0;
        require!(
            persisted <= self.durable(),
            CHECK,
            "{}: the core calls {persisted} durable, a crash could leave {}",
            self.id,
            self.durable()
        );
    }

    /// What goes to the disk is the term, the vote and the standing as of the newest write.
    fn agree_on_hard_state(&self, node: &Node) {
        let Some(written) = node.newest_hard_state() else { return };
        let Some((_, own)) = self.writes.back() else { return };
        require!(
            (written.term, written.vote, written.standing) == (own.term, own.vote, own.standing),
            CHECK,
            "{}: the core writes {written:?}, the specification {own:?}",
            self.id
        );
    }

    fn agree_on_log(&self, node: &Node) {
        let compacted = node.log.compacted.index;
        let from = node.changed_from.unwrap_or(node.log.last().next()).max(compacted.next());
        for index in from.0..=self.last() {
            let own = &self.log[position_of(index - 1)];
            let core = node.raft.term_at(Index(index));
            let written = node.log.get(Index(index));
            require!(
                core == Some(own.term) && written == Some(own),
                CHECK,
                "{}: entry {index} is {own:?}, of term {core:?} in the core and {written:?} in its log",
                self.id
            );
        }
        require!(
            self.term_at(compacted.0) == node.raft.term_at(compacted),
            CHECK,
            "{}: the snapshot at {compacted} is of another history",
            self.id
        );
    }

    fn agree_on_config(&self, raft: &Raft) {
        let (index, roster) = self.roster_and_index();
        require!(
            raft.config() == self.config(),
            CHECK,
            "{}: the configuration is {:?}, the core has {:?}",
            self.id,
            roster.config,
            raft.config()
        );
        // What is in a snapshot only has lost its index.
        let known = index > raft.compacted().index.0;
        require!(
            if known {
                raft.config_index().0 == index
            } else {
                raft.config_index() <= raft.compacted().index
            },
            CHECK,
            "{}: the configuration is entry {index}, the core says {}",
            self.id,
            raft.config_index()
        );
        require!(
            raft.is_config_committed() == (raft.config_index().0 <= self.commit),
            CHECK,
            "{}: whether the configuration is committed",
            self.id
        );
        if self.role == Role::Leader && self.noop <= self.commit {
            require!(self.uncommitted_configs() <= 1, CHECK, "{}: two configurations in flight", self.id);
        }
    }

    /// What the core's leader believes of its followers is what they have said.
    fn agree_on_followers(&self, raft: &Raft) {
        for follower in raft.status().followers {
            require!(
                follower.matched.0 == self.matched(follower.node),
                CHECK,
                "{}: {} holds {}, the core believes {}",
                self.id,
                follower.node,
                self.matched(follower.node),
                follower.matched
            );
        }
    }
}
