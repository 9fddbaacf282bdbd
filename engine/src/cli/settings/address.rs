//! `HOST:PORT`, and `ID=HOST:PORT` of a member.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host name or IP address and a port; it names shard 0, shard k is at port + k.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl Address {
    /// The first address the host resolves to, IPv4 before IPv6.
    ///
    /// # Errors
    /// The name is not known now: worth trying again later, except at a first start.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.host)))?
            .collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        found.first().copied().ok_or_else(|| io::Error::other(format!("{} has no address", self.host)))
    }

    /// Whether only this host can reach it, as far as its text tells.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether it means every address of this host (`0.0.0.0`, `[::]`).
    pub fn is_wildcard(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let (host, port) = text.rsplit_once(':').ok_or("write HOST:PORT")?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host,
            None if host.contains(':') => return Err("write an IPv6 address in brackets: [::1]:6101".into()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err("the host is missing: write HOST:PORT".into());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Address { host: host.to_owned(), port }),
            _ => Err(format!("{port:?} is not a port from 1 to 65535")),
        }
    }
}

/// One member of `--cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: u16,
    /// Its peer address.
    pub address: Address,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.node, self.address)
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Member, String> {
        let (node, address) = text.split_once('=').ok_or_else(|| format!("{text:?}: write ID=HOST:PORT"))?;
        let node = super::parse_node(node.trim())?;
        let address = address.trim().parse().map_err(|why| format!("{text:?}: {why}"))?;
        Ok(Member { node, address })
    }
}

/// `1=host:port,2=host:port,...`
pub(super) fn parse_members(text: &str) -> Result<Vec<Member>, String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse).collect()
}
