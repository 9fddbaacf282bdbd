//! What a cluster of real nodes is started with.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a node does with keys that another one leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Serves them by asking the leader.
    Proxy,
    /// Answers `-MOVED`.
    Moved,
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
            dir: None,
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
    let (client, shards) = (client.to_string(), options.shards.to_string());
    let named = ["--cluster", members, "--client", &client, "--shards", &shards, "--redirect", redirect];
    args.extend(named.map(OsString::from));
    if let Some(groups) = options.groups {
        args.extend(["--groups".into(), groups.to_string().into()]);
    }
    args.extend(options.args.iter().map(OsString::from));
    args
}
