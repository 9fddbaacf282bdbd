//! Networks: which node hears which. A bit per directed link.

use raft::NodeId;

/// The most nodes of a simulation.
pub const NODES_MAX: usize = 8;

/// The directed links that lose everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cuts(u64);

fn bit(from: usize, to: usize) -> u64 {
    1 << (from * NODES_MAX + to)
}

/// Where a node is kept.
#[must_use]
pub fn seat(node: NodeId) -> usize {
    usize::from(node.0) - 1
}

impl Cuts {
    /// Cuts one direction of a link.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.0 |= bit(from, to);
    }

    /// Whether nothing gets from one to the other.
    #[must_use]
    pub fn has(self, from: usize, to: usize) -> bool {
        self.0 & bit(from, to) != 0
    }

    /// All cut links.
    pub fn links(self) -> impl Iterator<Item = (usize, usize)> {
        let links = (0..NODES_MAX).flat_map(|from| (0..NODES_MAX).map(move |to| (from, to)));
        links.filter(move |&(from, to)| self.has(from, to))
    }

    /// Everybody hears everybody.
    pub fn heal(&mut self) {
        self.0 = 0;
    }

    /// Whether `group`, a set of seats as bits, is fully connected, both ways.
    fn joins(self, group: u32) -> bool {
        let inside: Vec<usize> = (0..NODES_MAX).filter(|at| group >> at & 1 == 1).collect();
        let lost = |&from: &usize| inside.iter().any(|&to| from != to && self.has(from, to));
        !inside.iter().any(lost)
    }

    /// Whether some majority of `nodes` nodes is fully connected.
    #[must_use]
    pub fn have_quorum(self, nodes: usize) -> bool {
        let majorities = (0_u32..1 << nodes).filter(|set| set.count_ones() as usize * 2 > nodes);
        majorities.into_iter().any(|set| self.joins(set))
    }
}

/// The two-way graphs of `nodes` nodes in which some majority is fully connected: every partial
/// partition that ought to keep working, bridges included. 2^10 graphs at five nodes, of which those
/// with a fully connected triple remain.
#[must_use]
pub fn two_way(nodes: usize) -> Vec<Cuts> {
    let links: Vec<(usize, usize)> = (0..nodes).flat_map(|a| (0..a).map(move |b| (a, b))).collect();
    let graph = |choice: u32| {
        let mut cuts = Cuts::default();
        for (place, &(a, b)) in links.iter().enumerate() {
            if choice >> place & 1 == 1 {
                cuts.cut(a, b);
                cuts.cut(b, a);
            }
        }
        cuts
    };
    (0..1_u32 << links.len()).map(graph).filter(|cuts| cuts.have_quorum(nodes)).collect()
}

/// The graphs in which the majority 1, 2, 3 of five is whole, and each of the links between it and
/// the other two, and of those two, may be cut in either direction: 2^14 one-way graphs.
pub fn one_way() -> impl Iterator<Item = Cuts> {
    let mut links = Vec::new();
    for outside in 3..5 {
        links.extend((0..3).flat_map(|inside| [(inside, outside), (outside, inside)]));
    }
    links.extend([(3, 4), (4, 3)]);
    (0..1_u32 << links.len()).map(move |choice| {
        let mut cuts = Cuts::default();
        let chosen = links.iter().enumerate().filter(|(place, _)| choice >> place & 1 == 1);
        chosen.for_each(|(_, &(from, to))| cuts.cut(from, to));
        cuts
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_among_the_graphs_and_a_split_without_majority_is_not() {
        let graphs = two_way(5);
        let mut bridge = Cuts::default();
        for a in 0..2 {
            for b in 3..5 {
                bridge.cut(a, b);
                bridge.cut(b, a);
            }
        }
        assert!(graphs.contains(&bridge), "1-2-3 and 3-4-5, joined by 3");
        let mut split = Cuts::default();
        for a in 0..5 {
            for b in (0..5).filter(|&b| b != a && a % 2 != b % 2 || a == 4 && b != 4) {
                split.cut(a, b);
                split.cut(b, a);
            }
        }
        assert!(!split.have_quorum(5) && !graphs.contains(&split));
        assert_eq!(graphs.len(), 636, "graphs of five nodes with a triangle");
    }

    #[test]
    fn a_one_way_link_is_cut_in_one_direction() {
        let graphs: Vec<Cuts> = one_way().collect();
        assert_eq!(graphs.len(), 1 << 14);
        assert!(graphs.iter().all(|cuts| cuts.have_quorum(5)));
        assert!(graphs.iter().any(|cuts| cuts.has(0, 3) && !cuts.has(3, 0)));
    }
}
