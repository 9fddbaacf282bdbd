//! The comparison: rounds in which every side does the same passes, each round led by another side.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::bare::Bare;
use super::ours::Ours;
use super::raw_node::Nodes;
use super::{Meter, NODES, Operation, Pass, Side, cpu_time};
use crate::summary::{limit_line, median, ratio_line};

/// Groups of each node, and entries of each proposal.
const SHAPES: [(usize, u64); 4] = [(1, 1), (1, 16), (10_000, 1), (10_000, 16)];
/// The side that is raft-rs as it is to be used. The bare one does what no application can, and is shown to tell what of
/// the difference is Raft itself.
const CRATE: usize = 2;
/// The goal for the whole way of single entries; for the rest the ratios are only shown.
const GOAL: f64 = 5.0;
/// What the slowest side spends on one operation in one round.
const ROUND_TIME: Duration = Duration::from_millis(40);
/// So often, all in all, for each round that counts.
const TRIES: u32 = 4;

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rounds that count.
    pub rounds: u32,
    /// A round in which this thread had a core for less of the time than this share is done again: its time is
    /// CPU time, but who takes the core leaves other things in its caches.
    pub share_min: f64,
}

/// What a comparison ended with.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The figures count.
    Measured,
    /// Something else used the machine nearly all the time.
    Disturbed(String),
}

/// One operation's figures of one side: nanoseconds per operation by round, allocations per operation.
#[derive(Default)]
struct Figures {
    nanos: Vec<f64>,
    allocations: f64,
}

/// Passes that take the slowest side about [`ROUND_TIME`]. All sides do as many.
fn passes(sides: &mut [Box<dyn Side>], operation: Operation, pass: Pass) -> u32 {
    let mut slowest = Duration::from_nanos(1);
    for side in sides {
        let start = Instant::now();
        side.run(operation, &mut Meter::of_time(), pass);
        slowest = slowest.max(start.elapsed());
    }
    u32::try_from(ROUND_TIME.as_nanos() / slowest.as_nanos()).unwrap_or(u32::MAX).max(1)
}

/// The operations that one pass of [`Side::run`] measures together.
const TOGETHER: [&[Operation]; 3] = [
    &[Operation::ReplicatedEntry],
    &[Operation::Propose, Operation::Append, Operation::Ack],
    &[Operation::Beat],
];

/// Measures `together`. `figures` is by side and operation.
fn measure(
    sides: &mut [Box<dyn Side>],
    figures: &mut [Vec<Figures>],
    together: &[Operation],
    (pass, groups, settings): (Pass, usize, Settings),
) -> Verdict {
    let run = together[0];
    for (side, figures) in sides.iter_mut().zip(figures.iter_mut()) {
        // Once before, so that buffers have their sizes.
        side.run(run, &mut Meter::of_time(), pass);
        let mut meter = Meter::of_allocations();
        side.run(run, &mut meter, pass);
        for &operation in together {
            let count = operation.count(groups, pass) as f64;
            figures[operation as usize].allocations = meter.sum(operation) as f64 / count;
        }
    }
    let passes = passes(sides, run, pass);
    let (mut round, mut tries) = (0, 0);
    while round < settings.rounds {
        if tries == settings.rounds * TRIES {
            return Verdict::Disturbed(format!("{round} of {tries} rounds had the machine for themselves"));
        }
        tries += 1;
        let (start, cpu) = (Instant::now(), cpu_time());
        let mut meters: Vec<Meter> = sides.iter().map(|_| Meter::of_time()).collect();
        for turn in 0..sides.len() {
            let at = (turn + round as usize) % sides.len();
            for _ in 0..passes {
                sides[at].run(run, &mut meters[at], pass);
            }
        }
        let share = (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
        if share < settings.share_min {
            continue;
        }
        round += 1;
        for (meter, figures) in meters.iter().zip(figures.iter_mut()) {
            for &operation in together {
                let count = operation.count(groups, pass) as f64 * f64::from(passes);
                figures[operation as usize].nanos.push(meter.sum(operation) as f64 / count);
            }
        }
    }
    Verdict::Measured
}

/// Every side has done the same: its leaders committed all that was proposed, and its followers know.
fn verify(sides: &mut [Box<dyn Side>], pass: Pass) -> anyhow::Result<u64> {
    let mut commits = Vec::new();
    for side in sides.iter_mut() {
        side.beat(&mut Meter::of_time(), pass);
        commits.push(side.commits());
    }
    let expected = commits[0][0];
    for (side, commits) in sides.iter().zip(&commits) {
        let name = side.name();
        ensure!(
            *commits == [expected; NODES],
            "{name} committed {commits:?} and not {expected} on each node"
        );
    }
    Ok(expected)
}

fn row(shape: &str, operation: Operation, side: &str, figures: &Figures, ratio: Option<f64>) -> String {
    format!(
        "{shape:<10} {:<17} {side:<17} {:>9.1} {:>9.2} {:>9}",
        operation.name(),
        median(figures.nanos.iter().copied()),
        figures.allocations,
        ratio.map_or("-".to_string(), |ratio| format!("{ratio:.2}")),
    )
}

/// Theirs over ours, round by round.
fn ratio(ours: &Figures, theirs: &Figures) -> f64 {
    median(ours.nanos.iter().zip(&theirs.nanos).map(|(ours, theirs)| theirs / ours))
}

/// Measures all shapes and prints the table and the result lines.
///
/// # Errors
/// If the sides did not do the same work.
pub fn run(settings: Settings) -> anyhow::Result<Verdict> {
    println!(
        "{:<10} {:<17} {:<17} {:>9} {:>9} {:>9}",
        "shape", "operation", "side", "ns/op", "allocs/op", "ratio"
    );
    let (mut ratios, mut verified) = (Vec::new(), Vec::new());
    let mut allocations: f64 = 0.0;
    for (groups, batch) in SHAPES {
        let pass = Pass::for_groups(groups, batch);
        let mut sides: Vec<Box<dyn Side>> =
            vec![Box::new(Ours::new(groups)), Box::new(Bare::new(groups)), Box::new(Nodes::new(groups))];
        let mut figures: Vec<Vec<Figures>> =
            sides.iter().map(|_| Operation::ALL.iter().map(|_| Figures::default()).collect()).collect();
        for together in TOGETHER {
            let verdict = measure(&mut sides, &mut figures, together, (pass, groups, settings));
            if verdict != Verdict::Measured {
                return Ok(verdict);
            }
        }
        let shape = if batch == 1 { format!("g{groups}") } else { format!("x{batch}_g{groups}") };
        verified.push(format!("{shape}: {} entries", verify(&mut sides, pass)?));
        for operation in Operation::ALL {
            let at = operation as usize;
            println!("{}", row(&shape, operation, sides[0].name(), &figures[0][at], None));
            for side in 1..sides.len() {
                let ratio = ratio(&figures[0][at], &figures[side][at]);
                println!("{}", row(&shape, operation, sides[side].name(), &figures[side][at], Some(ratio)));
                let (what, is_crate) = (operation.name(), side == CRATE);
                let has_goal = is_crate && operation == Operation::ReplicatedEntry && batch == 1;
                let name = if is_crate {
                    format!("raft_{what}_{shape}")
                } else {
                    format!("raft_bare_{what}_{shape}")
                };
                ratios.push(ratio_line(&name, ratio, if has_goal { GOAL } else { 0.0 }));
            }
            allocations = allocations.max(figures[0][at].allocations);
        }
    }
    println!("every side committed the same on all three nodes: {}", verified.join(", "));
    ratios.iter().for_each(|line| println!("{line}"));
    println!("{}", limit_line("raft_allocations_per_entry", allocations, 0.0));
    Ok(Verdict::Measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sides_do_the_same_and_ours_allocates_nothing() {
        for batch in [1, 16] {
            let mut sides: Vec<Box<dyn Side>> =
                vec![Box::new(Ours::new(3)), Box::new(Bare::new(3)), Box::new(Nodes::new(3))];
            let pass = Pass { repeat: 5, batch };
            for side in &mut sides {
                for operation in Operation::ALL {
                    side.run(operation, &mut Meter::of_time(), pass);
                    let mut meter = Meter::of_allocations();
                    side.run(operation, &mut meter, pass);
                    if side.name() == "ringraft" {
                        assert_eq!(meter.sum(operation), 0, "{operation:?} allocates");
                    } else if operation == Operation::ReplicatedEntry {
                        assert!(meter.sum(operation) > 0, "entries of raft-rs are lists");
                    }
                }
            }
            // The first entries of the terms, and two passes in each of four operations.
            assert_eq!(verify(&mut sides, pass).unwrap(), 3 + 3 * 5 * batch * 4 * 2);
        }
    }
}
