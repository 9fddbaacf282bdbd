//! The transfer of a snapshot file, at the receiving end.

use std::path::Path;
use std::sync::OnceLock;

use snapshot::transfer::{Begin, ChunkHeader, DecodeError, Message, Progress, Receiver, TransferId};
use snapshot::{Limits, RunReference, Store};

use super::snapshots::{build, kv_items};
use crate::disk::{MemoryDisk, block_on};
use crate::feed::{Feed, parts};
use crate::patches;

fn base() -> &'static (Vec<u8>, RunReference) {
    static BASE: OnceLock<(Vec<u8>, RunReference)> = OnceLock::new();
    BASE.get_or_init(|| build(&kv_items(40)))
}

/// Messages, each a part; a flag in front has its checksum right. The data of chunks are those of a file, which the
/// last part patches.
pub fn transfer(data: &[u8]) {
    let mut feed = Feed(data);
    let (repaired, count) = (feed.flag(), feed.below(8));
    let messages: Vec<&[u8]> = (0..count).map(|_| feed.part()).collect();
    let mut files = [base().0.clone()];
    patches::apply(&mut files, &mut feed);
    let [mut file] = files;
    if repaired {
        snapshot::fuzzing::repair(&mut file);
    }
    let disk = MemoryDisk::default();
    let (store, _) =
        block_on(Store::open(disk, Path::new("/snapshots"), &[], Limits::default())).expect("it opens");
    let mut receiver: Option<Receiver<MemoryDisk>> = None;
    for bytes in messages {
        let mut bytes = bytes.to_vec();
        if repaired && bytes.len() >= 16 {
            let sum = crc32fast::hash(&[&bytes[..12], &bytes[16..]].concat());
            bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        }
        match Message::decode(&bytes) {
            Ok((message, consumed)) => {
                assert_again(&message, &bytes[..consumed]);
                receiver = take(&store, receiver, message, &file);
            }
            Err(DecodeError::Incomplete { need }) => assert!(need > bytes.len(), "it asks for more"),
            Err(_) => {}
        }
    }
}

fn assert_again(message: &Message, bytes: &[u8]) {
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes, "a message written again");
    let cut = Message::decode(&bytes[..bytes.len() - 1]);
    assert!(matches!(cut, Err(DecodeError::Incomplete { .. })), "one byte less is not whole");
}

fn take(
    store: &Store<MemoryDisk>,
    receiver: Option<Receiver<MemoryDisk>>,
    message: Message,
    file: &[u8],
) -> Option<Receiver<MemoryDisk>> {
    match (message, receiver) {
        (Message::Begin(begin), receiver) => {
            if let Some(mut receiver) = receiver
                && receiver.resumes(&begin)
            {
                return Some(receiver);
            }
            let slot = store.begin_receive(begin.name.group, begin.name.id).ok()?;
            block_on(Receiver::create(slot, begin)).ok()
        }
        (Message::Chunk(mut header), Some(mut receiver)) => {
            let start = usize::try_from(header.offset).unwrap_or(usize::MAX).min(file.len());
            let end = start.saturating_add(header.data_bytes as usize).min(file.len());
            if header.data_checksum == 0 {
                header.data_checksum = crc32fast::hash(&file[start..end]);
            }
            match block_on(receiver.chunk(header, &file[start..end])) {
                Ok(Progress::Complete) => {
                    drop(block_on(receiver.finish()));
                    None
                }
                _ => {
                    let _answer = receiver.resume();
                    Some(receiver)
                }
            }
        }
        (_, receiver) => receiver,
    }
}

/// Seeds of [`transfer`].
#[must_use]
pub fn transfer_seeds() -> Vec<Vec<u8>> {
    let (file, reference) = base();
    let transfer = TransferId(5);
    let file_bytes = file.len() as u64;
    let begin = Message::Begin(Begin {
        transfer,
        name: reference.name,
        file_bytes,
        checksum: reference.checksum,
        chunk_bytes: snapshot::transfer::CHUNK_BYTES_MIN,
        meta: b"manifest".to_vec(),
    });
    let data_bytes = u32::try_from(file.len()).expect("small");
    let chunk = ChunkHeader { transfer, offset: 0, file_bytes, data_bytes, data_checksum: 0 };
    let messages = [
        begin,
        Message::Chunk(chunk),
        Message::Resume { transfer, offset: 9 },
        Message::Done { transfer, ok: false, reason: "no".to_owned() },
        Message::Abort { transfer, reason: "later".to_owned() },
    ];
    let encoded: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes
        })
        .collect();
    let mut seeds: Vec<Vec<u8>> =
        encoded.iter().map(|message| [&[1, 1], &*parts([message])].concat()).collect();
    seeds.push([&[1, 2], &*parts(&encoded[..2])].concat());
    seeds.push([&[1, 5], &*parts(&encoded)].concat());
    seeds.push([&[1, 2], &*parts(&encoded[..2]), &*patches::overwrite(0, 4100, &[1])].concat());
    seeds
}
