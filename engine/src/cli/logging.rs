//! Logs: to standard error, by a thread of their own.
//!
//! A reader that stops reading our standard error must not stop a shard. So lines go into a bounded queue; what
//! finds no room is dropped, and the number of dropped lines is logged as soon as there is room again.

use crate::cli::Failure;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Lines that may wait.
const QUEUE_LINES: usize = 4096;
/// How long the end of the process waits for a reader of the logs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts logging what `filter` lets through (a level, or `info,ringraft::kv=debug`).
///
/// # Errors
/// [`Exit::Usage`](crate::cli::Exit::Usage): the filter makes no sense.
pub fn start(filter: &str) -> Result<(), Failure> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| Failure::usage(format!("--log {filter:?}: {error}")))?;
    let (queue, items) = Queue::new();
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_all(&items, io::stderr()))
        .map_err(|error| Failure::failed(format!("cannot start the log thread: {error}")))?;
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let queue = QUEUE.get_or_init(|| queue);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| queue.line()).with_ansi(ansi).init();
    Ok(())
}

/// Waits until everything logged so far is written, but not for long: for the end of the process.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_TIMEOUT);
    }
}

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Queue {
    items: SyncSender<Item>,
    dropped: AtomicU64,
}

impl Queue {
    fn new() -> (Queue, Receiver<Item>) {
        let (items, receiver) = mpsc::sync_channel(QUEUE_LINES);
        (Queue { items, dropped: AtomicU64::new(0) }, receiver)
    }

    fn line(&self) -> Line<'_> {
        Line { queue: self, bytes: Vec::new() }
    }

    fn push(&self, line: Vec<u8>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let line = match dropped {
            0 => line,
            _ => [format!("({dropped} lines of this log were dropped)\n").as_bytes(), &line].concat(),
        };
        if self.items.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self, timeout: Duration) {
        let (done, is_done) = mpsc::sync_channel(1);
        if self.items.try_send(Item::Flush(done)).is_ok() {
            // Too late or a thread that is gone: either way this is the end.
            let _ = is_done.recv_timeout(timeout);
        }
    }
}

fn write_all(items: &Receiver<Item>, mut out: impl Write) {
    for item in items {
        match item {
            // Nobody reads the logs: nobody can be told.
            Item::Line(line) => drop(out.write_all(&line)),
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// One event on its way: goes into the queue as a whole.
#[derive(Debug)]
struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.queue.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_nothing_else() {
        let (queue, items) = Queue::new();
        for number in 0..QUEUE_LINES + 10 {
            writeln!(queue.line(), "line {number}").unwrap();
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 10, "and no call has blocked");
        let written = Written::default();
        let out = written.clone();
        let writer = std::thread::spawn(move || write_all(&items, out));
        // The writer catches up at its own pace, and says what was lost before what comes after it.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !written.text().ends_with("again\n") && Instant::now() < deadline {
            writeln!(queue.line(), "again").unwrap();
            queue.flush(Duration::from_secs(30));
            std::thread::yield_now();
        }
        let text = written.text();
        assert!(text.contains("lines of this log were dropped)\n") && text.contains("again\n"), "{text}");
        drop(queue);
        writer.join().unwrap();
        assert!(written.text().starts_with("line 0\nline 1\n"));
    }
}
