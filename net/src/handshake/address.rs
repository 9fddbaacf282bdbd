//! Where somebody can be reached: a host and a port.

use std::fmt;
use std::str::FromStr;

/// The longest host name, in bytes (a DNS name has at most 253).
pub const HOST_BYTES_MAX: usize = 255;

/// A host, by name or by number, and the port of its shard 0. Written `host:port`, `[host]:port` for IPv6.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No colon, or an IPv6 host without brackets.
    #[error("'{0}' is not host:port")]
    Shape(String),
    /// The port is no number from 1 to 65535.
    #[error("'{0}' is not a port from 1 to 65535")]
    Port(String),
    /// The host is empty, too long, or holds characters no host name has.
    #[error("'{0}' is not a host name or an IP address")]
    Host(String),
}

impl Address {
    /// The address made of a host (without brackets) and a port.
    pub fn new(host: &str, port: u16) -> Result<Address, AddressError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'%');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(allowed) {
            return Err(AddressError::Host(host.escape_default().take(2 * HOST_BYTES_MAX).collect()));
        }
        if port == 0 {
            return Err(AddressError::Port("0".to_string()));
        }
        Ok(Address { host: host.to_string(), port })
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of shard 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of shard `shard`, if there is such a port.
    pub fn shard_port(&self, shard: u16) -> Option<u16> {
        self.port.checked_add(shard)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let shape = || AddressError::Shape(text.to_string());
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(shape());
        }
        let number = port.parse().map_err(|_| AddressError::Port(port.to_string()))?;
        Address::new(bracketed.unwrap_or(host), number)
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

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_come_back() {
        for text in ["127.0.0.1:7101", "node-1.example:1", "[::1]:65535", "[fe80::1%eth0]:7"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::new(address.host(), address.port()), Ok(address));
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        use AddressError::{Host, Port, Shape};
        assert!(matches!("localhost".parse::<Address>(), Err(Shape(_))));
        assert!(matches!("::1:7101".parse::<Address>(), Err(Shape(_))));
        for text in ["a:0", "a:65536", "a:-1", "a:"] {
            assert!(matches!(text.parse::<Address>(), Err(Port(_))), "{text}");
        }
        assert!(matches!(":7101".parse::<Address>(), Err(Host(_))));
        assert!(matches!("a b:1".parse::<Address>(), Err(Host(_))));
        assert!(matches!("a\n:1".parse::<Address>(), Err(Host(_))));
        assert!(matches!(Address::new(&"x".repeat(256), 1), Err(Host(_))));
    }

    #[test]
    fn shards_have_ports_of_their_own() {
        let address = Address::new("h", 65_534).unwrap();
        assert_eq!((address.shard_port(1), address.shard_port(2)), (Some(65_535), None));
    }
}
