//! Addresses as the operator gives them, and whether they can work together.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use raft::NodeId;

/// The most nodes of a cluster: every group has a replica on every node.
pub const NODES_MAX: usize = 7;

/// Why addresses were refused. Each message names the flag and the text at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not an address.
    #[error("{flag}: {text:?} is not IP:PORT")]
    NotAnAddress {
        /// The flag.
        flag: &'static str,
        /// What was given.
        text: String,
    },
    /// A port of 0.
    #[error("{flag}: {address} has port 0, but others must know the port")]
    PortZero {
        /// The flag.
        flag: &'static str,
        /// What was given.
        address: SocketAddr,
    },
    /// Not a member of a cluster.
    #[error("--cluster: {text:?} is not NODE=IP:PORT, with a node from 1 to 65535")]
    NotAMember {
        /// What was given.
        text: String,
    },
    /// The same node twice.
    #[error("--cluster: node {0} is listed twice")]
    NodeTwice(NodeId),
    /// Too many nodes.
    #[error("--cluster: {0} nodes are listed, at most {NODES_MAX} are possible")]
    TooManyNodes(usize),
    /// The node itself is not in the list.
    #[error("--cluster: node {0} itself is not listed")]
    NotListed(NodeId),
    /// A peer address nobody can dial.
    #[error("--cluster: node {node} has the address {address}, which no peer can connect to")]
    WildcardMember {
        /// The node.
        node: NodeId,
        /// Its address.
        address: SocketAddr,
    },
    /// The last shard's port does not exist.
    #[error("{range}: shard {last} would listen on a port above 65535")]
    PortsExhausted {
        /// What for.
        range: Box<PortRange>,
        /// The last shard.
        last: u32,
    },
    /// Two listeners want the same port.
    #[error("{first} and {second} overlap: leave as many ports free behind each address as it has shards")]
    Overlap {
        /// One.
        first: Box<PortRange>,
        /// The other.
        second: Box<PortRange>,
    },
    /// Clients cannot be told where to connect.
    #[error("--client {client} is a wildcard: say with --advertise which address clients should use")]
    NeedsAdvertise {
        /// The wildcard address.
        client: SocketAddr,
    },
    /// Not a host.
    #[error("--advertise: {text:?} is not a host name or IP address")]
    NotAHost {
        /// What was given.
        text: String,
    },
    /// Reachable from outside although nobody is asked for a password.
    #[error(
        "{flag} {address} is reachable from other machines, and there is no authentication: allow it with --insecure"
    )]
    NeedsInsecure {
        /// The flag.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

/// Parses `IP:PORT`.
///
/// # Errors
///
/// `NotAnAddress` and `PortZero`, which name `flag`.
pub fn parse_address(flag: &'static str, text: &str) -> Result<SocketAddr, AddressError> {
    let parsed = text.trim().parse();
    let address: SocketAddr =
        parsed.map_err(|_| AddressError::NotAnAddress { flag, text: text.to_string() })?;
    if address.port() == 0 { Err(AddressError::PortZero { flag, address }) } else { Ok(address) }
}

/// Parses `NODE=IP:PORT`.
///
/// # Errors
///
/// `NotAMember`, `NotAnAddress`, `PortZero`.
pub fn parse_member(text: &str) -> Result<(NodeId, SocketAddr), AddressError> {
    let malformed = || AddressError::NotAMember { text: text.to_string() };
    let (node, address) = text.trim().split_once('=').ok_or_else(malformed)?;
    let node: u16 = node.trim().parse().map_err(|_| malformed())?;
    if node == 0 {
        return Err(malformed());
    }
    Ok((NodeId(node), parse_address("--cluster", address)?))
}

/// Parses `1=127.0.0.1:7101,2=127.0.0.1:7201`; the result is sorted by node.
///
/// # Errors
///
/// As for a member, and `NodeTwice`, `TooManyNodes`.
pub fn parse_cluster(text: &str) -> Result<Vec<(NodeId, SocketAddr)>, AddressError> {
    let mut members = text.split(',').map(parse_member).collect::<Result<Vec<_>, _>>()?;
    if members.len() > NODES_MAX {
        return Err(AddressError::TooManyNodes(members.len()));
    }
    members.sort();
    match members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(AddressError::NodeTwice(pair[0].0)),
        None => Ok(members),
    }
}

/// The ports behind one address: shard k listens on the address's port plus k.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Whose: "node 2's peers", "clients", ...
    pub owner: String,
    /// Shard 0's address.
    pub first: SocketAddr,
    /// How many ports, at least 1.
    pub count: u32,
}

impl PortRange {
    fn new(owner: impl Into<String>, first: SocketAddr, count: u32) -> Result<PortRange, AddressError> {
        let range = PortRange { owner: owner.into(), first, count };
        if range.last_port() <= u32::from(u16::MAX) {
            return Ok(range);
        }
        Err(AddressError::PortsExhausted { last: count - 1, range: Box::new(range) })
    }

    fn last_port(&self) -> u32 {
        u32::from(self.first.port()).saturating_add(self.count.max(1) - 1)
    }

    /// Whether some port is in both on the same host. A wildcard is every host's.
    pub fn overlaps(&self, other: &PortRange) -> bool {
        let same_host = self.first.ip() == other.first.ip()
            || self.first.ip().is_unspecified()
            || other.first.ip().is_unspecified();
        let starts_before_end = |a: &PortRange, b: &PortRange| u32::from(a.first.port()) <= b.last_port();
        same_host && starts_before_end(self, other) && starts_before_end(other, self)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortRange { owner, first, count } = self;
        match count {
            0 | 1 => write!(f, "{first} ({owner})"),
            _ => write!(f, "{first} to {} ({owner})", self.last_port()),
        }
    }
}

/// The addresses a node was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The node.
    pub node: NodeId,
    /// Its number of shards.
    pub shards: u32,
    /// All nodes' peer addresses, this one's among them.
    pub cluster: Vec<(NodeId, SocketAddr)>,
    /// Where clients connect to shard 0.
    pub client: SocketAddr,
    /// What clients of a wildcard are told to connect to.
    pub advertise: Option<String>,
    /// Where metrics are served.
    pub http: Option<SocketAddr>,
    /// Whether addresses may be reachable from other machines.
    pub insecure: bool,
}

/// Addresses that can work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where this node's shard 0 listens for peers.
    pub peer: SocketAddr,
    /// Where this node's shard 0 listens for clients.
    pub client: SocketAddr,
    /// The host that clients are told: `--advertise`, or the client address.
    pub advertised: String,
}

impl Wishes {
    /// Checks the addresses, alone and against each other.
    ///
    /// Of other nodes only the first port is known here, for they may have another number of shards.
    ///
    /// # Errors
    ///
    /// The first [`AddressError`] found; nothing was bound or touched.
    pub fn check(&self) -> Result<Addresses, AddressError> {
        let own = self.cluster.iter().find(|(node, _)| *node == self.node);
        let peer = own.map(|own| own.1).ok_or(AddressError::NotListed(self.node))?;
        if let Some(&(node, address)) = self.cluster.iter().find(|(_, address)| address.ip().is_unspecified())
        {
            return Err(AddressError::WildcardMember { node, address });
        }
        self.check_ports()?;
        let advertised = match &self.advertise {
            None if self.client.ip().is_unspecified() => {
                return Err(AddressError::NeedsAdvertise { client: self.client });
            }
            None => self.client.ip().to_string(),
            Some(text) if is_host(text) => text.clone(),
            Some(text) => return Err(AddressError::NotAHost { text: text.clone() }),
        };
        if !self.insecure {
            self.check_loopback()?;
        }
        Ok(Addresses { peer, client: self.client, advertised })
    }

    fn check_loopback(&self) -> Result<(), AddressError> {
        let members = self.cluster.iter().map(|(_, address)| ("--cluster", *address));
        let mut all = members.chain([("--client", self.client)]);
        match all.find(|(_, address)| !address.ip().is_loopback()) {
            Some((flag, address)) => Err(AddressError::NeedsInsecure { flag, address }),
            None => Ok(()),
        }
    }

    fn check_ports(&self) -> Result<(), AddressError> {
        let mut ranges = Vec::new();
        for (node, address) in &self.cluster {
            let count = if *node == self.node { self.shards } else { 1 };
            ranges.push(PortRange::new(format!("node {node}, peers"), *address, count)?);
        }
        ranges.push(PortRange::new(format!("node {}, clients", self.node), self.client, self.shards)?);
        if let Some(http) = self.http {
            ranges.push(PortRange::new(format!("node {}, http", self.node), http, 1)?);
        }
        for (number, first) in ranges.iter().enumerate() {
            if let Some(second) = ranges[number + 1..].iter().find(|second| first.overlaps(second)) {
                let (first, second) = (Box::new(first.clone()), Box::new(second.clone()));
                return Err(AddressError::Overlap { first, second });
            }
        }
        Ok(())
    }
}

fn is_host(text: &str) -> bool {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return !ip.is_unspecified();
    }
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name's last label is not a number, or it is a mistyped address.
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(label) && !numeric
}

#[cfg(test)]
mod tests;
