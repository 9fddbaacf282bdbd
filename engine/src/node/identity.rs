//! `node.toml`: who this node is and what its directory was made with.

use std::net::SocketAddr;
use std::path::Path;

use raft::NodeId;
use serde::{Deserialize, Serialize};

use super::durable;
use super::error::DataDirError;

/// The file.
pub(super) const FILE_NAME: &str = "node.toml";
/// The format that this program writes, and the newest it reads.
pub const FORMAT: u32 = 0;

const BYTES_MAX: u64 = 64 * 1024;
const HEAD: &str = "# Who this node is. Written by ringraft and covered by the checksum: not for editing.\n";
const CHECKSUM_KEY: &str = "checksum = ";

/// A number drawn once, when a data directory is born: a node that lost its disk is not who it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// The random id that a cluster gets when it forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// What a data directory says about its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to; None until formed.
    pub cluster: Option<ClusterId>,
    /// The node.
    pub node: NodeId,
    /// Drawn when the directory was born; never 0.
    pub incarnation: Incarnation,
    /// Another random number of the directory, which its log and snapshot files carry.
    pub store: [u8; 16],
    /// How many shards the directory has: fixed for its life.
    pub shards: u32,
    /// How many groups the cluster has.
    pub groups: u32,
    /// The nodes to form a cluster with; of no consequence once formed.
    pub members: Vec<(NodeId, SocketAddr)>,
}

/// The file as TOML; 64-bit numbers are text, for TOML's own end at 63 bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    cluster: String,
    node: u16,
    incarnation: String,
    store: String,
    shards: u32,
    groups: u32,
    members: Vec<String>,
    #[serde(skip_serializing)]
    checksum: String,
}

/// What every version of the file has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Identity {
    /// Reads the identity of a data directory, and changes nothing: for offline tools too. None if the directory
    /// has none (yet).
    ///
    /// # Errors
    ///
    /// `Io`, `NewerFormat`, `Damaged`.
    pub fn read(dir: &Path) -> Result<Option<Identity>, DataDirError> {
        let path = dir.join(FILE_NAME);
        let Some(bytes) = durable::read(dir, FILE_NAME, BYTES_MAX)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| DataDirError::damaged(&path, "it is not text"))?;
        Identity::parse(&text, &path).map(Some)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), DataDirError> {
        durable::replace(dir, FILE_NAME, self.to_text().as_bytes())
    }

    pub(super) fn to_text(&self) -> String {
        let stored = Stored {
            format: FORMAT,
            cluster: self.cluster.map(|cluster| hex(&cluster.0)).unwrap_or_default(),
            node: self.node.0,
            incarnation: format!("{:016x}", self.incarnation.0),
            store: hex(&self.store),
            shards: self.shards,
            groups: self.groups,
            members: self.members.iter().map(|(node, address)| format!("{node}={address}")).collect(),
            checksum: String::new(),
        };
        let fields = toml::to_string(&stored).expect("plain fields can be written as TOML");
        let covered = format!("{HEAD}{fields}");
        let checksum = crc32fast::hash(covered.as_bytes());
        format!("{covered}{CHECKSUM_KEY}\"{checksum:08x}\"\n")
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Identity, DataDirError> {
        let damaged = |problem: String| DataDirError::damaged(path, problem);
        let syntax = |error: toml::de::Error| damaged(error.message().to_string());
        let AnyFormat { format } = toml::from_str(text).map_err(syntax)?;
        if format > FORMAT {
            return Err(DataDirError::NewerFormat { path: path.to_path_buf(), found: format, known: FORMAT });
        }
        let stored: Stored = toml::from_str(text).map_err(syntax)?;
        let covered = text.rfind(CHECKSUM_KEY).map_or(text, |end| &text[..end]);
        if stored.checksum != format!("{:08x}", crc32fast::hash(covered.as_bytes())) {
            return Err(damaged("checksum does not match: the file was edited or is damaged".to_string()));
        }
        let field = |name: &str| damaged(format!("{name} is not what ringraft writes"));
        let cluster = match stored.cluster.as_str() {
            "" => None,
            digits => Some(ClusterId(unhex(digits).ok_or_else(|| field("cluster"))?)),
        };
        let incarnation = u64::from_str_radix(&stored.incarnation, 16).map_err(|_| field("incarnation"))?;
        let members = stored.members.iter().map(|member| {
            let (node, address) = member.split_once('=').ok_or_else(|| field("members"))?;
            let node = node.parse().map_err(|_| field("members"))?;
            Ok((NodeId(node), address.parse().map_err(|_| field("members"))?))
        });
        Ok(Identity {
            cluster,
            node: NodeId(stored.node),
            incarnation: Incarnation(incarnation),
            store: unhex(&stored.store).ok_or_else(|| field("store"))?,
            shards: stored.shards,
            groups: stored.groups,
            members: members.collect::<Result<_, _>>()?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<[u8; 16]> {
    let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| plain)?;
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(number >> (120 - 8 * place) & 0xff).expect("masked to a byte");
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cluster: Some(ClusterId([0xa5; 16])),
            node: NodeId(2),
            incarnation: Incarnation(u64::MAX - 1),
            store: std::array::from_fn(|place| u8::try_from(place).expect("below 16")),
            shards: 4,
            groups: 16,
            members: vec![
                (NodeId(1), "127.0.0.1:7101".parse().unwrap()),
                (NodeId(2), "[::1]:7201".parse().unwrap()),
            ],
        }
    }

    #[test]
    fn an_identity_survives_a_round_trip() {
        for cluster in [None, Some(ClusterId([0x0f; 16]))] {
            let identity = Identity { cluster, ..identity() };
            let text = identity.to_text();
            assert_eq!(Identity::parse(&text, Path::new("node.toml")).unwrap(), identity, "{text}");
        }
    }

    #[test]
    fn the_file_is_what_it_always_was() {
        let expected = concat!(
            "# Who this node is. Written by ringraft and covered by the checksum: not for editing.\n",
            "format = 0\n",
            "cluster = \"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5\"\n",
            "node = 2\n",
            "incarnation = \"fffffffffffffffe\"\n",
            "store = \"000102030405060708090a0b0c0d0e0f\"\n",
            "shards = 4\n",
            "groups = 16\n",
            "members = [\"1=127.0.0.1:7101\", \"2=[::1]:7201\"]\n",
        );
        let text = identity().to_text();
        assert_eq!(text.strip_suffix(&text[expected.len()..]), Some(expected));
        assert_eq!(
            text[expected.len()..],
            format!("checksum = \"{:08x}\"\n", crc32fast::hash(expected.as_bytes()))
        );
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let text = identity().to_text();
        for place in 0..text.len() {
            for change in [0x01, 0x10] {
                let mut bytes = text.clone().into_bytes();
                bytes[place] ^= change;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let parsed = Identity::parse(&changed, Path::new("node.toml"));
                // White space and letter case outside the covered part mean nothing.
                assert!(parsed.as_ref().map_or(true, |found| *found == identity()), "{changed}");
            }
        }
    }
}
