//! Who is asked for what: endpoints, and in cluster mode the owner of every slot.

use super::keys::SLOTS;
use super::link::Link;
use crate::cli::resp::{Elements, Reply};
use std::net::{SocketAddr, ToSocketAddrs};

const UNKNOWN: u16 = u16::MAX;

/// A server's port and the worker's connections to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) links: Vec<usize>,
    /// The connection used last: they take turns.
    cursor: usize,
}

/// Slot ranges with their owners, as `CLUSTER SLOTS` tells them.
pub(in crate::cli) type Owners = Vec<(u16, u16, SocketAddr)>;

#[derive(Debug)]
pub(super) struct Routes {
    pub(super) endpoints: Vec<Endpoint>,
    owner_of_slot: Vec<u16>,
    /// Whose turn it is where it does not matter.
    turn: usize,
}

impl Routes {
    /// No endpoints, no owners.
    pub(super) fn new() -> Routes {
        Routes { endpoints: Vec::new(), owner_of_slot: vec![UNKNOWN; usize::from(SLOTS)], turn: 0 }
    }

    /// The endpoint at `address`, a new one if need be.
    pub(super) fn endpoint(&mut self, address: SocketAddr) -> usize {
        match self.endpoints.iter().position(|endpoint| endpoint.address == address) {
            Some(known) => known,
            None => {
                self.endpoints.push(Endpoint { address, links: Vec::new(), cursor: 0 });
                self.endpoints.len() - 1
            }
        }
    }

    /// Takes over what a server said. Slots it did not name keep their owner.
    pub(super) fn learn(&mut self, owners: &Owners) {
        for (first, last, address) in owners {
            for slot in *first..=(*last).min(SLOTS - 1) {
                self.moved(slot, *address);
            }
        }
    }

    /// The owner of one slot.
    pub(super) fn moved(&mut self, slot: u16, address: SocketAddr) {
        let endpoint = self.endpoint(address);
        self.owner_of_slot[usize::from(slot)] = u16::try_from(endpoint).unwrap_or(UNKNOWN);
    }

    /// A connection for a request to `slot`: the owner's, even if it is full; any other when it has none.
    pub(super) fn link_to_owner(
        &mut self,
        slot: u16,
        links: &[Link],
        pipeline: usize,
        now_ns: u64,
    ) -> Option<usize> {
        let owner = usize::from(self.owner_of_slot[usize::from(slot)]);
        let owned = self.endpoints.get_mut(owner).and_then(|endpoint| {
            endpoint.with_room(links, pipeline, now_ns).or_else(|| endpoint.usable(links, now_ns))
        });
        owned.or_else(|| self.link_to_any(links, now_ns))
    }

    fn link_to_any(&mut self, links: &[Link], now_ns: u64) -> Option<usize> {
        let count = self.endpoints.len();
        self.turn = (self.turn + 1) % count;
        let mut order = (0..count).map(|step| (self.turn + step) % count);
        order.find_map(|endpoint| self.endpoints[endpoint].usable(links, now_ns))
    }

    /// A connection with room, whoever it leads to.
    pub(super) fn with_room(&mut self, links: &[Link], pipeline: usize, now_ns: u64) -> Option<usize> {
        let count = self.endpoints.len();
        for _ in 0..count {
            self.turn = (self.turn + 1) % count;
            let place = self.endpoints[self.turn].with_room(links, pipeline, now_ns);
            if place.is_some() {
                return place;
            }
        }
        None
    }

    /// The connection belongs to the next endpoint from now on; answers which.
    pub(super) fn move_on(&mut self, link: usize, from: usize) -> usize {
        let next = (from + 1) % self.endpoints.len();
        self.endpoints[from].links.retain(|other| *other != link);
        self.endpoints[next].links.push(link);
        next
    }
}

impl Endpoint {
    fn with_room(&mut self, links: &[Link], pipeline: usize, now_ns: u64) -> Option<usize> {
        for _ in 0..self.links.len() {
            self.cursor = (self.cursor + 1) % self.links.len();
            let link = self.links[self.cursor];
            if links[link].is_usable(now_ns) && links[link].in_flight.len() < pipeline {
                return Some(link);
            }
        }
        None
    }

    fn usable(&self, links: &[Link], now_ns: u64) -> Option<usize> {
        self.links.iter().copied().find(|link| links[*link].is_usable(now_ns))
    }
}

/// Reads the answer to `CLUSTER SLOTS`; `asked` stands for a host the server does not name.
pub(in crate::cli) fn owners(reply: Reply<'_>, asked: SocketAddr) -> Result<Owners, String> {
    let Reply::Array(ranges) = reply else { return Err(format!("odd answer to CLUSTER SLOTS: {reply:?}")) };
    let read = |range| match range {
        Reply::Array(range) => owner(range, asked),
        _ => None,
    };
    ranges.map(|range| read(range).ok_or_else(|| "odd range in CLUSTER SLOTS".to_owned())).collect()
}

fn owner(mut range: Elements<'_>, asked: SocketAddr) -> Option<(u16, u16, SocketAddr)> {
    let (first, last) = (slot(range.next()?)?, slot(range.next()?)?);
    let Reply::Array(mut node) = range.next()? else { return None };
    let host = match node.next()? {
        Reply::Bulk(host) => host,
        Reply::Null => b"",
        _ => return None,
    };
    let Reply::Integer(port) = node.next()? else { return None };
    Some((first, last, address(host, u16::try_from(port).ok()?, asked)?))
}

fn slot(reply: Reply<'_>) -> Option<u16> {
    match reply {
        Reply::Integer(slot) => u16::try_from(slot).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    }
}

/// Reads `MOVED 3999 127.0.0.1:6381`.
pub(in crate::cli) fn moved(error: &[u8], asked: SocketAddr) -> Option<(u16, SocketAddr)> {
    let text = std::str::from_utf8(error).ok()?;
    let mut words = text.split_whitespace().skip(1);
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((slot, address(host.as_bytes(), port.parse().ok()?, asked)?))
}

fn address(host: &[u8], port: u16, asked: SocketAddr) -> Option<SocketAddr> {
    if host.is_empty() || host == b"?" {
        return Some(SocketAddr::new(asked.ip(), port));
    }
    let host = std::str::from_utf8(host).ok()?;
    (host, port).to_socket_addrs().ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::resp::decode;

    fn asked() -> SocketAddr {
        "127.0.0.1:7000".parse().unwrap()
    }

    fn read(text: &str) -> Result<Owners, String> {
        let bytes = text.replace(' ', "\r\n") + "\r\n";
        owners(decode(bytes.as_bytes()).unwrap().unwrap().0, asked())
    }

    #[test]
    fn cluster_slots_are_read() {
        let two = "*2 *4 :0 :8191 *3 $9 127.0.0.1 :7001 $1 a *2 $1 x :1 *3 :8192 :16383 *2 $0  :7002";
        let expected = [(0, 8191, 7001), (8192, 16383, 7002)];
        let expected: Owners =
            expected.map(|(first, last, port)| (first, last, SocketAddr::new(asked().ip(), port))).to_vec();
        assert_eq!(read(two), Ok(expected));
        for bad in ["+OK", "*1 :1", "*1 *2 :0 :1", "*1 *3 :0 :16384 *2 $0  :1", "*1 *3 :0 :1 *2 :1 :1"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn moved_is_read() {
        let moved = |text: &str| moved(text.as_bytes(), asked());
        assert_eq!(moved("MOVED 3999 127.0.0.2:6381"), Some((3999, "127.0.0.2:6381".parse().unwrap())));
        assert_eq!(moved("MOVED 1 :6381"), Some((1, "127.0.0.1:6381".parse().unwrap())));
        for bad in
            ["MOVED", "MOVED 1", "MOVED x 127.0.0.1:1", "MOVED 16384 127.0.0.1:1", "MOVED 1 127.0.0.1:x"]
        {
            assert_eq!(moved(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn slots_not_named_keep_their_owner() {
        let mut routes = Routes::new();
        let (one, two) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        routes.learn(&vec![(0, 16383, one)]);
        routes.learn(&vec![(100, 200, two)]);
        routes.moved(150, one);
        let owner = |slot: usize| routes.endpoints[usize::from(routes.owner_of_slot[slot])].address;
        assert_eq!(
            [0, 99, 100, 149, 150, 151, 200, 201].map(owner),
            [one, one, two, two, one, two, two, one]
        );
    }
}
