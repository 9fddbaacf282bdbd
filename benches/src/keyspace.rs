//! The keys of a comparison: all of them exist before anything is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use ringraft_tests::client::{Client, Value, encode};

use crate::load::{self, Operation, Shape};

/// Keys of the plain route: `key:000000000000` and so on, as `redis-benchmark -r` makes them.
pub const KEYS: u64 = 100_000;
/// The size of every value.
pub const VALUE_BYTES: usize = 128;
/// On the cluster route a key also has a tag, one of these, taken at random by the client.
const SLOTS: u64 = 16_384;
/// Keys per tag of the cluster route.
const KEYS_PER_SLOT: u64 = 4;
/// Requests of one pipeline of our own.
const AT_ONCE: u64 = 1_000;

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

fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    Client::connect(address, Duration::from_secs(60)).with_context(|| format!("connecting to {address}"))
}

/// Sends a command for every plain key, many at once, and hands each reply to `look`.
fn for_each_key(
    address: SocketAddr,
    command: impl Fn(&str) -> Vec<u8>,
    mut look: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut client = connect(address)?;
    for first in (0..KEYS).step_by(usize::try_from(AT_ONCE)?) {
        let keys = first..(first + AT_ONCE).min(KEYS);
        client.send(&keys.clone().flat_map(|number| command(&key(number))).collect::<Vec<u8>>())?;
        for _ in keys {
            look(client.receive()?)?;
        }
    }
    Ok(())
}

/// Writes every plain key, then reads all of them: the share that was there, in percent.
pub fn fill(address: SocketAddr) -> anyhow::Result<f64> {
    let value = vec![b'x'; VALUE_BYTES];
    let set = |key: &str| encode(&[b"SET", key.as_bytes(), &value]);
    for_each_key(address, set, |reply| {
        ensure!(reply == Value::Simple("OK".to_string()), "SET answered {reply:?}");
        Ok(())
    })?;
    let mut hits = 0_u32;
    let get = |key: &str| encode(&[b"GET", key.as_bytes()]);
    for_each_key(address, get, |reply| {
        hits += u32::from(reply == Value::Bulk(value.clone()));
        Ok(())
    })?;
    Ok(f64::from(hits) * 100.0 / KEYS as f64)
}

fn count(address: SocketAddr) -> anyhow::Result<u64> {
    match connect(address)?.line("DBSIZE")? {
        Value::Integer(keys) => Ok(u64::try_from(keys)?),
        other => anyhow::bail!("DBSIZE answered {other:?}"),
    }
}

/// Writes random keys of the cluster route until all exist; the share that does, in percent. Only the
/// client knows its tags, so that it has to do it: n keys take about n (ln n + 10) writes.
pub fn fill_cluster(address: SocketAddr) -> anyhow::Result<f64> {
    let before = count(address)?;
    let keys = SLOTS * KEYS_PER_SLOT;
    let shape = Shape { operation: Operation::Set, pipeline: 1 };
    let writes = keys * (u64::from(keys.ilog2()) * 7 / 10 + 10);
    // One pipeline takes one tag, so a deep one would reach fewer keys.
    load::run(address, Route::Cluster, Shape { pipeline: KEYS_PER_SLOT, ..shape }, writes * 2)?;
    Ok((count(address)? - before) as f64 * 100.0 / keys as f64)
}
