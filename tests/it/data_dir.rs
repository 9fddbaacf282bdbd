//! Data directories that are not what a node may use: each is refused with a sentence, before anything in
//! it is touched. And the opposite: a start that was cut short leaves nothing that a later one refuses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Process, Spec, free_ports};

const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster that holds something and has stopped.
fn stopped_cluster(nodes: u16) -> Cluster {
    let mut cluster = Cluster::start(&Options { nodes, ..Options::default() }).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("a cluster finds its leaders");
    let mut client = cluster.client(1).expect("a ready node takes clients");
    for at in 0..100 {
        let stored = client.line(&format!("SET key{at} value{at}")).expect("a cluster with leaders serves");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    for id in cluster.ids() {
        let ended = cluster.stop(id).expect("a node ends after SIGTERM");
        assert!(ended.success(), "node {id} ended with {ended}");
    }
    cluster
}

/// Runs a node that must end by itself; how it ended and what it wrote.
fn run_to_end(mut spec: Spec) -> (ExitStatus, String) {
    spec.log.set_extension("refused.log");
    let _ = std::fs::remove_file(&spec.log);
    let mut process = Process::start(spec.clone()).expect("the binary is there");
    let ended = process.wait_exit(Instant::now() + PATIENCE);
    let ended =
        ended.unwrap_or_else(|| panic!("{}", process.explain("goes on with a directory it must refuse")));
    drop(process);
    (ended, std::fs::read_to_string(&spec.log).expect("the log was made at the start"))
}

fn replace(spec: &mut Spec, flag: &str, value: impl Into<OsString>) {
    let at = spec.args.iter().position(|arg| arg == flag).expect("the harness sets this flag");
    spec.args[at + 1] = value.into();
}

/// Every file below a directory: its size and the time of its last change.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a data directory").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let metadata = entry.metadata().expect("it was just listed");
        if metadata.is_dir() {
            files.extend(snapshot(&path));
        }
        files.insert(path, (metadata.size(), metadata.mtime(), metadata.mtime_nsec()));
    }
    files
}

/// Asserts that a start is refused with all `words` in its message, leaving `dir` as it was.
fn assert_refused(spec: Spec, dir: &Path, words: &[&str]) {
    let before = snapshot(dir);
    let (ended, log) = run_to_end(spec);
    assert!(matches!(ended.code(), Some(1 | 2)), "ended with {ended}\n{log}");
    for word in words {
        assert!(log.contains(word), "the message does not say `{word}`:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(snapshot(dir), before, "a refused directory was touched");
}

#[test]
fn the_directory_of_another_node_or_shape_is_refused_untouched() {
    let cluster = stopped_cluster(3);
    let two = cluster.data(2);
    let mut other_node = cluster.spec(1);
    replace(&mut other_node, "--data", &two);
    assert_refused(other_node, &two, &["another node", &two.display().to_string()]);

    let mut other_shards = cluster.spec(2);
    replace(&mut other_shards, "--shards", "2");
    assert_refused(other_shards, &two, &["shards"]);

    let mut other_groups = cluster.spec(2);
    other_groups.args.extend(["--groups".into(), "99".into()]);
    assert_refused(other_groups, &two, &["groups"]);
}

#[test]
fn a_directory_in_use_and_one_that_lost_a_shard_are_refused_untouched() {
    let mut cluster = stopped_cluster(1);
    let one = cluster.data(1);
    cluster.start_node(1).unwrap();
    let mut second = cluster.spec(1);
    replace(&mut second, "--client", format!("127.0.0.1:{}", free_ports(1)));
    let (ended, log) = run_to_end(second);
    assert!(!ended.success() && log.contains(&one.display().to_string()), "{ended}\n{log}");
    assert_eq!(cluster.client(1).unwrap().line("GET key7").unwrap(), Value::Bulk(b"value7".to_vec()));

    cluster.stop(1).unwrap();
    std::fs::rename(one.join("shard-000"), one.join("not-a-shard")).unwrap();
    assert_refused(cluster.spec(1), &one, &["shard-000"]);
    std::fs::rename(one.join("not-a-shard"), one.join("shard-000")).unwrap();
    cluster.start_node(1).unwrap();
}

#[test]
fn wrong_flags_are_refused_before_a_directory_exists() {
    let cluster = Cluster::prepare(&Options { nodes: 1, ..Options::default() }).unwrap();
    for (flag, value) in
        [("--cluster", "1=nonsense"), ("--client", "nonsense"), ("--node", "7"), ("--shards", "x")]
    {
        let mut spec = cluster.spec(1);
        replace(&mut spec, flag, value);
        let (ended, log) = run_to_end(spec);
        assert_eq!(ended.code(), Some(2), "{flag} {value} ended with {ended}\n{log}");
        assert!(log.contains(value) && !log.contains("panicked"), "{flag} {value}:\n{log}");
        assert!(!cluster.data(1).exists(), "{flag} {value} made a directory");
    }
}

/// The segments of a node's shard 0 that hold something, oldest first.
fn used_segments(data: &Path) -> Vec<PathBuf> {
    let log = data.join("shard-000").join("log");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(log).expect("a log").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.retain(|file| {
        let mut block = [0; 4096];
        let read = File::open(file).and_then(|mut file| file.read_exact(&mut block));
        read.is_ok() && block.iter().any(|byte| *byte != 0)
    });
    files
}

/// Asserts that node 1 refuses to start with one of `codes`, and says `file` and one of `words`.
fn assert_named(cluster: &Cluster, file: &Path, codes: &[i32], words: &[&str]) {
    let (ended, log) = run_to_end(cluster.spec(1));
    assert!(ended.code().is_some_and(|code| codes.contains(&code)), "{ended}, not one of {codes:?}\n{log}");
    let name = file.file_name().expect("a file").to_string_lossy();
    let said = words.iter().any(|word| log.contains(word));
    assert!(log.contains(&*name) && said, "the message does not say {name} and one of {words:?}:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_truncated_or_foreign_segment_is_named() {
    let mut cluster = stopped_cluster(2);
    let segments = used_segments(&cluster.data(1));
    let victim = segments.first().expect("a log that was written to has a segment");
    let original = std::fs::read(victim).unwrap();

    File::options().write(true).open(victim).unwrap().set_len(10_000).unwrap();
    assert_named(&cluster, victim, &[5], &["offset ", "byte "]);

    let foreign = used_segments(&cluster.data(2)).remove(0);
    std::fs::copy(foreign, victim).unwrap();
    assert_named(&cluster, victim, &[1, 5], &["belongs to", "offset "]);

    std::fs::write(victim, original).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_leaders(PATIENCE).unwrap();
    assert_eq!(cluster.client(1).unwrap().line("GET key7").unwrap(), Value::Bulk(b"value7".to_vec()));
}

#[test]
fn a_start_cut_short_at_any_moment_can_be_repeated() {
    let mut rng = Rng::with_seed(5);
    let mut cluster = Cluster::prepare(&Options::default()).unwrap();
    for round in 0..12 {
        for id in cluster.ids() {
            cluster.launch(id).unwrap();
        }
        // Early rounds cut the making of the directories short, later ones the forming of the cluster.
        let moment = Instant::now() + Duration::from_millis(rng.u64(0..60) * (round + 1));
        poll::until(moment, || false);
        cluster.kill_all();
    }
    cluster.start_all().unwrap();
    cluster.wait_leaders(PATIENCE).unwrap();
    let mut client = Client::connect(cluster.address(2), PATIENCE).unwrap();
    assert_eq!(client.line("SET it works").unwrap(), Value::Simple("OK".into()));
    for round in 0..6 {
        cluster.kill_all();
        for id in cluster.ids() {
            cluster.launch(id).unwrap();
        }
        poll::until(Instant::now() + Duration::from_millis(rng.u64(0..60) * round), || false);
    }
    cluster.kill_all();
    cluster.start_all().unwrap();
    cluster.wait_leaders(PATIENCE).unwrap();
    let mut client = Client::connect(cluster.address(3), PATIENCE).unwrap();
    assert_eq!(client.line("GET it").unwrap(), Value::Bulk(b"works".to_vec()));
}

#[test]
fn a_file_that_is_no_directory_is_refused() {
    let cluster = Cluster::prepare(&Options { nodes: 1, ..Options::default() }).unwrap();
    let data = cluster.data(1);
    File::create(&data).unwrap().write_all(b"precious").unwrap();
    let (ended, log) = run_to_end(cluster.spec(1));
    assert!(!ended.success() && log.contains(&data.display().to_string()), "{ended}\n{log}");
    assert_eq!(std::fs::read(&data).unwrap(), b"precious");
}
