//! Networks that work badly: late, lossy, doubled, out of order, narrow, corrupting.

use std::time::Duration;

use ringraft_tests::process::Options;
use ringraft_tests::switch::{CLIENTS, Rule};

use super::site::Site;
use crate::service::{ALL_SERVE, pass, seed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What is expected of the clients during each weather: that they get on.
fn get_on(site: &Site, weather: &str, requests: u64) {
    let start = std::time::Instant::now();
    site.let_work(requests);
    let all: Vec<u16> = site.cluster.ids().collect();
    site.wait_serves(&all, ALL_SERVE, weather);
    println!("{weather}: {requests} requests in {:.1} s", start.elapsed().as_secs_f32());
}

#[test]
fn late_lossy_doubled_and_reordered_frames_only_slow_things_down() {
    let Some(site) = Site::start(3, seed(), Options { shards: 2, ..Options::default() }) else { return };
    site.switch.among_nodes(Rule::slow(ms(20), ms(40)));
    get_on(&site, "20 to 60 ms of delay", 300);
    site.switch.among_nodes(Rule::lossy(0.02));
    get_on(&site, "2 % of loss", 500);
    let wild = Rule { duplication: 0.2, reordering: 0.2, ..Rule::slow(ms(1), ms(10)) };
    site.switch.among_nodes(wild);
    get_on(&site, "doubled and reordered frames", 500);
    site.switch.among_nodes(Rule { rate_bytes: Some(300_000), ..Rule::default() });
    get_on(&site, "300 kB/s", 300);
    // The clients' ways too: their requests are lost and doubled by TCP's own retries only.
    let all: Vec<u16> = site.switch.nodes().chain([CLIENTS]).collect();
    site.switch.between(&all, &all, Rule { loss: 0.10, duplication: 0.05, reordering: 0.05, ..wild });
    get_on(&site, "all of it, and 10 % of loss, for everybody", 100);
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        let passed = site.switch.passed(from, to);
        println!("{from} -> {to}: {passed:?}");
        assert!(passed.lost > 0 && passed.doubled > 0 && passed.held > 0, "{passed:?}");
    }
    site.heal("bad weather");
    site.judge(50);
}

/// A bit flips and TCP does not notice: the frame is refused, its connection closed and counted, and nothing of it is
/// applied.
#[test]
fn damaged_frames_are_refused_and_counted() {
    let Some(site) = Site::start(3, seed(), Options { shards: 2, ..Options::default() }) else { return };
    let refused = |id| site.cluster.status(id).map(|status| status.links_damaged).unwrap_or_default();
    assert_eq!([1, 2, 3].map(refused), [0, 0, 0], "a healthy network damages nothing");
    let ids = [1, 2, 3];
    for share in [0.002, 0.01] {
        site.switch.among_nodes(Rule { corruption: share, ..Rule::default() });
        site.let_work(300);
        pass(Duration::from_secs(2));
    }
    site.heal("damage");
    let damaged: u64 = ids.iter().flat_map(|a| ids.map(|b| site.switch.passed(*a, b).corrupted)).sum();
    println!("{damaged} damaged frames, connections closed for them by each node: {:?}", ids.map(refused));
    let closed: u64 = ids.map(refused).iter().sum();
    assert!((1..=damaged).contains(&closed), "{closed} connections closed for {damaged} damaged frames");
    site.judge(100);
}
