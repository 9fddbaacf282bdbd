//! A snapshot file from one store to another over loopback, beside `cp` and `sync` of the same file.
//!
//! Two shards, each with a disk of its own view, move it by the messages of `snapshot::transfer` in frames as links make them, with
//! as many chunks under way as between the engine's shards; and as there, the next chunk is read while one is sent, and received
//! while one is written. The time ends when the sender hears that the file is verified, durable and under
//! its final name.

mod line;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use runtime::Context;
use snapshot::transfer::{Message, Offer, Progress, Receiver, Sender, Step, TransferId, Window};
use snapshot::{Manifest, RateLimit, Use};

use super::{Settings, files, forget_cache};
use crate::host;
use crate::log::on_shard;
use crate::summary::{limit_line, median, ratio_line};
use line::Line;

/// Of what `cp` and `sync` do.
const GOAL: f64 = 0.8;
/// CPU seconds of the sender's shard for each gibibyte.
const SENDER_CPU_MAX: f64 = 0.6;
/// What one chunk carries, as in the engine.
const CHUNK_BYTES: u32 = 512 << 10;
/// More than any disk gives: what is measured is what the transfer can do.
const RATE_BYTES_PER_SECOND: u64 = 1 << 40;

/// What one transfer took.
struct Sent {
    time: Duration,
    sender_cpu: Duration,
    receiver_cpu: Duration,
}

/// Sends the newest file of `manifest` to `address`.
async fn send(
    context: &Context,
    dir: &Path,
    manifest: &Manifest,
    address: SocketAddr,
) -> anyhow::Result<(Duration, Duration)> {
    let store = files::open_store(context, dir, std::slice::from_ref(manifest)).await?;
    let reference = *manifest.runs.first().context("a snapshot has a file")?;
    let guard = store.hold(reference.name, Use::Sending)?;
    let mut rate = RateLimit::new(RATE_BYTES_PER_SECOND, RATE_BYTES_PER_SECOND, runtime::now());
    let (began, cpu) = (Instant::now(), host::ring_thread_cpu_time()?);
    let offer = Offer { transfer: TransferId(1), chunk_bytes: CHUNK_BYTES, meta: manifest.encode() };
    let path = store.path(reference.name);
    let mut sender = Sender::open(&context.disk(), &path, guard, &reference, offer).await?;
    let mut line = Line::connect(context, address).await?;
    let mut window = Window::new(sender.transfer());
    loop {
        let bytes = u64::from(sender.next_chunk_bytes());
        if bytes > 0 && !window.is_full() {
            ensure!(rate.take(runtime::now(), bytes).is_ok(), "the rate is no limit");
            let (message, data) = sender.next_chunk().await?.context("a chunk is due")?;
            window.sent(&message);
            line.say(&message, Some(data)).await?;
            continue;
        }
        match sender.step() {
            Step::Send(message) => line.say(&message, None).await?,
            Step::Over(outcome) => break outcome.map_err(|reason| anyhow!(reason))?,
            Step::SendChunk | Step::Wait => {
                let news = window.heard(line.hear().await?.0);
                news.map(|news| sender.receive(news)).transpose()?;
            }
        }
    }
    let time = began.elapsed();
    Ok((time, host::ring_thread_cpu_time()?.saturating_sub(cpu)))
}

/// Does work at low priority, as shards do. Whatever comes meanwhile waits; there is no more of it than the sender's window.
async fn beside<T: 'static>(
    context: &Context,
    line: &mut Line,
    waiting: &mut VecDeque<(Message, Vec<u8>)>,
    work: impl Future<Output = T> + 'static,
) -> anyhow::Result<T> {
    let (done, doorbell) = (Rc::new(RefCell::new(None)), context.ring().doorbell());
    let place = Rc::clone(&done);
    context.spawn_background(async move {
        let result = work.await;
        *place.borrow_mut() = Some(result);
        doorbell.ring();
    });
    loop {
        if let Some(result) = done.borrow_mut().take() {
            return Ok(result);
        }
        while let Some(heard) = line.heard()? {
            waiting.push_back(heard);
        }
        line.turn().await?;
    }
}

/// Receives one file; the CPU time that took.
async fn receive(context: &Context, dir: &Path, listener: TcpListener) -> anyhow::Result<Duration> {
    let store = files::open_store(context, dir, &[]).await?;
    let cpu = host::ring_thread_cpu_time()?;
    let mut line = Line::accept(context, listener).await?;
    let (Message::Begin(begin), _) = line.hear().await? else { bail!("a transfer begins with Begin") };
    let transfer = begin.transfer;
    let slot = store.begin_receive(begin.name.group, begin.name.id).ok().context("nothing else comes")?;
    let mut receiver = Receiver::create(slot, begin).await?;
    let mut waiting = VecDeque::new();
    loop {
        line.say(&receiver.resume().context("more is to come")?, None).await?;
        let heard = match waiting.pop_front() {
            Some(heard) => heard,
            None => line.hear().await?,
        };
        let (Message::Chunk(header), data) = heard else { bail!("chunks follow") };
        let work = async move {
            let progress = receiver.chunk(header, &data).await;
            (receiver, progress)
        };
        let progress;
        (receiver, progress) = beside(context, &mut line, &mut waiting, work).await?;
        if progress? == Progress::Complete {
            break;
        }
    }
    let received = beside(context, &mut line, &mut waiting, receiver.finish()).await??;
    line.say(&Message::Done { transfer, ok: true, reason: String::new() }, None).await?;
    let _ = line.flush().await; // the sender hangs up as soon as it hears that
    drop(received.guard);
    Ok(host::ring_thread_cpu_time()?.saturating_sub(cpu))
}

/// One transfer, by two shards.
fn transfer(from: &Path, manifest: &Manifest, to: &Path) -> anyhow::Result<Sent> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (from, to, manifest) = (from.to_owned(), to.to_owned(), manifest.clone());
    let receiving = std::thread::spawn(move || {
        on_shard(move |context| async move { receive(&context, &to, listener).await })
    });
    let sent = on_shard(move |context| async move { send(&context, &from, &manifest, address).await });
    // An end whose peer failed hears the end of the connection: the other's reason says more.
    let received = receiving.join().map_err(|_| anyhow!("the receiver panicked"))?;
    let (time, sender_cpu) = match (sent, &received) {
        (Err(of_sender), Err(of_receiver)) => {
            bail!("the sender: {of_sender:#}; the receiver: {of_receiver:#}")
        }
        (sent, _) => sent?,
    };
    Ok(Sent { time, sender_cpu, receiver_cpu: received? })
}

/// Copies a file that is not in the page cache and syncs the copy: only that, since others write on this machine, too; and never by
/// sharing blocks, which copies nothing.
fn cp(file: &Path, copy: &Path) -> anyhow::Result<Duration> {
    forget_cache(file)?;
    let began = Instant::now();
    for (program, args) in [("cp", vec!["--reflink=never".as_ref(), file, copy]), ("sync", vec![copy])] {
        let output = Command::new(program).args(args).output().context(program)?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let time = began.elapsed();
    std::fs::remove_file(copy)?;
    Ok(time)
}

/// The file that is sent, and the snapshot it is.
fn build(dir: &Path, keys: u32) -> anyhow::Result<(PathBuf, Manifest)> {
    let place = dir.to_owned();
    on_shard(move |context| async move {
        let store = files::open_store(&context, &place, &[]).await?;
        let finished = files::build(&store, 1, 0..keys, 0).await?;
        let manifest = files::manifest(&[finished.reference]);
        store.publish(&manifest);
        Ok((store.path(finished.reference.name), manifest))
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn run(dir: &Path, settings: &Settings) -> anyhow::Result<Vec<String>> {
    let (from, to) = (dir.join("from"), dir.join("to"));
    let (file, manifest) = build(&from, settings.keys)?;
    let bytes = std::fs::metadata(&file)?.len() as f64;
    let mut rounds = Vec::new();
    // The first round does not count.
    for round in 0..=settings.rounds {
        let sent = transfer(&from, &manifest, &to)?;
        std::fs::remove_dir_all(&to)?;
        let copied = cp(&file, &dir.join("copy"))?;
        if round > 0 {
            rounds.push((sent, copied));
        }
    }
    let per_gib = |cpu: fn(&Sent) -> Duration| {
        median(rounds.iter().map(|(sent, _)| cpu(sent).as_secs_f64())) * f64::from(1 << 30) / bytes
    };
    let (sender, receiver) = (per_gib(|sent| sent.sender_cpu), per_gib(|sent| sent.receiver_cpu));
    let ratio = median(rounds.iter().map(|(sent, copied)| copied.as_secs_f64() / sent.time.as_secs_f64()));
    let mib = |seconds: f64| bytes / seconds / f64::from(1 << 20);
    println!("{:<44} {:>8} {:>7}", format!("a file of {:.0} MiB", mib(1.0)), "MiB/s", "ratio");
    let ours = mib(median(rounds.iter().map(|(sent, _)| sent.time.as_secs_f64())));
    println!("{:<44} {ours:>8.0} {ratio:>7.2}", "over loopback, verified, durable");
    let theirs = mib(median(rounds.iter().map(|(_, copied)| copied.as_secs_f64())));
    println!("{:<44} {theirs:>8.0} {:>7}", "cp, sync", "-");
    println!("CPU seconds per GiB: sender {sender:.2}, receiver {receiver:.2}");
    Ok(vec![
        ratio_line("snapshot_stream_vs_cp", ratio, GOAL),
        limit_line("snapshot_stream_sender_cpu_seconds_per_gib", sender, SENDER_CPU_MAX),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_arrives_as_it_was_sent() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let (file, manifest) = build(&from, 10_000).unwrap();
        transfer(&from, &manifest, &to).unwrap();
        let received: Vec<_> = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(received.len(), 1, "{received:?}");
        assert!(std::fs::read(&received[0]).unwrap() == std::fs::read(&file).unwrap());
        assert!(cp(&file, &dir.path().join("copy")).unwrap() > Duration::ZERO);
    }
}
