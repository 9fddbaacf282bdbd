//! Backups that an operator takes while everything else goes on: the questions, files and lists of `ringraft backup`, over a
//! simulated connection, at his own pace. What a backup holds is judged in the end (`restored`).

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;

use ringraft::cli::backup::simulated::{self, Backup, GroupState, Heard, Next, Said};

use super::machine::{client_address, listener_at};
use super::violated_if;
use super::world::{Happening, World};
use crate::core_sim::violation::violated;

/// What is wrong with a backup.
pub const CHECK: &str = "backups";

/// Between two questions about something that is to come.
const ASK_US: u64 = 20_000;
/// Before the nodes are asked again who leads.
const LOOK_US: u64 = 100_000;
/// How long a node may take to say what it knows.
const LOOK_PATIENCE_US: u64 = 2_000_000;
/// How long a leader may take to answer.
const PATIENCE_US: u64 = 10_000_000;
/// A leader that has not saved within this is looked for again: it may lead no more.
const SAVED_WITHIN_US: u64 = 3_000_000;
/// So often a group is begun before the backup is given up, as long as there are faults.
const TRIES_MAX: u32 = 8;

/// A backup that was taken.
pub struct Done {
    /// What was acknowledged before this is in it.
    pub began_us: u64,
    /// What it holds.
    pub states: Vec<GroupState>,
}

/// All backups of a life.
#[derive(Default)]
pub struct Backups {
    taking: Option<Taking>,
    /// Those that came to their end.
    pub done: Vec<Done>,
    count: u64,
    /// When he goes on; what was planned for another time is not to be any more.
    due_us: Option<u64>,
}

/// A backup that is being taken.
struct Taking {
    backup: Backup,
    dir: PathBuf,
    began_us: u64,
    /// What is read at a time.
    piece_bytes: u32,
    /// How long he may be busy with something else between two questions.
    pause_us_max: u64,
    stage: Stage,
    /// What the nodes say, as far as they were asked.
    said: Vec<Said>,
    /// The groups that are not here, once he knows of them.
    groups: Option<VecDeque<u32>>,
    tries: u32,
    saving_since: Option<u64>,
}

enum Stage {
    /// The nodes are asked what they know; this one now, then the others.
    Look { now: Option<usize>, then: Vec<usize> },
    /// The first of the groups is copied.
    Copy,
}

impl Backups {
    /// Whether none is being taken.
    pub fn are_idle(&self) -> bool {
        self.taking.is_none()
    }
}

impl World {
    /// A backup begins, unless one is being taken.
    pub fn begin_backup(&mut self) {
        if !self.backups.are_idle() {
            return;
        }
        self.backups.count += 1;
        let dir = self.home.backup(self.backups.count);
        let backup = Backup::begin(&dir).unwrap_or_else(|what| violated(CHECK, what));
        let random = &mut self.random;
        let piece_bytes = [4096, 10_000, 1 << 20][random.usize(..3)];
        let pause_us_max = [0, 5_000, 100_000, 800_000][random.usize(..4)];
        self.say(|| format!("a backup begins: {piece_bytes} bytes at a time, pauses of {pause_us_max} us"));
        self.backups.taking = Some(Taking {
            backup,
            dir,
            began_us: self.now_us,
            piece_bytes,
            pause_us_max,
            stage: Stage::Look { now: None, then: Vec::new() },
            said: Vec::new(),
            groups: None,
            tries: 0,
            saving_since: None,
        });
        self.look_for_leaders(0);
    }

    /// He goes on after this, and not when he was to before.
    fn plan_backup(&mut self, after_us: u64) {
        self.backups.due_us = Some(self.now_us + after_us);
        self.plan(after_us, Happening::Backup);
    }

    /// He asks, and waits so long for an answer.
    fn backup_asks(&mut self, question: Vec<u8>, patience_us: u64) {
        self.caller_asks(question);
        self.plan_backup(patience_us);
    }

    /// All nodes are asked, one after the other.
    fn look_for_leaders(&mut self, after_us: u64) {
        let machines = (0..self.machines.len()).filter(|at| self.machines[*at].starts > 0).collect();
        if let Some(taking) = &mut self.backups.taking {
            taking.said.clear();
            (taking.stage, taking.saving_since) = (Stage::Look { now: None, then: machines }, None);
        }
        self.plan_backup(after_us);
    }

    /// He asks what is next, or gives up what he waits for.
    pub fn backup_goes_on(&mut self) {
        if self.backups.due_us != Some(self.now_us) {
            return;
        }
        self.backups.due_us = None;
        let Some(taking) = &mut self.backups.taking else { return };
        match &mut taking.stage {
            Stage::Look { now, then } => {
                *now = then.pop();
                match *now {
                    Some(machine) => {
                        self.caller_calls(client_address(machine, 0));
                        self.backup_asks(Backup::status_question(), LOOK_PATIENCE_US);
                    }
                    None => self.has_looked(),
                }
            }
            Stage::Copy if self.caller.is_waiting => self.group_failed("no answer"),
            Stage::Copy if !self.caller.is_connected() => self.group_failed("the connection ended"),
            Stage::Copy => match taking.backup.question() {
                Some(question) => self.backup_asks(question, PATIENCE_US),
                None => self.group_is_here(),
            },
        }
    }

    /// He knows who leads what.
    fn has_looked(&mut self) {
        let Some(taking) = &mut self.backups.taking else { return };
        taking.backup.look(&taking.said);
        taking.groups.get_or_insert_with(|| taking.backup.groups().into());
        taking.stage = Stage::Copy;
        self.begin_group();
    }

    fn begin_group(&mut self) {
        let Some(taking) = &mut self.backups.taking else { return };
        let Some(group) = taking.groups.as_ref().and_then(|groups| groups.front().copied()) else {
            return self.backup_is_given_up("nobody knows of groups");
        };
        taking.saving_since = None;
        match taking.backup.begin_group(group, taking.piece_bytes) {
            Ok(address) => {
                self.caller_calls(address);
                self.plan_backup(0);
            }
            Err(why) => self.group_failed(&why),
        }
    }

    fn group_failed(&mut self, why: &str) {
        self.caller_hangs_up();
        let is_calm = self.now_us >= self.profile.life_us;
        let Some(taking) = &mut self.backups.taking else { return };
        taking.tries += 1;
        if taking.tries > TRIES_MAX && !is_calm {
            return self.backup_is_given_up(why);
        }
        self.say(|| format!("a backup begins a group again: {why}"));
        self.look_for_leaders(LOOK_US);
    }

    fn backup_is_given_up(&mut self, why: &str) {
        self.say(|| format!("a backup is given up: {why}"));
        self.caller_hangs_up();
        if let Some(taking) = self.backups.taking.take() {
            let _gone = fs::remove_dir_all(taking.dir);
        }
    }

    /// Something came for him, or his connection ended.
    pub fn backup_hears(&mut self) {
        let Some(taking) = &mut self.backups.taking else { return };
        match &taking.stage {
            Stage::Look { now: Some(machine), .. } => {
                if self.caller.is_waiting && self.caller.replies.is_empty() {
                    return;
                }
                let address = client_address(*machine, 0);
                let status = Backup::status(&self.caller.heard);
                taking.said.extend(status.map(|status| (address, status)));
                self.caller_hangs_up();
                self.plan_backup(0);
            }
            Stage::Look { now: None, .. } => {}
            Stage::Copy if !self.caller.is_connected() => self.plan_backup(ASK_US),
            Stage::Copy if !self.caller.is_waiting => {}
            Stage::Copy => match taking.backup.hear(&self.caller.heard) {
                Ok(Heard::Nothing) => {}
                Ok(Heard::Again(why)) => {
                    let leader = taking.backup.address().and_then(listener_at);
                    let is_sound = leader.is_some_and(|(machine, ..)| !self.machines[machine].was_damaged);
                    violated_if(is_sound && is_wrong(&why), CHECK, || format!("of what is kept: {why}"));
                    self.group_failed(&why);
                }
                Ok(Heard::Next(next)) => self.backup_is_told(next),
                Err(what) => violated(CHECK, what),
            },
        }
    }

    fn backup_is_told(&mut self, next: Next) {
        let (now_us, is_calm) = (self.now_us, self.now_us >= self.profile.life_us);
        self.caller.is_waiting = false;
        let Some(taking) = &mut self.backups.taking else { return };
        let after_us = match next {
            Next::Now if is_calm => 0,
            Next::Now => self.random.u64(..=taking.pause_us_max),
            Next::Busy => ASK_US,
            Next::Saving => {
                if now_us >= *taking.saving_since.get_or_insert(now_us) + SAVED_WITHIN_US {
                    return self.group_failed("its leader has not saved it");
                }
                ASK_US
            }
        };
        self.plan_backup(after_us);
    }

    /// All of a group came.
    fn group_is_here(&mut self) {
        self.caller_hangs_up();
        let Some(taking) = &mut self.backups.taking else { return };
        if let Err((node, what)) = taking.backup.end_group() {
            let was_damaged = self.machines.iter().any(|machine| machine.node == node && machine.was_damaged);
            if !was_damaged {
                violated(CHECK, format!("what a sound node sends is no sound file: {what}"));
            }
            return self.group_failed(&what);
        }
        taking.tries = 0;
        let groups = taking.groups.get_or_insert_default();
        groups.pop_front();
        if groups.is_empty() { self.backup_is_done() } else { self.begin_group() }
    }

    fn backup_is_done(&mut self) {
        let Some(Taking { backup, dir, began_us, .. }) = self.backups.taking.take() else { return };
        let finished = backup.finish(began_us / 1_000_000, self.now_us / 1_000_000);
        let states = finished.and_then(|()| simulated::read(&dir));
        let states = states.unwrap_or_else(|what| violated(CHECK, format!("a whole backup is none: {what}")));
        let _gone = fs::remove_dir_all(dir);
        let keys: usize = states.iter().map(|state| state.keys.len()).sum();
        self.say(|| format!("a backup of {} groups is done, with {keys} keys", states.len()));
        self.backups.done.push(Done { began_us, states });
    }
}

/// Whether no sound node says so of a file that it keeps. Disks may fail, and nodes let go of what nobody asks for.
fn is_wrong(why: &str) -> bool {
    why.contains("ends after") || why.contains("cannot be read") && why.contains("not found")
}
