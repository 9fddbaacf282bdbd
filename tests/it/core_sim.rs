//! The Raft core under simulation, with a fixed budget; and the judges themselves, shown runs that are
//! known to be bad. The large budgets are `cargo sim core --seeds N` and the mutants.

use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::{Body, EntryId, Index, Message, NodeId, Term, TermRun, TermRuns, Time};
use ringraft_tests::core_sim::disk::Entry;
use ringraft_tests::core_sim::graphs::{one_way, two_way};
use ringraft_tests::core_sim::input::{Envelope, Input};
use ringraft_tests::core_sim::node::GROUP;
use ringraft_tests::core_sim::profile::{DRIFT_PER_MILLE, LEASE, Profile};
use ringraft_tests::core_sim::run::{self, Plan, violation_of};
use ringraft_tests::core_sim::trace::Trace;
use ringraft_tests::core_sim::violation::violated;
use ringraft_tests::core_sim::world::World;

const SEEDS: u64 = 1000;
const SECOND_US: u64 = 1_000_000;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn random_lives_keep_all_promises_and_heal() {
    let plan = Plan { from: 0, count: SEEDS, threads: threads(), failures_max: 1, spec: true };
    let summary = run::seeds(plan, || {});
    if let Some(failure) = summary.failures.first() {
        panic!("{failure:?}; replay it: cargo sim core {}", failure.seed);
    }
    assert_eq!(summary.passed, SEEDS);
    let worth = summary.worth;
    assert!(worth.committed > 50 * SEEDS, "lives that do too little mean nothing: {worth:?}");
    assert!(worth.reads > 5 * SEEDS && worth.terms > 3 * SEEDS, "{worth:?}");
    assert!(worth.configs > SEEDS / 2 && worth.snapshots > SEEDS / 4, "{worth:?}");
    assert!(worth.recoveries > SEEDS / 100 && worth.rests > SEEDS / 4, "{worth:?}");
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in [3, 17, 4711] {
        let traces = [Trace::aloud(10), Trace::aloud(10)];
        let lives = traces.each_ref().map(|trace| run::seed(seed, true, trace));
        assert_eq!(lives[0], lives[1], "seed {seed}");
        assert_eq!(traces[0].digest(), traces[1].digest(), "seed {seed}");
        assert!(traces[0].digest().0 > 1000, "a life has many steps");
    }
}

#[test]
fn whatever_two_way_links_are_cut_a_connected_majority_commits() {
    let graphs = two_way(5);
    assert!(graphs.len() > 600);
    assert_eq!(run::graphs(&graphs, threads()), Vec::<String>::new());
}

#[test]
fn whatever_one_way_links_are_cut_a_whole_majority_commits() {
    // All 16,384 are lived by `cargo sim core --graphs`.
    let graphs: Vec<_> = one_way().step_by(61).collect();
    assert_eq!(run::graphs(&graphs, threads()), Vec::<String>::new());
}

fn committed(world: &World) -> usize {
    world.ledger.history.len()
}

/// What the judges say of a run.
fn verdict(run: impl FnOnce()) -> &'static str {
    catch_unwind(AssertUnwindSafe(run)).err().map_or("nothing", |panic| violation_of(&*panic).check)
}

/// Three nodes of which the first leads and all have the same.
fn healthy() -> World {
    let profile = Profile { spec: false, ..Profile::plain(3) };
    let mut world = World::new(fastrand::Rng::with_seed(1), profile, Trace::silent());
    world.act(0, Input::Campaign);
    world.run_until(SECOND_US, |world| (0..3).all(|at| world.machines[at].disk.log.last() == Index(1)));
    assert!(world.machines[0].leads() && committed(&world) == 1);
    world
}

fn say(world: &mut World, from: u16, to: u16, term: u64, body: Body) {
    let message = Message { group: GROUP, term: Term(term), body };
    let entries = match &message.body {
        Body::Append { runs, .. } => runs.iter().map(|run| Entry::command(run.term, 99)).collect(),
        _ => Vec::new(),
    };
    let envelope = Envelope { from: (NodeId(from), 1), to: (NodeId(to), 1), message, entries };
    world.act(usize::from(to) - 1, Input::Deliver(envelope));
}

#[test]
fn a_commit_that_rests_on_a_lie_is_seen() {
    let lie = Body::AppendAck { matched: Index(2), round: 0, lease: false, stands: true };
    let judged = verdict(|| {
        let mut world = healthy();
        world.propose(0, 1);
        world.act(0, Input::Submit);
        world.act(0, Input::Persist);
        say(&mut world, 2, 1, 1, lie);
    });
    assert_eq!(judged, "checks::durable_quorum");
}

#[test]
fn a_leader_without_votes_is_seen() {
    // Nobody votes for 3, which lacks what is committed; but it hears that all do.
    let judged = verdict(|| {
        let mut world = healthy();
        world.cuts.cut(0, 2);
        world.propose(0, 1);
        for _ in 0..3 {
            world.run_until(SECOND_US / 4, |world| committed(world) == 2);
        }
        world.now_us += 3 * SECOND_US;
        world.act(2, Input::Tick);
        let before = world.machines[2].node().expect("it runs").raft.term().0;
        say(&mut world, 1, 3, before + 1, Body::PreVoteReply { granted: true });
        world.act(2, Input::Submit);
        world.act(2, Input::Persist);
        say(&mut world, 1, 3, before + 1, Body::VoteReply { granted: true });
    });
    assert_eq!(judged, "checks::leader_completeness");
}

#[test]
fn a_second_leader_of_a_term_is_seen() {
    let judged = verdict(|| {
        let mut world = healthy();
        let runs = TermRuns::from_slice(&[TermRun { first: Index(2), term: Term(1) }]);
        let prev = EntryId::new(Term(1), Index(1));
        let append =
            Body::Append { prev, last: Index(2), runs, entries_bytes: 64, commit: Index(1), round: 0 };
        say(&mut world, 3, 2, 1, append);
    });
    assert_eq!(judged, "checks::protocol", "the core itself says so");
}

/// 2 and 3 do all they can between them, in no time.
fn elect_among_others(world: &mut World) {
    for _ in 0..10 {
        for at in [1, 2] {
            world.act(at, Input::Submit);
            world.persist_all(at);
            world.send_all(at);
        }
        for envelope in std::mem::take(&mut world.network) {
            world.deliver(envelope, true);
        }
    }
}

#[test]
fn a_stale_read_is_seen() {
    let judged = verdict(|| {
        let mut world = healthy();
        world.act(0, Input::Transfer(NodeId(2)));
        world.act(0, Input::Send { to: NodeId(2), entries_max: 1 });
        // 1 hears nothing from now on: it does not know that 2 leads and has committed.
        world.cuts.cut(1, 0);
        world.cuts.cut(2, 0);
        elect_among_others(&mut world);
        assert!(world.machines[1].leads() && world.machines[0].leads() && committed(&world) == 2);
        world.act(0, Input::Read);
        world.act(0, Input::Send { to: NodeId(3), entries_max: 1 });
        // An answer comes that nobody gave, to the newest round there is.
        for round in (1..60).rev() {
            let ack = Body::BeatAck { round, proven: true, lease: false };
            if verdict(|| say(&mut world, 3, 1, 1, ack)) == "checks::reads" {
                violated("checks::reads", "as it should be".to_string());
            }
        }
    });
    assert_eq!(judged, "checks::reads");
}

/// Whether the lease of 1 holds in `in_us` on its clock, if nothing comes.
fn holds_lease(world: &World, in_us: u64) -> bool {
    let machine = &world.machines[0];
    let now = Time(machine.clock.read(world.now_us).0 + in_us);
    machine.node().expect("it runs").raft.clone().lease_holds(now)
}

#[test]
fn a_promise_to_the_slowest_clock_is_kept_by_the_fastest_over_a_restart() {
    let profile = Profile { lease: true, ..Profile::plain(3) };
    let mut world = World::new(fastrand::Rng::with_seed(1), profile, Trace::silent());
    for (machine, drift) in world.machines.iter_mut().zip([0, 2, 2]) {
        machine.clock.per_mille = 1000 - DRIFT_PER_MILLE + drift * DRIFT_PER_MILLE;
    }
    world.act(0, Input::Campaign);
    let lease_us = u64::try_from(LEASE.as_micros()).unwrap();
    let renewed = |world: &World| holds_lease(world, lease_us - 20_000);
    world.run_until(SECOND_US, renewed);
    // One beat more, which 3 does not hear; then 2 stops, is back at once, and neither of them hears of 1 again.
    world.cuts.cut(0, 2);
    world.now_us += 30_000;
    world.run_until(SECOND_US, renewed);
    assert!(renewed(&world));
    world.cuts.cut(0, 1);
    world.cuts.cut(1, 0);
    world.cuts.cut(2, 0);
    world.crash(1, 0);
    world.start(1);
    world.now_us += lease_us * 1000 / (1000 + DRIFT_PER_MILLE) + 1_000;
    assert!(holds_lease(&world, 0), "a lease has passed on the clock of 2, not on that of 1");
    world.act(2, Input::Campaign);
    assert_eq!(verdict(|| elect_among_others(&mut world)), "nothing", "nobody leads yet");
    let among_others = |world: &World| world.machines[1].leads() || world.machines[2].leads();
    world.run_until(5 * SECOND_US, among_others);
    assert!(among_others(&world), "in the end they may");
}

#[test]
fn a_disk_that_forgets_what_was_acked_is_seen() {
    let judged = verdict(|| {
        let mut world = healthy();
        world.propose(0, 1);
        world.act(0, Input::Submit);
        world.act(0, Input::Send { to: NodeId(2), entries_max: 5 });
        let append = world.network.pop().expect("the append");
        world.deliver(append, true);
        world.act(1, Input::Submit);
        world.act(1, Input::Persist);
        world.machines[1].disk.log.entries.truncate(1);
        world.act(1, Input::Send { to: NodeId(1), entries_max: 5 });
    });
    assert_eq!(judged, "checks::promises");
}

#[test]
fn a_specification_that_differs_in_one_vote_disagrees() {
    let judged = verdict(|| {
        let profile = Profile { spec: true, ..Profile::plain(3) };
        let mut world = World::new(fastrand::Rng::with_seed(1), profile, Trace::silent());
        world.act(0, Input::Campaign);
        // The core hears a grant; the specification beside it, restored from before, has not asked.
        let innocent = world.machines[1].life.as_ref().expect("it runs").spec.clone();
        world.machines[0].life.as_mut().expect("it runs").spec = innocent;
        say(&mut world, 2, 1, 1, Body::PreVoteReply { granted: true });
    });
    assert!(judged.starts_with("spec::"), "{judged}");
}
