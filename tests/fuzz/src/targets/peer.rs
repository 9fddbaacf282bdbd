//! Frames of peers behind their checksums: the archive, the entries, and a core that is told all of it.

use raft::{
    Body, Check, Config, EntryId, EntryKind, EntrySpec, Index, Message, NodeId, Term, TermRun, encode_entry,
    entries as entries_of, entry_bytes,
};
use ringraft::fuzzing::{body_again, body_of, open_frame};
use runtime::Buffer;

use super::core::{GROUP, Stage};
use crate::feed::{Feed, parts};

/// How a core starts, whether it leads, then frames: body and tail by turns.
pub fn frame(data: &[u8]) {
    let mut feed = Feed(data);
    let mut stage = Stage::new(&mut feed);
    if feed.flag() {
        stage.lead();
    }
    while !feed.is_empty() {
        let (body, tail) = (Buffer::copy_from(feed.part()), feed.part());
        if let Some(again) = body_again(&body) {
            let again = Buffer::copy_from(&again);
            assert_eq!(body_again(&again).as_deref(), Some(&again[..]), "a body written again");
        }
        let Some(opened) = open_frame(&body, tail) else { continue };
        let mut end = 0;
        for range in
            opened.messages.iter().map(|(_, range, _)| range).chain(&opened.calls).chain(&opened.replies)
        {
            assert!(end <= range.start && range.end <= tail.len(), "parts lie in the tail, in order");
            end = range.end;
        }
        for (message, range, configs) in opened.messages {
            let entries = entries_of(&tail[range], Check::Shape).count();
            if let Body::Append { prev, last, .. } = &message.body {
                assert_eq!(last.0.checked_sub(prev.index.0), Some(entries as u64), "all entries are there");
            }
            stage.step(NodeId(2), message, &configs);
        }
        stage.pull();
    }
}

fn entry(index: u64, kind: EntryKind, command: &[u8]) -> Vec<u8> {
    let mut out = vec![0; entry_bytes(command.len())];
    let id = EntryId::new(Term(4), Index(index));
    let spec = EntrySpec { group: GROUP, incarnation: 0, id, kind };
    encode_entry(&mut out, spec, command.len(), |place| place.copy_from_slice(command));
    out
}

/// Seeds of [`frame`].
#[must_use]
pub fn frame_seeds() -> Vec<Vec<u8>> {
    let config = Config::of_voters(&[NodeId(1), NodeId(2)]).encode();
    let mut tail = [
        entry(1, EntryKind::Noop, b""),
        entry(2, EntryKind::Command, b"command"),
        entry(3, EntryKind::Membership, &config),
    ]
    .concat();
    let append = Body::Append {
        prev: EntryId::ZERO,
        last: Index(3),
        runs: [TermRun { first: Index(1), term: Term(4) }].into_iter().collect(),
        entries_bytes: u32::try_from(tail.len()).expect("small"),
        commit: Index(2),
        round: 1,
    };
    let message = |body| Message { group: GROUP, term: Term(4), body };
    tail.extend_from_slice(b"0123456789abcdef0123456789abcdefanswer");
    let bodies = [
        body_of(vec![message(append)], &[32], &[6]),
        body_of(vec![message(Body::Vote { last: EntryId::ZERO, transfer: true })], &[], &[]),
        body_of(
            vec![
                message(Body::Beat { commit: Index(0), round: 1 }),
                message(Body::Quiesce { last: EntryId::ZERO, round: 2 }),
                message(Body::SnapshotOffer { id: EntryId::new(Term(4), Index(9)) }),
                message(Body::AppendAck { matched: Index(1), round: 1, lease: true, stands: true }),
            ],
            &[],
            &[],
        ),
    ];
    let mut seeds = Vec::new();
    for start in [0, 16, 48] {
        for (place, body) in bodies.iter().enumerate() {
            let tail: &[u8] = if place == 0 { &tail } else { b"" };
            seeds.push([&[start, 0], &*parts([body, tail])].concat());
        }
        let both: [&[u8]; 4] = [&bodies[0], &tail, &bodies[2], b""];
        seeds.push([&[start, 1], &*parts(both)].concat());
    }
    seeds
}

/// The bytes of entries; a flag has the checksum of the first one right. What is a configuration is read.
pub fn entries(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let mut bytes = feed.0.to_vec();
    if repaired && let Ok(first) = raft::decode_entry(&bytes, Check::Shape) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&first.bytes[4..raft::ENTRY_HEADER_BYTES]);
        hasher.update(first.command);
        let sum = hasher.finalize();
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
    }
    let mut taken = 0;
    for entry in entries_of(&bytes, Check::Checksum) {
        let Ok(entry) = entry else { break };
        let mut again = vec![0; entry_bytes(entry.command.len())];
        let raft::Entry { group, incarnation, id, kind, command, .. } = entry;
        let spec = EntrySpec { group, incarnation, id, kind };
        encode_entry(&mut again, spec, command.len(), |place| place.copy_from_slice(command));
        assert_eq!(again, entry.bytes, "an entry written again");
        taken += entry.bytes.len();
        if let Some(config) = Config::decode(command) {
            assert_eq!(config.encode(), command, "a configuration written again");
            drop((config.check(), config.members(), config.leave()));
        }
    }
    assert!(taken <= bytes.len());
    if let Some(config) = Config::decode(feed.0) {
        assert_eq!(config.encode(), feed.0, "a configuration written again");
    }
}

/// Seeds of [`entries`].
#[must_use]
pub fn entry_seeds() -> Vec<Vec<u8>> {
    let joint = Config {
        voters: vec![NodeId(1), NodeId(2)],
        outgoing: vec![NodeId(2), NodeId(3)],
        learners: vec![NodeId(4)],
        learners_next: vec![NodeId(3)],
    };
    let two = [entry(1, EntryKind::Command, b"command"), entry(2, EntryKind::Membership, &joint.encode())];
    vec![
        [&[1], &*two.concat()].concat(),
        [&[1], &*entry(1, EntryKind::Membership, &joint.encode())].concat(),
        [&[0], &*joint.encode()].concat(),
    ]
}
