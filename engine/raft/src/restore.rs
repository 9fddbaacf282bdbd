//! From what a replica knew when it stopped to a replica.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::Config;
use crate::event::{Fault, ReadId};

use crate::following::Owed;
use crate::id::{EntryId, GroupId, Time};
use crate::membership::{Configurations, Membership};
use crate::random::Random;
use crate::replica::{Raft, State};
use crate::settings::{Restored, Settings, Standing};
use crate::terms::Terms;
use crate::write::Durability;

impl Raft {
    /// A replica as it was when it stopped. If `restored` contradicts itself the replica is faulted
    /// from the start and says so in its first event.
    #[must_use]
    pub fn new(
        settings: &Rc<Settings>,
        group: GroupId,
        preferred: bool,
        restored: Restored,
        now: Time,
    ) -> Raft {
        let hard_state = restored.hard_state;
        let log = Terms::restore(restored.compacted, &restored.runs, restored.last);
        let configs = restored_configs(&restored);
        let commit = hard_state.commit.max(restored.compacted.index).max(restored.applied);
        let whole = commit <= restored.last || hard_state.standing == Standing::Recovering;
        let sound =
            whole && log.as_ref().is_some_and(|log| log.last().term <= hard_state.term) && configs.is_some();
        let log = log.filter(|_| sound).unwrap_or_default();
        let last = log.last();
        let mut raft = Raft {
            group,
            now,
            term: hard_state.term,
            vote: hard_state.vote,
            state: State::Follower,
            leader: None,
            leader_heard: Time(0),
            log,
            accepted: EntryId::ZERO,
            commit: commit.min(last.index),
            applied: restored.applied.max(restored.compacted.index).min(last.index),
            commit_due: Time::NEVER,
            durability: Durability::restored((settings.node, group), hard_state, last.index),
            configs: configs.unwrap_or_default(),
            election_deadline: Time::NEVER,
            owed: Owed::default(),
            last_read: ReadId(0),
            standing: hard_state.standing,
            recovery: None,
            quiesced: false,
            quiesced_round: 0,
            vote_not_before: Time(0),
            random: Random::new(settings.seed, settings.node.0, group.0),
            events: VecDeque::new(),
            settings: Rc::clone(settings),
        };
        raft.configs.commit(raft.commit);
        raft.wait_out_leases();
        raft.set_first_deadline(preferred);
        match hard_state.standing {
            _ if !sound => raft.fault(Fault::Restored),
            Standing::Faulted => raft.fault(Fault::Recorded),
            Standing::Joining | Standing::Recovering => raft.start_recovery(),
            Standing::Normal => {}
        }
        raft
    }
}

/// The configurations that a replica starts with; `None` if they are not possible.
fn restored_configs(restored: &Restored) -> Option<Configurations> {
    let possible = |config: &Config| config.is_sound() && config.check().is_ok();
    if restored.config != Config::default() && !possible(&restored.config) {
        return None;
    }
    let mut configs = Configurations::new(restored.compacted.index, Membership::new(&restored.config));
    for (index, config) in &restored.configs {
        if *index <= configs.index || *index > restored.last || !possible(config) {
            return None;
        }
        configs.push(*index, Membership::new(config));
    }
    Some(configs)
}
