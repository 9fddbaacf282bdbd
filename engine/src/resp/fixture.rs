//! A cluster in one hand: every group's machine in this process, and plans carried out on the spot.

use super::{ClusterView, Leader, Node, Place, Plan, Redirect, Request, Session, Statistics, plan, to_proto};
use crate::kv::{Kv, SlotMap};
use crate::state_machine::{Applied, StateMachine};
use net::resp::reply;
use raft::{EntryId, GroupId, NodeId};
use std::time::Duration;

/// A view whose every answer a test may choose.
pub(super) struct FakeView {
    pub map: SlotMap,
    pub nodes: Vec<Node>,
    pub own: Place,
    pub redirect: Redirect,
    /// By group; index 0 is group 1.
    pub leaders: Vec<Option<Leader>>,
    pub statistics: Statistics,
}

impl FakeView {
    /// `groups` groups on three nodes of two shards, led in turn by (1, 0), (1, 1), (2, 0) and so on.
    pub fn new(groups: u16, redirect: Redirect) -> Self {
        let node = |id: u16| Node {
            id: NodeId(id),
            host: "127.0.0.1".into(),
            port: 6000 + id * 100,
            shards: 2,
            reachable: true,
        };
        let place = |group: u16| Place { node: NodeId(group / 2 % 3 + 1), shard: group % 2 };
        Self {
            map: SlotMap::new(groups),
            nodes: vec![node(1), node(2), node(3)],
            own: place(0),
            redirect,
            leaders: (0..groups).map(|group| Some(Leader { place: place(group), current: true })).collect(),
            statistics: Statistics { clients_max: 10_000, ..Statistics::default() },
        }
    }
}

impl ClusterView for FakeView {
    fn cluster_id(&self) -> [u8; 16] {
        *b"cluster-identity"
    }
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    fn own(&self) -> Place {
        self.own
    }
    fn slot_map(&self) -> SlotMap {
        self.map
    }
    fn leader(&self, group: GroupId) -> Option<Leader> {
        self.leaders[group.0 as usize - 1]
    }
    fn epoch(&self) -> u64 {
        7
    }
    fn redirect(&self) -> Redirect {
        self.redirect
    }
    fn unix_time(&self) -> Duration {
        Duration::from_micros(1_700_000_000_123_456)
    }
    fn statistics(&self) -> Statistics {
        self.statistics.clone()
    }
}

/// A connection to such a cluster.
pub(super) struct FakeCluster {
    pub view: FakeView,
    pub session: Session,
    pub groups: Vec<Kv>,
    pub closed: bool,
}

impl FakeCluster {
    pub fn new(groups: u16, redirect: Redirect) -> Self {
        let view = FakeView::new(groups, redirect);
        let address = "127.0.0.1:50000".parse().unwrap();
        let session = Session::new(5, address, "127.0.0.1:6100".parse().unwrap(), view.unix_time());
        let groups = view.map.all().map(|group| Kv::new(view.map.slots(group))).collect();
        Self { view, session, groups, closed: false }
    }

    /// The reply to a request, as it goes to the client.
    pub fn run(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        match plan(&mut self.session, args, &self.view, &mut out) {
            Plan::Done | Plan::ResetStatistics | Plan::TakeSnapshots => {}
            Plan::Files(_) => reply::bulk(&mut out, b"files"),
            Plan::Close => self.closed = true,
            Plan::One(request) => {
                assert!(out.is_empty(), "a plan for a group has no reply yet");
                to_proto(&execute(&mut self.groups, &request), self.session.proto, &mut out);
            }
            Plan::Scatter(parts, mut gather) => {
                assert!(out.is_empty(), "a plan for groups has no reply yet");
                for (part, request) in parts.iter().enumerate() {
                    gather.add(part, &execute(&mut self.groups, request));
                }
                gather.finish(self.session.proto, &mut out);
            }
            Plan::Wait { .. } => reply::integer(&mut out, 0),
            Plan::Ask(..) => reply::bulk(&mut out, b"asked"),
            Plan::Status(_) => reply::bulk(&mut out, b"status"),
        }
        out
    }

    /// As [`run`](Self::run) for a line of words.
    pub fn line(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        String::from_utf8(self.run(&args)).unwrap()
    }
}

fn execute(groups: &mut [Kv], request: &Request<'_>) -> Vec<u8> {
    let kv = &mut groups[request.group.0 as usize - 1];
    assert!(kv.slots().contains(&request.slot), "the slot is of the group");
    let mut reply = Vec::new();
    let bytes = request.command.to_vec();
    if request.is_write() {
        assert_eq!(kv.apply(EntryId::default(), &bytes, &mut reply), Applied::Done);
    } else {
        kv.query(&bytes, &mut reply);
    }
    reply
}
