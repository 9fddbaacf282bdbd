//! Handshake messages there and back, damaged and made up; and every sentence of refusal.

use proptest::prelude::*;
use raft::NodeId;

use super::*;
use crate::forming::{Birth, Cluster, MEMBERS_MAX, Member, REMOVED_MAX, Record, Roster, State, Tombstone};

fn identity(node: u16) -> Identity {
    Identity {
        cluster_id: ClusterId([7; 16]),
        node: NodeId(node),
        incarnation: 1000 + u64::from(node),
        boot: 5,
        shard: 0,
        shard_count: 4,
        group_count: 16,
        format_version: FORMAT_VERSION,
        directory_version: 9,
        client_address: Address::new("node.example", 6101).unwrap(),
    }
}

fn hello(node: u16, wanted: u16) -> Hello {
    Hello { kind: Kind::Raft, caller: identity(node), wanted: NodeId(wanted), wanted_shard: 0 }
}

/// The largest record there can be.
fn record() -> Record {
    let host = "h".repeat(HOST_BYTES_MAX);
    let address = Address::new(&host, 65_535).unwrap();
    let member = |node| Member {
        node: NodeId(node),
        incarnation: u64::MAX,
        shard_count: u16::MAX,
        peer: address.clone(),
        client: address.clone(),
    };
    let members = (1..=u16::try_from(MEMBERS_MAX).unwrap()).map(member).collect();
    Record { cluster_id: ClusterId([9; 16]), group_count: 16_384, members }
}

/// The largest cluster there can be.
fn cluster() -> Cluster {
    let record = record();
    let removed = vec![Tombstone { node: NodeId(9), incarnation: 1 }; REMOVED_MAX];
    Cluster { roster: Roster { version: 9, members: record.members.clone(), removed }, record }
}

fn refused(code: u16, reason: impl Into<String>) -> Refused {
    Refused { code, reason: reason.into(), cluster_id: ClusterId([7; 16]), directory_version: 9 }
}

fn birth() -> Birth {
    let address = |node: u16| Address::new("::1", 7000 + node).unwrap();
    Birth {
        node: NodeId(2),
        incarnation: 3,
        shard_count: 4,
        group_count: 5,
        client: address(2),
        list: (1..=3).map(|node| (NodeId(node), address(node))).collect(),
    }
}

fn messages() -> Vec<Message> {
    let forming = [
        Forming::StateQuery { question: 1 },
        Forming::State { question: 2, state: State::Unformed { birth: birth(), promise: 3 } },
        Forming::State { question: 4, state: State::Formed { cluster: cluster() } },
        Forming::Form { promise: 5, record: record() },
        Forming::FormAck { cluster_id: ClusterId([6; 16]) },
    ];
    let mut messages = vec![
        Message::Hello(hello(1, 2)),
        Message::Hello(Hello { kind: Kind::Snapshot, wanted_shard: 3, ..hello(2, 1) }),
        Message::Welcome(Welcome { answerer: identity(2) }),
        Message::Refused(refused(8, "node 2 lost its disk")),
    ];
    messages.extend(forming.map(Message::Forming));
    messages
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Makes the checksum right again.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn messages_come_back_however_they_arrive() {
    for message in messages() {
        let bytes = encoded(&message);
        assert!(bytes.len().is_multiple_of(16) && bytes.len() <= HANDSHAKE_BYTES_MAX);
        for end in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..end]), Ok(None));
        }
        let more = [bytes.clone(), b"frames".to_vec()].concat();
        assert_eq!(Message::decode(&more), Ok(Some((message, bytes.len()))));
    }
}

#[test]
fn the_layout_is_as_written_down() {
    let bytes = encoded(&Message::Hello(hello(1, 2)));
    assert_eq!(&bytes[4..8], b"rrhs");
    assert_eq!(bytes[8..16], [0, 0, 1, 0, 96, 0, 0, 0]);
    assert_eq!(bytes[16..22], [0, 0, 2, 0, 0, 0], "purpose, wanted node and shard");
    assert_eq!(bytes[22..38], [7; 16], "cluster");
    assert_eq!(bytes[38..46], 1001_u64.to_le_bytes(), "incarnation");
    assert_eq!(bytes[46..54], 5_u64.to_le_bytes(), "boot");
    assert_eq!(bytes[54..62], 9_u64.to_le_bytes(), "directory");
    assert_eq!(bytes[62..74], [16, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0], "groups, node, shard, shards, format");
    assert_eq!(bytes[74..78], [213, 23, 12, 0], "port, length of the host");
    assert_eq!(&bytes[78..90], b"node.example");
    assert_eq!(bytes[90..], [0; 6]);
}

#[test]
fn every_flipped_bit_is_found() {
    for message in messages() {
        let bytes = encoded(&message);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A length may now ask for more bytes than there are, but for no more than a message has.
            let read = Message::decode(&damaged);
            assert!(read.is_err() || (read == Ok(None) && (96..128).contains(&bit)), "bit {bit}: {read:?}");
        }
    }
}

#[test]
fn what_is_no_message_is_named() {
    let fault = |bytes: &[u8]| Message::decode(bytes).expect_err("it is no message");
    assert_eq!(
        fault(b"GET / HTTP/1.1\r\n").to_string(),
        "byte 4 of a handshake message: no node starts with '/ HT'"
    );
    let good = encoded(&Message::Hello(hello(1, 2)));
    let with = |at: usize, value: u16| {
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        sealed(bytes)
    };
    let cases: [(Vec<u8>, usize, HandshakeFault); 9] = [
        (with(8, 1), 8, HandshakeFault::Version(1)),
        (with(10, 0), 10, HandshakeFault::Kind(0)),
        (with(10, 21), 10, HandshakeFault::Kind(21)),
        (with(12, 0), 12, HandshakeFault::Length(0)),
        (with(12, 97), 12, HandshakeFault::Length(97)),
        (with(12, 8208), 12, HandshakeFault::Length(8208)),
        (with(16, 2), 16, HandshakeFault::Value("the purpose")),
        (with(76, 300), 76, HandshakeFault::Value("the client address")),
        (with(76, 19), 78, HandshakeFault::Short("the client address")),
    ];
    for (bytes, at, expected) in cases {
        assert_eq!(fault(&bytes), HandshakeError { at, fault: expected });
    }
    assert_eq!(fault(&with(90, 1)).fault, HandshakeFault::Trailing);
    assert_eq!(fault(&with(78, 0)).fault, HandshakeFault::Value("the client address"), "no host name");
}

#[test]
fn a_refusal_is_understood_across_versions_and_made_harmless() {
    let mut bytes = encoded(&Message::Refused(refused(99, "wait\x1b[2J\nfor me")));
    bytes[8] = 200;
    match Message::decode(&sealed(bytes)) {
        Ok(Some((Message::Refused(Refused { code: 99, reason, directory_version: 9, .. }), _))) => {
            assert_eq!(reason, "wait [2J for me")
        }
        other => panic!("{other:?}"),
    }
    let long = refused(1, "é".repeat(2000));
    match Message::decode(&encoded(&Message::Refused(long))) {
        Ok(Some((Message::Refused(Refused { reason, .. }), _))) => assert_eq!(reason, "é".repeat(512)),
        other => panic!("{other:?}"),
    }
}

fn directory() -> Directory {
    let known =
        |node: u16| KnownNode { node: NodeId(node), incarnation: 1000 + u64::from(node), shard_count: 4 };
    let removed = vec![Tombstone { node: NodeId(1), incarnation: 900 }];
    Directory { version: 9, nodes: (1..=3).map(known).collect(), removed }
}

/// Node 1, changed, calls node 2, changed.
fn judged(ours: impl FnOnce(&mut Identity), theirs: impl FnOnce(&mut Hello)) -> Result<(), String> {
    let (mut identity, mut hello) = (identity(2), hello(1, 2));
    ours(&mut identity);
    theirs(&mut hello);
    judge(&identity, &directory(), &hello).map_err(|refusal| refusal.to_string())
}

fn unform(identity: &mut Identity) {
    identity.cluster_id = ClusterId::UNFORMED;
}

#[test]
fn members_and_those_who_may_become_one_are_welcome() {
    let same = |_: &mut Identity| {};
    assert_eq!(judged(same, |_| {}), Ok(()));
    assert_eq!(judged(same, |hello| hello.caller.shard = 3), Ok(()));
    assert_eq!(judged(same, |hello| hello.kind = Kind::Snapshot), Ok(()));
    // Shard counts are each node's own; so is the client address.
    assert_eq!(judged(|ours| ours.shard_count = 9, |_| {}), Ok(()));
    // Forming: both unformed, or one; then the groups of the formed one count.
    assert_eq!(judged(unform, |hello| unform(&mut hello.caller)), Ok(()));
    assert_eq!(judged(same, |hello| unform(&mut hello.caller)), Ok(()));
    assert_eq!(judged(unform, |hello| hello.caller.group_count = 1), Ok(()));
    // Not known here, but perhaps elsewhere by now.
    let newer = |hello: &mut Hello| (hello.caller.node, hello.caller.directory_version) = (NodeId(0), 10);
    assert_eq!(judged(same, newer), Ok(()));
    // So it is if its id is higher: this node does not call whom it does not know.
    let higher = |hello: &mut Hello| (hello.caller.node, hello.caller.directory_version) = (NodeId(7), 10);
    assert_eq!(judged(same, higher), Ok(()));
    // Who is to join calls out of turn, and is called so; once both are formed the rule holds.
    for (ours_formed, theirs_formed) in [(true, false), (false, true)] {
        let (mut ours, mut hello) = (identity(2), hello(7, 2));
        let unformed = if ours_formed { &mut hello.caller } else { &mut ours };
        unform(unformed);
        assert_eq!(judge(&ours, &directory(), &hello), Ok(()), "{ours_formed} {theirs_formed}");
    }
    let added_again = |hello: &mut Hello| {
        hello.caller.incarnation = 77;
        hello.caller.directory_version = 10;
    };
    assert_eq!(judged(same, added_again), Ok(()));
    // A snapshot may come from the higher id.
    let (ours, mut snapshot) = (identity(2), hello(3, 2));
    snapshot.kind = Kind::Snapshot;
    assert_eq!(judge(&ours, &directory(), &snapshot), Ok(()));
}

#[test]
fn every_refusal_has_its_sentence() {
    let same = |_: &mut Identity| {};
    let refused = |hello: fn(&mut Hello)| judged(same, hello).expect_err("it is refused");
    let ours = "07".repeat(16);
    let theirs = "08".repeat(16);
    type Change = fn(&mut Hello);
    let cases: [(Change, String); 13] = [
        (|hello| hello.caller.format_version = 1, "this node speaks format version 0, the caller 1".into()),
        (
            |hello| hello.wanted = NodeId(3),
            "this address is node 2, the caller looked for node 3: check --cluster".into(),
        ),
        (
            |hello| hello.wanted_shard = 1,
            "this port is shard 0 of node 2, the caller looked for shard 1".into(),
        ),
        (|hello| hello.caller.node = NodeId(2), "the caller claims this node's own id 2".into()),
        (|hello| hello.caller.shard = 4, "node 1 has no incarnation or no such shard as it claims".into()),
        (
            |hello| hello.caller.incarnation = 0,
            "node 1 has no incarnation or no such shard as it claims".into(),
        ),
        (
            |hello| hello.caller.cluster_id = ClusterId([8; 16]),
            format!("this node belongs to cluster {ours}, the caller to {theirs}"),
        ),
        (
            |hello| {
                unform(&mut hello.caller);
                hello.caller.incarnation = 77;
            },
            "node 1 lost its disk: remove it and add it again".into(),
        ),
        (
            |hello| hello.caller.incarnation = 77,
            "node 1 was replaced: this is not the disk that belongs to the cluster".into(),
        ),
        (
            |hello| hello.caller.shard_count = 8,
            "node 1 has 4 shards in this cluster, the caller has 8".into(),
        ),
        (
            |hello| hello.caller.group_count = 32,
            "this node has 16 groups, the caller 32: start all with the same --groups".into(),
        ),
        (
            |hello| {
                unform(&mut hello.caller);
                hello.caller.shard = 1;
            },
            "node 1 is not yet part of the cluster".into(),
        ),
        (
            |hello| (hello.caller.node, hello.caller.incarnation) = (NodeId(3), 1003),
            "node 2 calls node 3, not the other way round".into(),
        ),
    ];
    for (change, sentence) in cases {
        assert_eq!(refused(change), sentence);
    }
    let unformed = judged(unform, |hello| hello.kind = Kind::Snapshot);
    assert_eq!(unformed, Err("node 2 is not yet part of the cluster".into()));
    let both = judged(unform, |hello| {
        unform(&mut hello.caller);
        hello.caller.group_count = 32;
    });
    assert_eq!(both, Err("this node has 16 groups, the caller 32: start all with the same --groups".into()));
}

#[test]
fn the_caller_judges_the_answer_alike() {
    let hello = hello(1, 2);
    let judged = |change: fn(&mut Identity)| {
        let mut answerer = identity(2);
        change(&mut answerer);
        judge_answer(&hello, &directory(), &answerer)
    };
    assert_eq!(judged(|_| {}), Ok(()));
    let wrong = Refusal::WrongNode { ours: NodeId(3), wanted: NodeId(2) };
    assert_eq!(judged(|answerer| answerer.node = NodeId(3)), Err(wrong));
    let wrong = Refusal::WrongShard { node: NodeId(2), ours: 1, wanted: 0 };
    assert_eq!(judged(|answerer| answerer.shard = 1), Err(wrong));
    assert_eq!(judged(|answerer| answerer.incarnation = 1), Err(Refusal::Replaced(NodeId(2))));
    assert_eq!(judged(|answerer| answerer.format_version = 3), Err(Refusal::Version { ours: 0, theirs: 3 }));
    assert!(matches!(
        judged(|answerer| answerer.cluster_id = ClusterId([1; 16])),
        Err(Refusal::WrongCluster { .. })
    ));
}

#[test]
fn a_removed_disk_never_comes_back() {
    let removed = "node 1 was removed from this cluster: its data directory cannot come back; start it with an empty \
                   one and add it again";
    let same = |_: &mut Identity| {};
    // By name, whatever it claims to know and whether it ever came in.
    for version in [0, 9, 10] {
        for unformed in [false, true] {
            let judged = judged(same, |hello| {
                (hello.caller.incarnation, hello.caller.directory_version) = (900, version);
                if unformed {
                    unform(&mut hello.caller);
                }
            });
            assert_eq!(judged, Err(removed.to_string()));
        }
    }
    // Without its name: it claims to be a member, we know at least as much and do not list it.
    let forgotten = |version| {
        judged(same, |hello| (hello.caller.node, hello.caller.directory_version) = (NodeId(0), version))
    };
    assert!(forgotten(9).is_err_and(|sentence| sentence.starts_with("node 0 was removed")));
    assert_eq!(forgotten(10), Ok(()));
    // It believes who knows at least as much as itself, and is of its cluster.
    let ours = identity(1);
    let says = |code, cluster: u8, directory_version| Refused {
        cluster_id: ClusterId([cluster; 16]),
        directory_version,
        ..refused(code, "")
    };
    assert!(says(14, 7, 9).ends_membership(&ours) && says(9, 7, 10).ends_membership(&ours));
    assert!(!says(14, 7, 8).ends_membership(&ours), "it may not know that we were added");
    assert!(!says(14, 8, 9).ends_membership(&ours), "another cluster");
    assert!(!says(8, 7, 9).ends_membership(&ours), "another reason");
    let mut unformed = ours;
    unform(&mut unformed);
    assert!(!says(14, 0, 9).ends_membership(&unformed), "it has no membership to lose");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, kind in 0..25_u16) {
        let _ = Message::decode(&bytes);
        // Behind a sound header.
        let mut message = vec![0; HANDSHAKE_HEADER_BYTES];
        message.extend_from_slice(&bytes);
        message.resize(message.len().next_multiple_of(16), 0);
        let message_bytes = u32::try_from(message.len()).unwrap();
        message[4..8].copy_from_slice(&HANDSHAKE_MAGIC);
        message[10..12].copy_from_slice(&kind.to_le_bytes());
        message[12..16].copy_from_slice(&message_bytes.to_le_bytes());
        if let Ok(Some((message, len))) = Message::decode(&sealed(message)) {
            prop_assert_eq!(encoded(&message).len(), len);
        }
    }

    #[test]
    fn changed_fields_never_panic(which in 0..9_usize, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = encoded(&messages()[which]);
        for (place, value) in changes {
            let place = HANDSHAKE_HEADER_BYTES + place.index(bytes.len() - HANDSHAKE_HEADER_BYTES);
            bytes[place] = value;
        }
        let _ = Message::decode(&sealed(bytes));
    }
}
