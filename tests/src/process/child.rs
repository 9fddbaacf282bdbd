//! One process: started, watched, signalled, and never left behind.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// How much of a log a failure shows.
const TAIL_BYTES: usize = 4 << 10;

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How messages call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The file that its standard output and error are appended to.
    pub log: PathBuf,
}

/// A running (or just ended) process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    /// Open as long as the process shall live: it is told to end when this closes.
    _stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// A sentence with the program's name.
    pub fn start(spec: Spec) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", spec.program.display());
        let log = File::options().create(true).append(true).open(&spec.log).map_err(failed)?;
        let mut child = Command::new(&spec.program)
            .args(&spec.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = channel();
        let output = child.stdout.take().expect("it was asked for");
        std::thread::spawn(move || {
            let mut log = log;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let _ = sender.send(line);
            }
        });
        Ok(Process { spec, _stdin: child.stdin.take(), child, lines })
    }

    /// Waits for a line of standard output that starts with `prefix`, and returns it.
    ///
    /// # Errors
    ///
    /// A sentence with the end of the log, when the process ended or the deadline passed.
    pub fn wait_line(&mut self, prefix: &str, deadline: Instant) -> Result<String, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(prefix) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.explain(&format!("printed no line `{prefix}..` in time")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.wait_exit(Instant::now() + Duration::from_secs(5));
                    let how = status.map_or("closed its output".to_string(), |s| format!("ended with {s}"));
                    return Err(self.explain(&format!("{how} before it printed a line `{prefix}..`")));
                }
            }
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, deadline: Instant) -> Option<ExitStatus> {
        poll::until_some(deadline, || self.exited())
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it where it stands (SIGSTOP).
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        // Only while it has not been waited for: afterwards its number may be another process's.
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("our own living child takes signals");
        }
    }

    /// A message about this process, with the end of its log.
    pub fn explain(&self, what: &str) -> String {
        format!("{} {what}\n{}", self.spec.name, tail(&self.spec.log))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.explain("was running; its log ends:"));
        }
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let start = bytes.len().saturating_sub(TAIL_BYTES);
    format!("--- {}\n{}---", log.display(), String::from_utf8_lossy(&bytes[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Process {
        let args = ["-c".into(), script.into()].to_vec();
        let spec = Spec { name: "script".into(), program: "/bin/sh".into(), args, log: dir.join("log") };
        Process::start(spec).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_process_is_heard_frozen_woken_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = shell("echo hello; echo ready here; read line; echo bye; exit 3", dir.path());
        assert_eq!(process.wait_line("ready", soon()).unwrap(), "ready here");
        process.pause();
        let state = format!("/proc/{}/stat", process.id());
        let stopped = || std::fs::read_to_string(&state).is_ok_and(|stat| stat.contains(") T "));
        assert!(poll::until(soon(), stopped));
        process.resume();
        assert!(poll::until(soon(), || !stopped()));
        process.terminate();
        assert!(process.wait_exit(soon()).is_some());
    }

    #[test]
    fn an_early_end_is_explained_with_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = shell("echo it broke >&2; exit 7", dir.path()).wait_line("ready", soon()).unwrap_err();
        assert!(error.contains("exit status: 7") && error.contains("it broke"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone_and_a_child_sees_its_input_close() {
        let dir = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 600", dir.path());
        let proc_dir = format!("/proc/{}", process.id());
        assert!(Path::new(&proc_dir).exists());
        drop(process);
        assert!(!Path::new(&proc_dir).exists());
        let mut waits_for_input = shell("cat; exit 5", dir.path());
        drop(waits_for_input._stdin.take());
        assert_eq!(waits_for_input.wait_exit(soon()).unwrap().code(), Some(5));
    }
}
