//! What the machine was doing: CPU time of processes, load of others.

use std::time::{Duration, Instant};

use anyhow::Context;

/// CPU time that a process has used, all its threads together.
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    ticks(&read_stat(&process.to_string())?, [13, 14])
}

/// CPU time of all children of this process that have ended and been waited for.
pub fn ended_children_cpu_time() -> anyhow::Result<Duration> {
    ticks(&read_stat("self")?, [15, 16])
}

/// CPU time of this thread, and of the kernel's workers that do for its ring what would block.
pub fn ring_thread_cpu_time() -> anyhow::Result<Duration> {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let worker = format!("(iou-wrk-{thread})");
    let mut sum = ticks(&read_stat(&format!("self/task/{thread}"))?, [13, 14])?;
    for task in std::fs::read_dir("/proc/self/task").context("/proc/self/task")? {
        // A worker may have ended since it was listed.
        let stat =
            read_stat(&format!("self/task/{}", task?.file_name().to_string_lossy())).unwrap_or_default();
        if stat.contains(&worker) {
            sum += ticks(&stat, [13, 14])?;
        }
    }
    Ok(sum)
}

/// Bytes that a process has had written to disks, whatever way.
pub fn disk_bytes(process: u32) -> anyhow::Result<u64> {
    number_in(&format!("/proc/{process}/io"), "write_bytes:")
}

/// Bytes that a process holds in memory and that are no pages of files.
pub fn memory_bytes(process: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/status");
    let kib = number_in(&path, "VmRSS:")?.saturating_sub(number_in(&path, "RssFile:")?);
    Ok(kib << 10)
}

/// The number behind `name` on a line of its own.
fn number_in(path: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next());
    Ok(value.with_context(|| format!("{path} without {name}"))?.parse()?)
}

/// Bytes that this process has handed to `write` and its like; what goes through an io_uring is not among them.
pub fn written_bytes() -> anyhow::Result<u64> {
    number_in("/proc/self/io", "wchar:")
}

fn read_stat(process: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{process}/stat");
    std::fs::read_to_string(&path).context(path)
}

/// The sum of two fields (counted from 0) of a `/proc/PID/stat` line, which are in ticks of the clock.
fn ticks(stat: &str, fields: [usize; 2]) -> anyhow::Result<Duration> {
    // The name, field 1, may hold spaces; it ends with the last parenthesis.
    let after_name = stat.rsplit_once(')').context("no process status")?.1;
    let values: Vec<&str> = after_name.split_whitespace().collect();
    let value = |field: usize| -> anyhow::Result<u64> {
        Ok(values.get(field - 2).context("a short process status")?.parse()?)
    };
    let per_second = rustix::param::clock_ticks_per_second();
    let sum = value(fields[0])? + value(fields[1])?;
    Ok(Duration::from_micros(sum * 1_000_000 / per_second))
}

/// The average number of runnable tasks over the last minute.
pub fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().context("no load average")?.parse()?)
}

/// Waits until the machine is quiet, since what built this program still counts in the average. The load
/// average at the end, above `max` if it stayed there.
pub fn wait_until_quiet(max: f64, time: Duration) -> anyhow::Result<f64> {
    let deadline = Instant::now() + time;
    let mut load = load_average()?;
    if load > max {
        eprintln!("load average {load}: waiting up to {} s for {max}", time.as_secs());
    }
    while load > max && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        load = load_average()?;
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_strange_name() {
        let stat = "42 (a) b (c) R 1 42 42 0 -1 4194304 1 2 3 4 150 50 700 300 20 0 1 0 9";
        let per_second = rustix::param::clock_ticks_per_second();
        let expected = |ticks: u64| Duration::from_micros(ticks * 1_000_000 / per_second);
        assert_eq!(ticks(stat, [13, 14]).unwrap(), expected(200));
        assert_eq!(ticks(stat, [15, 16]).unwrap(), expected(1000));
        assert!(ticks("nonsense", [13, 14]).is_err());
        assert!(cpu_time(std::process::id()).is_ok() && ended_children_cpu_time().is_ok());
        assert!(load_average().unwrap() >= 0.0);
    }

    #[test]
    fn what_a_process_holds_and_writes_is_read() {
        assert!(memory_bytes(std::process::id()).unwrap() > 0);
        assert!(disk_bytes(std::process::id()).is_ok() && written_bytes().is_ok());
        assert!(ring_thread_cpu_time().is_ok());
    }
}
