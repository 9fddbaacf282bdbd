//! The keys of a comparison: all of them exist before anything is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ringraft_tests::client::{Client, Value, encode};

/// Keys of the plain route: `key:000000000000` and so on, as `redis-benchmark -r` makes them.
pub const KEYS: u64 = 100_000;
/// The size of every value.
pub const VALUE_BYTES: usize = 128;
/// Hash slots of a Redis cluster.
const SLOTS: usize = 16_384;
/// Keys per slot of the cluster route.
const KEYS_PER_SLOT: u64 = 16;
/// Requests of one pipeline of our own.
const AT_ONCE: usize = 1_000;

/// How a load reaches the leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// As a plain client: through the node it is connected to.
    Plain,
    /// As a cluster client: directly, by slot.
    Cluster,
}

/// The `-r` of a route.
pub fn random_range(route: Route) -> u64 {
    match route {
        Route::Plain => KEYS,
        Route::Cluster => KEYS_PER_SLOT,
    }
}

/// A key of the plain route.
pub fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// All keys of a route. `redis-benchmark --cluster` gives each connection one slot of its node, at random,
/// and puts that slot's tag into the connection's keys; so any tag must be ready for it.
fn keys(route: Route) -> Vec<String> {
    match route {
        Route::Plain => (0..KEYS).map(key).collect(),
        Route::Cluster => {
            let of_slot = |tag: &String| {
                let tag = tag.clone();
                (0..KEYS_PER_SLOT).map(move |number| format!("key:{{{tag}}}:{number:012}"))
            };
            tags().iter().flat_map(of_slot).collect()
        }
    }
}

/// Each slot's tag: the shortest string of digits and letters in that slot, and of those the first.
fn tags() -> Vec<String> {
    const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut tags = vec![String::new(); SLOTS];
    let mut missing = SLOTS;
    let mut words = vec![String::new()];
    while missing > 0 {
        words = words
            .iter()
            .flat_map(|word| LETTERS.iter().map(move |letter| format!("{word}{}", char::from(*letter))))
            .collect();
        for word in &words {
            let tag = &mut tags[usize::from(crc16(word.as_bytes())) % SLOTS];
            if tag.is_empty() {
                tag.clone_from(word);
                missing -= 1;
            }
        }
    }
    tags
}

/// CRC-16/XMODEM, which maps keys to slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

/// Sends a command for every key, many at once, and hands each reply to `look`.
fn for_each(
    address: SocketAddr,
    keys: &[String],
    command: impl Fn(&str) -> Vec<u8>,
    mut look: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut client = Client::connect(address, Duration::from_secs(60))
        .with_context(|| format!("connecting to {address}"))?;
    for keys in keys.chunks(AT_ONCE) {
        client.send(&keys.iter().flat_map(|key| command(key)).collect::<Vec<u8>>())?;
        for _ in keys {
            look(client.receive()?)?;
        }
    }
    Ok(())
}

/// Writes every key of a route, then reads all of them: the share that was there, in percent.
pub fn fill(address: SocketAddr, route: Route) -> anyhow::Result<f64> {
    let value = vec![b'x'; VALUE_BYTES];
    let keys = keys(route);
    let set = |key: &str| encode(&[b"SET", key.as_bytes(), &value]);
    for_each(address, &keys, set, |reply| {
        ensure!(reply == Value::Simple("OK".to_string()), "SET answered {reply:?}");
        Ok(())
    })?;
    let mut hits = 0_u32;
    let get = |key: &str| encode(&[b"GET", key.as_bytes()]);
    for_each(address, &keys, get, |reply| {
        hits += u32::from(reply == Value::Bulk(value.clone()));
        Ok(())
    })?;
    Ok(f64::from(hits) * 100.0 / keys.len() as f64)
}

/// How many keys there are.
pub fn count(address: SocketAddr) -> anyhow::Result<u64> {
    match Client::connect(address, Duration::from_secs(10))?.line("DBSIZE")? {
        Value::Integer(keys) => Ok(u64::try_from(keys)?),
        other => bail!("DBSIZE answered {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_redis_benchmark() {
        let tags = tags();
        assert_eq!(tags[..5], ["06S", "Qi", "5L5", "4Iu", "4gY"], "as it uses them");
        assert_eq!(tags[80], "avs", "small letters come before capitals");
        assert!(
            tags.iter().enumerate().all(|(slot, tag)| usize::from(crc16(tag.as_bytes())) % SLOTS == slot)
        );
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of CRC-16/XMODEM");
        assert_eq!(keys(Route::Cluster).len(), SLOTS * 16);
    }
}
