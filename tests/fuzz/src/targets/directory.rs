//! Group 0: the commands of the directory of nodes, and its saves.

use net::forming::{Cluster, Member, Record};
use net::handshake::{Address, ClusterId};
use raft::{Index, NodeId};
use ringraft::fuzzing::{Directory, command_again};

use crate::feed::{Feed, parts};

/// The address of a port of this host.
///
/// # Panics
/// If there is no such port.
#[must_use]
pub fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).expect("an address")
}

/// The record of a cluster of three.
#[must_use]
pub fn record() -> Record {
    let member = |node: u16| Member {
        node: NodeId(node),
        incarnation: 100 + u64::from(node),
        shard_count: 2,
        peer: address(7000 + node),
        client: address(6000 + node),
    };
    Record { cluster_id: ClusterId([7; 16]), group_count: 16, members: (1..=3).map(member).collect() }
}

/// The directory of that cluster.
#[must_use]
pub fn founded() -> Directory {
    Directory::founded(&record())
}

/// The first part is a save; if it is none, the directory is as founded. The others are commands.
pub fn directory(data: &[u8]) {
    let mut feed = Feed(data);
    let mut directory = Directory::restored(feed.part()).unwrap_or_else(founded);
    assert_sound(&directory);
    let mut index = 1;
    while !feed.is_empty() {
        let command = feed.part();
        let again = command_again(command);
        assert!(again.is_none() || again.as_deref() == Some(command), "a command written again");
        assert_eq!(directory.apply(Index(index), command), again.is_some());
        assert_sound(&directory);
        index += 1;
    }
}

/// It survives a save, and can be told to other nodes.
fn assert_sound(directory: &Directory) {
    let saved = directory.save();
    assert_eq!(Directory::restored(&saved).as_ref(), Some(directory), "a save restored");
    let cluster = Cluster { record: record(), roster: directory.roster() };
    assert!(cluster.roster.is_possible(), "what other nodes are told is possible: {:?}", cluster.roster);
    assert_eq!(Cluster::decode(&cluster.encode()), Ok(cluster), "what other nodes are told");
}

/// Seeds of [`directory`].
#[must_use]
pub fn directory_seeds() -> Vec<Vec<u8>> {
    let commands: [&[u8]; 7] = [
        b"\x01\x01\x04\x00\x08\x0010.0.0.4\xe9\x1c",
        b"\x01\x03\x04\x00\xef\xcd\xab\x89\x67\x45\x23\x01\x03\x00\x0c\x00four.example\x01\x19",
        b"\x01\x04\x04\x00\xef\xcd\xab\x89\x67\x45\x23\x01",
        b"\x01\x02\x04\x00",
        b"\x01\x05\x04\x00\xef\xcd\xab\x89\x67\x45\x23\x01",
        b"\x01\x02\x01\x00",
        b"\x01\x06\x0b\x00lease-reads\x02\x00on",
    ];
    let mut whole: Vec<Vec<u8>> = vec![founded().save()];
    whole.extend(commands.iter().map(|command| command.to_vec()));
    assert!(commands.iter().all(|command| command_again(command).is_some()), "the seeds are commands");
    (1..=whole.len()).map(|count| parts(&whole[..count])).collect()
}
