//! CLUSTER: the shape of the cluster as Redis Cluster clients want it. Every shard of every node is a master with
//! the slots it leads; nobody is a replica.

use super::plan::{Context, Plan, Request, refuse};
use super::session::Session;
use super::spec::Verb;
use super::view::{ClusterView, Node, Place};
use crate::kv::hash::sip13;
use crate::kv::{Command, NOT_AN_INTEGER, SLOT_COUNT, key_slot};
use net::resp::{Proto, parse_integer, reply};
use std::fmt::Write;

/// Writes the reply that sends a client to the shard at `place` for a slot.
pub fn moved(view: &dyn ClusterView, slot: u16, place: Place, out: &mut Vec<u8>) {
    match view.nodes().iter().find(|node| node.id == place.node) {
        Some(node) => {
            reply::error(out, format_args!("MOVED {slot} {}:{}", node.host, node.shard_port(place.shard)));
        }
        None => reply::error(out, format_args!("CLUSTERDOWN Hash slot not served")),
    }
}

/// The identity of a shard of a node towards Redis Cluster clients: 40 hexadecimal digits, the same for ever.
pub fn node_id(cluster_id: [u8; 16], place: Place) -> String {
    let mut seed = cluster_id.to_vec();
    seed.extend_from_slice(&place.node.0.to_le_bytes());
    seed.extend_from_slice(&place.shard.to_le_bytes());
    let mut id = String::with_capacity(48);
    for word in 0_u8..3 {
        seed.push(word);
        write!(id, "{:016x}", sip13(&seed)).expect("writing to memory cannot fail");
    }
    id.truncate(40);
    id
}

pub(super) fn plan<'a>(
    verb: Verb,
    session: &Session,
    context: Context<'a, '_>,
    out: &mut Vec<u8>,
) -> Plan<'a> {
    let Context { args, view } = context;
    match verb {
        Verb::ClusterSlots => slots(view, session.proto, out),
        Verb::ClusterShards => shards(view, session.proto, out),
        Verb::ClusterNodes => reply::verbatim(out, *b"txt", nodes(view).as_bytes(), session.proto),
        Verb::ClusterInfo => reply::verbatim(out, *b"txt", info(view).as_bytes(), session.proto),
        Verb::ClusterMyId => reply::bulk(out, node_id(view.cluster_id(), view.own()).as_bytes()),
        Verb::ClusterKeySlot => reply::integer(out, key_slot(args[2]).into()),
        Verb::ClusterCountKeysInSlot => {
            let Some(slot) = parse_integer(args[2]) else {
                return refuse(out, format_args!("{NOT_AN_INTEGER}"));
            };
            let Some(slot) = valid_slot(slot) else { return refuse(out, format_args!("ERR Invalid slot")) };
            return in_slot(view, slot, Command::SlotLen { slot });
        }
        Verb::ClusterGetKeysInSlot => {
            let (Some(slot), Some(count)) = (parse_integer(args[2]), parse_integer(args[3])) else {
                return refuse(out, format_args!("{NOT_AN_INTEGER}"));
            };
            let (Some(slot), Ok(count)) = (valid_slot(slot), u64::try_from(count)) else {
                return refuse(out, format_args!("ERR Invalid slot or number of keys"));
            };
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            return in_slot(view, slot, Command::SlotKeys { slot, count });
        }
        _ => unreachable!("{verb:?} is not of CLUSTER"),
    }
    Plan::Done
}

fn valid_slot(slot: i64) -> Option<u16> {
    u16::try_from(slot).ok().filter(|&slot| slot < SLOT_COUNT)
}

/// Questions about a slot go to its group wherever it is led.
fn in_slot<'a>(view: &dyn ClusterView, slot: u16, command: Command<'a>) -> Plan<'a> {
    Plan::One(Request { group: view.slot_map().group(slot), slot, command })
}

/// A range of slots, both ends included, and the shard that leads it.
struct Led {
    first: u16,
    last: u16,
    place: Place,
}

/// Who leads which slots, or led them last: ascending, neighbours of one leader as one range. Slots of groups
/// that never had a leader are missing.
fn led(view: &dyn ClusterView) -> Vec<Led> {
    let map = view.slot_map();
    let mut ranges: Vec<Led> = Vec::new();
    for group in map.all() {
        let Some(leader) = view.leader(group) else { continue };
        let slots = map.slots(group);
        match ranges.last_mut() {
            Some(range) if range.place == leader.place && range.last + 1 == slots.start => {
                range.last = slots.end - 1;
            }
            _ => ranges.push(Led { first: slots.start, last: slots.end - 1, place: leader.place }),
        }
    }
    ranges
}

/// Every shard of every node.
fn places(view: &dyn ClusterView) -> impl Iterator<Item = (&Node, Place)> {
    let of_node = |node: &Node| {
        let id = node.id;
        (0..node.shards).map(move |shard| Place { node: id, shard })
    };
    view.nodes().iter().flat_map(move |node| of_node(node).map(move |place| (node, place)))
}

fn slots(view: &dyn ClusterView, proto: Proto, out: &mut Vec<u8>) {
    let known = |place: Place| view.nodes().iter().find(|node| node.id == place.node);
    let ranges: Vec<(Led, &Node)> =
        led(view).into_iter().filter_map(|range| known(range.place).map(|node| (range, node))).collect();
    reply::array_header(out, ranges.len());
    for (range, node) in ranges {
        reply::array_header(out, 3);
        reply::integer(out, range.first.into());
        reply::integer(out, range.last.into());
        reply::array_header(out, 4);
        reply::bulk(out, node.host.as_bytes());
        reply::integer(out, node.shard_port(range.place.shard).into());
        reply::bulk(out, node_id(view.cluster_id(), range.place).as_bytes());
        reply::map_header(out, 0, proto);
    }
}

fn shards(view: &dyn ClusterView, proto: Proto, out: &mut Vec<u8>) {
    let led = led(view);
    reply::array_header(out, places(view).count());
    for (node, place) in places(view) {
        let ranges = || led.iter().filter(|range| range.place == place);
        reply::map_header(out, 2, proto);
        reply::bulk(out, b"slots");
        reply::array_header(out, 2 * ranges().count());
        for range in ranges() {
            reply::integer(out, range.first.into());
            reply::integer(out, range.last.into());
        }
        reply::bulk(out, b"nodes");
        reply::array_header(out, 1);
        reply::map_header(out, 7, proto);
        reply::bulk(out, b"id");
        reply::bulk(out, node_id(view.cluster_id(), place).as_bytes());
        reply::bulk(out, b"port");
        reply::integer(out, node.shard_port(place.shard).into());
        let health = if node.reachable { "online" } else { "fail" };
        for (name, value) in [("ip", node.host.as_str()), ("endpoint", &node.host), ("role", "master")] {
            reply::bulk(out, name.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        reply::bulk(out, b"replication-offset");
        reply::integer(out, 0);
        reply::bulk(out, b"health");
        reply::bulk(out, health.as_bytes());
    }
}

/// A line per shard of each node: the same from every port, but for `myself`.
fn nodes(view: &dyn ClusterView) -> String {
    let led = led(view);
    let mut text = String::new();
    for (node, place) in places(view) {
        let port = node.shard_port(place.shard);
        // The bus of Redis Cluster does not exist here; clients only want the number to be there.
        let bus_port = port.checked_add(10_000).unwrap_or(port);
        let flags = if place == view.own() { "myself,master" } else { "master" };
        let link = if node.reachable { "connected" } else { "disconnected" };
        let id = node_id(view.cluster_id(), place);
        write!(text, "{id} {}:{port}@{bus_port} {flags} - 0 0 {} {link}", node.host, view.epoch())
            .expect("writing to memory cannot fail");
        for range in led.iter().filter(|range| range.place == place) {
            let written = if range.first == range.last {
                write!(text, " {}", range.first)
            } else {
                write!(text, " {}-{}", range.first, range.last)
            };
            written.expect("writing to memory cannot fail");
        }
        text.push('\n');
    }
    text
}

fn info(view: &dyn ClusterView) -> String {
    let map = view.slot_map();
    let (mut assigned, mut ok) = (0, 0);
    for group in map.all() {
        let Some(leader) = view.leader(group) else { continue };
        assigned += map.slots(group).len();
        ok += if leader.current { map.slots(group).len() } else { 0 };
    }
    let leading = {
        let mut places: Vec<Place> = led(view).iter().map(|range| range.place).collect();
        places.sort_unstable();
        places.dedup();
        places.len()
    };
    let fields = [
        ("cluster_state", if ok == usize::from(SLOT_COUNT) { "ok".to_string() } else { "fail".to_string() }),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", ok.to_string()),
        ("cluster_slots_pfail", (assigned - ok).to_string()),
        ("cluster_slots_fail", "0".to_string()),
        ("cluster_known_nodes", places(view).count().to_string()),
        ("cluster_size", leading.to_string()),
        ("cluster_current_epoch", view.epoch().to_string()),
        ("cluster_my_epoch", view.epoch().to_string()),
        ("cluster_stats_messages_sent", "0".to_string()),
        ("cluster_stats_messages_received", "0".to_string()),
        ("total_cluster_links_buffer_limit_exceeded", "0".to_string()),
    ];
    fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
}
