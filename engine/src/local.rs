//! A whole cluster in one process, for tests, examples and first steps.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use raft::GroupId;

use crate::builder::Builder;
use crate::engine::Engine;
use crate::error::StartError;
use crate::fatal::Fatal;
use crate::group::Group;
use crate::state_machine::StateMachine;

/// Several nodes of one cluster in this process, on loopback, with data in a temporary directory that goes
/// with it. Made by [`Engine::local_cluster`].
pub struct LocalCluster {
    engines: Vec<Engine>,
    /// Removed last, after the engines have stopped.
    _dir: tempfile::TempDir,
}

impl LocalCluster {
    pub(crate) fn start<S: StateMachine>(
        nodes: u16,
        settings: impl Fn(Builder) -> Builder,
        factory: impl Fn(GroupId) -> S + Send + Sync + Clone + 'static,
    ) -> Result<LocalCluster, StartError> {
        let io = |error: std::io::Error| StartError::Settings(format!("a local cluster: {error}"));
        let dir = tempfile::TempDir::with_prefix("ringraft-local-").map_err(io)?;
        let addresses = free_addresses(nodes).map_err(io)?;
        let mut engines = Vec::new();
        for node in 1..=nodes {
            let mut builder = Engine::builder(node, dir.path().join(format!("node-{node}"))).shards(1);
            for (peer, address) in (1..=nodes).zip(&addresses) {
                builder = builder.peer(peer, *address);
            }
            engines.push(settings(builder).start(factory.clone())?);
        }
        Ok(LocalCluster { engines, _dir: dir })
    }

    /// The nodes, in the order of their numbers.
    pub fn nodes(&self) -> &[Engine] {
        &self.engines
    }

    /// The handle to a group on the first node; it reaches the leader wherever that is.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn group(&self, id: u32) -> Group {
        self.engines[0].group(GroupId(id)).expect("groups are numbered from 1 to Engine::groups()")
    }

    /// Waits until every group has a leader; false when `timeout` passed first.
    pub fn wait_for_leaders(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let first = &self.engines[0];
        while !(1..=first.groups()).all(|id| first.leader(GroupId(id)).is_some()) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        true
    }

    /// Stops every node in turn.
    ///
    /// # Errors
    /// [`Fatal`] when a node had died.
    pub fn shutdown(self) -> Result<(), Fatal> {
        self.engines.into_iter().try_for_each(Engine::shutdown)
    }
}

/// Loopback addresses that were free a moment ago. All are held until the last is found, so they differ.
fn free_addresses(count: u16) -> std::io::Result<Vec<SocketAddr>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}
