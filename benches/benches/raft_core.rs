//! What the core's steps cost, by the number of groups that take turns.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringraft_benches::replication::ours::Ours;
use ringraft_benches::replication::{Meter, Operation, Pass, Side};

/// The time of `iterations` operations, from as many whole passes as they need.
fn time(side: &mut Ours, operation: Operation, groups: usize, iterations: u64) -> Duration {
    let pass = Pass::for_groups(groups, 1);
    let count = operation.count(groups, pass);
    let passes = iterations.div_ceil(count);
    let mut meter = Meter::of_time();
    for _ in 0..passes {
        side.run(operation, &mut meter, pass);
    }
    let nanos = u128::from(meter.sum(operation)) * u128::from(iterations) / u128::from(passes * count);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn steps(criterion: &mut Criterion) {
    for groups in [1, 10_000] {
        let mut side = Ours::new(groups);
        for operation in Operation::ALL {
            let id = BenchmarkId::new(operation.name(), groups);
            criterion.bench_with_input(id, &groups, |bencher, &groups| {
                bencher.iter_custom(|iterations| time(&mut side, operation, groups, iterations));
            });
        }
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
