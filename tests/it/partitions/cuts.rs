//! Partitions: in two, one way only, between two nodes only, and now and then.

use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::process::Options;
use ringraft_tests::switch::Rule;

use super::site::Site;
use crate::service::{MAJORITY_SERVES, get, pass, seed, serves, set};

/// A node on the wrong side of a cut must not answer with what was true before.
fn assert_not_stale(site: &Site, id: u16, key: &str, old: &str) {
    let answer = get(&site.cluster, id, key);
    assert_ne!(answer, Some(Some(old.to_string())), "node {id} answered a stale GET {key}");
}

#[test]
fn a_majority_serves_and_a_minority_does_not_lie() {
    let seed = seed();
    let Some(site) = Site::start(5, seed, Options::default()) else { return };
    let mut rng = Rng::with_seed(seed);
    for round in 0..4 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        set(&site.cluster, 1, "truth", &old);
        let leader = site.leader_of("truth");
        let mut others: Vec<u16> = site.cluster.ids().filter(|id| *id != leader).collect();
        rng.shuffle(&mut others);
        // The leader alone, with one more, or with the majority; once in three pieces.
        let (minority, majority) = match round {
            0 => (vec![leader], others),
            1 => (vec![leader, others[0]], others[1..].to_vec()),
            2 => (others[..2].to_vec(), [&others[2..], &[leader]].concat()),
            _ => {
                site.switch.cut(&[leader], &others[..1]);
                (vec![leader, others[0]], others[1..].to_vec())
            }
        };
        site.switch.cut(&minority, &majority);
        site.wait_serves(&majority, MAJORITY_SERVES, &format!("cut {minority:?} | {majority:?}"));
        set(&site.cluster, majority[0], "truth", &new);
        for id in &minority {
            assert_not_stale(&site, *id, "truth", &old);
        }
        site.heal("the cut");
    }
    site.judge(100);
}

/// The leader is heard and does not hear; then it hears and is not heard; then any one way between two.
#[test]
fn one_way_is_not_enough() {
    let seed = seed();
    let Some(site) = Site::start(3, seed, Options { shards: 2, ..Options::default() }) else { return };
    for round in 0..3 {
        let old = format!("old{round}");
        set(&site.cluster, 1, "truth", &old);
        let leader = site.leader_of("truth");
        let others: Vec<u16> = site.cluster.ids().filter(|id| *id != leader).collect();
        for other in &others[..if round == 2 { 1 } else { 2 }] {
            let (from, to) = if round == 0 { (*other, leader) } else { (leader, *other) };
            site.switch.set(from, to, Rule::CUT);
        }
        // With one way of one pair closed, whoever reaches both others can serve all keys.
        let serving = if round == 2 { &others[1..] } else { &others };
        let what = ["deaf leader", "mute leader", "one way of one pair"][round];
        site.wait_serves(serving, MAJORITY_SERVES, &format!("{what} {leader}"));
        set(&site.cluster, serving[0], "truth", "new");
        if round < 2 {
            assert_not_stale(&site, leader, "truth", &old);
        }
        site.heal(what);
    }
    site.judge(100);
}

/// Two nodes do not reach each other, and both see the third: it serves all keys, and nobody's terms run away.
#[test]
fn two_that_do_not_see_each_other_do_not_disturb_the_third() {
    let Some(site) = Site::start(3, seed(), Options { shards: 2, ..Options::default() }) else { return };
    for third in [1, 3] {
        let two: Vec<u16> = site.cluster.ids().filter(|id| *id != third).collect();
        site.switch.cut(&two[..1], &two[1..]);
        site.wait_serves(&[third], MAJORITY_SERVES, &format!("cut {two:?}"));
        let before = site.terms(third);
        pass(Duration::from_secs(3));
        assert!(serves(&site.cluster, third), "it has stopped serving");
        let (after, groups) = (site.terms(third), site.cluster.status(third).expect("it is up").groups.len());
        println!("terms of {groups} groups rose by {} in 3 s", after - before);
        assert!(after - before <= 2 * groups as u64, "terms run away: {before} to {after}");
        site.heal("the partial cut");
    }
    site.judge(100);
}

/// One node comes and goes, faster than an election and slower; the other two serve all the while.
#[test]
fn a_flapping_node_does_not_stop_the_others() {
    let seed = seed();
    let Some(site) = Site::start(3, seed, Options { shards: 2, ..Options::default() }) else { return };
    let mut rng = Rng::with_seed(seed);
    let flapping = site.leader_of("truth");
    let others: Vec<u16> = site.cluster.ids().filter(|id| *id != flapping).collect();
    let end = Instant::now() + Duration::from_secs(12);
    let mut cuts = 0;
    while Instant::now() < end {
        let longest = if cuts % 4 == 3 { 2_000 } else { 400 };
        if rng.bool() {
            site.switch.cut(&[flapping], &others);
        } else {
            site.switch.set(flapping, others[rng.usize(..2)], Rule::CUT);
        }
        pass(Duration::from_millis(rng.u64(50..longest)));
        site.switch.heal();
        pass(Duration::from_millis(rng.u64(50..400)));
        cuts += 1;
    }
    println!("node {flapping} was cut off {cuts} times");
    site.wait_serves(&others, MAJORITY_SERVES, "flapping");
    site.heal("flapping");
    site.judge(100);
}
