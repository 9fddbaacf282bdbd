//! Power cuts under load on real file systems; `cargo run --release -p ringraft-tests --bin power` does many.

use ringraft_tests::{fuse_disk, power};

fn cut(nodes: u16, cuts: u32) {
    if !fuse_disk::available() {
        return;
    }
    let plan = power::Plan { nodes, cuts, seed: fastrand::u64(..), clients: 4, tell: |_| {} };
    let report = power::run(&plan);
    println!("{plan:?}: {report}");
    assert!(report.violations.is_empty(), "{plan:?}: {report}");
    assert!(report.acknowledged > 0, "{report}");
}

/// One node: whatever it acknowledged is on this disk or nowhere.
#[test]
fn a_lone_node_survives_power_cuts() {
    cut(1, 12);
}

#[test]
fn a_cluster_survives_power_cuts_of_all_nodes_at_once() {
    cut(3, 6);
}
