//! Point reads through a handle of the library: a node of one group in this process, asked from one thread, linearizably; beside
//! redb and fjall, which that thread calls directly. Half of the keys are overwritten, on all sides, after the rest was saved.
//!
//! A linearizable read answers with all that was written before it was asked. For redb that is a transaction for each read; what
//! reads cost within one transaction, which see nothing that is written after its begin, stands beside it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use raft::GroupId;
use ringraft::kv::{Command, List};
use ringraft::{Engine, Group};
use ringraft_tests::poll;
use ringraft_tests::process::free_ports;

use super::Settings;
use super::data::{key, overwrites, overwritten, stamp_of, value};
use super::reads::{self, check, measure};
use super::theirs::{Fjall, Redb};

/// Queries under way at a time: what one thread asks for before it looks at the first answer.
const IN_FLIGHT: usize = 1024;
/// Keys written by one command.
const KEYS_PER_COMMAND: usize = 200;
/// Commands under way at a time.
const COMMANDS_IN_FLIGHT: usize = 32;
/// A group of one elects at once; a save of all keys takes seconds.
const WAIT: Duration = Duration::from_secs(120);

/// The one node.
struct Ours {
    engine: Engine,
    group: Group,
}

impl Ours {
    /// A node with all keys, half of them overwritten after they were saved.
    fn start(dir: &Path, keys: u32) -> anyhow::Result<Ours> {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)));
        let engine = Engine::builder(1, dir.join("node")).peer(1, peer).shards(1).groups(1).start_kv()?;
        let group = engine.group(GroupId(1)).context("there is one group")?;
        let deadline = Instant::now() + WAIT;
        ensure!(poll::until(deadline, || engine.leader(GroupId(1)).is_some()), "the group has no leader");
        let ours = Ours { engine, group };
        ours.put_all(0..keys, 0)?;
        ours.save()?;
        ours.put_all(overwritten(keys), 1)?;
        ours.save()?;
        Ok(ours)
    }

    fn put_all(&self, numbers: impl Iterator<Item = u32>, overwrites: u8) -> anyhow::Result<()> {
        let (numbers, mut commands) = (numbers.collect::<Vec<u32>>(), VecDeque::new());
        for numbers in numbers.chunks(KEYS_PER_COMMAND) {
            let pairs: Vec<_> =
                numbers.iter().map(|number| (key(*number), value(*number, overwrites))).collect();
            let args: Vec<&[u8]> = pairs.iter().flat_map(|(key, value)| [&key[..], &value[..]]).collect();
            if commands.len() == COMMANDS_IN_FLIGHT {
                commands.pop_front().map_or(Ok(Vec::new()), block_on)?;
            }
            commands.push_back(self.group.propose(Command::MSet { pairs: List::slice(&args) }.to_vec()));
        }
        commands.into_iter().try_for_each(|command| block_on(command).map(drop))?;
        Ok(())
    }

    /// Has all that is applied saved.
    fn save(&self) -> anyhow::Result<()> {
        let goal = self.engine.applied(GroupId(1)).context("there is one group")?;
        let is_saved = || {
            // Again and again: while a save is under way, what came since its begin is not saved by asking once.
            self.engine.take_snapshots();
            let groups = self.engine.status().groups;
            groups.iter().any(|group| group.group == GroupId(1) && group.snapshot >= goal)
        };
        ensure!(poll::until(Instant::now() + WAIT, is_saved), "no snapshot after {WAIT:?}");
        Ok(())
    }

    /// Reads per second, one query after the other.
    fn one_by_one(&self, settings: &Settings, seed: u64) -> anyhow::Result<f64> {
        measure(settings, seed, &(0..settings.keys), |number, key| {
            let answer = self.group.query_blocking(Command::Get { key }.to_vec())?;
            check(number, overwrites(number), bulk(&answer).map(stamp_of))
        })
    }

    /// Reads per second, many queries under way.
    fn many_at_once(&self, settings: &Settings, seed: u64) -> anyhow::Result<f64> {
        let mut queries = VecDeque::with_capacity(IN_FLIGHT);
        let rate = measure(settings, seed, &(0..settings.keys), |number, key| {
            if queries.len() == IN_FLIGHT
                && let Some((number, query)) = queries.pop_front()
            {
                take(number, query)?;
            }
            queries.push_back((number, self.group.query(Command::Get { key }.to_vec())));
            Ok(())
        })?;
        queries.into_iter().try_for_each(|(number, query)| take(number, query))?;
        Ok(rate)
    }
}

/// Waits for the answer to a query and looks whether it is the newest value.
fn take<E>(number: u32, query: impl Future<Output = Result<Vec<u8>, E>>) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let answer = block_on(query)?;
    check(number, overwrites(number), bulk(&answer).map(stamp_of))
}

/// The bytes of a bulk reply.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|byte| *byte == b'\n')?;
    reply.strip_prefix(b"$")?.get(end..)?.strip_suffix(b"\r\n")
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(std::thread::current())));
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        loop {
            match future.as_mut().poll(&mut Task::from_waker(waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    })
}

pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let keys = settings.keys;
    let ours = Ours::start(dir, keys)?;
    let (mut redb, fjall) = (Redb::build(dir, keys)?, Fjall::build(dir, keys)?);
    redb.overwrite_half(keys)?;
    fjall.overwrite_half(keys)?;
    let (mut rates, mut single, mut within_one) = ([const { Vec::new() }; 3], Vec::new(), Vec::new());
    // The first round fills the caches.
    for round in 0..=settings.rounds {
        let (seed, all) = (u64::from(round), 0..keys);
        let of_round = [
            ours.many_at_once(settings, seed)?,
            measure(settings, seed, &all, |number, key| {
                check(number, overwrites(number), redb.get_newest(key, stamp_of)?)
            })?,
            measure(settings, seed, &all, |number, key| {
                check(number, overwrites(number), fjall.get(key)?.map(|value| stamp_of(&value)))
            })?,
        ];
        let one = ours.one_by_one(settings, seed)?;
        let frozen = measure(settings, seed, &all, |number, key| {
            check(number, overwrites(number), redb.get(key, stamp_of)?)
        })?;
        if round > 0 {
            rates.iter_mut().zip(of_round).for_each(|(all, rate)| all.push(rate));
            single.push(one);
            within_one.push(frozen);
        }
    }
    ours.engine.shutdown()?;
    let title = format!("{keys} keys, through a handle");
    let lines = reads::report(&title, "snapshot_reads_handle", &rates);
    reads::row("redb, all in one transaction", &within_one, reads::ratio(&rates[0], &within_one));
    reads::row("ringraft, one query after the other", &single, reads::ratio(&rates[0], &single));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_reply_is_its_bytes() {
        assert_eq!(bulk(b"$3\r\nabc\r\n"), Some(&b"abc"[..]));
        assert_eq!(bulk(b"$-1\r\n"), None);
        assert_eq!(bulk(b"-ERR no\r\n"), None);
    }
}
