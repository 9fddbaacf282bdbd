//! One measured cell: one shape of load on one side, and what it cost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringraft_tests::process::Cluster;

use crate::disk::Device;
use crate::host;
use crate::keyspace::Route;
use crate::load::{self, Operation, Run, Shape};

/// A client that uses more of a core than this is itself what is measured.
const CLIENT_BOUND: f64 = 0.9;
/// Requests of the first look at a side that nothing is known about.
const FIRST_REQUESTS: u64 = 20_000;
/// Replicas that have not applied everything by then never will.
const APPLY_TIME: Duration = Duration::from_secs(60);

/// A server, or a cluster, under load.
pub struct Side<'a> {
    /// How tables call it.
    pub name: &'static str,
    /// Where the load goes.
    pub address: SocketAddr,
    /// How it goes there.
    pub route: Route,
    /// The processes that do the work.
    pub processes: Vec<u32>,
    /// Whose replicas must have applied everything before the clock stops.
    pub cluster: Option<&'a Cluster>,
}

/// How long a cell runs.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Before the measured part.
    pub warm_up: Duration,
    /// The measured part.
    pub measured: Duration,
}

/// What a cell measured.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Operations per second, until the last replica has applied them.
    pub rate: f64,
    /// Median and 99th percentile of the latency, in milliseconds.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Share of a core that the client used.
    pub client_core: f64,
    /// CPU microseconds of all server processes, per operation.
    pub cpu_micros: f64,
    /// Flushes of the disk per operation, if it counts them.
    pub flushes: Option<f64>,
    /// Bytes written to the disk per operation.
    pub bytes: Option<f64>,
}

impl Cell {
    /// Whether the client was the limit.
    pub fn is_client_bound(&self) -> bool {
        self.client_core > CLIENT_BOUND
    }
}

fn requests_for(rate: f64, time: Duration) -> u64 {
    let requests = (rate * time.as_secs_f64()).clamp(1.0, 1e12);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range")]
    let requests = requests as u64;
    requests
}

impl Side<'_> {
    fn load(&self, shape: Shape, requests: u64) -> anyhow::Result<Run> {
        let run = load::run(self.address, self.route, shape, requests);
        run.with_context(|| format!("{} of {}", shape.name(), self.name))
    }

    fn cpu_time(&self) -> anyhow::Result<Duration> {
        self.processes.iter().map(|process| host::cpu_time(*process)).sum()
    }

    fn wait_applied(&self) -> anyhow::Result<()> {
        self.cluster.map_or(Ok(()), |cluster| cluster.wait_applied(APPLY_TIME)).map_err(anyhow::Error::msg)
    }

    /// Measures one shape. `redis-benchmark` takes a number of requests and not a time, so that a short run
    /// and the warm-up tell how many requests fill the time.
    pub fn measure(&self, shape: Shape, times: Times, device: &Device) -> anyhow::Result<Cell> {
        let first = self.load(shape, FIRST_REQUESTS)?;
        let warm = self.load(shape, requests_for(first.rate, times.warm_up))?;
        self.wait_applied()?;
        let (cpu, disk) = (self.cpu_time()?, device.work());
        let run = self.load(shape, requests_for(warm.rate, times.measured))?;
        let ended = Instant::now();
        if shape.operation == Operation::Set {
            self.wait_applied()?;
        }
        let requests = run.requests as f64;
        let loaded = requests / run.rate;
        let seconds = loaded + ended.elapsed().as_secs_f64();
        let cpu = self.cpu_time()?.saturating_sub(cpu);
        let per_operation = |count: u64| count as f64 / requests;
        let worked = disk.zip(device.work());
        Ok(Cell {
            rate: requests / seconds,
            p50_ms: run.p50_ms,
            p99_ms: run.p99_ms,
            client_core: run.client_cpu.as_secs_f64() / loaded,
            cpu_micros: cpu.as_secs_f64() * 1e6 / requests,
            flushes: worked.map(|(before, after)| per_operation(after.flushes - before.flushes)),
            bytes: worked.map(|(before, after)| per_operation(after.bytes - before.bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use ringraft_tests::process::Redis;

    use super::*;
    use crate::keyspace;

    #[test]
    fn a_cell_of_redis_is_measured() {
        let Some(redis) = Redis::start() else { return };
        let side = Side {
            name: "redis",
            address: redis.address(),
            route: Route::Plain,
            processes: vec![redis.id()],
            cluster: None,
        };
        assert!(
            (keyspace::fill(redis.address(), Route::Plain).unwrap() - 100.0).abs() < 1e-9,
            "every key is there"
        );
        let device = Device::of(&std::env::current_dir().unwrap()).unwrap();
        let times = Times { warm_up: Duration::from_millis(200), measured: Duration::from_millis(500) };
        for operation in [Operation::Set, Operation::Get] {
            let cell = side.measure(Shape { operation, pipeline: 16 }, times, &device).unwrap();
            assert!(cell.rate > 1000.0 && cell.p50_ms > 0.0 && cell.p99_ms >= cell.p50_ms, "{cell:?}");
            assert!(cell.cpu_micros > 0.0 && cell.client_core > 0.0, "{cell:?}");
        }
        assert!(load::set_latency(redis.address(), Duration::from_millis(100)).unwrap() > Duration::ZERO);
    }
}
