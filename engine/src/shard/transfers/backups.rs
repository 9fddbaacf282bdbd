//! Clients that copy this shard's snapshot files for a backup: which files are kept for whom, and the reads beside the turns.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use net::resp::reply;
use raft::{GroupId, Time};
use runtime::{Buffer, Disk, File, SocketId};
use snapshot::{Guard, Manifest, Refused, RunReference, SnapshotName, Use};

use super::Shard;
use crate::resp::FilesAsk;
use crate::shard::background::Finished;
use crate::shard::request::{Outcome, ReplyTo};
use crate::state_machine::StateMachine;

/// Groups whose files are kept for backups at a time. Each may keep a superseded state on the disk, so few; a backup takes
/// one group after the other, so that this is enough for as many backups at once.
pub(in crate::shard) const GROUPS_HELD_MAX: usize = 4;

/// Files are kept for a connection that asks for nothing for so long: a client that hangs must not keep the disk full.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Reads that run at a time: one on the disk while another is on its way to a client.
const READS_RUNNING_MAX: usize = 2;

/// Reads that wait for their turn: four for each client that files are kept for. Further ones are refused.
pub(in crate::shard) const READS_WAITING_MAX: usize = 16;

/// A client's question, and where its answer goes.
pub(in crate::shard) struct Asked {
    pub(in crate::shard) socket: SocketId,
    pub(in crate::shard) slot: u64,
    pub(in crate::shard) ask: FilesAsk,
}

impl Asked {
    fn reply_to(&self) -> ReplyTo {
        ReplyTo::Client { socket: self.socket, slot: self.slot, part: ReplyTo::WHOLE }
    }
}

/// The files of a group that are kept for a client.
struct Held<D: Disk> {
    socket: SocketId,
    files: Vec<HeldFile<D>>,
    used: Time,
}

struct HeldFile<D: Disk> {
    reference: RunReference,
    _guard: Guard,
    /// Once it was read from.
    file: Option<D::File>,
}

/// A read that waits.
struct Read {
    to: ReplyTo,
    socket: SocketId,
    name: SnapshotName,
    offset: u64,
    bytes: u32,
}

/// What a read came to.
pub(in crate::shard) struct ReadEnd<D: Disk> {
    read: Read,
    result: io::Result<(D::File, Buffer)>,
}

/// What backups have of a shard.
pub(in crate::shard) struct Backups<D: Disk> {
    held: Vec<Held<D>>,
    waiting: VecDeque<Read>,
    running: usize,
}

impl<D: Disk> Default for Backups<D> {
    fn default() -> Backups<D> {
        Backups { held: Vec::new(), waiting: VecDeque::new(), running: 0 }
    }
}

impl<D: Disk> Backups<D> {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }

    /// For how many clients files are kept, and how many reads wait.
    #[cfg(feature = "simulation")]
    pub(in crate::shard) fn len(&self) -> (usize, usize) {
        (self.held.len(), self.waiting.len())
    }

    fn file(&mut self, socket: SocketId, name: SnapshotName) -> Option<&mut HeldFile<D>> {
        let held = self.held.iter_mut().find(|held| held.socket == socket)?;
        held.files.iter_mut().find(|file| file.reference.name == name)
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Does what clients asked about snapshots in this turn.
    pub(in crate::shard) fn take_asked(&mut self) {
        if self.clients.take_wants_snapshots() {
            self.save_all_of_node();
        }
        for asked in self.clients.take_asked() {
            let to = asked.reply_to();
            let answered = match asked.ask {
                FilesAsk::Save(group) => self.save_for_backup(group, to),
                FilesAsk::List(group) => self.list_files(group, asked.socket, to),
                FilesAsk::Read { name, offset, bytes } => {
                    self.queue_read(Read { to, socket: asked.socket, name, offset, bytes })
                }
            };
            if let Err(problem) = answered {
                self.answers.push(to, Outcome::Done, |out| reply::error(out, format_args!("{problem}")));
            }
        }
    }

    /// The replica of a group whose files are on this shard.
    fn replica_here(&self, group: GroupId) -> Result<usize, String> {
        let (here, there) = (self.shard, self.directory.placement.shard_of(group));
        if here != there {
            return Err(format!(
                "ERR group {group} is on shard {there} of this node, and this is shard {here}"
            ));
        }
        self.local(group).ok_or_else(|| format!("TRYAGAIN group {group} has not started here"))
    }

    fn save_for_backup(&mut self, group: GroupId, to: ReplyTo) -> Result<(), String> {
        let replica = self.replica_here(group)?;
        self.save_soon(replica);
        self.answers.push(to, Outcome::Done, reply::ok);
        Ok(())
    }

    /// Names the files of a group, and keeps them for the client in the place of those that were kept for it.
    fn list_files(&mut self, group: GroupId, socket: SocketId, to: ReplyTo) -> Result<(), String> {
        self.replica_here(group)?;
        self.release_held(|held| held.socket == socket);
        if self.transfers.backups.held.len() >= GROUPS_HELD_MAX {
            return Err(format!("TRYAGAIN files of {GROUPS_HELD_MAX} groups are kept for backups already"));
        }
        let none =
            || format!("TRYAGAIN group {group} has no snapshot yet: RINGRAFT SNAPSHOT {group} has one taken");
        let manifest = self.saves.store.manifest(group).ok_or_else(none)?;
        let hold = |run: &RunReference| {
            let guard = self.saves.store.hold(run.name, Use::BackingUp)?;
            Ok(HeldFile { reference: *run, _guard: guard, file: None })
        };
        let files = manifest.runs.iter().map(hold).collect::<Result<_, Refused>>();
        let files = files.map_err(|refused| format!("TRYAGAIN {refused}"))?;
        self.transfers.backups.held.push(Held { socket, files, used: self.now });
        self.answers.push(to, Outcome::Done, |out| write_manifest(&manifest, out));
        Ok(())
    }

    fn queue_read(&mut self, read: Read) -> Result<(), String> {
        let backups = &mut self.transfers.backups;
        let Some(held) = backups.file(read.socket, read.name) else {
            let (file, group) = (read.name.file_name(), read.name.group);
            return Err(format!(
                "ERR {file} is not kept for this connection: ask RINGRAFT FILES {group} first"
            ));
        };
        let file_bytes = held.reference.bytes;
        if read.offset > file_bytes {
            return Err(format!("ERR {} has {file_bytes} bytes", read.name.file_name()));
        }
        if backups.waiting.len() >= READS_WAITING_MAX {
            return Err(format!("TRYAGAIN {READS_WAITING_MAX} reads wait already"));
        }
        backups.waiting.push_back(read);
        Ok(())
    }

    /// Starts reads that wait, as far as the rate of all transfers and the number of those that run allow, and lets go of what
    /// is kept for clients that are gone or silent.
    pub(super) fn drive_backups(&mut self) {
        let now = self.now;
        while self.transfers.backups.running < READS_RUNNING_MAX
            && let Some(next) = self.transfers.backups.waiting.front()
        {
            let bytes = u64::from(next.bytes);
            if let Err(wait) = self.transfers.send_rate.take(Duration::from_micros(now.0), bytes) {
                self.transfers.wake_at = self.transfers.wake_at.min(now + wait);
                break;
            }
            let next = self.transfers.backups.waiting.pop_front();
            next.into_iter().for_each(|read| self.start_read(read));
        }
        let clients = &self.clients;
        let silent = |held: &Held<D>| now.saturating_sub(held.used) >= IDLE_MAX;
        let over: Vec<SocketId> = self
            .transfers
            .backups
            .held
            .iter()
            .filter(|held| silent(held) || !clients.has(held.socket))
            .map(|held| held.socket)
            .collect();
        if !over.is_empty() {
            runtime::mark!("backup.let_go");
            self.release_held(|held| over.contains(&held.socket));
        }
        let ends = self.transfers.backups.held.iter().map(|held| held.used + IDLE_MAX).min();
        self.transfers.wake_at = self.transfers.wake_at.min(ends.unwrap_or(Time::NEVER));
    }

    fn start_read(&mut self, read: Read) {
        let backups = &mut self.transfers.backups;
        let Some(held) = backups.file(read.socket, read.name) else {
            return self.fail_read(&read);
        };
        let (mut file, mut name) = (held.file.clone(), read.name);
        let newest =
            self.saves.store.manifest(name.group).and_then(|manifest| Some(manifest.runs.first()?.name));
        if newest.is_some_and(|newest| newest.id > name.id) {
            runtime::mark!("backup.reads_superseded");
            if runtime::mutant!("backup.reads_newest_file") {
                (file, name) = (None, newest.unwrap_or(name));
            }
        }
        let (disk, path) = (self.disk.clone(), self.saves.store.path(name));
        let backups = &mut self.transfers.backups;
        backups.running += 1;
        self.background.spawn(async move {
            let opened = match file {
                Some(file) => Ok(file),
                None => disk.open(&path).await,
            };
            let result = match opened {
                Ok(file) => file.read_at(read.offset, read.bytes as usize).await.map(|data| (file, data)),
                Err(error) => Err(error),
            };
            Finished::Copied(ReadEnd { read, result })
        });
    }

    /// What was to be read was let go of meanwhile.
    fn fail_read(&mut self, read: &Read) {
        let (file, group) = (read.name.file_name(), read.name.group);
        self.answers.push(read.to, Outcome::Done, |out| {
            let ask = format_args!("ERR {file} is kept no longer: ask RINGRAFT FILES {group} again");
            reply::error(out, ask);
        });
    }

    /// A read is done: its bytes go to the client.
    pub(in crate::shard) fn take_copied(&mut self, end: ReadEnd<D>) {
        let ReadEnd { read, result } = end;
        let now = self.now;
        self.transfers.backups.running -= 1;
        if let Some(held) = self.transfers.backups.held.iter_mut().find(|held| held.socket == read.socket) {
            held.used = now;
        }
        match result {
            Ok((file, data)) => {
                if let Some(held) = self.transfers.backups.file(read.socket, read.name) {
                    held.file = Some(file);
                }
                self.answers.push(read.to, Outcome::Done, |out| reply::bulk(out, &data));
            }
            Err(error) => {
                runtime::mark!("backup.cannot_read");
                let file = read.name.file_name();
                tracing::warn!(file, %error, "cannot read a snapshot for a backup");
                self.answers.push(read.to, Outcome::Done, |out| {
                    reply::error(out, format_args!("ERR {file} cannot be read: {error}"));
                });
            }
        }
    }

    fn release_held(&mut self, is_over: impl Fn(&Held<D>) -> bool) {
        let before = self.transfers.backups.held.len();
        self.transfers.backups.held.retain(|held| !is_over(held));
        if self.transfers.backups.held.len() < before {
            self.collect();
        }
    }
}

/// `[index, term, [[file, bytes, checksum], ...]]`, the newest file first.
fn write_manifest(manifest: &Manifest, out: &mut Vec<u8>) {
    let number =
        |out: &mut Vec<u8>, value: u64| reply::integer(out, i64::try_from(value).unwrap_or(i64::MAX));
    reply::array_header(out, 3);
    number(out, manifest.id.index.0);
    number(out, manifest.id.term.0);
    reply::array_header(out, manifest.runs.len());
    for run in &manifest.runs {
        reply::array_header(out, 3);
        reply::bulk(out, run.name.file_name().as_bytes());
        number(out, run.bytes);
        number(out, u64::from(run.checksum));
    }
}
