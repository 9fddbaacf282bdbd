//! Snapshots that this shard's groups, as leaders, send to followers that the log no longer reaches: their files one after the
//! other.

#[cfg(test)]
mod tests;
mod under_way;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use raft::{EntryId, NodeId, Time};
use runtime::Disk;
use snapshot::transfer::{Message, Offer, Sender, Step, TransferId};
use snapshot::{Guard, Manifest, Refused, RunReference, SnapshotError, Use};

use super::Shard;
use super::background::Finished;
use super::transfers::{CHUNK_BYTES, Line};
use crate::snapshot_life::Milestone;
use crate::state_machine::StateMachine;
use crate::transfer_facts::{Direction, TransferStatus};
use under_way::{Chunk, UnderWay};

/// A follower that has not been heard for so long is given up; the core asks again once it is back.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// One snapshot on its way to one follower.
pub(super) struct Outgoing<D: Disk> {
    pub(super) number: u64,
    replica: usize,
    to: NodeId,
    id: EntryId,
    /// Of the snapshot.
    manifest: Manifest,
    /// The files that are still to be sent, each kept until then.
    left: VecDeque<(RunReference, Guard)>,
    /// Counts as one of those that are sent at a time.
    _admission: Guard,
    address: SocketAddr,
    pub(super) line: Line,
    under_way: UnderWay<D::File>,
    heard: Time,
    /// The size of the file that is being sent, and how much of it the receiver has.
    file: (u64, u64),
    /// What the receiver has of the others.
    whole_bytes: u64,
}

/// What opening a file, or reading a chunk of it, came to.
pub(super) struct SendEnd<D: Disk> {
    number: u64,
    result: Result<Read<D::File>, SnapshotError>,
}

/// A sender that comes back, with the chunk it read.
struct Read<F> {
    sender: Sender<F>,
    chunk: Option<Chunk>,
}

impl<D: Disk> Outgoing<D> {
    /// How far it is.
    pub(super) fn status(&self) -> TransferStatus {
        let bytes = self.manifest.runs.iter().map(|run| run.bytes).sum();
        let (group, direction, bytes_done) =
            (self.manifest.group, Direction::To(self.to), self.whole_bytes + self.file.1);
        TransferStatus { group, id: self.id, direction, bytes_done, bytes }
    }

    /// Takes a message of the receiver. False: it makes no sense.
    fn take(&mut self, message: Message) -> bool {
        if let Message::Resume { offset, .. } = message {
            self.file.1 = offset.min(self.file.0);
        }
        self.under_way.take(message)
    }
}

/// What an outgoing transfer comes to in a turn.
enum Moved {
    On,
    /// Read the next chunk.
    Read,
    /// Not before this.
    Later(Duration),
    Over(Result<(), String>),
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// The core asks for a snapshot for `to`: names the newest and begins to send it.
    pub(super) fn send_snapshot(&mut self, replica: usize, to: NodeId) {
        let running = self.transfers.outgoing.iter().find(|out| out.replica == replica && out.to == to);
        if let Some(id) = running.map(|outgoing| outgoing.id) {
            self.replicas[replica].raft.offer_snapshot(self.now, to, id);
            return;
        }
        if !self.directory.is_reachable(to) {
            return; // the core asks again once it is heard, and by then there may be a newer one
        }
        let group = self.replicas[replica].group;
        let compacted = self.replicas[replica].raft.compacted().index;
        let reaches = |manifest: &Manifest| manifest.id.index >= compacted;
        let Some(manifest) = self.saves.store.manifest(group).filter(reaches) else {
            return self.save_soon(replica); // the core asks again
        };
        let Some(link) = self.links.for_group(to, group) else { return };
        let (peer, address) = (self.links.peer(link), self.links.address(link));
        let (admission, left) = match self.hold_for_sending(&manifest) {
            Ok(held) => held,
            Err(Refused::Busy { .. }) => return, // the core asks again
            Err(error) => return tracing::warn!(%group, %error, "cannot send a snapshot"),
        };
        let number = self.transfers.next_number();
        let bytes: u64 = manifest.runs.iter().map(|run| run.bytes).sum();
        tracing::info!(%group, %to, id = %manifest.id, bytes, files = left.len(), "sending a snapshot");
        let id = manifest.id;
        self.transfers.outgoing.push(Outgoing {
            number,
            replica,
            to,
            id,
            manifest,
            left,
            _admission: admission,
            address,
            line: Line::new(self.now, self.directory.node, peer, self.settings.seed ^ number),
            under_way: UnderWay::new(TransferId(number)),
            heard: self.now,
            file: (0, 0),
            whole_bytes: 0,
        });
        self.send_next_file(self.transfers.outgoing.len() - 1);
        self.reached(Milestone::Offered, replica, id);
        self.replicas[replica].raft.offer_snapshot(self.now, to, id);
        self.more = true;
    }

    /// Keeps all files of a snapshot until they are sent, the oldest first. It counts as one that is sent.
    fn hold_for_sending(
        &self,
        manifest: &Manifest,
    ) -> Result<(Guard, VecDeque<(RunReference, Guard)>), Refused> {
        let store = &self.saves.store;
        let newest = manifest.runs.first().expect("a snapshot has a file").name;
        let admission = store.hold(newest, Use::Sending)?;
        let hold = |run: &RunReference| Ok((*run, store.hold(run.name, Use::SendingBeside)?));
        Ok((admission, manifest.runs.iter().rev().map(hold).collect::<Result<_, Refused>>()?))
    }

    /// Opens the next file that is to be sent. False if there is none.
    fn send_next_file(&mut self, at: usize) -> bool {
        let transfer = TransferId(self.transfers.next_number());
        let outgoing = &mut self.transfers.outgoing[at];
        let Some((reference, guard)) = outgoing.left.pop_front() else { return false };
        let number = outgoing.number;
        outgoing.whole_bytes += outgoing.file.0;
        outgoing.file = (reference.bytes, 0);
        let offer = Offer { transfer, chunk_bytes: CHUNK_BYTES, meta: outgoing.manifest.encode() };
        outgoing.under_way = UnderWay::new(transfer);
        let (disk, path) = (self.disk.clone(), self.saves.store.path(reference.name));
        self.background.spawn(async move {
            let opened = Sender::open(&disk, &path, guard, &reference, offer).await;
            Finished::Sent(SendEnd { number, result: opened.map(|sender| Read { sender, chunk: None }) })
        });
        true
    }

    /// A file is open, or a chunk read.
    pub(super) fn take_sender(&mut self, end: SendEnd<D>) {
        let at = self.transfers.outgoing.iter().position(|outgoing| outgoing.number == end.number);
        let Some(at) = at else { return self.collect() }; // given up meanwhile
        match end.result {
            Ok(read) => {
                if read.chunk.is_none() {
                    let Outgoing { replica, id, .. } = self.transfers.outgoing[at];
                    self.reached(Milestone::Sending, replica, id);
                }
                let outgoing = &mut self.transfers.outgoing[at];
                if !outgoing.under_way.back(read.sender, read.chunk) {
                    outgoing.line.hang_up(self.now);
                }
            }
            Err(error) => {
                tracing::error!(group = %self.replicas[self.transfers.outgoing[at].replica].group, %error,
                    "cannot read a snapshot that is to be sent");
                self.end_send(at, false);
            }
        }
    }

    /// Moves all outgoing transfers on.
    pub(super) fn drive_sends(&mut self) {
        let mut at = 0;
        while at < self.transfers.outgoing.len() {
            self.hear_receiver(at);
            match self.move_on(at) {
                Moved::On => {}
                Moved::Read => self.read_chunk(at),
                Moved::Later(wait) => {
                    self.transfers.wake_at = self.transfers.wake_at.min(self.now + wait);
                }
                Moved::Over(Ok(())) if self.send_next_file(at) => {}
                Moved::Over(outcome) => {
                    let outgoing = &self.transfers.outgoing[at];
                    let group = self.replicas[outgoing.replica].group;
                    match &outcome {
                        Ok(()) => {
                            tracing::info!(%group, to = %outgoing.to, id = %outgoing.id, "sent a snapshot")
                        }
                        Err(reason) => {
                            tracing::warn!(%group, to = %outgoing.to, "snapshot not sent: {reason}")
                        }
                    }
                    self.end_send(at, outcome.is_ok());
                    continue;
                }
            }
            self.follow_line(at);
            at += 1;
        }
    }

    /// Takes in what the receiver says, and what happened to the connection.
    fn hear_receiver(&mut self, at: usize) {
        let outgoing = &mut self.transfers.outgoing[at];
        let heard = outgoing.line.hear(self.now);
        if heard.any {
            outgoing.heard = self.now;
        }
        let mut sound = true;
        for (message, _) in heard.messages {
            sound &= outgoing.take(message);
        }
        if !sound {
            outgoing.line.hang_up(self.now);
        }
        self.follow_line(at);
    }

    fn follow_line(&mut self, at: usize) {
        let outgoing = &mut self.transfers.outgoing[at];
        let dial = Some((outgoing.number, outgoing.address));
        if outgoing.line.carry_out(self.now, dial, &mut self.actions) {
            outgoing.under_way.disconnected();
        }
    }

    /// Says what is to be said now, if the connection can take it.
    fn move_on(&mut self, at: usize) -> Moved {
        let (now, durable) = (self.now, self.durable.0);
        let outgoing = &mut self.transfers.outgoing[at];
        if !self.replicas[outgoing.replica].raft.is_leader() {
            return Moved::Over(Err("this node leads the group no more".to_owned()));
        }
        if now.saturating_sub(outgoing.heard) >= GIVE_UP_AFTER {
            return Moved::Over(Err("the follower is silent".to_owned()));
        }
        if outgoing.line.link.can_send()
            && let Some((message, data)) = outgoing.under_way.send_chunk()
        {
            outgoing.line.send(now, durable, &message, Some(data));
        }
        let bytes = outgoing.under_way.bytes_to_read();
        if bytes > 0 {
            return match self.transfers.send_rate.take(Duration::from_micros(now.0), bytes) {
                Ok(()) => Moved::Read,
                Err(wait) => Moved::Later(wait),
            };
        }
        if !outgoing.line.link.can_send() {
            return Moved::On;
        }
        match outgoing.under_way.step() {
            Step::Send(message) => outgoing.line.send(now, durable, &message, None),
            Step::SendChunk | Step::Wait => outgoing.line.beat(now, durable),
            Step::Over(outcome) => return Moved::Over(outcome),
        }
        Moved::On
    }

    fn read_chunk(&mut self, at: usize) {
        let outgoing = &mut self.transfers.outgoing[at];
        let number = outgoing.number;
        let Some(mut sender) = outgoing.under_way.lend() else { return };
        self.background.spawn(async move {
            let read = sender.next_chunk().await;
            Finished::Sent(SendEnd { number, result: read.map(|chunk| Read { sender, chunk }) })
        });
    }

    /// Ends a transfer and tells the core.
    fn end_send(&mut self, at: usize, ok: bool) {
        let outgoing = self.transfers.outgoing.swap_remove(at);
        if let Some(socket) = outgoing.line.link.socket() {
            self.actions.push(super::io::Action::Close { socket });
        }
        self.replicas[outgoing.replica].raft.snapshot_sent(self.now, outgoing.to, outgoing.id, ok);
        self.mark_dirty(outgoing.replica);
        self.collect();
    }
}
