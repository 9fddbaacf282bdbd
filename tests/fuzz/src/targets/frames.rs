//! What peers exchange as bytes: frames, greetings, the messages of forming.

use net::forming::{Birth, Cluster, Former, Forming, Output, State};
use net::frame::{FrameReader, FrameSpec, frame_parts};
use net::handshake::{
    ClusterId, Directory, FORMAT_VERSION, Hello, Identity, Kind, Message, Refused, Welcome, judge,
    judge_answer,
};
use raft::{NodeId, Time};
use runtime::Part;

use super::directory::{address, founded, record};
use crate::feed::{Feed, parts};

/// What a frame is to whoever reads it.
type Read = Result<(Vec<u8>, Vec<u8>, u64), String>;

/// A flag has checksums right, eight bytes say the pieces in which the rest, a stream of frames, comes.
pub fn stream(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let sizes = feed.bytes(8);
    let mut input = feed.0.to_vec();
    if repaired {
        repair(&mut input);
    }
    let whole = read(&input, &mut Feed(&[]));
    let pieces = read(&input, &mut Feed(sizes));
    assert_eq!(whole, pieces, "the same bytes whole and in pieces");
    for (body, tail, sequence) in whole.into_iter().flatten() {
        let spec = FrameSpec { sequence, ..FrameSpec::default() };
        let again: Vec<u8> = frame_parts(spec, body.clone(), vec![Part::Bytes(tail.clone())])
            .iter()
            .flat_map(|part| part.bytes().to_vec())
            .collect();
        assert_eq!(read(&again, &mut Feed(&[])), [Ok((body, tail, sequence))], "a frame written again");
    }
}

/// Without sizes everything comes at once.
fn read(input: &[u8], sizes: &mut Feed<'_>) -> Vec<Read> {
    let whole = sizes.is_empty();
    let (mut reader, mut rest, mut found) = (FrameReader::default(), input, Vec::new());
    while !rest.is_empty() {
        let (mut buffer, from) = reader.prepare();
        let piece = if whole { usize::MAX } else { 1 + usize::from(sizes.byte()) };
        let (now, later) = rest.split_at(piece.min(rest.len()).min(buffer.len() - from));
        buffer[from..from + now.len()].copy_from_slice(now);
        reader.filled(buffer, from + now.len());
        rest = later;
        while let Some(frame) = reader.next_frame() {
            match frame {
                Ok(frame) => {
                    found.push(Ok((frame.body.to_vec(), frame.tail.to_vec(), frame.header.sequence)));
                }
                Err(error) => {
                    found.push(Err(error.to_string()));
                    return found;
                }
            }
        }
    }
    found
}

/// Makes the checksums of a stream of frames and handshake messages right, as far as it goes.
pub fn repair(mut stream: &mut [u8]) {
    while stream.len() >= 16 {
        let mut number = [0; 4];
        number.copy_from_slice(&stream[12..16]);
        let bytes = (u32::from_le_bytes(number) as usize).clamp(16, stream.len());
        let magic = [stream[4], stream[5], stream[6], stream[7]];
        let (front, behind) = stream.split_at_mut(bytes);
        if magic == net::frame::FRAME_MAGIC && front.len() >= 64 {
            let sum = crc32fast::hash(&front[64..]);
            front[24..28].copy_from_slice(&sum.to_le_bytes());
            let sum = crc32fast::hash(&front[4..64]);
            front[..4].copy_from_slice(&sum.to_le_bytes());
        } else if magic == net::handshake::HANDSHAKE_MAGIC {
            let sum = crc32fast::hash(&front[4..]);
            front[..4].copy_from_slice(&sum.to_le_bytes());
        } else {
            return;
        }
        stream = behind;
    }
}

/// The bytes of a frame.
#[must_use]
pub fn frame(sequence: u64, body: &[u8], tail: &[u8]) -> Vec<u8> {
    let spec = FrameSpec { sequence, ..FrameSpec::default() };
    let parts = frame_parts(spec, body.to_vec(), vec![Part::Bytes(tail.to_vec())]);
    parts.iter().flat_map(|part| part.bytes().to_vec()).collect()
}

/// Seeds of [`stream`].
#[must_use]
pub fn stream_seeds() -> Vec<Vec<u8>> {
    let two = [frame(0, b"body", b"tail"), frame(1, b"", &[7; 100])].concat();
    let head = |flag| [flag, 3, 200, 0, 16, 63, 1, 9, 255];
    vec![
        [&head(1)[..], &two].concat(),
        [&head(0)[..], &two].concat(),
        [&head(0)[..], &frame(0, b"", b"")].concat(),
    ]
}

/// What a node of three says of itself.
#[must_use]
pub fn identity(node: u16, formed: bool) -> Identity {
    Identity {
        cluster_id: if formed { record().cluster_id } else { ClusterId::UNFORMED },
        node: NodeId(node),
        incarnation: 100 + u64::from(node),
        boot: 1,
        shard: 0,
        shard_count: 2,
        group_count: 16,
        format_version: FORMAT_VERSION,
        directory_version: 0,
        client_address: address(6000 + node),
    }
}

/// What a node of three was born with.
#[must_use]
pub fn birth(node: u16) -> Birth {
    Birth {
        node: NodeId(node),
        incarnation: 100 + u64::from(node),
        shard_count: 2,
        group_count: 16,
        client: address(6000 + node),
        list: (1..=3).map(|node| (NodeId(node), address(7000 + node))).collect(),
    }
}

/// What all members know of the members.
#[must_use]
pub fn members() -> Directory {
    Directory::from(&founded().roster())
}

/// Handshake messages, each judged, and those of forming heard by a node: which one says the first byte.
pub fn handshake(data: &[u8]) {
    let mut feed = Feed(data);
    let (node, formed, repaired) = (1 + u16::from(feed.below(3)), feed.flag(), feed.flag());
    let now = Time(5_000_000);
    let cluster = formed.then(|| Cluster::as_formed(record()));
    let mut former = Former::new(now, birth(node), 1, cluster, ClusterId([9; 16]));
    for peer in (1..=3).filter(|peer| *peer != node) {
        former.connected(now, NodeId(peer), 100 + u64::from(peer));
    }
    while !feed.is_empty() {
        let from = 1 + u16::from(feed.below(3));
        let mut bytes = feed.part().to_vec();
        if repaired {
            repair(&mut bytes);
        }
        let Ok(Some((message, consumed))) = Message::decode(&bytes) else { continue };
        assert_eq!(Message::decode(&bytes[..consumed - 1]), Ok(None), "one byte less is not whole");
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(&again), Ok(Some((message.clone(), again.len()))), "written again");
        take(&mut former, now, from, message);
    }
}

fn take(former: &mut Former, now: Time, from: u16, message: Message) {
    let ours = identity(2, true);
    match message {
        Message::Hello(hello) => {
            if let Err(refusal) = judge(&ours, &members(), &hello) {
                let mut out = Vec::new();
                Message::Refused(Refused::new(&refusal, &ours)).encode(&mut out);
            }
            drop(judge_answer(&hello, &members(), &ours));
        }
        Message::Welcome(welcome) => {
            let hello = Hello { kind: Kind::Raft, caller: ours, wanted: NodeId(from), wanted_shard: 0 };
            drop(judge_answer(&hello, &members(), &welcome.answerer));
        }
        Message::Refused(refused) => {
            refused.ends_membership(&ours);
        }
        Message::Forming(message) => former.heard(now, NodeId(from), 100 + u64::from(from), message),
    }
    while let Some(output) = former.take_output() {
        match output {
            Output::Send { message, .. } => Message::Forming(message).encode(&mut Vec::new()),
            Output::Sync(cluster) => {
                assert_eq!(Cluster::decode(&cluster.encode()), Ok(cluster), "what is synced");
                former.synced(now);
            }
            _ => {}
        }
    }
    former.tick(former.deadline());
}

/// Seeds of [`handshake`].
#[must_use]
pub fn handshake_seeds() -> Vec<Vec<u8>> {
    let unformed = |node, question| {
        let state = State::Unformed { birth: birth(node), promise: 77 };
        Message::Forming(Forming::State { question, state })
    };
    let messages = [
        Message::Hello(greeting(1)),
        Message::Welcome(Welcome { answerer: identity(2, true) }),
        Message::Refused(Refused {
            code: 3,
            reason: "no\u{85}\n".to_owned(),
            cluster_id: record().cluster_id,
            directory_version: 4,
        }),
        Message::Forming(Forming::StateQuery { question: 5 }),
        unformed(2, (1 << 32) + 1),
        unformed(3, (1 << 32) + 1),
        Message::Forming(Forming::State {
            question: (1 << 32) + 1,
            state: State::Formed { cluster: Cluster::as_formed(record()) },
        }),
        Message::Forming(Forming::Form { promise: (1 << 32) + 2, record: record() }),
        Message::Forming(Forming::FormAck { cluster_id: record().cluster_id }),
    ];
    let mut seeds = Vec::new();
    let mut all = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let from = u8::try_from(1 + place % 2).expect("small");
        let part = [&[from], &*parts([bytes])].concat();
        seeds.push([&[u8::try_from(place % 3).expect("small"), 0, 1], &*part].concat());
        all.extend(part);
    }
    seeds.push([&[0, 0, 1], &*all].concat());
    seeds.push([&[1, 1, 1], &*all].concat());
    seeds
}

/// The greeting of a member.
#[must_use]
pub fn greeting(node: u16) -> Hello {
    Hello { kind: Kind::Raft, caller: identity(node, true), wanted: NodeId(2), wanted_shard: 0 }
}
