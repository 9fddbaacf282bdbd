//! Peers that say nothing and do not hang up.

use std::time::{Duration, Instant};

use ringraft_tests::poll;
use ringraft_tests::process::Options;

use super::site::Site;
use crate::service::{ALL_SERVE, MAJORITY_SERVES, reaches, seed};

/// A link is closed after 3 s of silence; the rest is for a busy machine.
const NOTICED: Duration = Duration::from_secs(8);

/// Its cable is pulled: the others close their ends without being told. Then it dies unheard, comes back, and is let in
/// although its old connections were never closed.
#[test]
fn a_silent_peer_is_given_up_and_let_in_again() {
    let Some(mut site) = Site::start(3, seed(), Options { shards: 2, ..Options::default() }) else { return };
    let silent = site.leader_of("truth");
    let others: Vec<u16> = site.cluster.ids().filter(|id| *id != silent).collect();
    site.switch.cut(&[silent], &others);
    site.wait_serves(&others, MAJORITY_SERVES, "silence");
    for id in &others {
        let noticed = || !reaches(&site.cluster, *id, silent);
        assert!(poll::until(Instant::now() + NOTICED, noticed), "{}", site.cluster.log(*id));
    }
    site.heal("silence");

    // Too short a cut to be noticed, in which a process dies and is replaced: its peers hold connections to nobody.
    site.switch.cut(&[silent], &others);
    site.cluster.kill(silent);
    site.cluster.start_node(silent).expect("it starts again");
    site.switch.heal();
    site.wait_serves(&[1, 2, 3], ALL_SERVE, "an unheard death");
    site.judge(50);
}
