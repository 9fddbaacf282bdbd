//! What a cluster of real nodes is started with.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::free_ports;

/// The ports of nodes that have an address of their own.
const CLIENT_PORT: u16 = 6100;
const PEER_PORT: u16 = 7100;

/// What a node does with keys that another one leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Serves them by asking the leader.
    Proxy,
    /// Answers `-MOVED`.
    Moved,
}

/// Where a node runs. The default is loopback.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The address it listens at, if that is not loopback: one that is the node's alone, with all ports free.
    pub address: Option<Ipv4Addr>,
    /// Words put before its command: a program that becomes the node, so that signals reach it.
    pub before: Vec<String>,
}

/// What a cluster is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes form the cluster; their ids are 1, 2, ...
    pub nodes: u16,
    /// Nodes with the ids behind them that are not started with the others: to be added later.
    pub spare: u16,
    /// Shards of each node.
    pub shards: u16,
    /// Groups of the cluster; `None` leaves it to the server.
    pub groups: Option<u32>,
    /// What happens to keys led elsewhere.
    pub redirect: Redirect,
    /// More arguments for every node's `serve`.
    pub args: Vec<String>,
    /// Where the nodes run, by their order, spare ones included; those not listed run on loopback.
    pub places: Vec<Place>,
    /// Where the nodes' directories go; `None`: into the target directory, removed at the end.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodes: 3,
            spare: 0,
            shards: 1,
            groups: None,
            redirect: Redirect::Proxy,
            args: vec![],
            places: vec![],
            dir: None,
        }
    }
}

impl Options {
    fn place(&self, id: u16) -> Place {
        self.places.get(usize::from(id) - 1).cloned().unwrap_or_default()
    }

    /// Where a node's shard 0 listens for clients, and where for peers.
    pub(super) fn addresses(&self, id: u16) -> (SocketAddr, SocketAddr) {
        let loopback = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(self.shards)));
        match self.place(id).address {
            Some(address) => ((address, CLIENT_PORT).into(), (address, PEER_PORT).into()),
            None => (loopback(), loopback()),
        }
    }

    /// The program and the arguments of a command that a node runs.
    pub(super) fn command(&self, id: u16, binary: &Path, args: Vec<OsString>) -> (PathBuf, Vec<OsString>) {
        let mut words = self.place(id).before.into_iter().map(OsString::from);
        match words.next() {
            None => (binary.to_path_buf(), args),
            Some(first) => (first.into(), words.chain([binary.into()]).chain(args).collect()),
        }
    }
}

pub(super) fn data_of(dir: &Path, id: u16) -> PathBuf {
    dir.join(format!("node-{id}"))
}

pub(super) fn serve_args(
    options: &Options,
    id: u16,
    dir: &Path,
    client: SocketAddr,
    members: &str,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["serve", "--until-stdin-closes", "--node"].map(OsString::from).into();
    args.push(id.to_string().into());
    args.extend(["--data".into(), data_of(dir, id).into()]);
    let redirect = if options.redirect == Redirect::Proxy { "proxy" } else { "moved" };
    let (listen, shards) = (client.to_string(), options.shards.to_string());
    let named = ["--cluster", members, "--client", &listen, "--shards", &shards, "--redirect", redirect];
    args.extend(named.map(OsString::from));
    if let Some(groups) = options.groups {
        args.extend(["--groups".into(), groups.to_string().into()]);
    }
    if !client.ip().is_loopback() {
        args.push("--insecure".into());
    }
    args.extend(options.args.iter().map(OsString::from));
    args
}
