//! A Redis server: what ours is compared with, and what the workloads and checkers are tried on.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Process, Spec, TempDir, data_dir, free_ports};
use crate::client::{Client, Value};
use crate::poll;

/// A running `redis-server` on loopback.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    process: Process,
    /// Removed after the process has ended: fields are dropped in order.
    _dir: Option<TempDir>,
}

/// Finds a program in `$PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

impl Redis {
    /// Starts one with no persistence, in a directory of its own. `None`, with a printed notice, when it is
    /// not installed.
    ///
    /// # Panics
    ///
    /// If it is installed and does not start.
    pub fn start() -> Option<Redis> {
        let program = find_program("redis-server");
        if program.is_none() {
            println!("skipped: redis-server is not installed");
        }
        let dir = data_dir().expect("a directory for Redis");
        let redis = Redis::start_in(&program?, dir.path(), &["--save", "", "--appendonly", "no"]);
        redis.map(|redis| Redis { _dir: Some(dir), ..redis }).map_err(|error| panic!("{error}")).ok()
    }

    /// Starts one in a directory that the caller keeps. Its cluster bus is one port above its own.
    ///
    /// # Errors
    ///
    /// A sentence with the end of its log.
    pub fn start_in(program: &Path, dir: &Path, args: &[&str]) -> Result<Redis, String> {
        let port = free_ports(2);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (port, bus) = (port.to_string(), (port + 1).to_string());
        let named = ["--port", &port, "--cluster-port", &bus, "--bind", "127.0.0.1", "--dir"];
        let mut all: Vec<OsString> = named.map(OsString::from).into();
        all.push(dir.into());
        all.extend(args.iter().map(OsString::from));
        let spec = Spec {
            name: "redis-server".to_string(),
            program: program.to_path_buf(),
            args: all,
            log: dir.join("redis.log"),
        };
        let process = Process::start(spec)?;
        let redis = Redis { address, process, _dir: None };
        let deadline = Instant::now() + Duration::from_secs(20);
        let answers = || {
            let mut client = Client::connect(address, Duration::from_secs(1)).ok()?;
            (client.line("PING").ok()? == Value::Simple("PONG".into())).then_some(())
        };
        match poll::until_some(deadline, answers) {
            Some(()) => Ok(redis),
            None => Err(redis.process.explain("does not answer PING")),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
