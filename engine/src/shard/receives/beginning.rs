//! What a sender begins with: a snapshot, or a file of it, that is new here, here in part, or here already.

use std::collections::VecDeque;

use raft::EntryId;
use runtime::Disk;
use snapshot::transfer::{Begin, Message, Receiver};
use snapshot::{Limits, Manifest, RunReference};

use super::{Receive, ReceiveEnd, Stage, Step, content};
use crate::shard::Shard;
use crate::shard::background::Finished;
use crate::shard::restore::check_runs;
use crate::snapshot_life::Milestone;
use crate::state_machine::StateMachine;

/// What tells a file of a snapshot from its others.
fn content_of(begin: &Begin) -> (EntryId, u64, u32) {
    (begin.name.id, begin.file_bytes, begin.checksum)
}

fn contents(manifest: &Manifest) -> impl Iterator<Item = (EntryId, u64, u32)> {
    manifest.runs.iter().map(content)
}

/// The snapshot that a file is said to be part of.
fn manifest_of(begin: &Begin) -> Result<Manifest, String> {
    let manifest = Manifest::decode(&begin.meta).map_err(|error| error.to_string())?;
    check_runs(&manifest)?;
    let is_in_it = |run: &RunReference| run.name == begin.name && content(run) == content_of(begin);
    if manifest.group != begin.name.group || !manifest.runs.iter().any(is_in_it) {
        return Err("the manifest is about another snapshot".to_owned());
    }
    Ok(manifest)
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// A sender says what it brings.
    pub(super) fn begin_receive(&mut self, caller: u64, begin: Begin) -> Result<(), String> {
        let (group, transfer) = (begin.name.group, begin.transfer);
        let replica = self.local(group).ok_or("this shard has no such group")?;
        let manifest = manifest_of(&begin)?;
        if let Some(at) = self.transfers.receives.iter().position(|receive| receive.group == group) {
            return self.meet_again(at, caller, begin, manifest);
        }
        let id = manifest.id;
        if id.index <= self.committed(replica) {
            self.say(caller, Message::Done { transfer, ok: true, reason: String::new() });
            return Ok(()); // what it holds came through the log
        }
        if self.transfers.receives.len() >= Limits::default().receives_max {
            return Err("as many snapshots as may come at a time are on their way here".to_owned());
        }
        let bytes: u64 = manifest.runs.iter().map(|run| run.bytes).sum();
        let receive = Receive {
            group,
            replica,
            id,
            attempt: self.transfers.next_number(),
            caller: None,
            connected: self.now,
            manifest,
            files: Vec::new(),
            begin: begin.clone(),
            stage: Stage::Between,
            inbox: VecDeque::new(),
            bad_chunks: 0,
            file_bytes_done: 0,
        };
        self.transfers.receives.push(receive);
        let at = self.transfers.receives.len() - 1;
        if let Err(busy) = self.begin_file(at, caller, begin) {
            self.transfers.receives.pop();
            return Err(busy);
        }
        tracing::info!(%group, %id, bytes, "receiving a snapshot");
        self.reached(Milestone::Receiving, replica, id);
        Ok(())
    }

    /// The next file of a snapshot comes now.
    fn begin_file(&mut self, at: usize, caller: u64, begin: Begin) -> Result<(), String> {
        let slot = self.saves.store.begin_receive(begin.name.group, begin.name.id);
        let slot = slot.map_err(|busy| busy.to_string())?;
        let receive = &mut self.transfers.receives[at];
        receive.begin = begin.clone();
        receive.stage = Stage::Receiving(None);
        receive.file_bytes_done = 0;
        let (group, attempt) = (receive.group, receive.attempt);
        self.is_brought_by(at, caller);
        self.background.spawn(async move {
            let created = Receiver::create(slot, begin).await;
            let result = created.map(Step::Ready).map_err(|error| error.to_string());
            Finished::Received(ReceiveEnd { group, attempt, result })
        });
        Ok(())
    }

    /// It comes on this connection from now on.
    fn is_brought_by(&mut self, at: usize, caller: u64) {
        let receive = &mut self.transfers.receives[at];
        receive.connected = self.now;
        receive.inbox.clear();
        let before = receive.caller.replace(caller).filter(|before| *before != caller);
        before.into_iter().for_each(|before| self.leave(before));
        self.stay(caller);
    }

    /// A snapshot of a group of which one is on its way already: the same goes on, a newer one takes its place.
    fn meet_again(&mut self, at: usize, caller: u64, begin: Begin, manifest: Manifest) -> Result<(), String> {
        let receive = &mut self.transfers.receives[at];
        if receive.id != manifest.id || !contents(&receive.manifest).eq(contents(&manifest)) {
            // What an earlier leader left unfinished is worth nothing against one that comes now, also if it is newer.
            let comes_now = receive.caller.is_some_and(|before| before != caller);
            if !matches!(receive.stage, Stage::Receiving(_) | Stage::Between) {
                return Err("another one is being installed".to_owned());
            }
            if comes_now && manifest.id.index < receive.id.index {
                return Err("a newer one is on its way".to_owned());
            }
            self.drop_receive(at, "another one took its place");
            return self.begin_receive(caller, begin);
        }
        let transfer = begin.transfer;
        let is_here = receive.files.iter().any(|file| content(&file.reference) == content_of(&begin));
        let goes_on = content_of(&receive.begin) == content_of(&begin);
        match &mut receive.stage {
            Stage::Receiving(_) | Stage::Between if is_here => {
                self.is_brought_by(at, caller);
                self.say(caller, Message::Done { transfer, ok: true, reason: String::new() });
                Ok(())
            }
            Stage::Between => self.begin_file(at, caller, begin),
            Stage::Receiving(_) if !goes_on => {
                self.drop_receive(at, "its files come in another order");
                self.begin_receive(caller, begin)
            }
            stage => {
                receive.begin = begin;
                let mut resume = None;
                if let Stage::Receiving(Some(receiver)) = stage {
                    receiver.resumes(&receive.begin);
                    resume = receiver.resume();
                }
                self.is_brought_by(at, caller);
                self.say_all(caller, resume);
                Ok(())
            }
        }
    }
}
