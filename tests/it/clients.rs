//! Stock clients, unmodified: redis-cli, redis-benchmark, redis-py and its cluster client.
//!
//! The same checks run against Redis itself where it is installed, so that a failure here means a
//! difference and not a wrong expectation.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ringraft_tests::client::Client;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Redirect, Redis, data_dir, find_program};

/// A tool that hangs is stopped after this; none needs more than a few seconds.
const TOOL_SECONDS: &str = "60";
const PYTHON_VARIABLE: &str = "RINGRAFT_PYTHON";

/// Runs a program to its end with `input` as its standard input.
fn output(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new("timeout")
        .arg(TOOL_SECONDS)
        .arg(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("timeout {program}: {error}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_string();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes()); // It may have ended without reading.
    });
    let output = child.wait_with_output().expect("it was started");
    writer.join().expect("writing to a pipe does not panic");
    output
}

/// The standard output of a tool that must succeed.
fn run(program: &str, args: &[&str], input: &str) -> String {
    let output = output(program, args, input);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    // A script given as an argument is long, and no news.
    let shown: Vec<&str> = args.iter().copied().filter(|arg| !arg.contains('\n')).collect();
    assert!(output.status.success(), "{program} {}: {}\n{text}\n{errors}", shown.join(" "), output.status);
    text
}

/// `redis-cli` with the port, `flags` and a command.
fn cli(address: SocketAddr, flags: &[&str], command: &[&str]) -> String {
    let port = address.port().to_string();
    run("redis-cli", &[&["-p", &port], flags, command].concat(), "").trim_end().to_string()
}

fn installed(program: &str) -> bool {
    let found = find_program(program).is_some();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

fn redis_cli(address: SocketAddr) {
    assert_eq!(cli(address, &[], &["SET", "greeting", "hello world"]), "OK");
    assert_eq!(cli(address, &[], &["GET", "greeting"]), "hello world");
    assert_eq!(cli(address, &["-3"], &["GET", "greeting"]), "hello world");
    assert_eq!(cli(address, &[], &["INCR", "number"]), "1");
    assert_eq!(cli(address, &[], &["GET", "no such key"]), "");
    assert!(cli(address, &[], &["NOSUCHCOMMAND", "x"]).starts_with("ERR unknown command"));
    assert!(cli(address, &[], &["INFO", "server"]).contains("redis_version:7.0.15"));
    let port = address.port().to_string();
    let session = run("redis-cli", &["-p", &port], "SET typed 1\nAPPEND typed 2\nGET typed\n");
    assert_eq!(session, "OK\n2\n12\n");
}

/// What only a server that answers for the whole key space can do.
fn redis_cli_whole(address: SocketAddr) {
    cli(address, &[], &["FLUSHALL"]);
    let keys: BTreeSet<String> = (0..500).map(|at| format!("scanned:{at}")).collect();
    let commands: String = keys.iter().map(|key| format!("SET {key} value\r\n")).collect();
    let port = address.port().to_string();
    let piped = run("redis-cli", &["-p", &port, "--pipe"], &commands);
    assert!(piped.contains("errors: 0, replies: 500"), "{piped}");
    assert_eq!(cli(address, &[], &["DBSIZE"]), "500");
    let scanned = cli(address, &["--scan", "--pattern", "scanned:*"], &[]);
    assert_eq!(scanned.lines().map(str::to_string).collect::<BTreeSet<_>>(), keys);
    let big = cli(address, &["--bigkeys"], &[]);
    assert!(big.contains("500 strings with 2500 bytes"), "{big}");
}

/// Clients that follow redirects find every key, from any node.
fn redis_cli_cluster(addresses: &[SocketAddr]) {
    for (number, address) in addresses.iter().cycle().take(20).enumerate() {
        let (key, value) = (format!("followed:{number}"), number.to_string());
        assert!(cli(*address, &["-c"], &["SET", &key, &value]).ends_with("OK"));
        let other = addresses[(number + 1) % addresses.len()];
        assert_eq!(cli(other, &["-c"], &["GET", &key]), value, "{key} through {other}");
    }
    for address in addresses {
        let checked = cli(*address, &["--cluster", "check", &address.to_string()], &[]);
        assert!(checked.contains("[OK] All nodes agree about slots configuration."), "{checked}");
        assert!(checked.contains("[OK] All 16384 slots covered."), "{checked}");
        assert!(!checked.contains("[ERR]") && !checked.contains("[WARNING]"), "{checked}");
    }
}

/// Runs redis-benchmark once with each of `flags`. Without tags in its keys, MSET needs all slots in one
/// place, which is only asked of one Redis.
fn redis_benchmark(address: SocketAddr, flags: &[&[&str]], mset: bool) {
    let port = address.port().to_string();
    let tests = if mset { "ping,set,get,incr,mset" } else { "ping,set,get,incr" };
    let results = ["SET", "GET", "INCR", "MSET (10 keys)"];
    for flags in flags {
        let common = ["-p", &port, "-n", "2000", "-c", "10", "-r", "1000", "-d", "64", "--csv"];
        let text = run("redis-benchmark", &[&common[..], &["-t", tests], flags].concat(), "");
        for test in &results[..if mset { 4 } else { 3 }] {
            let line = text.lines().find(|line| line.starts_with(&format!("\"{test}\"")));
            let line = line.unwrap_or_else(|| panic!("redis-benchmark {flags:?} did not run {test}\n{text}"));
            let rate: f64 = line.split('"').nth(3).and_then(|rate| rate.parse().ok()).unwrap_or_default();
            assert!(rate > 0.0, "redis-benchmark {flags:?}\n{text}");
        }
        assert!(!text.contains("ERR"), "redis-benchmark {flags:?}\n{text}");
    }
}

/// A Python that has the `redis` package: `$RINGRAFT_PYTHON`, else python3.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os(PYTHON_VARIABLE).map_or("python3".into(), PathBuf::from);
    let imports = Command::new(&python).args(["-c", "import redis"]).output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!(
        "skipped: {} has no package `redis` (see {PYTHON_VARIABLE} in docs/TESTING.md)",
        python.display()
    );
    None
}

fn redis_py(mode: &str, addresses: &[SocketAddr]) {
    let Some(python) = python() else { return };
    let mut args = vec!["-c".to_string(), include_str!("clients.py").to_string(), mode.to_string()];
    args.extend(addresses.iter().map(|address| address.port().to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = run(&python.to_string_lossy(), &args, "");
    assert!(text.ends_with("all good\n"), "{text}");
}

const FLAGS: &[&[&str]] = &[&[], &["-P", "16"], &["-3"], &["--threads", "2"]];

fn cluster(redirect: Redirect) -> Cluster {
    let cluster = Cluster::start(&Options { shards: 2, redirect, ..Options::default() });
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    cluster.wait_leaders(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{error}"));
    cluster
}

#[test]
fn plain_clients_take_any_node_for_one_redis() {
    if !installed("redis-cli") || !installed("redis-benchmark") {
        return;
    }
    let cluster = cluster(Redirect::Proxy);
    redis_cli(cluster.address(1));
    let log = cli(cluster.address(1), &[], &["INFO", "ringraft"]);
    assert!(log.contains("ringraft_log_full:0") && log.contains("ringraft_log_live_bytes:"), "{log}");
    for id in cluster.ids() {
        redis_cli_whole(cluster.address(id));
    }
    redis_benchmark(cluster.address(2), FLAGS, false);
    redis_py("plain", &[cluster.address(3)]);
}

#[test]
fn cluster_clients_find_every_key_by_its_slot() {
    if !installed("redis-cli") || !installed("redis-benchmark") {
        return;
    }
    let cluster = cluster(Redirect::Moved);
    redis_cli_cluster(&cluster.addresses());
    redis_benchmark(cluster.address(1), &[&["--cluster"], &["--cluster", "-P", "16"]], true);
    redis_py("cluster", &cluster.addresses());
}

#[test]
fn the_same_checks_pass_with_redis() {
    let Some(redis) = Redis::start() else { return };
    redis_cli(redis.address());
    redis_cli_whole(redis.address());
    redis_benchmark(redis.address(), FLAGS, true);
    redis_py("plain", &[redis.address()]);
}

#[test]
fn the_same_cluster_checks_pass_with_redis() {
    let Some(program) = find_program("redis-server") else { return };
    let slots = ["CLUSTER ADDSLOTSRANGE 0 8191", "CLUSTER ADDSLOTSRANGE 8192 16383"];
    let dirs = slots.map(|_| data_dir().unwrap());
    let args = ["--cluster-enabled", "yes", "--save", ""];
    let nodes: Vec<Redis> =
        dirs.iter().map(|dir| Redis::start_in(&program, dir.path(), &args).unwrap()).collect();
    let addresses: Vec<SocketAddr> = nodes.iter().map(Redis::address).collect();
    let connect = |address: &SocketAddr| Client::connect(*address, Duration::from_secs(5)).unwrap();
    let mut clients: Vec<Client> = addresses.iter().map(connect).collect();
    for ((client, slots), epoch) in clients.iter_mut().zip(slots).zip(1..) {
        client.line(slots).unwrap();
        client.line(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).unwrap();
    }
    let meet = format!("CLUSTER MEET 127.0.0.1 {0} {1}", addresses[1].port(), addresses[1].port() + 1);
    clients[0].line(&meet).unwrap();
    let mut knows_all = |client: &mut Client| {
        let info = client.line("CLUSTER INFO").unwrap().text().unwrap_or_default();
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    assert!(poll::until(deadline, || clients.iter_mut().all(&mut knows_all)));
    redis_cli_cluster(&addresses);
    redis_benchmark(addresses[0], &[&["--cluster"], &["--cluster", "-P", "16"]], true);
    redis_py("cluster", &addresses);
}
