//! The one line a node writes to standard output once it is bound and has recovered.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// `ready node=1 client=127.0.0.1:6101 peer=127.0.0.1:7101 shards=1 groups=16 pid=1234`
///
/// Printed with or without a quorum: whether groups have leaders is for `ringraft status --wait`.
/// Readers must accept further `name=value` words: later versions may add some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// This node.
    pub node: u16,
    /// Where shard 0 listens for clients; shard k listens on port + k.
    pub client: SocketAddr,
    /// Where shard 0 listens for peers; shard k listens on port + k.
    pub peer: SocketAddr,
    /// Shards of this node.
    pub shards: u32,
    /// Groups of the cluster.
    pub groups: u32,
    /// The process.
    pub pid: u32,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ready { node, client, peer, shards, groups, pid } = self;
        write!(f, "ready node={node} client={client} peer={peer} shards={shards} groups={groups} pid={pid}")
    }
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(line: &str) -> Result<Ready, String> {
        let mut words = line.split_whitespace();
        if words.next() != Some("ready") {
            return Err(format!("not a ready line: {line:?}"));
        }
        let pairs: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        Ok(Ready {
            node: value(&pairs, "node")?,
            client: value(&pairs, "client")?,
            peer: value(&pairs, "peer")?,
            shards: value(&pairs, "shards")?,
            groups: value(&pairs, "groups")?,
            pid: value(&pairs, "pid")?,
        })
    }
}

fn value<T: FromStr>(pairs: &[(&str, &str)], name: &str) -> Result<T, String> {
    let (_, text) = pairs
        .iter()
        .find(|(candidate, _)| *candidate == name)
        .ok_or_else(|| format!("the ready line lacks {name}="))?;
    text.parse().map_err(|_| format!("the ready line has an odd {name}={text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_written_and_read_back() {
        let line = "ready node=1 client=127.0.0.1:6101 peer=127.0.0.1:7101 shards=1 groups=16 pid=1234";
        let ready: Ready = line.parse().unwrap();
        assert_eq!(ready.to_string(), line);
        assert_eq!(format!("{line} version=9.9").parse(), Ok(ready), "further words are skipped");
        for bad in ["", "ready", "reddy node=1", &line.replace("node=1", "node=x"), &line.replace("pid", "p")]
        {
            assert!(bad.parse::<Ready>().is_err(), "{bad:?}");
        }
    }
}
