//! Accepted connections whose caller is no node, or says nothing.

use super::world;
use crate::handshake::{Message, Welcome};
use crate::link::*;

fn incoming_outputs(incoming: &mut Incoming<u32>) -> Vec<IncomingOutput<u32>> {
    std::iter::from_fn(|| incoming.take_output()).collect()
}

/// What an accepted connection makes of these bytes; answers its actions.
fn accepted(bytes: &[u8]) -> Vec<String> {
    let local = world::local(2);
    let mut incoming = Incoming::new(raft::Time(1), 7_u32, &Settings::default());
    let mut actions = Vec::new();
    let mut rest = bytes;
    let mut pending = incoming_outputs(&mut incoming);
    while let Some(output) = pending.pop() {
        match output {
            IncomingOutput::Receive { mut buffer, from } => {
                let taken = rest.len().min(buffer.len() - from).min(11);
                if taken > 0 {
                    buffer[from..from + taken].copy_from_slice(&rest[..taken]);
                    rest = &rest[taken..];
                    incoming.received(buffer, from + taken, &local);
                    pending = incoming_outputs(&mut incoming);
                    pending.reverse();
                }
            }
            IncomingOutput::SendThenClose { parts } => match Message::decode(parts[0].bytes()) {
                Ok(Some((Message::Refused(refused), _))) => {
                    actions.push(format!("refuse: {}", refused.reason))
                }
                other => panic!("{other:?}"),
            },
            IncomingOutput::Close => actions.push("close".into()),
            IncomingOutput::Greeted(greeted) => {
                actions.push(format!("greeted by {}", greeted.hello.caller.node))
            }
            IncomingOutput::Rejected(rejection) => actions.push(format!("rejected: {rejection}")),
        }
    }
    actions
}

#[test]
fn strangers_are_turned_away() {
    assert_eq!(
        accepted(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ["rejected: byte 4 of a handshake message: no node starts with '/ HT'", "close"]
    );
    let mut welcome = Vec::new();
    Message::Welcome(Welcome { answerer: world::local(1).identity }).encode(&mut welcome);
    assert_eq!(accepted(&welcome), ["rejected: a handshake message came before the hello", "close"]);
    // A node of a later build is told what it met.
    welcome[8] = 3;
    let checksum = crc32fast::hash(&welcome[4..]);
    welcome[..4].copy_from_slice(&checksum.to_le_bytes());
    let sentence = "byte 8 of a handshake message: handshake version 3, this node speaks 0";
    let expected = [
        format!("rejected: {sentence}"),
        format!("refuse: the caller's first message was not understood: {sentence}"),
    ];
    assert_eq!(accepted(&welcome), expected);
}

#[test]
fn who_says_nothing_is_closed() {
    let mut incoming = Incoming::new(raft::Time(0), 7_u32, &Settings::default());
    incoming_outputs(&mut incoming);
    let deadline = incoming.deadline();
    assert_eq!(deadline, raft::Time(5_000_000));
    incoming.tick(raft::Time(4_999_999));
    assert!(incoming_outputs(&mut incoming).is_empty());
    incoming.tick(deadline);
    let outputs = incoming_outputs(&mut incoming);
    assert!(matches!(&outputs[..], [IncomingOutput::Rejected(Rejection::Late), IncomingOutput::Close]));
}
