//! One node as a child process.

use crate::cli::ready::Ready;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The lines of a node's standard error that are kept for the case that it fails.
const LINES_KEPT: usize = 20;
/// A line longer than this is cut.
const LINE_BYTES_MAX: u64 = 4096;
/// How often a child is asked whether it has ended.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);

/// A node that did not start or did not stay.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The process could not be made.
    #[error("cannot start node {node}: {error}")]
    Start {
        /// The node.
        node: u16,
        /// Why.
        error: io::Error,
    },
    /// It ended; its last words.
    #[error("node {node} ended ({status}){words}")]
    Ended {
        /// The node.
        node: u16,
        /// How.
        status: String,
        /// The end of its standard error, each line on a line of its own.
        words: String,
    },
    /// It lives, but is not ready.
    #[error("node {node} was not ready after {waited:?}{words}")]
    NotReady {
        /// The node.
        node: u16,
        /// How long it had.
        waited: Duration,
        /// As in `Ended`.
        words: String,
    },
}

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    node: u16,
    process: process::Child,
    ready: Receiver<Ready>,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Child {
    /// Starts `executable` with `arguments` as node `node`. With `loud` its standard error is passed on.
    ///
    /// # Errors
    /// [`ChildError::Start`]
    pub fn start(
        node: u16,
        executable: &Path,
        arguments: &[OsString],
        loud: bool,
    ) -> Result<Child, ChildError> {
        let mut command = Command::new(executable);
        for variable in inherited_settings() {
            command.env_remove(variable);
        }
        let mut process = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| ChildError::Start { node, error })?;
        let (announce, ready) = mpsc::channel();
        let lines = Lines::default();
        let stdout = process.stdout.take().expect("piped");
        let stderr = process.stderr.take().expect("piped");
        let kept = lines.clone();
        let readers = vec![
            std::thread::spawn(move || {
                each_line(stdout, |line| {
                    if let Ok(ready) = line.parse() {
                        // Nobody may listen any more, which is no failure.
                        let _ = announce.send(ready);
                    }
                });
            }),
            std::thread::spawn(move || each_line(stderr, |line| keep(&kept, node, line, loud))),
        ];
        Ok(Child { node, process, ready, lines, readers })
    }

    /// The node.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// Waits for its ready line.
    ///
    /// # Errors
    /// [`ChildError::Ended`] or [`ChildError::NotReady`]
    pub fn wait_ready(&mut self, timeout: Duration, stop: impl Fn() -> bool) -> Result<Ready, ChildError> {
        let deadline = Instant::now() + timeout;
        loop {
            let expired = Instant::now() >= deadline || stop();
            match self.ready.recv_timeout(WATCH_INTERVAL) {
                Ok(ready) => return Ok(ready),
                Err(RecvTimeoutError::Timeout) if expired => {
                    return Err(ChildError::NotReady {
                        node: self.node,
                        waited: timeout,
                        words: self.words(),
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().map_or_else(|error| error.to_string(), describe);
                    return Err(self.ended(status));
                }
            }
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// [`ChildError::Ended`]
    pub fn check(&mut self) -> Result<(), ChildError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(describe(status))),
            Err(error) => Err(self.ended(error.to_string())),
        }
    }

    /// SIGKILL: it has no time for anything.
    pub fn kill(mut self) {
        self.end_now();
    }

    /// Closes its standard input, which asks it to end in order.
    pub fn ask_to_end(&mut self) {
        self.process.stdin = None;
    }

    /// Waits for a child that was asked to end; kills it at `deadline`. False: it had to be killed.
    pub fn wait_end(mut self, deadline: Instant) -> bool {
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(WATCH_INTERVAL);
        }
        true
    }

    fn ended(&mut self, status: String) -> ChildError {
        for reader in self.readers.drain(..) {
            // Its pipes are closed, unless it left children of its own; then what was read must do.
            if reader.is_finished() || self.process.try_wait().is_ok_and(|status| status.is_some()) {
                reader.join().unwrap_or_default();
            }
        }
        ChildError::Ended { node: self.node, status, words: self.words() }
    }

    fn words(&self) -> String {
        let lines = self.lines.lock().expect("no reader panics with it");
        lines.iter().map(|line| format!("\n  node {}: {line}", self.node)).collect()
    }

    fn end_now(&mut self) {
        // It may have ended by itself: both calls then fail, and there is nothing left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// Settings in this process's environment: a port, say, that all children would share. Logging stays.
fn inherited_settings() -> impl Iterator<Item = String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("RINGRAFT_") && name != "RINGRAFT_LOG")
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

fn keep(lines: &Lines, node: u16, line: &str, loud: bool) {
    if loud {
        eprintln!("node {node}: {line}");
    }
    let mut lines = lines.lock().expect("no reader panics with it");
    if lines.len() == LINES_KEPT {
        lines.pop_front();
    }
    lines.push_back(line.to_owned());
}

/// Reads to the end whatever comes, so that the child never blocks on a full pipe.
fn each_line(stream: impl Read, mut each: impl FnMut(&str)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => each(String::from_utf8_lossy(&line).trim_end()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
