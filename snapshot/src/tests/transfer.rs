//! Files travel whole or not at all, over connections that break anywhere.

use std::path::Path;

use proptest::prelude::*;
use runtime::Buffer;

use super::{DIR, GROUP, build, id, manifest, mixed_items, open};
use crate::fake_disk::{FakeDisk, FakeFile, run};
use crate::transfer::{
    Begin, CHUNK_BYTES_MIN, Message, Offer, Progress, ReceiveError, Received, Receiver, Sender, Step,
    TransferId,
};
use crate::{RunReference, SnapshotError, Store, Use};

pub struct Ends {
    from: FakeDisk,
    from_store: Store<FakeDisk>,
    reference: RunReference,
    to: FakeDisk,
    to_store: Store<FakeDisk>,
}

pub fn ends() -> Ends {
    let (from, to) = (FakeDisk::default(), FakeDisk::default());
    let (from_store, _) = open(&from, &[]);
    let finished = run(build(&from_store, id(42), &mixed_items())).unwrap();
    from_store.publish(&manifest(id(42), &[&finished]));
    let (to_store, _) = open(&to, &[]);
    Ends { from, from_store, reference: finished.reference, to, to_store }
}

impl Ends {
    pub fn sender(&self) -> Sender<FakeFile> {
        let name = self.reference.name;
        let guard = self.from_store.hold(name, Use::Sending).unwrap();
        let offer =
            Offer { transfer: TransferId(9), chunk_bytes: CHUNK_BYTES_MIN, meta: b"manifest".to_vec() };
        run(Sender::open(&self.from, &self.from_store.path(name), guard, &self.reference, offer)).unwrap()
    }

    pub fn receiver(&self, begin: Begin) -> Receiver<FakeDisk> {
        let slot = self.to_store.begin_receive(begin.name.group, begin.name.id).unwrap();
        run(Receiver::create(slot, begin)).unwrap()
    }

    pub fn chunks(&self) -> u64 {
        self.reference.bytes.div_ceil(u64::from(CHUNK_BYTES_MIN))
    }

    /// The file at the receiver has the sender's bytes.
    pub fn check(&self, received: &Received) {
        let sent = self.from.bytes(&self.from_store.path(self.reference.name));
        assert!(self.to.bytes(&self.to_store.path(received.reference.name)) == sent);
        assert_eq!(received.sent_as, self.reference.name);
    }
}

/// Through the bytes of the wire, as a peer would get it.
fn over_the_wire(message: &Message) -> Message {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    Message::decode(&bytes).unwrap().0
}

/// One connection: the sender's messages reach the receiver until `lost` says that one does not, which breaks the
/// connection. Returns what was received in the end.
fn connect(
    ends: &Ends,
    sender: &mut Sender<FakeFile>,
    receiver: &mut Option<Receiver<FakeDisk>>,
    mut lost: impl FnMut(&mut Vec<u8>) -> bool,
) -> Option<Received> {
    loop {
        match sender.step() {
            Step::Send(message) => {
                let Message::Begin(begin) = over_the_wire(&message) else { panic!("{message:?}") };
                assert_eq!(begin.meta, b"manifest");
                let resumes = receiver.as_mut().is_some_and(|receiver| receiver.resumes(&begin));
                if !resumes {
                    *receiver = Some(ends.receiver(begin));
                }
                match receiver.as_ref().unwrap().resume() {
                    Some(resume) => sender.receive(over_the_wire(&resume)).unwrap(),
                    None => return finish(sender, receiver),
                }
            }
            Step::SendChunk => {
                let (message, data) = run(sender.next_chunk()).unwrap().unwrap();
                let Message::Chunk(header) = over_the_wire(&message) else { panic!("{message:?}") };
                let mut data = data.to_vec();
                if lost(&mut data) {
                    sender.disconnected();
                    return None;
                }
                let here = receiver.as_mut().unwrap();
                match run(here.chunk(header, &data)) {
                    Ok(Progress::More) => {}
                    Ok(Progress::Complete) => return finish(sender, receiver),
                    Err(ReceiveError::BadChunk { .. }) => sender.receive(here.resume().unwrap()).unwrap(),
                    Err(ReceiveError::Snapshot(error)) => panic!("{error}"),
                }
            }
            step => panic!("{step:?}"),
        }
    }
}

fn finish(sender: &mut Sender<FakeFile>, receiver: &mut Option<Receiver<FakeDisk>>) -> Option<Received> {
    let transfer = sender.transfer();
    let received = run(receiver.take().unwrap().finish()).unwrap();
    sender.receive(over_the_wire(&Message::Done { transfer, ok: true, reason: String::new() })).unwrap();
    assert_eq!(sender.step(), Step::Over(Ok(())));
    Some(received)
}

#[test]
fn a_file_arrives() {
    let ends = ends();
    let received = connect(&ends, &mut ends.sender(), &mut None, |_| false).unwrap();
    ends.check(&received);
    assert_eq!(ends.to.names(Path::new(DIR)), ["g3-i42-t7-b0.run"]);
    let after_crash = ends.to.after_crash(|| false);
    assert_eq!(after_crash.names(Path::new(DIR)), ["g3-i42-t7-b0.run"], "durable once received");
    let path = ends.to_store.path(received.reference.name);
    assert!(after_crash.bytes(&path) == ends.to.bytes(&path), "with all its bytes");
    assert_eq!(run(ends.to_store.collect()).unwrap(), 0, "kept until published");
}

#[test]
fn a_connection_that_breaks_at_every_chunk_costs_one_chunk_each_time() {
    let ends = ends();
    let (mut sender, mut receiver) = (ends.sender(), None);
    let mut sent = 0;
    for broken in 0..ends.chunks() {
        let mut passed = 0;
        let received = connect(&ends, &mut sender, &mut receiver, |_| {
            sent += 1;
            passed += 1;
            passed == 2
        });
        let last = broken + 1 == ends.chunks();
        assert_eq!(received.is_some(), last, "connection {broken}");
        received.iter().for_each(|received| ends.check(received));
    }
    assert_eq!(sent, 2 * ends.chunks() - 1, "nothing that was here is sent again");
}

#[test]
fn a_broken_connection_after_the_last_chunk_sends_nothing_again() {
    let ends = ends();
    let mut sender = ends.sender();
    let Step::Send(Message::Begin(begin)) = sender.step() else { panic!() };
    let mut receiver = ends.receiver(begin);
    sender.receive(receiver.resume().unwrap()).unwrap();
    while let Some((Message::Chunk(header), data)) = run(sender.next_chunk()).unwrap() {
        run(receiver.chunk(header, &data)).unwrap();
    }
    assert_eq!(sender.step(), Step::Wait);
    assert_eq!(receiver.resume(), None);
    sender.disconnected();
    let received = connect(&ends, &mut sender, &mut Some(receiver), |_| panic!("no chunk")).unwrap();
    ends.check(&received);
}

#[test]
fn damaged_chunks_are_sent_again() {
    let ends = ends();
    let mut count = 0;
    let damage = |data: &mut Vec<u8>| {
        count += 1;
        match count % 3 {
            0 => data[count] ^= 1,
            1 if count > 1 => data.truncate(data.len() / 2),
            _ => {}
        }
        false
    };
    let received = connect(&ends, &mut ends.sender(), &mut None, damage).unwrap();
    ends.check(&received);
}

#[test]
fn chunks_behind_a_refused_one_are_ignored() {
    let ends = ends();
    let mut sender = ends.sender();
    let Step::Send(Message::Begin(begin)) = sender.step() else { panic!() };
    let mut receiver = ends.receiver(begin);
    sender.receive(receiver.resume().unwrap()).unwrap();
    let mut next = || -> (crate::transfer::ChunkHeader, Buffer) {
        let Some((Message::Chunk(header), data)) = run(sender.next_chunk()).unwrap() else { panic!() };
        (header, data)
    };
    let (first, second, third) = (next(), next(), next());
    assert_eq!(run(receiver.chunk(first.0, &first.1)).unwrap(), Progress::More);
    assert_eq!(
        run(receiver.chunk(first.0, &first.1)).unwrap(),
        Progress::More,
        "a repetition changes nothing"
    );
    let error = run(receiver.chunk(third.0, &third.1)).unwrap_err().to_string();
    assert_eq!(error, "the chunk at byte 524288 is not the next");
    assert_eq!(run(receiver.chunk(third.0, &third.1)).unwrap(), Progress::More, "answered once");
    assert_eq!(receiver.resume_from(), u64::from(CHUNK_BYTES_MIN));
    let wrong = crate::transfer::ChunkHeader { transfer: TransferId(8), ..second.0 };
    assert!(run(receiver.chunk(wrong, &second.1)).is_err());
    assert_eq!(run(receiver.chunk(second.0, &second.1)).unwrap(), Progress::More);
    assert_eq!(run(receiver.chunk(third.0, &third.1)).unwrap(), Progress::More);
    assert_eq!(receiver.resume_from(), 3 * u64::from(CHUNK_BYTES_MIN));
}

#[test]
fn another_file_begins_anew() {
    let ends = ends();
    let (mut sender, mut receiver) = (ends.sender(), None);
    assert!(connect(&ends, &mut sender, &mut receiver, |_| true).is_none());
    let mut receiver = receiver.unwrap();
    let Step::Send(Message::Begin(begin)) = sender.step() else { panic!() };
    let changes: [fn(&mut Begin); 3] =
        [|begin| begin.checksum ^= 1, |begin| begin.file_bytes += 4096, |begin| begin.name.id = id(43)];
    for change in changes {
        let mut other = begin.clone();
        change(&mut other);
        assert!(!receiver.resumes(&other));
    }
    let restarted = Begin { transfer: TransferId(10), ..begin };
    assert!(receiver.resumes(&restarted), "the same content under another number");
    assert_eq!(receiver.transfer(), TransferId(10));
}

#[test]
fn a_lying_sender_is_found_out() {
    let ends = ends();
    let mut sender = ends.sender();
    let Step::Send(Message::Begin(begin)) = sender.step() else { panic!() };
    let mut receiver = ends.receiver(begin);
    sender.receive(receiver.resume().unwrap()).unwrap();
    while let Some((Message::Chunk(mut header), data)) = run(sender.next_chunk()).unwrap() {
        let mut data = data.to_vec();
        if header.offset > 0 {
            data[5] ^= 1;
            header.data_checksum = crc32fast::hash(&data);
        }
        run(receiver.chunk(header, &data)).unwrap();
    }
    assert!(run(receiver.finish()).unwrap_err().is_corrupt());
    assert_eq!(run(ends.to_store.collect()).unwrap(), 1);
    assert!(ends.to.names(Path::new(DIR)).is_empty());
}

#[test]
fn the_sender_ends_and_refuses_what_it_must() {
    let ends = ends();
    let mut sender = ends.sender();
    let transfer = sender.transfer();
    assert!(sender.receive(Message::Resume { transfer, offset: 0 }).is_err(), "before Begin");
    let Step::Send(begin) = sender.step() else { panic!() };
    assert!(sender.receive(begin).is_err());
    for offset in [1, ends.reference.bytes, u64::MAX] {
        assert!(sender.receive(Message::Resume { transfer, offset }).is_err(), "{offset}");
    }
    assert_eq!(sender.next_chunk_bytes(), 0);
    sender.receive(Message::Abort { transfer: TransferId(1), reason: String::new() }).unwrap();
    assert_eq!(sender.step(), Step::Wait, "another transfer's message");
    sender.receive(Message::Resume { transfer, offset: ends.reference.bytes - 4096 }).unwrap();
    assert_eq!(sender.next_chunk_bytes(), 4096);
    sender.receive(Message::Done { transfer, ok: false, reason: "disk full".to_string() }).unwrap();
    sender.disconnected();
    assert_eq!(sender.step(), Step::Over(Err("disk full".to_string())));

    drop(sender);
    ends.from_store.forget(GROUP);
    assert_eq!(run(ends.from_store.collect()).unwrap(), 1, "the sender's guard is gone");
}

#[test]
fn a_crash_of_the_receiver_leaves_nothing_or_a_whole_file() {
    let whole = ends();
    connect(&whole, &mut whole.sender(), &mut None, |_| false).unwrap();
    for crash in 0..whole.to.operations() - 1 {
        let ends = ends();
        let mut sender = ends.sender();
        let Step::Send(Message::Begin(begin)) = sender.step() else { panic!() };
        ends.to.crash_after(crash);
        let outcome: Result<(), SnapshotError> = run(async {
            let slot = ends.to_store.begin_receive(begin.name.group, begin.name.id).unwrap();
            let mut receiver = Receiver::create(slot, begin).await?;
            sender.receive(receiver.resume().unwrap()).unwrap();
            while let Some((Message::Chunk(header), data)) = sender.next_chunk().await? {
                match receiver.chunk(header, &data).await {
                    Err(ReceiveError::Snapshot(error)) => return Err(error),
                    taken => drop(taken.unwrap()),
                }
            }
            receiver.finish().await.map(drop)
        });
        assert!(outcome.is_err(), "crash at {crash}");
        for kept in [false, true] {
            let disk = ends.to.after_crash(|| kept);
            assert!(disk.names(Path::new(DIR)).len() <= 1);
            let (_, report) = open(&disk, &[]);
            assert!(report.missing.is_empty() && disk.names(Path::new(DIR)).is_empty(), "no record names it");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any pattern of broken connections and damaged chunks ends with the sender's bytes.
    #[test]
    fn any_faults_only_cost_time(faults in prop::collection::vec(0u8..6, 1..40)) {
        let ends = ends();
        let (mut sender, mut receiver) = (ends.sender(), None);
        let mut faults = faults.into_iter().chain(std::iter::repeat(5));
        let received = loop {
            let done = connect(&ends, &mut sender, &mut receiver, |data| match faults.next().unwrap() {
                0 => true,
                1 => { data[0] ^= 0x80; false }
                2 => { data.pop(); false }
                _ => false,
            });
            if let Some(received) = done { break received }
        };
        ends.check(&received);
    }
}
