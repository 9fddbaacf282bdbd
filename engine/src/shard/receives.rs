//! Snapshots that peers send, file by file: received beside the turns, loaded into a fresh machine, installed in one turn, and
//! acknowledged once the log's record of them is durable.

mod beginning;

use std::collections::VecDeque;
use std::time::Duration;

use raft::{Config, EntryId, GroupId, Index, NodeId, Time};
use runtime::Disk;
use snapshot::transfer::{
    Begin, CHUNKS_UNDER_WAY_MAX, ChunkHeader, Message, Progress, ReceiveError, Receiver,
};
use snapshot::{Guard, Manifest, RunReference, SnapshotError, Store, Use};

use super::Shard;
use super::background::Finished;
use super::machine::Machine;
use crate::snapshot_life::Milestone;
use crate::state_machine::StateMachine;
use crate::transfer_facts::{Direction, TransferStatus};

/// What is here of a snapshot whose sender is gone is kept for so long, so that it can go on.
const KEEP_FOR: Duration = Duration::from_secs(60);

/// Chunks a sender may be ahead of the disk: ours have no more under way.
const INBOX_MAX: usize = CHUNKS_UNDER_WAY_MAX;

/// Chunks that came damaged before a transfer is given up.
const BAD_CHUNKS_MAX: u32 = 16;

/// One snapshot on its way here.
pub(super) struct Receive<D: Disk> {
    group: GroupId,
    replica: usize,
    id: EntryId,
    /// Tells this attempt from those before it, whose work beside the turns may still come back.
    attempt: u64,
    /// The connection it comes on now.
    pub(super) caller: Option<u64>,
    /// When it was last on one.
    pub(super) connected: Time,
    manifest: Manifest,
    /// The files of it that are whole and here.
    files: Vec<File>,
    /// The file that comes now, or came last.
    begin: Begin,
    stage: Stage<D>,
    inbox: VecDeque<(ChunkHeader, Vec<u8>)>,
    bad_chunks: u32,
    /// How much is here of the file that comes.
    file_bytes_done: u64,
}

/// A file that is whole, durable, and kept.
struct File {
    /// By its name here.
    reference: RunReference,
    guard: Guard,
}

/// How far it is.
enum Stage<D: Disk> {
    /// `None`: the receiver is away, writing.
    Receiving(Option<Box<Receiver<D>>>),
    /// A file is whole, and its sender is to begin the next.
    Between,
    /// A file is being verified, and if it is the last, all are loaded into a machine.
    Loading,
    /// In the machine; the log's record is on its way to the disk.
    Recording,
}

/// What work on a snapshot beside the turns came to.
pub(super) struct ReceiveEnd<S, D: Disk> {
    group: GroupId,
    attempt: u64,
    result: Result<Step<S, D>, String>,
}

enum Step<S, D: Disk> {
    Ready(Receiver<D>),
    Wrote(Receiver<D>, Progress),
    Refused(Receiver<D>),
    Whole(File),
    Loaded(Machine<S>, Manifest, Vec<Guard>),
}

impl<D: Disk> Receive<D> {
    /// How far it is; `from` is who sends it.
    pub(super) fn status(&self, from: Option<NodeId>) -> TransferStatus {
        let of = |runs: &mut dyn Iterator<Item = &RunReference>| runs.map(|run| run.bytes).sum::<u64>();
        let bytes = of(&mut self.manifest.runs.iter());
        let whole_bytes = of(&mut self.files.iter().map(|file| &file.reference));
        let bytes_done = match self.stage {
            Stage::Receiving(_) | Stage::Between => (whole_bytes + self.file_bytes_done).min(bytes),
            Stage::Loading | Stage::Recording => bytes,
        };
        TransferStatus { group: self.group, id: self.id, direction: Direction::From(from), bytes_done, bytes }
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Takes in what senders say.
    pub(super) fn drive_callers(&mut self) {
        let mut heard = Vec::new();
        for caller in &mut self.transfers.callers {
            let messages = caller.line.hear(self.now).messages;
            heard.extend(messages.into_iter().map(|(message, data)| (caller.number, message, data)));
        }
        for (caller, message, data) in heard {
            match message {
                Message::Begin(begin) => {
                    let transfer = begin.transfer;
                    if let Err(reason) = self.begin_receive(caller, begin) {
                        self.turn_away(caller, transfer, reason);
                    }
                }
                Message::Chunk(header) => self.take_chunk(caller, header, data),
                Message::Abort { reason, .. } => {
                    tracing::info!(%reason, "the sender gave its snapshot up");
                    let of_caller = |receive: &Receive<D>| receive.caller == Some(caller);
                    if let Some(at) = self.transfers.receives.iter().position(of_caller) {
                        self.drop_receive(at, "the sender gave it up");
                    }
                }
                Message::Resume { transfer, .. } | Message::Done { transfer, .. } => {
                    self.turn_away(caller, transfer, "out of place".to_owned());
                }
            }
        }
    }

    fn take_chunk(&mut self, caller: u64, header: ChunkHeader, data: Vec<u8>) {
        let receive = self.transfers.receives.iter_mut().find(|receive| receive.caller == Some(caller));
        match receive {
            Some(receive) if receive.inbox.len() < INBOX_MAX => receive.inbox.push_back((header, data)),
            _ => self.turn_away(caller, header.transfer, "a chunk nobody asked for".to_owned()),
        }
    }

    /// Writes what has come, as the rate permits, and forgets what will not go on.
    pub(super) fn drive_receives(&mut self) {
        let mut at = 0;
        while at < self.transfers.receives.len() {
            let receive = &mut self.transfers.receives[at];
            if receive.caller.is_some() {
                receive.connected = self.now;
            }
            let comes = matches!(receive.stage, Stage::Receiving(_) | Stage::Between);
            let abandoned = comes && self.now.saturating_sub(receive.connected) >= KEEP_FOR;
            if abandoned || receive.bad_chunks > BAD_CHUNKS_MAX {
                self.drop_receive(at, "its sender is gone, or sends garbage");
                continue;
            }
            // What came through the log meanwhile needs no sender to go on.
            let waits = receive.caller.is_none() && comes;
            let (id, replica) = (receive.id, receive.replica);
            if waits && id.index <= self.committed(replica) {
                self.drop_receive(at, "the log has overtaken it");
                continue;
            }
            self.write_chunk(at);
            at += 1;
        }
    }

    fn write_chunk(&mut self, at: usize) {
        let receive = &mut self.transfers.receives[at];
        let Stage::Receiving(place @ Some(_)) = &mut receive.stage else { return };
        let Some((_, data)) = receive.inbox.front() else { return };
        let now = Duration::from_micros(self.now.0);
        if let Err(wait) = self.transfers.receive_rate.take(now, data.len() as u64) {
            self.transfers.wake_at = self.transfers.wake_at.min(self.now + wait);
            return;
        }
        let (group, attempt) = (receive.group, receive.attempt);
        let (header, data) = receive.inbox.pop_front().expect("just seen");
        let mut receiver = *place.take().expect("just seen");
        receive.file_bytes_done = header.offset + u64::from(header.data_bytes);
        self.background.spawn(async move {
            let result = match receiver.chunk(header, &data).await {
                Ok(progress) => Ok(Step::Wrote(receiver, progress)),
                Err(ReceiveError::BadChunk { .. }) => Ok(Step::Refused(receiver)),
                Err(error) => Err(error.to_string()),
            };
            Finished::Received(ReceiveEnd { group, attempt, result })
        });
    }

    /// Takes back what was done beside the turns.
    pub(super) fn take_received(&mut self, end: ReceiveEnd<S, D>) {
        let ReceiveEnd { group, attempt, result } = end;
        let of_attempt = |receive: &Receive<D>| receive.group == group && receive.attempt == attempt;
        let Some(at) = self.transfers.receives.iter().position(of_attempt) else { return self.collect() };
        match result {
            Err(reason) => self.drop_receive(at, &reason),
            Ok(Step::Ready(receiver) | Step::Wrote(receiver, Progress::More)) => self.go_on(at, receiver),
            Ok(Step::Refused(receiver)) => {
                self.transfers.receives[at].bad_chunks += 1;
                self.go_on(at, receiver);
            }
            Ok(Step::Wrote(receiver, Progress::Complete)) => self.load(at, receiver),
            Ok(Step::Whole(file)) => self.file_is_whole(at, file),
            Ok(Step::Loaded(machine, manifest, guards)) => self.install(at, machine, manifest, guards),
        }
    }

    /// Asks for the next chunk.
    fn go_on(&mut self, at: usize, mut receiver: Receiver<D>) {
        let receive = &mut self.transfers.receives[at];
        if receiver.transfer() != receive.begin.transfer {
            receiver.resumes(&receive.begin); // the sender called again meanwhile
        }
        let (resume, caller) = (receiver.resume(), receive.caller);
        receive.stage = Stage::Receiving(Some(Box::new(receiver)));
        if let Some(caller) = caller {
            self.say_all(caller, resume);
        }
    }

    /// All bytes of a file are here: verifies it, and if it is the last, loads all into a fresh machine.
    fn load(&mut self, at: usize, receiver: Receiver<D>) {
        let receive = &mut self.transfers.receives[at];
        receive.stage = Stage::Loading;
        let (group, attempt, manifest) = (receive.group, receive.attempt, receive.manifest.clone());
        let is_last = receive.files.len() + 1 == manifest.runs.len();
        let mut files = if is_last { std::mem::take(&mut receive.files) } else { Vec::new() };
        let mut machine = Machine::new(group, &*self.factory);
        let loader = self.saves.loader.clone();
        self.background.spawn(async move {
            let work = async {
                let file = finish(receiver, &loader.store).await.map_err(|error| error.to_string())?;
                if !is_last {
                    return Ok(Step::Whole(file));
                }
                files.push(file);
                let manifest = local_manifest(manifest, &files)?;
                let loaded = loader.load(&manifest, &mut machine).await;
                loaded.map_err(|error| error.to_string())?;
                let guards = files.into_iter().map(|file| file.guard).collect();
                Ok(Step::Loaded(machine, manifest, guards))
            };
            let result = work.await;
            Finished::Received(ReceiveEnd { group, attempt, result })
        });
    }

    /// One of several files is safe: the next may come.
    fn file_is_whole(&mut self, at: usize, file: File) {
        runtime::mark!("install.one_of_several_files");
        let receive = &mut self.transfers.receives[at];
        receive.files.push(file);
        receive.file_bytes_done = 0;
        receive.stage = Stage::Between;
        receive.inbox.clear();
        if let Some(caller) = receive.caller {
            let transfer = receive.begin.transfer;
            self.say(caller, Message::Done { transfer, ok: true, reason: String::new() });
        }
    }

    /// Puts the loaded state in the place of the old one, and the record that names its file into the log's batch.
    fn install(&mut self, at: usize, machine: Machine<S>, manifest: Manifest, guards: Vec<Guard>) {
        let Receive { replica: number, id, .. } = self.transfers.receives[at];
        self.reached(Milestone::Loaded, number, id);
        let receive = &mut self.transfers.receives[at];
        let replica = &mut self.replicas[number];
        // If the log holds that very entry, those behind it stay.
        let reset = replica.raft.term_at(id.index) != Some(id.term);
        let Some(config) = Config::decode(&manifest.membership) else {
            return self.drop_receive(at, "its configuration is of a newer version");
        };
        if !replica.raft.snapshot_installed(self.now, id, &config) {
            runtime::mark!("install.overtaken");
            let reason = "the log has overtaken it";
            return self.drop_receive(at, reason);
        }
        receive.stage = Stage::Recording;
        match reset {
            true => runtime::mark!("install.log_restarts"),
            false => runtime::mark!("install.log_kept"),
        }
        if !runtime::mutant!("install.not_recorded") {
            self.log.snapshot(manifest.group, id, &manifest.encode(), reset);
        }
        replica.restored(id.index, machine, config, &mut self.answers);
        self.record_installed(number, manifest, guards);
        self.mark_dirty(number);
    }

    /// The record of an installed snapshot is durable: its sender may know.
    pub(super) fn receive_is_safe(&mut self, replica: usize, id: EntryId) {
        let of_snapshot = |receive: &Receive<D>| receive.replica == replica && receive.id == id;
        let Some(at) = self.transfers.receives.iter().position(of_snapshot) else { return };
        let receive = self.transfers.receives.swap_remove(at);
        if let Some(caller) = receive.caller {
            let transfer = receive.begin.transfer;
            self.say(caller, Message::Done { transfer, ok: true, reason: String::new() });
            self.leave(caller);
        }
    }

    /// Gives a snapshot up. Its sender hears why, unless the state it would bring has come through the log.
    fn drop_receive(&mut self, at: usize, reason: &str) {
        let receive = self.transfers.receives.swap_remove(at);
        let has_it = receive.id.index <= self.committed(receive.replica);
        tracing::info!(group = %receive.group, id = %receive.id, %reason, "no longer receiving a snapshot");
        if let Some(caller) = receive.caller {
            let transfer = receive.begin.transfer;
            if has_it {
                self.say(caller, Message::Done { transfer, ok: true, reason: String::new() });
                self.leave(caller);
            } else {
                self.turn_away(caller, transfer, reason.to_owned());
            }
        }
        drop(receive);
        self.collect();
    }

    fn committed(&self, replica: usize) -> Index {
        self.replicas[replica].raft.committed()
    }
}

/// Verifies a received file, gives it its name, and keeps it until it is installed: as such it is no longer one of those that come.
async fn finish<D: Disk>(receiver: Receiver<D>, store: &Store<D>) -> Result<File, SnapshotError> {
    let received = receiver.finish().await?;
    let reference = received.reference;
    let guard = store.hold(reference.name, Use::Installing).expect("it was just completed and is still kept");
    drop(received.guard);
    Ok(File { reference, guard })
}

/// What tells the files of a snapshot apart, whoever sends them: their names are those of their senders.
fn content(run: &RunReference) -> (EntryId, u64, u32) {
    (run.name.id, run.bytes, run.checksum)
}

/// The manifest with the files' names here.
fn local_manifest(manifest: Manifest, files: &[File]) -> Result<Manifest, String> {
    let here = |run: &RunReference| {
        let file = files.iter().find(|file| content(&file.reference) == content(run));
        file.map(|file| file.reference).ok_or_else(|| format!("{} is not here", run.name.file_name()))
    };
    let runs = manifest.runs.iter().map(here).collect::<Result<_, _>>()?;
    Ok(Manifest { runs, ..manifest })
}
