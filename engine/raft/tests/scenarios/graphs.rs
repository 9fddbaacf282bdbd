//! Networks that are neither whole nor cut in two.

use std::collections::BTreeSet;

use raft::NodeId;

use crate::stage::{Link, Stage};

const NODES: u16 = 5;

fn pairs() -> Vec<Link> {
    let nodes = 1..=NODES;
    nodes.flat_map(|a| (a + 1..=NODES).map(move |b| (NodeId(a), NodeId(b)))).collect()
}

/// Whether some three nodes of five all reach each other.
fn has_quorum(broken: &BTreeSet<Link>) -> bool {
    (0_u32..32).filter(|set| set.count_ones() == 3).any(|set| {
        let inside = |node: NodeId| set >> (node.0 - 1) & 1 == 1;
        pairs().into_iter().filter(|&(a, b)| inside(a) && inside(b)).all(|pair| !broken.contains(&pair))
    })
}

/// Breaks links and says what became of it: the milliseconds until something new is committed.
fn time_to_commit(broken: &BTreeSet<Link>) -> u64 {
    let mut stage = Stage::new(NODES, NODES, None, |_| ());
    let now = stage.now;
    stage.node(NodeId(1)).raft.campaign(now);
    stage.wait(300, true);
    stage.cut_links = broken.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect();
    for waited in (100..=20_000).step_by(100) {
        if let Some(leader) = stage.leader() {
            stage.propose(leader, 1);
            let node = stage.node(leader);
            let proposed = node.raft.last();
            stage.wait(100, true);
            if stage.node(leader).raft.committed() >= proposed {
                return waited;
            }
        } else {
            stage.wait(100, true);
        }
    }
    panic!("nothing is committed in 20 s with these links broken: {broken:?}");
}

#[test]
fn every_graph_of_five_nodes_with_a_connected_quorum_commits() {
    let pairs = pairs();
    let (mut graphs, mut slowest) = (0, 0);
    for graph in 0_u32..1 << pairs.len() {
        let broken: BTreeSet<Link> =
            (0..).zip(&pairs).filter(|(at, _)| graph >> at & 1 == 1).map(|(_, pair)| *pair).collect();
        if has_quorum(&broken) {
            graphs += 1;
            slowest = slowest.max(time_to_commit(&broken));
        }
    }
    println!("{graphs} graphs, the slowest commits after {slowest} ms");
    assert!(slowest <= 6000, "four election timeouts, not {slowest} ms");
}

#[test]
fn a_bridge_between_the_old_leader_and_the_others_does_not_keep_them_from_electing() {
    // 1 leads and reaches only 2, who reaches everybody: 2, 3, 4 can elect, 5 reaches 2 only.
    let whole = [(2, 3), (2, 4), (3, 4), (1, 2), (2, 5)].map(|(a, b)| (NodeId(a), NodeId(b)));
    let broken: BTreeSet<Link> = pairs().into_iter().filter(|pair| !whole.contains(pair)).collect();
    assert!(has_quorum(&broken));
    let waited = time_to_commit(&broken);
    assert!(waited <= 6000, "{waited} ms");
}
