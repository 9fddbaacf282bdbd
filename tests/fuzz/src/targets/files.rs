//! The small files of a data directory.

use net::forming::Cluster;
use ringraft::fuzzing::{boot_again, identity_again, record_again};

use super::directory::{founded, record};
use crate::feed::Feed;

/// The file of what a member knows of its cluster. A flag has its checksum right.
pub fn cluster(data: &[u8]) {
    let mut feed = Feed(data);
    let repaired = feed.flag();
    let mut bytes = feed.0.to_vec();
    if repaired && bytes.len() > 4 {
        let sum = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
    }
    if let Ok(cluster) = Cluster::decode(&bytes) {
        assert_eq!(cluster.encode(), bytes, "a cluster's file written again");
    }
}

/// Seeds of [`cluster`].
#[must_use]
pub fn cluster_seeds() -> Vec<Vec<u8>> {
    let mut cluster = Cluster::as_formed(record());
    let formed = [&[1], &*cluster.encode()].concat();
    cluster.roster.version = 9;
    cluster.roster.removed.push(net::forming::Tombstone { node: raft::NodeId(4), incarnation: 5 });
    vec![formed, [&[0], &*cluster.encode()].concat()]
}

const KEY: &str = "checksum = ";

/// `node.toml`, the forming record, the boot number: the first byte says which, and whether its checksum is right.
pub fn node(data: &[u8]) {
    let mut feed = Feed(data);
    let (which, repaired) = (feed.below(3), feed.flag());
    match which {
        0 => {
            let text = String::from_utf8_lossy(feed.0);
            let text = if repaired { checksummed(&text) } else { text.into_owned() };
            if let Some(again) = identity_again(&text) {
                assert_eq!(identity_again(&again), Some(again), "an identity written again");
            }
        }
        1 => {
            let mut bytes = feed.0.to_vec();
            if repaired && bytes.len() >= 12 {
                let sum = crc32fast::hash(&bytes[12..]);
                bytes[8..12].copy_from_slice(&sum.to_le_bytes());
            }
            if let Some(again) = record_again(&bytes) {
                assert_eq!(record_again(&again), Some(again), "a record written again");
            }
        }
        _ => {
            let mut bytes = feed.0.to_vec();
            if repaired {
                let sum = crc32fast::hash(&bytes);
                bytes.extend_from_slice(format!(" {sum:08x}\n").as_bytes());
            }
            if let Some(again) = boot_again(&bytes) {
                assert_eq!(boot_again(again.as_bytes()), Some(again), "a boot number written again");
            }
        }
    }
}

fn checksummed(text: &str) -> String {
    let covered = text.rfind(KEY).map_or(text, |end| &text[..end]);
    format!("{covered}{KEY}\"{:08x}\"\n", crc32fast::hash(covered.as_bytes()))
}

/// Seeds of [`node`].
#[must_use]
pub fn node_seeds() -> Vec<Vec<u8>> {
    let identity = concat!(
        "format = 0\ncluster = \"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5\"\nnode = 2\n",
        "incarnation = \"fffffffffffffffe\"\nstore = \"000102030405060708090a0b0c0d0e0f\"\n",
        "shards = 4\ngroups = 16\nmembers = [\"1=127.0.0.1:7101\", \"2=[::1]:7201\"]\n",
    );
    let mut record = b"RINGFORM\0\0\0\0\0\0\0\0".to_vec();
    record.extend_from_slice(&[7; 16]);
    let content = founded().save();
    record.extend_from_slice(&(content.len() as u64).to_le_bytes());
    record.extend_from_slice(&content);
    let with = |head: [u8; 2], bytes: &[u8]| [&head, bytes].concat();
    vec![
        with([0, 1], identity.as_bytes()),
        with([0, 0], checksummed(identity).as_bytes()),
        with([1, 1], &record),
        with([2, 1], b"17"),
        with([2, 0], b"17 5a3bc0de\n"),
    ]
}
