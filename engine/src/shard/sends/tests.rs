//! A file on its way while its sender is away, and chunks are.

use std::path::Path;

use raft::{EntryId, GroupId, Index, Term};
use ringraft_tests::disk::{SimDisk, block_on};
use snapshot::transfer::{CHUNKS_UNDER_WAY_MAX, Message, Offer, Sender, Step, TransferId};
use snapshot::{BuildSpec, Builder, Limits, Manifest, Room, Store, Use};

use super::under_way::UnderWay;
use crate::shard::transfers::CHUNK_BYTES;

type File = <SimDisk as runtime::Disk>::File;

const TRANSFER: TransferId = TransferId(5);

/// A sender of a file of some megabytes that was just opened.
async fn sender() -> Sender<File> {
    let (disk, dir) = (SimDisk::new(), Path::new("/snapshots"));
    let (group, id) = (GroupId(1), EntryId::new(Term(1), Index(7)));
    let (store, _) = Store::open(disk.clone(), dir, &[], Limits::default()).await.unwrap();
    let spec = BuildSpec { store: [1; 16], shard: 0, membership: Vec::new() };
    let mut builder = Builder::create(store.begin_build(group, id).unwrap(), spec).await.unwrap();
    for number in 0..64u8 {
        if builder.push(&[number], &vec![number; 100_000]).unwrap() == Room::Flush {
            builder.flush().await.unwrap();
        }
    }
    let reference = builder.finish().await.unwrap().reference;
    store.publish(&Manifest { group, id, membership: Vec::new(), runs: vec![reference] });
    let guard = store.hold(reference.name, Use::Sending).unwrap();
    let offer = Offer { transfer: TRANSFER, chunk_bytes: CHUNK_BYTES, meta: Vec::new() };
    Sender::open(&disk, &store.path(reference.name), guard, &reference, offer).await.unwrap()
}

fn resume(chunk: u64) -> Message {
    Message::Resume { transfer: TRANSFER, offset: chunk * u64::from(CHUNK_BYTES) }
}

/// A file that the receiver was told of, and asks for from this chunk on.
fn begun(chunk: u64) -> UnderWay<File> {
    let mut file = UnderWay::new(TRANSFER);
    assert!(file.back(block_on(sender()), None));
    begin(&mut file, chunk);
    file
}

fn begin(file: &mut UnderWay<File>, chunk: u64) {
    assert!(matches!(file.step(), Step::Send(Message::Begin(_))));
    assert_eq!(file.bytes_to_read(), 0, "nobody has asked for it");
    assert!(file.take(resume(chunk)));
}

/// Reads the next chunk; `meanwhile` happens before it is there.
fn read(file: &mut UnderWay<File>, meanwhile: impl FnOnce(&mut UnderWay<File>)) {
    assert_eq!(file.bytes_to_read(), u64::from(CHUNK_BYTES));
    let mut sender = file.lend().unwrap();
    assert_eq!(file.bytes_to_read(), 0, "one at a time");
    meanwhile(file);
    let chunk = block_on(sender.next_chunk()).unwrap();
    assert!(file.back(sender, chunk));
}

/// Sends the chunk that was read: its number.
fn sent(file: &mut UnderWay<File>) -> Option<u64> {
    let (message, _) = file.send_chunk()?;
    let Message::Chunk(header) = message else { panic!("{message:?}") };
    Some(header.offset / u64::from(CHUNK_BYTES))
}

/// Sends as many chunks as may be under way: their numbers.
fn send_all(file: &mut UnderWay<File>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while file.bytes_to_read() > 0 {
        read(file, |_| {});
        numbers.extend(sent(file));
    }
    numbers
}

#[test]
fn chunks_follow_before_those_before_them_are_answered() {
    let mut file = begun(0);
    assert_eq!(send_all(&mut file), [0, 1, 2, 3]);
    assert!(file.take(resume(1)) && file.take(resume(2)));
    assert_eq!(send_all(&mut file), [4, 5], "as many as were answered");
}

#[test]
fn one_chunk_is_read_ahead_and_no_more() {
    let mut file = begun(0);
    read(&mut file, |_| {});
    assert_eq!(file.bytes_to_read(), 0, "the one before it is not sent yet");
    assert_eq!(sent(&mut file), Some(0));
    assert_eq!(sent(&mut file), None);
}

#[test]
fn being_sent_back_drops_what_was_read_ahead() {
    let mut file = begun(0);
    read(&mut file, |_| {});
    assert_eq!(sent(&mut file), Some(0));
    read(&mut file, |_| {});
    assert!(file.take(resume(0)), "the first was refused");
    assert_eq!(sent(&mut file), None);
    assert_eq!(send_all(&mut file), [0, 1, 2, 3]);

    // The same while the sender is away, with others under way: their answers are no news.
    assert!(file.take(resume(1)));
    read(&mut file, |file| assert!(file.take(resume(1))));
    assert_eq!(sent(&mut file), None);
    assert_eq!(send_all(&mut file), [1, 2], "two of four are not answered");
    assert!(file.take(resume(1)) && file.take(resume(1)));
    assert_eq!(send_all(&mut file), [3, 4]);
    assert!(file.take(resume(2)) && file.take(resume(3)));
    assert_eq!(send_all(&mut file), [5, 6]);
}

#[test]
fn a_lost_connection_takes_its_chunks_with_it() {
    let mut file = begun(0);
    assert_eq!(send_all(&mut file).len(), CHUNKS_UNDER_WAY_MAX);
    file.disconnected();
    begin(&mut file, 2);
    assert_eq!(send_all(&mut file), [2, 3, 4, 5]);

    // And while a chunk is read, with another answer just come.
    assert!(file.take(resume(3)));
    read(&mut file, |file| {
        assert!(file.take(resume(3)));
        file.disconnected();
    });
    assert_eq!(sent(&mut file), None);
    begin(&mut file, 3);
    assert_eq!(send_all(&mut file), [3, 4, 5, 6]);
}

#[test]
fn an_end_is_heard_with_chunks_under_way() {
    let done = Message::Done { transfer: TRANSFER, ok: true, reason: String::new() };
    let abort = Message::Abort { transfer: TRANSFER, reason: "another one took its place".to_owned() };
    let outcomes = [(done, Ok(())), (abort, Err("another one took its place".to_owned()))];
    for (end, outcome) in outcomes {
        let mut file = begun(0);
        read(&mut file, |_| {});
        assert_eq!(sent(&mut file), Some(0));
        read(&mut file, |file| assert!(file.take(end.clone())));
        assert_eq!(sent(&mut file), None, "nobody wants what was read meanwhile");
        assert_eq!(file.bytes_to_read(), 0);
        assert_eq!(file.step(), Step::Over(outcome));
    }
}

#[test]
fn what_belongs_to_the_file_before_changes_nothing() {
    let mut file = begun(0);
    read(&mut file, |_| {});
    let before = TransferId(4);
    assert!(file.take(Message::Abort { transfer: before, reason: String::new() }));
    assert!(file.take(Message::Resume { transfer: before, offset: 0 }));
    assert_eq!(sent(&mut file), Some(0));
    assert_eq!(send_all(&mut file), [1, 2, 3]);
}

#[test]
fn a_receiver_that_talks_nonsense_is_found_out() {
    let mut file = begun(0);
    assert!(!file.take(Message::Resume { transfer: TRANSFER, offset: 1 }));
    read(&mut file, |file| {
        let says: Vec<bool> = (0..=CHUNKS_UNDER_WAY_MAX).map(|_| file.take(resume(0))).collect();
        assert_eq!(says, [true, true, true, true, false], "more than it has to say");
    });
}
