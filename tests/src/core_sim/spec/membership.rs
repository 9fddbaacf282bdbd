//! Who belongs to the group (thesis 4.3): the newest configuration in the log, committed or not.

use std::rc::Rc;

use raft::{Config, EntryId, Event, Index, Role, Time};

use super::super::disk::{Entry, Roster, index_of};
use super::super::violation::require;
use super::{Replica, Witness};

const CHECK: &str = "spec::membership";

impl Replica {
    /// The configurations in the log, newest first, with their indexes; last the one before the log.
    fn rosters(&self) -> impl Iterator<Item = (u64, &Rc<Roster>)> {
        let entries = self.log.iter().enumerate().rev();
        let in_log = entries.filter_map(|(at, entry)| Some((index_of(at) + 1, entry.roster.as_ref()?)));
        in_log.chain(std::iter::once((0, &self.base)))
    }

    /// The configuration in force, and the index of its entry.
    pub(crate) fn roster_and_index(&self) -> (u64, &Rc<Roster>) {
        self.rosters().next().unwrap_or((0, &self.base))
    }

    pub(crate) fn roster(&self) -> &Rc<Roster> {
        self.roster_and_index().1
    }

    /// The configuration that was in force before any entry of the group: known from any snapshot.
    pub(super) fn founded(&self) -> Rc<Roster> {
        Rc::clone(&self.founding)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Config {
        self.roster().config.clone()
    }

    /// A voter may campaign. So may one that the newest configuration leaves out while that is not
    /// known to be committed: it may hold the newest log (4.2.2).
    pub(super) fn is_promotable(&self) -> bool {
        let mut rosters = self.rosters();
        let (index, newest) = rosters.next().unwrap_or((0, &self.base));
        let mut voted = || rosters.next().is_some_and(|(_, before)| before.config.is_voter(self.id));
        newest.config.is_voter(self.id) || (index > self.commit && voted())
    }

    /// Whether this replica has no vote in a configuration that is committed and final.
    pub(super) fn is_outside(&self) -> bool {
        let (index, roster) = self.roster_and_index();
        index <= self.commit && !roster.config.is_joint() && !roster.config.is_voter(self.id)
    }

    /// The leader appended a configuration: only one that follows from a committed one.
    pub(super) fn append_configs(&mut self, now: Time, seen: &Witness) {
        for event in &seen.outcome.events {
            let Event::ConfigAppended { id, config } = event else { continue };
            require!(self.role == Role::Leader, CHECK, "{} changes the group and does not lead", self.id);
            let (index, before) = self.roster_and_index();
            require!(index <= self.commit, CHECK, "{}: {config:?} follows an uncommitted one", self.id);
            require!(self.noop <= self.commit, CHECK, "{} changes the group before its no-op", self.id);
            if before.config.is_joint() {
                let left = before.config.leave().ok();
                require!(left.as_ref() == Some(config), CHECK, "{} leaves to {config:?}", self.id);
            } else {
                let halves = if config.is_joint() { &config.outgoing } else { &config.voters };
                require!(*halves == before.config.voters, CHECK, "{}: {config:?} has another past", self.id);
            }
            let next = EntryId::new(self.term, Index(self.last() + 1));
            require!(*id == next, CHECK, "{}: {id} is not the next entry, {next} is", self.id);
            let newcomers: Vec<_> =
                config.members().into_iter().filter(|node| !before.config.contains(*node)).collect();
            let roster = seen.memory.get(id.index).and_then(|entry| entry.roster.clone());
            self.log.push(Entry { term: self.term, value: 0, roster });
            self.forget_strangers();
            self.quiet_until = now; // new voters have had no time to be heard
            self.member_heard.extend(newcomers.into_iter().map(|node| (node, now)));
        }
    }

    /// How many configurations are in the log and not committed.
    pub(crate) fn uncommitted_configs(&self) -> u64 {
        index_of(self.rosters().take_while(|(index, _)| *index > self.commit).count())
    }
}
