//! The scripted tests of the founding notes in the simulation of whole nodes, on many seeds. Splits do not exist yet.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use fastrand::Rng;
use ringraft_tests::core_sim::trace::Trace;
use ringraft_tests::node_sim::run;
use ringraft_tests::node_sim::script::Script;

/// Seeds of each script in a test run; `RINGRAFT_SCRIPT_SEEDS` for more.
const SEEDS: u64 = 15;

fn on_many_seeds(play: impl Fn(Rng, Trace)) {
    let seeds = std::env::var("RINGRAFT_SCRIPT_SEEDS").map_or(SEEDS, |text| text.parse().unwrap());
    for seed in 0..seeds {
        if let Err(failure) = run::script(seed, &Trace::silent(), &play) {
            panic!("{failure:?}");
        }
    }
}

fn five(random: Rng, trace: Trace) -> Script {
    Script::begin(random, trace, 5, |_| {})
}

/// What a majority committed is in the next majority, though only one of its nodes has it; the rest catches up.
#[test]
fn one_partition_2b() {
    on_many_seeds(|random, trace| {
        let mut script = five(random, trace);
        let leader = script.leader().unwrap();
        let others: Vec<usize> = (0..5).filter(|machine| *machine != leader).collect();
        let [stays, goes, apart, far] = others[..] else { unreachable!("five nodes") };
        script.cut(&[apart, far]);
        script.put(leader, "k1", "v1");
        assert_eq!(script.get(stays, "k1"), Some(Some("v1".into())));
        script.wait_holds(goes, "k1", Some("v1"));
        for machine in [apart, far] {
            let held = script.holds(machine, "k1");
            script.claim(held.is_none(), "who is apart has heard of a write");
        }
        script.heal();
        script.cut(&[leader, stays]);
        let answered = script.get(leader, "k1");
        script.claim(answered.is_none(), "who lost the majority answers a read");
        let deadline = "the new majority to answer";
        script.wait(deadline, |script| script.get(goes, "k1") == Some(Some("v1".into())));
        script.put(goes, "k1", "changed");
        for machine in [leader, stays] {
            let held = script.holds(machine, "k1");
            script.claim(held.as_deref() == Some("v1"), "the old side has heard of a write");
        }
        script.heal();
        script.put(goes, "k2", "v2");
        for machine in 0..5 {
            script.wait_holds(machine, "k2", Some("v2"));
            script.wait_holds(machine, "k1", Some("changed"));
        }
        script.end();
    });
}

/// A node that was away gets what the others have compacted as a snapshot, with what was deleted gone, and keeps it over a
/// restart; logs stay short.
#[test]
fn one_snapshot_2c() {
    on_many_seeds(|random, trace| {
        let mut script = Script::begin(random, trace, 3, |profile| profile.snapshot_after_bytes = 4 << 10);
        script.put(0, "k1", "v1");
        script.put(0, "k2", "v2");
        for machine in 0..3 {
            script.wait_holds(machine, "k2", Some("v2"));
        }
        let leader = script.leader().unwrap();
        let away = (leader + 1) % 3;
        script.cut(&[away]);
        let (_, had) = script.log(away);
        let value = "x".repeat(500);
        for number in 100..115 {
            script.put(leader, &format!("k{number}"), &value);
        }
        script.delete(leader, "k2");
        let held = script.holds(away, "k100");
        script.claim(held.is_none(), "who is away has heard of a write");
        script.wait("the leader to compact what the other lacks", |script| {
            script.leader().is_some_and(|leader| script.log(leader).0 > had)
        });
        script.heal();
        script.wait_holds(away, "k100", Some(&value));
        script.wait_holds(away, "k114", Some(&value));
        script.wait_holds(away, "k2", None);
        script.wait_holds(away, "k1", Some("v1"));
        let (begins, _) = script.log(away);
        script.claim(begins > had, "it got entries that were compacted: where from?");
        script.restart(away);
        script.wait_holds(away, "k1", Some("v1"));
        script.wait_holds(away, "k114", Some(&value));
        for machine in 0..3 {
            script.wait("short logs", |script| {
                let (begins, applied) = script.log(machine);
                applied.0 - begins.0 <= 20
            });
        }
        script.end();
    });
}

#[test]
fn transfer_leader_3b() {
    on_many_seeds(|random, trace| {
        let mut script = five(random, trace);
        for machine in [0, 1, 2, 3, 4, 2, 0] {
            script.lead(machine);
        }
        script.put(3, "k", "v");
        script.end();
    });
}

/// Nodes leave one after the other, come back as others, and have what they must have and nothing more.
#[test]
fn basic_conf_change_3b() {
    on_many_seeds(|random, trace| {
        let mut script = five(random, trace);
        script.lead(0);
        for machine in 1..5 {
            script.remove(machine);
        }
        assert_eq!(script.voters(), 1);
        script.put(0, "k1", "v1");
        script.add(1);
        script.put(0, "k2", "v2");
        script.wait_holds(1, "k1", Some("v1"));
        script.wait_holds(1, "k2", Some("v2"));
        script.add(2);
        script.remove(1);
        script.put(0, "k3", "v3");
        for (key, value) in [("k1", "v1"), ("k2", "v2"), ("k3", "v3")] {
            script.wait_holds(2, key, Some(value));
        }
        script.add(1);
        script.wait_holds(1, "k3", Some("v3"));
        script.remove(1);
        script.add(1);
        script.remove(2);
        script.put(0, "k4", "v4");
        script.wait_holds(1, "k1", Some("v1"));
        script.wait_holds(1, "k4", Some("v4"));
        assert_eq!(script.voters(), 2);
        script.end();
    });
}

/// The leader removes itself; also out of two, where the other must learn that it is alone before the leader is gone.
#[test]
fn conf_change_remove_leader_3b() {
    on_many_seeds(|random, trace| {
        let mut script = five(random, trace);
        script.lead(0);
        script.remove(0);
        script.put(1, "k0", "v0");
        script.add(0);
        script.lead(0);
        script.put(0, "k1", "v1");
        script.wait_holds(0, "k0", Some("v0"));
        for machine in [1, 2, 3] {
            script.remove(machine);
        }
        script.lead(0);
        script.remove(0);
        script.put(4, "k2", "v2");
        script.add(0);
        script.put(0, "k3", "v3");
        for (key, value) in [("k0", "v0"), ("k1", "v1"), ("k2", "v2"), ("k3", "v3")] {
            script.wait_holds(0, key, Some(value));
        }
        script.end();
    });
}
