//! One node that holds more data than memory, and more than three nodes would have disk for: what it writes for each byte that is
//! overwritten, and how soon it answers after it was killed.

use std::path::Path;

use super::{Settings, amplification, nodes, restart};
use crate::summary::limit_line;

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut cluster = nodes::start(dir, 1, &[])?;
    let (mib, keys) = (settings.large_mib, nodes::keys_of(settings.large_mib));
    nodes::fill(&cluster, keys)?;
    println!("{mib} MiB of data, {keys} keys");
    let times = amplification::measure(&cluster, mib, keys / settings.large_overwritten_parts)?;
    restart::print_head();
    let restarts = (0..settings.restarts).map(|_| restart::restart_alone(&mut cluster));
    let figures = restart::Figures::of(mib, &restarts.collect::<anyhow::Result<Vec<_>>>()?);
    figures.print();
    let mut lines = restart::report(&[figures]);
    let name = format!("snapshot_write_amplification_{mib}_mib");
    lines.push(limit_line(&name, times, amplification::TIMES_MAX));
    Ok(lines)
}
