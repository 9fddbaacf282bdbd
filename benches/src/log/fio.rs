//! Whether the probe itself is right: the same writes by fio, where that is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use runtime::{Disk, RealDisk, SyncMode};

use super::device::{IN_FLIGHT, PROBE_BYTES, SIZES, probe};
use super::{Settings, on_shard};
use crate::summary::{median, ratio_line};

/// Writes per second of fio on the written file `path`.
fn fio(path: &Path, bytes: usize, flight: usize, mode: SyncMode, settings: Settings) -> anyhow::Result<f64> {
    let sync = match mode {
        SyncMode::Dsync => "--sync=dsync",
        SyncMode::LinkedSync => "--fdatasync=1",
    };
    let output = Command::new("fio")
        .args([
            "--name=probe",
            "--ioengine=io_uring",
            "--direct=1",
            "--rw=write",
            "--overwrite=1",
            "--time_based",
        ])
        .args([sync, "--output-format=json", "--thread"])
        .arg(format!("--filename={}", path.display()))
        .args([format!("--bs={bytes}"), format!("--iodepth={flight}"), format!("--size={PROBE_BYTES}")])
        .arg(format!("--runtime={}ms", settings.slice.as_millis()))
        .output()
        .context("running fio")?;
    ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    report["jobs"][0]["write"]["iops"].as_f64().context("fio names no rate")
}

async fn measure(
    disk: RealDisk,
    context: runtime::Context,
    dir: PathBuf,
    settings: Settings,
) -> anyhow::Result<Vec<(usize, usize, f64, f64)>> {
    let path = dir.join("probe");
    let file = disk.create(&path, PROBE_BYTES).await?;
    let mut rows = Vec::new();
    for (size, (bytes, _)) in SIZES.into_iter().enumerate() {
        for flight in [1, IN_FLIGHT] {
            let (mut ratios, mut rates) = (Vec::new(), Vec::new());
            for _ in 0..settings.rounds {
                let theirs = fio(&path, bytes, flight, disk.sync_mode(), settings)?;
                let own = probe(&context, &file, bytes, flight, settings.slice).await?.batches_per_second;
                ratios.push(own / theirs);
                rates.push(theirs);
            }
            rows.push((size, flight, median(rates), median(ratios)));
        }
    }
    Ok(rows)
}

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    if Command::new("fio").arg("--version").output().is_err() {
        println!("fio is not installed: the probe is not checked");
        return Ok(Vec::new());
    }
    let dir = dir.to_owned();
    let rows = on_shard(move |context| measure(context.disk(), context, dir, settings))?;
    println!("{:>5} {:>9} {:>11} {:>12}", "bytes", "in flight", "fio, /s", "probe / fio");
    let mut lines = Vec::new();
    for (size, flight, rate, ratio) in rows {
        let name = SIZES[size].1;
        println!("{name:>5} {flight:>9} {rate:>11.0} {ratio:>12.3}");
        lines.push(ratio_line(&format!("log_probe_fio_{name}_{flight}"), ratio, 0.95));
    }
    Ok(lines)
}
