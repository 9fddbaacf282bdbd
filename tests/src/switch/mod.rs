//! A network that can be broken: real nodes in network namespaces, behind a switch in user space.
//!
//! ```text
//!   namespace of node 1        namespace of node 2        namespace of the clients
//!     ringraft serve             ringraft serve             the test's own threads
//!     10.114.0.11                10.114.0.12                10.114.0.10
//!        tap0                       tap0                       tap0
//!          \_________________________|__________________________/
//!                 threads of the test that read frames of one port
//!                 and write them to another, as the pair's `Rule` says
//! ```
//!
//! Each ordered pair of ports has a [`Rule`] that can be changed at any time. Clients are a port like any node
//! ([`CLIENTS`]): nothing disturbs them unless a test says so, which makes their path the one a test looks through. A
//! thread gets into their namespace by [`Switch::enter`], and so do the threads and processes it starts from then on.
//!
//! Neighbours are entered by hand: what a partition breaks is the path, not address resolution, whose timers are the
//! kernel's. There is no other traffic than that of these namespaces, and no way out of them.
//!
//! Needs root, `ip` (iproute2) and `/dev/net/tun`; without them [`Switch::start`] prints a notice and gives `None`.

mod corrupt;
mod fabric;
mod namespace;
mod rule;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::process::Place;
use fabric::Fabric;
pub use namespace::Inside;
use namespace::Namespace;
pub use rule::{Passed, Rule};

/// The port of the clients. Nodes have the ports of their ids, from 1.
pub const CLIENTS: u16 = 0;

/// Namespaces, their devices and what connects them. Dropping it removes them all; drop clusters in it before.
#[derive(Debug)]
pub struct Switch {
    fabric: Arc<Fabric>,
    threads: Vec<JoinHandle<()>>,
    namespaces: Vec<Namespace>,
}

impl Switch {
    /// Makes a network of `nodes` nodes and the clients. `seed` decides what becomes of single frames. `None`, with a
    /// printed notice, where that is not possible.
    ///
    /// # Panics
    ///
    /// If something fails although it was possible to begin.
    pub fn start(nodes: u16, seed: u64) -> Option<Switch> {
        if let Err(why) = namespace::possible() {
            println!("skipped: no network namespaces: {why}");
            return None;
        }
        let ports = CLIENTS..=nodes;
        let namespaces: Vec<Namespace> = ports.clone().map(Namespace::make).collect();
        let taps = namespaces.iter().map(Namespace::plug).collect();
        namespaces.iter().zip(ports.clone()).for_each(|(namespace, port)| namespace.set_up(port, nodes));
        let fabric = Arc::new(Fabric::new(taps, seed));
        let reader = |port: u16| {
            let fabric = fabric.clone();
            std::thread::spawn(move || fabric.read_port(port))
        };
        let mut threads: Vec<JoinHandle<()>> = ports.map(reader).collect();
        let late = fabric.clone();
        threads.push(std::thread::spawn(move || late.deliver_late()));
        Some(Switch { fabric, threads, namespaces })
    }

    /// Takes the calling thread into the clients' namespace, until the result is dropped.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn enter(&self) -> Inside {
        self.namespaces[usize::from(CLIENTS)].enter()
    }

    /// Where the nodes of a cluster are to run: [`crate::process::Options::places`].
    pub fn places(&self) -> Vec<Place> {
        let place = |(namespace, port): (&Namespace, u16)| Place {
            address: Some(address(port)),
            before: ["ip", "netns", "exec", namespace.name()].map(str::to_string).into(),
        };
        self.namespaces.iter().zip(CLIENTS..).skip(1).map(place).collect()
    }

    /// The ports of all nodes.
    pub fn nodes(&self) -> std::ops::Range<u16> {
        1..u16::try_from(self.namespaces.len()).expect("ports are numbered by u16")
    }

    /// Frames from `from` to `to` fare like this from now on.
    pub fn set(&self, from: u16, to: u16, rule: Rule) {
        self.fabric.set(from, to, rule);
    }

    /// Both ways between any node of `left` and any other one of `right`.
    pub fn between(&self, left: &[u16], right: &[u16], rule: Rule) {
        let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b)));
        for (a, b) in pairs.filter(|(a, b)| a != b) {
            self.set(a, b, rule);
            self.set(b, a, rule);
        }
    }

    /// All ways between nodes. The clients' are left as they are.
    pub fn among_nodes(&self, rule: Rule) {
        let nodes: Vec<u16> = self.nodes().collect();
        self.between(&nodes, &nodes, rule);
    }

    /// Nothing passes between the two sides, either way.
    pub fn cut(&self, left: &[u16], right: &[u16]) {
        self.between(left, right, Rule::CUT);
    }

    /// Everything passes everywhere, the clients' ways included.
    pub fn heal(&self) {
        self.fabric.heal();
    }

    /// What has happened to frames from `from` to `to` since the start.
    pub fn passed(&self, from: u16, to: u16) -> Passed {
        self.fabric.passed(from, to)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.fabric.stop();
        // A device that is gone ends the thread that reads it.
        self.namespaces.iter().for_each(Namespace::unplug);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The address of a port.
pub fn address(port: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 114, 0, 10 + u8::try_from(port).expect("a handful of ports"))
}

/// The last byte is the port, so that the switch knows a frame's way without learning.
fn mac(port: u16) -> [u8; 6] {
    [2, 0x72, 0x72, 0, 0, u8::try_from(port).expect("a handful of ports")]
}

#[cfg(test)]
mod tests;
