//! Load from `redis-benchmark`, unmodified, and latency of a single client.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ringraft_tests::client::{Client, Value};

use crate::host;
use crate::keyspace::{self, Route, VALUE_BYTES};

/// Connections of a load.
pub const CONNECTIONS: u64 = 64;

/// A run that takes longer hangs: it was given requests for a few seconds.
const RUN_SECONDS_MAX: &str = "300";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// SET of a random key.
    Set,
    /// GET of a random key.
    Get,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Get => "get",
        }
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What is asked.
    pub operation: Operation,
    /// Requests per connection that are sent at once.
    pub pipeline: u64,
}

impl Shape {
    /// As in `set_p16`.
    pub fn name(self) -> String {
        format!("{}_p{}", self.operation.name(), self.pipeline)
    }
}

/// What one run of `redis-benchmark` reports of itself, and cost.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Requests.
    pub requests: u64,
    /// Requests per second, as it reports.
    pub rate: f64,
    /// Median latency in milliseconds, as it reports.
    pub p50_ms: f64,
    /// 99th percentile, as it reports.
    pub p99_ms: f64,
    /// CPU time that it used.
    pub client_cpu: Duration,
}

/// Sends `requests` of a shape to `address` and waits for all replies.
pub fn run(address: SocketAddr, route: Route, shape: Shape, requests: u64) -> anyhow::Result<Run> {
    let requests = requests.max(CONNECTIONS * shape.pipeline);
    let before = host::ended_children_cpu_time()?;
    let mut command = Command::new("timeout");
    command.args([RUN_SECONDS_MAX, "redis-benchmark"]);
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string(), "--csv"]);
    command.args(["-t", shape.operation.name(), "-d", &VALUE_BYTES.to_string()]);
    for (flag, value) in
        [("-c", CONNECTIONS), ("-P", shape.pipeline), ("-n", requests), ("-r", keyspace::random_range(route))]
    {
        command.args([flag, &value.to_string()]);
    }
    if route == Route::Cluster {
        command.arg("--cluster");
    }
    let output = command.output().context("redis-benchmark (Debian: redis-tools)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let client_cpu = host::ended_children_cpu_time()?.saturating_sub(before);
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("redis-benchmark ({RUN_SECONDS_MAX} s at most): {}\n{text}{errors}", output.status);
    }
    let [rate, p50_ms, p99_ms] = parse(&text, shape.operation).with_context(|| text.into_owned())?;
    Ok(Run { requests, rate, p50_ms, p99_ms, client_cpu })
}

/// Rate, median and 99th percentile from the lines of `--csv`, by the names of its columns.
fn parse(text: &str, operation: Operation) -> anyhow::Result<[f64; 3]> {
    let fields = |line: &str| -> Vec<String> {
        line.split(',').map(|field| field.trim_matches('"').to_string()).collect()
    };
    let line = |start: String| text.lines().find(|line| line.starts_with(&start)).map(fields);
    let names = line("\"test\"".to_string()).context("redis-benchmark printed no columns")?;
    let values = line(format!("\"{}\"", operation.name().to_uppercase())).context("and no result")?;
    let value = |name: &str| -> anyhow::Result<f64> {
        let at =
            names.iter().position(|column| column == name).with_context(|| format!("no column {name}"))?;
        Ok(values.get(at).context("a short line")?.parse()?)
    };
    Ok([value("rps")?, value("p50_latency_ms")?, value("p99_latency_ms")?])
}

/// The median latency of SETs by one client on one connection, one after the other, for `time`.
pub fn set_latency(address: SocketAddr, time: Duration) -> anyhow::Result<Duration> {
    let mut client = Client::connect(address, Duration::from_secs(10))?;
    let value = vec![b'v'; VALUE_BYTES];
    let end = Instant::now() + time;
    let mut durations = Vec::new();
    while Instant::now() < end {
        let key = keyspace::key(fastrand::u64(0..keyspace::KEYS));
        let before = Instant::now();
        let reply = client.call(&[b"SET", key.as_bytes(), &value])?;
        durations.push(before.elapsed());
        ensure!(reply == Value::Simple("OK".to_string()), "SET answered {reply:?}");
    }
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().context("no SET was answered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read_by_column() {
        let text = "noise\n\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
            \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"SET\",\"24330.90\",\"1.838\",\"0.232\",\"1.311\",\"4.943\",\"6.463\",\"8.103\"\n";
        assert_eq!(parse(text, Operation::Set).unwrap(), [24330.90, 1.311, 6.463]);
        assert!(parse(text, Operation::Get).is_err());
        assert!(parse("", Operation::Set).is_err());
    }
}
