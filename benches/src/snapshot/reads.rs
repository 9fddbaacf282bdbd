//! Point reads from one thread: random keys that are there, and, by the filters, random keys that are not.

use std::ops::RangeBounds;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;

use super::Settings;
use super::data::{key, number_of};
use super::ours::Ours;
use super::theirs::{Fjall, Redb};
use crate::summary::{limit_line, median, ratio_line};

/// Reads between two looks at the clock.
const READS_PER_LOOK: u32 = 1000;
/// What must be reached, in reads per second.
const READS_MIN: f64 = 1e6;
/// Beside each of the others.
const GOAL: f64 = 2.0;

/// Reads per second, each of a random key among `keys`.
#[expect(clippy::cast_precision_loss, reason = "a count")]
fn measure(
    settings: Settings,
    seed: u64,
    keys: impl RangeBounds<u32> + Clone,
    mut read: impl FnMut(u32, &[u8; 16]) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (began, mut reads) = (Instant::now(), 0u64);
    while began.elapsed() < settings.slice {
        for _ in 0..READS_PER_LOOK {
            let number = rng.u32(keys.clone());
            read(number, &key(number))?;
        }
        reads += u64::from(READS_PER_LOOK);
    }
    Ok(reads as f64 / began.elapsed().as_secs_f64())
}

/// The value is that of the key.
fn check(number: u32, found: Option<u32>) -> anyhow::Result<()> {
    ensure!(found == Some(number), "key {number} has the value of {found:?}");
    Ok(())
}

pub(super) fn run(dir: &Path, settings: Settings) -> anyhow::Result<Vec<String>> {
    let mut ours = Ours::build(&dir.join("ours"), settings.keys)?;
    let (redb, fjall) = (Redb::build(dir, settings.keys)?, Fjall::build(dir, settings.keys)?);
    let (there, absent) = (0..settings.keys, settings.keys..);
    let mut rates = [const { Vec::new() }; 4];
    // The first round fills the caches.
    for round in 0..=settings.rounds {
        let seed = u64::from(round);
        let there = || there.clone();
        let of_round = [
            measure(settings, seed, there(), |number, key| check(number, ours.get(key)?.map(number_of)))?,
            measure(settings, seed, there(), |number, key| check(number, redb.get(key, number_of)?))?,
            measure(settings, seed, there(), |number, key| {
                check(number, fjall.get(key)?.map(|value| number_of(&value)))
            })?,
            measure(settings, seed, absent.clone(), |number, key| {
                ensure!(!ours.holds(key)?, "key {number} was never put");
                Ok(())
            })?,
        ];
        if round > 0 {
            rates.iter_mut().zip(of_round).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    Ok(report(settings, &rates))
}

fn report(settings: Settings, [ours, redb, fjall, absent]: &[Vec<f64>; 4]) -> Vec<String> {
    let ratio = |theirs: &[f64]| median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs));
    println!(
        "{:<28} {:>12} {:>9} {:>7}",
        format!("{} keys, bare", settings.keys),
        "reads/s",
        "ns/read",
        "ratio"
    );
    for (name, rates) in
        [("a snapshot, mapped", ours), ("redb", redb), ("fjall", fjall), ("a snapshot, absent keys", absent)]
    {
        let rate = median(rates.iter().copied());
        println!("{name:<28} {rate:>12.0} {:>9.0} {:>7.2}", 1e9 / rate, ratio(rates));
    }
    vec![
        ratio_line("snapshot_reads_vs_million", median(ours.iter().copied()) / READS_MIN, 1.0),
        ratio_line("snapshot_reads_vs_redb", ratio(redb), GOAL),
        ratio_line("snapshot_reads_vs_fjall", ratio(fjall), GOAL),
        limit_line("snapshot_read_ns", 1e9 / median(ours.iter().copied()), 1000.0),
    ]
}
