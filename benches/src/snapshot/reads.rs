//! Point reads from one thread: random keys that are there, keys that are not (by the filters), and random keys of which half
//! are overwritten in a file above.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;

use super::Settings;
use super::data::{key, overwrites, stamp_of};
use super::ours::Ours;
use super::theirs::{Fjall, Redb};
use crate::summary::{limit_line, median, ratio_line};

/// Reads between two looks at the clock.
const READS_PER_LOOK: u32 = 1000;
/// What must be reached, in reads per second.
const READS_MIN: f64 = 1e6;
/// Beside each of the others.
pub(super) const GOAL: f64 = 2.0;

/// Reads per second, each of a random key among `keys`.
#[expect(clippy::cast_precision_loss, reason = "a count")]
pub(super) fn measure(
    settings: &Settings,
    seed: u64,
    keys: &Range<u32>,
    mut read: impl FnMut(u32, &[u8; 16]) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (began, mut reads) = (Instant::now(), 0u64);
    while began.elapsed() < settings.seconds {
        for _ in 0..READS_PER_LOOK {
            let number = rng.u32(keys.clone());
            read(number, &key(number))?;
        }
        reads += u64::from(READS_PER_LOOK);
    }
    Ok(reads as f64 / began.elapsed().as_secs_f64())
}

/// The value is the newest of the key.
pub(super) fn check(number: u32, overwrites: u8, found: Option<(u32, u8)>) -> anyhow::Result<()> {
    ensure!(found == Some((number, overwrites)), "key {number} has the value of {found:?}");
    Ok(())
}

/// What is compared.
struct Sides {
    ours: Ours,
    redb: Redb,
    fjall: Fjall,
}

impl Sides {
    /// Reads per second of ours, redb and fjall in one round; `overwrites` says how new a key's value must be.
    fn round(
        &mut self,
        settings: &Settings,
        seed: u64,
        overwrites: impl Fn(u32) -> u8,
    ) -> anyhow::Result<[f64; 3]> {
        let Sides { ours, redb, fjall } = self;
        let (keys, new) = (0..settings.keys, overwrites);
        Ok([
            measure(settings, seed, &keys, |number, key| {
                check(number, new(number), ours.get(key)?.map(stamp_of))
            })?,
            measure(settings, seed, &keys, |number, key| {
                check(number, new(number), redb.get(key, stamp_of)?)
            })?,
            measure(settings, seed, &keys, |number, key| {
                check(number, new(number), fjall.get(key)?.map(|value| stamp_of(&value)))
            })?,
        ])
    }
}

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let keys = settings.keys;
    let ours = Ours::build(dir, keys)?;
    let mut sides = Sides { ours, redb: Redb::build(dir, keys)?, fjall: Fjall::build(dir, keys)? };
    let (mut bare, mut absent, mut half) = ([const { Vec::new() }; 3], Vec::new(), [const { Vec::new() }; 3]);
    // The first round of each fills the caches.
    for round in 0..=settings.rounds {
        let seed = u64::from(round);
        let rates = sides.round(settings, seed, |_| 0)?;
        let without = measure(settings, seed, &(keys..u32::MAX), |number, key| {
            ensure!(!sides.ours.holds(key)?, "key {number} was never put");
            Ok(())
        })?;
        if round > 0 {
            bare.iter_mut().zip(rates).for_each(|(all, rate)| all.push(rate));
            absent.push(without);
        }
    }
    sides.ours.overwrite_half(dir, keys)?;
    sides.redb.overwrite_half(keys)?;
    sides.fjall.overwrite_half(keys)?;
    for round in 0..=settings.rounds {
        let rates = sides.round(settings, u64::from(round), overwrites)?;
        if round > 0 {
            half.iter_mut().zip(rates).for_each(|(all, rate)| all.push(rate));
        }
    }
    let mut lines = report_bare(settings, &bare, &absent);
    lines.extend(report(&format!("{keys} keys, half of them overwritten"), "snapshot_reads_half", &half));
    Ok(lines)
}

/// The table of one row, and the ratios of ours to each of the others.
pub(super) fn report(title: &str, name: &str, rates: &[Vec<f64>; 3]) -> Vec<String> {
    let [ours, redb, fjall] = rates;
    println!("{title:<44} {:>12} {:>9} {:>7}", "reads/s", "ns/read", "ratio");
    for (side, rates) in [("ringraft", ours), ("redb", redb), ("fjall", fjall)] {
        row(side, rates, ratio(ours, rates));
    }
    vec![
        ratio_line(&format!("{name}_vs_redb"), ratio(ours, redb), GOAL),
        ratio_line(&format!("{name}_vs_fjall"), ratio(ours, fjall), GOAL),
    ]
}

/// One side of a table.
pub(super) fn row(side: &str, rates: &[f64], ratio: f64) {
    let rate = median(rates.iter().copied());
    println!("{side:<44} {rate:>12.0} {:>9.0} {ratio:>7.2}", 1e9 / rate);
}

/// Ours over theirs, round by round.
pub(super) fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

fn report_bare(settings: &Settings, rates: &[Vec<f64>; 3], absent: &[f64]) -> Vec<String> {
    let ours = &rates[0];
    let mut lines =
        vec![ratio_line("snapshot_reads_vs_million", median(ours.iter().copied()) / READS_MIN, 1.0)];
    lines.extend(report(&format!("{} keys, one file, bare", settings.keys), "snapshot_reads", rates));
    row("ringraft, keys that are not there", absent, ratio(ours, absent));
    lines.push(limit_line("snapshot_read_ns", 1e9 / median(ours.iter().copied()), 1000.0));
    lines
}
