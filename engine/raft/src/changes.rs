//! Changing who belongs to the group: joint consensus, in force from the moment it is appended (thesis 4.1, 4.3).
//!
//! The rules that make it safe: a change is appended only when the one before it is committed and the leader has
//! committed an entry of its own term; a joint configuration is left by the leader as soon as it is committed, by
//! whichever leader there is then; a leader without a vote in the committed configuration leads until that is
//! committed, then hands over (4.2.2).

use crate::config::{Change, Config};
use crate::event::{ChangeError, Event};
use crate::id::{EntryId, Time};
use crate::leading::Transfer;
use crate::membership::Membership;
use crate::peers::Peers;
use crate::progress::Progress;
use crate::replica::{Raft, State};

impl Raft {
    /// Appends the configuration that follows from `changes` and answers the id of its entry. It is in force at once;
    /// [`Event::ConfigAppended`] follows and must be acted on before anything else enters the group's log. If it is
    /// joint, the leader leaves it by itself once it is committed, which appends another.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing was appended.
    pub fn change(&mut self, now: Time, changes: &[Change]) -> Result<EntryId, ChangeError> {
        self.hear(now);
        let State::Leader(leading) = &self.state else {
            return Err(ChangeError::NotLeader { leader: self.leader });
        };
        if leading.transfer.is_some() {
            return Err(ChangeError::Transferring);
        }
        if !self.commit_is_current(leading) && !mutant!(ChangesBeforeNoop) {
            return Err(ChangeError::NotReady);
        }
        if !mutant!(ChangesOverlap)
            && (self.configs.index > self.commit || self.configs.membership.is_joint())
        {
            return Err(ChangeError::InProgress);
        }
        let config = self.config();
        let next = config.change(changes)?;
        if next == config {
            return Err(ChangeError::Unchanged);
        }
        self.wake_leader();
        Ok(self.append_config(&next))
    }

    fn append_config(&mut self, config: &Config) -> EntryId {
        let id = EntryId::new(self.term, self.log.last().index.next());
        self.log.append(id.term, id.index);
        self.durability.appended();
        let before = self.configs.membership.clone();
        self.configs.push(id.index, Membership::new(config));
        self.remap_peers(&before);
        self.report(Event::ConfigAppended { id, config: config.clone() });
        // With fewer to ask, what waits may be decided.
        self.commit_by_quorum();
        self.confirm_reads();
        id
    }

    /// The leader's followers are those of the configuration in force; who stays keeps what is known of it.
    fn remap_peers(&mut self, before: &Membership) {
        let (now, next) = (self.now, self.log.last().index);
        let membership = &self.configs.membership;
        let State::Leader(leading) = &mut self.state else { return };
        let (nodes, own) = (membership.nodes(), membership.slot(self.settings.node));
        let peers = Peers::new(nodes.len(), own, |slot| {
            let known = if mutant!(RemapsBySlot) { Some(slot) } else { before.slot(nodes[slot]) };
            let known = known.and_then(|slot| leading.peers.get(slot));
            known.map_or_else(|| Progress::new(next, now), Progress::clone)
        });
        leading.peers = peers;
        leading.transfer.take_if(|transfer| !membership.stays_voter(transfer.to));
    }

    /// Draws the consequences for a leader of what has been committed.
    pub(crate) fn follow_configuration(&mut self) {
        let State::Leader(leading) = &self.state else { return };
        let own = self.log.term_at(self.configs.index) == Some(self.term);
        if mutant!(LeavesOwnOnly) && !own {
            return;
        }
        let committed = self.configs.index <= self.commit || mutant!(LeavesEarly);
        if !committed || !self.commit_is_current(leading) {
            return;
        }
        if self.configs.membership.is_joint() {
            let config = self.config().leave().expect("it is joint");
            self.append_config(&config);
        } else if !self.configs.membership.stays_voter(self.settings.node) {
            self.resign();
        }
    }

    /// This leader has no vote any more, and everybody will know: it hands over to the voter that has most. Without
    /// one in time it steps down all the same.
    fn resign(&mut self) {
        let deadline = self.now + self.settings.election_timeout_min;
        let membership = &self.configs.membership;
        let State::Leader(leading) = &mut self.state else { return };
        if leading.transfer.is_some_and(|transfer| transfer.resigning) {
            return;
        }
        let voters = leading.peers.iter().map(|(slot, peer)| (membership.nodes()[slot], peer));
        let voters = voters.filter(|(node, _)| membership.stays_voter(*node));
        // Of equals the first: the same everywhere and always.
        let best = voters.rev().max_by_key(|(_, peer)| peer.matched);
        if let Some((to, _)) = best {
            leading.transfer = Some(Transfer { to, deadline, sent: false, resigning: true });
        }
    }
}
