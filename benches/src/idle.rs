//! What three nodes with nothing to do cost.

use std::path::Path;
use std::time::{Duration, Instant};

use ringraft_tests::process::{Cluster, Options};

use crate::host;
use crate::summary::limit_line;

const LEADERS_TIME: Duration = Duration::from_secs(30);
const IDLE_TIME: Duration = Duration::from_secs(20);
const CPU_PERCENT_MAX: f64 = 3.0;

/// Starts three nodes, lets them idle, and prints the CPU that all of them together used, in percent of
/// one core.
pub fn run(dir: &Path) -> anyhow::Result<()> {
    let options = Options { dir: Some(dir.to_path_buf()), ..Options::default() };
    let cluster = Cluster::start(&options).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(LEADERS_TIME).map_err(anyhow::Error::msg)?;
    let processes: Vec<u32> = cluster.ids().filter_map(|id| cluster.process_id(id)).collect();
    let used =
        || processes.iter().map(|process| host::cpu_time(*process)).collect::<anyhow::Result<Vec<_>>>();
    let (before, start) = (used()?, Instant::now());
    std::thread::sleep(IDLE_TIME);
    let (after, time) = (used()?, start.elapsed());
    let mut sum = 0.0;
    for ((id, before), after) in cluster.ids().zip(before).zip(after) {
        let percent = (after - before).as_secs_f64() * 100.0 / time.as_secs_f64();
        println!("node {id}: {percent:.2} % of a core over {:.0} s without a client", time.as_secs_f64());
        sum += percent;
    }
    println!("{}", limit_line("idle_cpu_percent", sum, CPU_PERCENT_MAX));
    Ok(())
}
