//! The binary as scripts see it: exit codes, what goes to which stream, and `bench` against a real Redis.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn ringraft(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringraft"));
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = ringraft(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
    assert!(output.stdout.is_empty(), "messages belong on standard error");
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn mistakes_on_the_command_line_are_usage_errors() {
    fails(&["frobnicate"], 2, &["frobnicate"]);
    fails(&["bench", "--reads=101"], 2, &["--reads"]);
    fails(&["bench", "--target=nowhere"], 2, &["HOST:PORT"]);
    fails(&["bench", "--threads=4", "--connections=2"], 2, &["connection"]);
    fails(&["serve", "--node=1"], 2, &["cluster is missing"]);
    fails(&["--log=a=b=c", "status"], 2, &["--log"]);
}

#[test]
fn nobody_there_is_unavailable() {
    let target = format!("--target=127.0.0.1:{}", free_port());
    fails(&["bench", &target], 3, &["no target answers", "refused"]);
    fails(&["status", &target], 3, &["no status"]);
    fails(&["status", &target, "--wait=100ms"], 4, &["no status"]);
}

#[test]
fn printed_settings_name_their_origins() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("node.toml");
    std::fs::write(&file, "shards = 2\ncluster = ['1=127.0.0.1:7101']\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringraft"))
        .args(["serve", "--print-config", "--node=1", "--config"])
        .arg(&file)
        .env("RINGRAFT_DATA", "from-environment")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["# flag --node", "# environment RINGRAFT_DATA", "node.toml", "# default"] {
        assert!(printed.contains(words), "{printed:?} lacks {words:?}");
    }
    let table: toml::Table = printed.parse().unwrap();
    assert_eq!(table["shards"].as_integer(), Some(2));
    assert!(!Path::new("from-environment").exists(), "nothing is touched");

    std::fs::write(&file, "shard = 2\n").unwrap();
    fails(&["serve", "--config", file.to_str().unwrap()], 2, &["node.toml", "did you mean shards?"]);
}

#[test]
fn the_demo_refuses_a_directory_with_something_in_it() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("precious"), "").unwrap();
    fails(&["demo", "--dir", scratch.path().to_str().unwrap()], 2, &["not empty"]);
    assert!(scratch.path().join("precious").exists());
}

/// A Redis of its own for one test.
struct Redis {
    process: Child,
    address: SocketAddr,
    _scratch: tempfile::TempDir,
}

impl Redis {
    /// None, with a notice, where Redis is not installed.
    fn start() -> Option<Redis> {
        loop {
            let scratch = tempfile::tempdir().unwrap();
            let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
            let mut command = Command::new("redis-server");
            command.args([
                "--port",
                &address.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ]);
            command.arg(scratch.path()).stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(process) = command.spawn() else {
                eprintln!("SKIPPED: redis-server is not installed");
                return None;
            };
            let mut redis = Redis { process, address, _scratch: scratch };
            if redis.answers() {
                return Some(redis);
            }
            // Somebody else took the port in between: another one.
        }
    }

    fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut answer = [0; 7];
                return stream.write_all(b"PING\r\n").is_ok()
                    && stream.read_exact(&mut answer).is_ok()
                    && &answer == b"+PONG\r\n";
            }
            std::thread::yield_now();
        }
        false
    }

    fn bench(&self, arguments: &[&str]) -> Value {
        let target = format!("--target={}", self.address);
        let output = ringraft(&[&["bench", "--json", "--warmup=0s", &target], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "no progress bar without a terminal");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn bench_measures_redis() {
    let Some(redis) = Redis::start() else { return };
    let closed =
        redis.bench(&["-n", "20000", "-P", "8", "--keys=1000", "--load", "--threads=2", "--reads=25"]);
    assert_eq!(closed["requests"], 20000);
    assert_eq!(closed["hit_rate"], 1.0);
    assert_eq!(closed["errors"], serde_json::json!({}));
    assert!(closed["writes"]["latency"]["p99_us"].as_f64().unwrap() > 0.0);
    assert!(closed["open_loop"].is_null());

    let open = redis.bench(&["--rate=2000", "--duration=500ms", "--keys=1000", "--distribution=zipf"]);
    assert!(open["requests"].as_u64().unwrap() > 0);
    assert_eq!(open["open_loop"]["per_second"], 2000.0);

    let verified = redis.bench(&["-n", "20000", "-P", "8", "--keys=1000", "--verify", "--groups=16"]);
    assert_eq!(verified["verified"]["clean"], true);
    assert_eq!(verified["verified"]["keys_checked"], 1000);
    assert!(verified["longest_silence"]["us"].as_u64().unwrap() > 0);
}

#[test]
fn redis_is_not_taken_for_what_it_is_not() {
    let Some(redis) = Redis::start() else { return };
    let target = format!("--target={}", redis.address);
    fails(&["bench", "--cluster", &target], 1, &["refuses the load", "cluster support disabled"]);
    fails(&["status", &target], 1, &["does not answer RINGRAFT STATUS", "unknown command"]);
}
