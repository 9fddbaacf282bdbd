//! What a node says of itself and its cluster: the JSON behind `RINGRAFT STATUS`.
//!
//! Written by hand, as an embedder without the `cli` feature has no JSON library; `ringraft status` reads it
//! with serde (`cli/status`), and a test there holds the two together.

use std::fmt::Write;

use raft::{GroupId, Role};

use crate::directory::Directory;
use crate::kv::SlotMap;

/// The status of this node as JSON.
pub(crate) fn node_status(directory: &Directory) -> String {
    let mut out = String::new();
    let cluster = directory.cluster();
    let _infallible = write!(out, "{{\"node\":{},\"cluster\":", directory.node);
    if cluster == [0; 16] {
        out.push_str("null");
    } else {
        out.push('"');
        for byte in cluster {
            let _infallible = write!(out, "{byte:02x}");
        }
        out.push('"');
    }
    let placement = directory.placement;
    let version = env!("CARGO_PKG_VERSION");
    let _infallible = write!(out, ",\"version\":\"{version}\",\"shards\":{},\"groups\":[", placement.shards);
    let slots = u16::try_from(placement.groups).ok().map(SlotMap::new);
    for id in 1..=placement.groups {
        let Some(group) = directory.group(GroupId(id)) else { continue };
        let range = slots.map_or(0..0, |slots| slots.slots(GroupId(id)));
        let _infallible = write!(out, "{}{{\"id\":{id},\"slots\":[", if id > 1 { "," } else { "" });
        if !range.is_empty() {
            let _infallible = write!(out, "[{},{}]", range.start, range.end - 1);
        }
        let role = match group.role {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate | Role::PreCandidate => "candidate",
        };
        let leader = group.leader.map_or("null".to_owned(), |node| node.to_string());
        let _infallible = write!(
            out,
            "],\"leader\":{leader},\"role\":\"{role}\",\"term\":{},\"last\":{},\"committed\":{},\"applied\":{}}}",
            group.term, group.last, group.committed, group.applied
        );
    }
    out.push_str("],\"nodes\":[");
    for (place, node) in directory.nodes().iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let reachable = node.node == directory.node || directory.is_reachable(node.node);
        let _infallible = write!(
            out,
            "{comma}{{\"id\":{},\"peer\":\"{}:{}\",\"client\":",
            node.node, node.peer_host, node.peer_port
        );
        match node.client_port {
            0 => out.push_str("null"),
            port => {
                let _infallible = write!(out, "\"{}:{port}\"", node.client_host);
            }
        }
        let _infallible = write!(out, ",\"reachable\":{reachable}}}");
    }
    out.push_str("]}");
    out
}
