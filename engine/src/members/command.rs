//! What is asked of group 0, and what it answers.
//!
//! A command is its version (a byte, 1), its kind (a byte), and the fields of its kind:
//!
//! | kind | command | fields |
//! |---:|---|---|
//! | 1 | add | node 2, peer address |
//! | 2 | remove | node 2 |
//! | 3 | identify | node 2, incarnation 8, shards 2, client address |
//! | 4 | joined | node 2, incarnation 8 |
//! | 5 | left | node 2, incarnation 8 |
//! | 6 | set | name text, value text |
//!
//! An address is its host as text and its port, 2 bytes; a text is its length, 2 bytes, and its UTF-8. A version, kind
//! or field that this program does not know stops the group: to skip it would fork the replicas. The answer is one byte,
//! a [`Verdict`]. The only question is `[version]`, list; it is answered with the state, as it is saved.

use net::handshake::Address;
use raft::NodeId;

use super::encoding::{Fields, Malformed, put_address, put_text, put_u16, put_u64};

const VERSION: u8 = 1;

/// A command of group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A node shall join; its shard 0 listens for peers at this address.
    Add { node: NodeId, peer: Address },
    /// A node shall leave.
    Remove { node: NodeId },
    /// The disk with which a joining node turned up.
    Identify { node: NodeId, incarnation: u64, shards: u16, client: Address },
    /// That disk is a voter of every group.
    Joined { node: NodeId, incarnation: u64 },
    /// That disk is in no group any more.
    Left { node: NodeId, incarnation: u64 },
    /// A setting of the whole cluster.
    Set { name: String, value: String },
}

impl Command {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Command::Add { node, peer } => {
                out.push(1);
                put_u16(&mut out, node.0);
                put_address(&mut out, Some(peer));
            }
            Command::Remove { node } => {
                out.push(2);
                put_u16(&mut out, node.0);
            }
            Command::Identify { node, incarnation, shards, client } => {
                out.push(3);
                put_u16(&mut out, node.0);
                put_u64(&mut out, *incarnation);
                put_u16(&mut out, *shards);
                put_address(&mut out, Some(client));
            }
            Command::Joined { node, incarnation } => {
                out.push(4);
                put_u16(&mut out, node.0);
                put_u64(&mut out, *incarnation);
            }
            Command::Left { node, incarnation } => {
                out.push(5);
                put_u16(&mut out, node.0);
                put_u64(&mut out, *incarnation);
            }
            Command::Set { name, value } => {
                out.push(6);
                put_text(&mut out, name);
                put_text(&mut out, value);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Command, Malformed> {
        let mut fields = Fields(bytes);
        if fields.byte()? != VERSION {
            return Err(Malformed);
        }
        let command = match fields.byte()? {
            1 => Command::Add { node: fields.node()?, peer: fields.some_address()? },
            2 => Command::Remove { node: fields.node()? },
            3 => Command::Identify {
                node: fields.node()?,
                incarnation: fields.u64()?,
                shards: fields.u16()?,
                client: fields.some_address()?,
            },
            4 => Command::Joined { node: fields.node()?, incarnation: fields.u64()? },
            5 => Command::Left { node: fields.node()?, incarnation: fields.u64()? },
            6 => Command::Set { name: fields.text()?.to_owned(), value: fields.text()?.to_owned() },
            _ => return Err(Malformed),
        };
        fields.end()?;
        Ok(command)
    }
}

/// A command's bytes as they are written again; `None`: they are no command.
#[cfg(feature = "fuzzing")]
pub fn command_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Command::decode(bytes).ok().map(|command| command.encode())
}

/// The question to group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Everything.
    List,
}

impl Ask {
    pub(crate) fn encode(self) -> Vec<u8> {
        let Ask::List = self;
        vec![VERSION]
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Ask, Malformed> {
        if bytes == [VERSION] { Ok(Ask::List) } else { Err(Malformed) }
    }
}

/// What came of a command. As a byte it is below 32, so that no verdict looks like an error of RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// It took effect now, or had before.
    Done = 0,
    /// The node is a member already, or joins under another address.
    AlreadyMember = 1,
    /// There is no such node.
    NotMember = 2,
    /// The node is still being removed.
    StillLeaving = 3,
    /// There are as many nodes as there may be.
    TooMany = 4,
    /// No active node would be left.
    LastNode = 5,
    /// Another node has that address.
    AddressTaken = 6,
    /// Ids begin at 1.
    NoNode = 7,
    /// It is about another disk, or about something that is over.
    Outdated = 8,
}

impl Verdict {
    pub(crate) fn from_byte(byte: u8) -> Option<Verdict> {
        [
            Verdict::Done,
            Verdict::AlreadyMember,
            Verdict::NotMember,
            Verdict::StillLeaving,
            Verdict::TooMany,
            Verdict::LastNode,
            Verdict::AddressTaken,
            Verdict::NoNode,
            Verdict::Outdated,
        ]
        .into_iter()
        .find(|verdict| *verdict as u8 == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address::new(host, port).expect("an address")
    }

    fn all() -> Vec<Command> {
        let (node, incarnation) = (NodeId(4), 0x0123_4567_89ab_cdef);
        vec![
            Command::Add { node, peer: address("10.0.0.4", 7401) },
            Command::Remove { node },
            Command::Identify { node, incarnation, shards: 3, client: address("four.example", 6401) },
            Command::Joined { node, incarnation },
            Command::Left { node, incarnation },
            Command::Set { name: "lease-reads".into(), value: String::new() },
        ]
    }

    /// The bytes that logs of version 1 hold.
    #[test]
    fn golden_bytes_of_every_command() {
        let hex =
            |command: &Command| command.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected = [
            "01010400080031302e302e302e34e91c",
            "01020400",
            "01030400efcdab896745230103000c00666f75722e6578616d706c650119",
            "01040400efcdab8967452301",
            "01050400efcdab8967452301",
            "01060b006c656173652d72656164730000",
        ];
        for (command, expected) in all().iter().zip(expected) {
            assert_eq!(hex(command), expected, "{command:?}");
            assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(command));
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        for command in all() {
            let bytes = command.encode();
            for end in 0..bytes.len() {
                assert_eq!(Command::decode(&bytes[..end]), Err(Malformed), "{command:?} cut at {end}");
            }
            assert_eq!(Command::decode(&[bytes.as_slice(), &[0]].concat()), Err(Malformed));
            assert_eq!(Command::decode(&[&[2], &bytes[1..]].concat()), Err(Malformed), "another version");
            assert_eq!(Command::decode(&[&[1, 99], &bytes[2..]].concat()), Err(Malformed), "another kind");
        }
        assert!(Ask::decode(&Ask::List.encode()).is_ok() && Ask::decode(b"").is_err());
    }

    #[test]
    fn verdicts_are_no_errors_of_resp() {
        let known: Vec<Verdict> = (0..=255).filter_map(Verdict::from_byte).collect();
        assert_eq!(known.len(), 9);
        assert!(known.iter().all(|verdict| (*verdict as u8) < 32));
    }
}
