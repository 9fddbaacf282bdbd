//! Whole runs against [fake](super::fake) servers that misbehave.

use super::fake::{Act, Asked, Fake};
use super::schedule::Arrival;
use super::*;
use crate::cli::Exit;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const ALL: &[(u16, u16)] = &[(0, 16383)];
const THREE: &[(u16, u16)] = &[(0, 5000), (5001, 11000), (11001, 16383)];

fn workload(fake: &Fake) -> Workload {
    Workload {
        targets: fake.addresses(),
        connections: 6,
        threads: 2,
        pipeline: 4,
        keys: 500,
        bound: Bound::Requests(5_000),
        ..Workload::default()
    }
}

fn verified(fake: &Fake) -> Workload {
    Workload { verify: true, preload: true, ..workload(fake) }
}

fn run_quietly(workload: &Workload) -> Report {
    run(workload, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn count(kinds: &std::collections::BTreeMap<String, u64>, kind: &str) -> u64 {
    kinds.get(kind).copied().unwrap_or(0)
}

#[test]
fn requests_are_counted_exactly() {
    let fake = Fake::new(ALL, |_| Act::Serve);
    let mut phases = Vec::new();
    let workload = Workload { preload: true, bound: Bound::Requests(20_001), ..workload(&fake) };
    let report = run(&workload, &mut |progress| {
        assert!((0.0..=1.0).contains(&progress.fraction));
        phases.push(progress.phase);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(report.requests, 20_001);
    assert_eq!(report.reads.requests + report.writes.requests, 20_001);
    assert_eq!(fake.served(0), 20_501, "the preload writes every key once");
    assert_eq!(report.hit_rate, Some(1.0));
    assert!(report.errors.is_empty() && report.outcome_unknown.is_empty() && report.judge().is_ok());
    assert!(phases.is_sorted_by_key(|phase| *phase == Phase::Measure), "{phases:?}");
}

#[test]
fn only_reads_of_nothing_hit_nothing() {
    let fake = Fake::new(ALL, |_| Act::Serve);
    let report = run_quietly(&Workload { reads_percent: 100, ..workload(&fake) });
    assert_eq!((report.hit_rate, report.writes.requests), (Some(0.0), 0));
    assert!(report.writes.latency.is_none());
}

#[test]
fn connections_are_spread_over_the_targets() {
    let fake = Fake::new(THREE, |_| Act::Serve);
    let report = run_quietly(&workload(&fake));
    assert_eq!(report.redirects, 0);
    assert!((0..3).all(|node| fake.served(node) > 0), "without cluster mode any node serves any key");
}

#[test]
fn cluster_mode_asks_the_owner() {
    let owned = |asked: Asked| (THREE[asked.node].0..=THREE[asked.node].1).contains(&asked.slot);
    let fake =
        Fake::new(THREE, move |asked| if owned(asked) { Act::Serve } else { Act::Refuse("ERR not mine") });
    let report =
        run_quietly(&Workload { cluster: true, targets: fake.addresses()[..1].to_vec(), ..verified(&fake) });
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert!(report.verified.unwrap().clean);
    assert!((0..3).all(|node| fake.served(node) > 0));
}

#[test]
fn cluster_mode_follows_moved() {
    // The slots of node 1 went to node 2, and CLUSTER SLOTS does not know it yet.
    let fake = Fake::new(THREE, |asked| if asked.node == 1 { Act::Moved(2) } else { Act::Serve });
    let report = run_quietly(&Workload { cluster: true, preload: false, ..verified(&fake) });
    assert!(report.redirects > 0);
    assert_eq!(report.requests, 5_000, "a redirected request is served elsewhere: {:?}", report.errors);
    assert!(report.verified.unwrap().clean);
    assert_eq!(fake.served(1), 0);
}

#[test]
fn refusals_that_pass_are_counted_and_survived() {
    let fake = Fake::new(ALL, |asked| match asked.number % 100 {
        7 => Act::Refuse("TRYAGAIN no leader"),
        8 => Act::Refuse("CLUSTERDOWN no quorum"),
        _ => Act::Serve,
    });
    let report = run_quietly(&verified(&fake));
    assert!(count(&report.errors, "TRYAGAIN") > 0 && count(&report.errors, "CLUSTERDOWN") > 0);
    assert!(report.outcome_unknown.is_empty());
    let verified = report.verified.unwrap();
    assert_eq!((verified.clean, verified.keys_checked, verified.keys_in_doubt), (true, 500, 0));
}

#[test]
fn writes_in_doubt_are_no_losses() {
    let fake = Fake::new(ALL, |asked| match asked.number % 400 {
        100 => Act::ServeAndSay("TIMEOUT outcome unknown"),
        200 => Act::Refuse("TIMEOUT outcome unknown"),
        300 => Act::ServeAndHangUp,
        _ => Act::Serve,
    });
    let report = run_quietly(&verified(&fake));
    assert!(count(&report.outcome_unknown, "TIMEOUT") > 0);
    assert!(report.connections_broken > 0);
    let verified = report.verified.unwrap();
    assert!(verified.clean, "{}", verified.sentence());
    assert!(verified.keys_in_doubt > 0);
}

#[test]
fn a_lost_write_is_found() {
    // Once every key is written, the server only pretends to write.
    let pretends = |asked: Asked| asked.is_write && asked.number > 500;
    let fake = Fake::new(ALL, move |asked| if pretends(asked) { Act::Pretend } else { Act::Serve });
    let report = run_quietly(&Workload { bound: Bound::Requests(2_000), ..verified(&fake) });
    let verified = report.verified.as_ref().unwrap();
    assert!(!verified.clean && verified.reads_wrong > 0 && verified.keys_wrong > 0);
    assert!(report.text().contains("LOST") && report.text().contains("WRONG"), "{}", report.text());
    assert_eq!(report.judge().unwrap_err().exit, Exit::Failed);
}

#[test]
fn a_dead_target_is_left_for_another() {
    let fake = Fake::new(THREE, |_| Act::Serve);
    let mut killed = false;
    let workload =
        Workload { bound: Bound::Time(Duration::from_secs(1)), groups: Some(16), ..verified(&fake) };
    let report = run(&workload, &mut |progress| {
        if progress.phase == Phase::Measure && !killed {
            fake.kill(1);
            killed = true;
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(killed && report.connections_broken > 0);
    let verified = report.verified.unwrap();
    assert!(verified.clean, "{}", verified.sentence());
    assert!(report.longest_silence.is_some());
}

#[test]
fn a_dead_owner_is_replaced_by_whoever_answers() {
    let fake = Fake::new(THREE, |_| Act::Serve);
    let mut killed = false;
    let workload = Workload { bound: Bound::Time(Duration::from_secs(1)), cluster: true, ..verified(&fake) };
    let report = run(&workload, &mut |progress| {
        if progress.phase == Phase::Measure && !killed {
            fake.kill(0);
            killed = true;
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(killed && report.connections_broken > 0);
    let verified = report.verified.unwrap();
    assert!(verified.clean, "{}", verified.sentence());
}

#[test]
fn a_stall_is_paid_by_all_that_were_due() {
    const STALL_MS: u64 = 400;
    let fake = Fake::new(ALL, |asked| if asked.number == 100 { Act::Stall(STALL_MS) } else { Act::Serve });
    let workload = Workload {
        connections: 1,
        threads: 1,
        pipeline: 1,
        pace: Pace::Open { per_second: 1000.0, arrival: Arrival::Fixed },
        bound: Bound::Time(Duration::from_secs(1)),
        ..workload(&fake)
    };
    let report = run_quietly(&workload);
    let latency = [&report.reads, &report.writes].map(|class| class.latency.unwrap());
    // 400 of 1000 requests were due during the stall: half of them waited half of it at least.
    assert!(latency.iter().all(|latency| latency.p90_us > 200_000.0), "{latency:?}");
    let open = report.open_loop.unwrap();
    assert!(open.lag_max_us >= STALL_MS * 900, "{open:?}");
}

#[test]
fn a_rate_beyond_reach_is_called_saturated() {
    let fake = Fake::new(ALL, |asked| if asked.number % 10 == 0 { Act::Stall(50) } else { Act::Serve });
    let workload = Workload {
        connections: 1,
        threads: 1,
        pace: Pace::Open { per_second: 5000.0, arrival: Arrival::Poisson },
        bound: Bound::Time(Duration::from_millis(500)),
        ..workload(&fake)
    };
    let report = run_quietly(&workload);
    let open = report.open_loop.unwrap();
    assert!(open.saturated && open.unsent > 0, "{open:?}");
    assert!(report.text().contains("SATURATED"));
}

#[test]
fn a_server_that_never_answers_is_given_up_and_counted() {
    let fake = Fake::new(ALL, |asked| if asked.number == 50 { Act::Stall(2_000) } else { Act::Serve });
    let workload = Workload {
        connections: 1,
        threads: 1,
        reads_percent: 0,
        timeout: Duration::from_millis(100),
        bound: Bound::Requests(100),
        ..workload(&fake)
    };
    let report = run_quietly(&workload);
    assert!(count(&report.outcome_unknown, "timed out") > 0, "{:?}", report.outcome_unknown);
    assert!(report.requests > 50, "it went on with a new connection");
}

#[test]
fn the_observer_ends_a_run() {
    let fake = Fake::new(ALL, |_| Act::Serve);
    let workload = Workload { bound: Bound::Time(Duration::from_secs(3600)), ..verified(&fake) };
    let began = Instant::now();
    let report = run(&workload, &mut |progress| match progress.phase {
        Phase::Measure => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .unwrap();
    assert!(began.elapsed() < Duration::from_secs(3000));
    assert!(report.interrupted && report.gave_up.is_none());
    assert_eq!(report.judge().unwrap_err().exit, Exit::Timeout, "what was not read back is not claimed");
}

#[test]
fn who_cannot_be_loaded_is_named() {
    let fake = Fake::new(ALL, |_| Act::Refuse("NOAUTH log in first"));
    let refused = run(&verified(&fake), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(refused.to_string().contains("NOAUTH"), "{refused}");

    let gone = Fake::new(ALL, |_| Act::Serve);
    let workload = workload(&gone);
    gone.kill(0);
    // The port is closed once the accepting thread has seen it.
    while std::net::TcpStream::connect(workload.targets[0]).is_ok() {
        std::thread::yield_now();
    }
    let gone = run(&workload, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(gone, LoadError::Unavailable(_)), "{gone}");

    let nonsense = Workload { targets: vec![], ..Workload::default() };
    assert!(matches!(run(&nonsense, &mut |_| ControlFlow::Continue(())), Err(LoadError::Workload(_))));
}
