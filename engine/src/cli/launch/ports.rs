//! Free ports: shard k listens on port + k, so every node needs a run of free ports for clients, and one for
//! peers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Where a free run is looked for when the usual ports are taken: below the ports that the kernel gives to
/// outgoing connections.
const RANDOM: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1000;

/// The first ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortPlan {
    /// Of shard 0, for clients.
    pub client: SocketAddr,
    /// Of shard 0, for peers.
    pub peer: SocketAddr,
}

/// The ports of all nodes, held until their nodes are started.
#[derive(Debug)]
pub struct Ports {
    plans: Vec<PortPlan>,
    held: Vec<Vec<TcpListener>>,
}

impl Ports {
    /// Runs of `shards` free loopback ports for `nodes` nodes: 6101, 6201, ... and 7101, 7201, ... where those
    /// are free.
    ///
    /// # Errors
    /// There is no such run, or loopback cannot be bound at all.
    pub fn find(nodes: u16, shards: u16) -> io::Result<Ports> {
        let mut ports = Ports { plans: Vec::new(), held: Vec::new() };
        for node in 0..nodes {
            let mut held = Vec::new();
            let client = find(6101 + 100 * node, shards, &mut held)?;
            let peer = find(7101 + 100 * node, shards, &mut held)?;
            ports.plans.push(PortPlan { client: loopback(client), peer: loopback(peer) });
            ports.held.push(held);
        }
        Ok(ports)
    }

    /// By node, the first is node 1.
    pub fn plans(&self) -> &[PortPlan] {
        &self.plans
    }

    /// Lets the ports of the node at `place` go, so that it can take them. Another process may come between:
    /// then the node says so.
    pub fn release(&mut self, place: usize) {
        self.held[place].clear();
    }
}

fn find(usual: u16, count: u16, held: &mut Vec<TcpListener>) -> io::Result<u16> {
    let random = std::iter::repeat_with(|| fastrand::u16(RANDOM)).take(TRIES);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for first in std::iter::once(usual).filter(|_| count <= 100).chain(random) {
        match hold(first, count) {
            Ok(listeners) => {
                held.extend(listeners);
                return Ok(first);
            }
            Err(error) => last = error,
        }
    }
    Err(io::Error::new(last.kind(), format!("no {count} free ports in a row: {last}")))
}

fn hold(first: u16, count: u16) -> io::Result<Vec<TcpListener>> {
    let beyond = || io::Error::from(io::ErrorKind::InvalidInput);
    let ports = (0..count).map(|shard| first.checked_add(shard).ok_or_else(beyond));
    ports.map(|port| TcpListener::bind(loopback(port?))).collect()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn runs_do_not_overlap_and_are_free() {
        let found = Ports::find(3, 4).unwrap();
        let firsts = found.plans().iter().flat_map(|plan| [plan.client.port(), plan.peer.port()]);
        let ports: HashSet<u16> = firsts.flat_map(|first| first..first + 4).collect();
        assert_eq!(ports.len(), 3 * 2 * 4);
    }

    #[test]
    fn ports_are_held_until_they_are_released() {
        // Whoever else looks for ports just then, or forks, has a released one for a moment: so not every try counts.
        let taken = (0..TRIES).any(|_| {
            let mut ports = Ports::find(2, 1).unwrap();
            let [first, second] = [0, 1].map(|place| ports.plans()[place].client);
            ports.release(0);
            assert!(TcpListener::bind(second).is_err());
            TcpListener::bind(first).is_ok()
        });
        assert!(taken);
    }

    #[test]
    fn a_taken_port_is_avoided() {
        let mut held = Vec::new();
        let first = find(6101, 2, &mut held).unwrap();
        let second = find(first + 1, 1, &mut held).unwrap();
        assert_ne!(second, first + 1);
    }
}
