//! What three nodes with nothing to do cost.

use std::path::Path;
use std::time::{Duration, Instant};

use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};

use crate::host;
use crate::summary::limit_line;

const LEADERS_TIME: Duration = Duration::from_secs(120);
const IDLE_TIME: Duration = Duration::from_secs(20);
const CPU_PERCENT_MAX: f64 = 3.0;

/// How long groups without requests may take to come to rest.
const REST_TIME: Duration = Duration::from_secs(120);

/// Starts three nodes with `groups` groups (`None`: as many as the server chooses), waits until all groups rest, lets
/// the nodes idle, and prints the CPU that all of them together used, in percent of one core.
pub fn run(dir: &Path, groups: Option<u32>) -> anyhow::Result<()> {
    let options = Options { dir: Some(dir.to_path_buf()), groups, ..Options::default() };
    let cluster = Cluster::start(&options).map_err(anyhow::Error::msg)?;
    cluster.wait_leaders(LEADERS_TIME).map_err(anyhow::Error::msg)?;
    let rests = |id| cluster.status(id).is_ok_and(|status| status.groups.iter().all(|group| group.quiesced));
    let start = Instant::now();
    let all_rest = poll::until(start + REST_TIME, || cluster.ids().all(rests));
    anyhow::ensure!(all_rest, "after {REST_TIME:?} not all groups rest");
    let count = cluster.status(1).map_err(anyhow::Error::msg)?.groups.len();
    println!("{count} groups of three replicas came to rest in {:.1} s", start.elapsed().as_secs_f64());
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
