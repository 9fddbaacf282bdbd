//! `ringraft backup` and `ringraft restore` on real nodes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Redirect, data_dir, find_ringraft};
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(60);
/// Keys that are written again and again.
const KEYS: u64 = 300;
/// Keys that are deleted.
const DELETED: u64 = 50;
/// The longest key that there may be.
const LONG_KEY_BYTES: usize = 64 << 10;
/// A value of some chunks.
const LARGE_BYTES: usize = 3 << 20;

fn start(options: Options) -> Cluster {
    let cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    cluster
}

fn run(args: &[&str]) -> Output {
    let binary = find_ringraft().expect("the binary is there");
    Command::new(binary).args(args).output().expect("it runs")
}

fn backup(target: SocketAddr, out: &Path) -> Output {
    run(&["backup", "--json", "--target", &target.to_string(), "--out", out.to_str().expect("text")])
}

fn restore(target: SocketAddr, from: &Path, more: &[&str]) -> Output {
    let target = target.to_string();
    let args = ["restore", "--json", "--target", &target, "--from", from.to_str().expect("text")];
    run(&[&args, more].concat())
}

fn check(from: &Path) -> Output {
    run(&["restore", "--check", "--json", "--from", from.to_str().expect("text")])
}

#[track_caller]
fn succeeded(output: &Output) -> Json {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// It ended with `code`, and said all of `words`.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not said: {said}");
}

fn set(client: &mut Client, key: &str, value: &[u8]) {
    let stored = client.call(&[b"SET", key.as_bytes(), value]).expect("a leader serves");
    assert_eq!(stored, Value::Simple("OK".into()));
}

/// Values of versions are written in turn: which version of a key was acknowledged last.
struct Versions {
    acknowledged: Vec<AtomicU64>,
    over: AtomicBool,
}

impl Versions {
    fn new() -> Versions {
        Versions {
            acknowledged: (0..KEYS).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
        }
    }

    fn now(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|version| version.load(Ordering::Acquire)).collect()
    }

    /// Writes the next versions of all keys, until it is over; whoever does not answer is passed by.
    fn write(&self, targets: &[SocketAddr]) {
        let mut links: Vec<Option<Client>> = targets.iter().map(|_| None).collect();
        for version in 1.. {
            for (key, acknowledged) in self.acknowledged.iter().enumerate() {
                let (name, value) = (format!("key{key}"), version.to_string());
                while !self.over.load(Ordering::Relaxed) {
                    if write_by_any(&mut links, targets, &name, &value) {
                        acknowledged.store(version, Ordering::Release);
                        break;
                    }
                }
            }
            if self.over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

fn write_by_any(links: &mut [Option<Client>], targets: &[SocketAddr], key: &str, value: &str) -> bool {
    for (link, target) in links.iter_mut().zip(targets) {
        if link.is_none() {
            *link = Client::connect(*target, Duration::from_secs(5)).ok();
        }
        let Some(client) = link else { continue };
        match client.call(&[b"SET", key.as_bytes(), value.as_bytes()]) {
            Ok(answer) => return answer == Value::Simple("OK".into()),
            Err(_) => *link = None,
        }
    }
    false
}

/// What every test stores beside the versions: values of all sizes, and keys that are deleted, some of them after they were
/// saved, so that only a newer file says so.
fn fill(cluster: &Cluster) {
    let mut client = cluster.client(1).expect("a ready node takes clients");
    set(&mut client, "empty", b"");
    set(&mut client, "large", &vec![b'x'; LARGE_BYTES]);
    set(&mut client, &"k".repeat(LONG_KEY_BYTES), b"of a long key");
    set(&mut client, "any \0\r\n\u{ff} bytes", b"\0\r\n$-1\r\n");
    (0..DELETED).for_each(|key| set(&mut client, &format!("deleted{key}"), b"was here"));
    let targets: Vec<String> = cluster.ids().map(|id| cluster.address(id).to_string()).collect();
    let saved = run(&["snapshot", "take", "--wait", "60s", "--target", &targets.join(",")]);
    assert_eq!(saved.status.code(), Some(0), "{saved:?}");
    for key in 0..DELETED {
        assert_eq!(client.line(&format!("DEL deleted{key}")).expect("a leader serves"), Value::Integer(1));
    }
}

/// A client that asks the shard that leads a key.
fn read(cluster: &Cluster, key: &[u8]) -> Value {
    for address in cluster.addresses() {
        let mut client = Client::connect(address, PATIENCE).expect("it takes clients");
        let answer = client.call(&[b"GET", key]).expect("a leader serves");
        if answer.error_code() != Some("MOVED") {
            return answer;
        }
    }
    panic!("nobody leads {}", key.escape_ascii());
}

/// The cluster holds what [`fill`] stored, and of every version one between those two.
fn assert_restored(cluster: &Cluster, least: &[u64], most: &[u64]) {
    assert_eq!(read(cluster, b"empty"), Value::Bulk(Vec::new()));
    assert_eq!(read(cluster, b"large"), Value::Bulk(vec![b'x'; LARGE_BYTES]));
    assert_eq!(read(cluster, "any \0\r\n\u{ff} bytes".as_bytes()), Value::Bulk(b"\0\r\n$-1\r\n".to_vec()));
    assert_eq!(read(cluster, &[b'k'; LONG_KEY_BYTES]), Value::Bulk(b"of a long key".to_vec()));
    for key in 0..DELETED {
        assert_eq!(read(cluster, format!("deleted{key}").as_bytes()), Value::Null, "deleted{key}");
    }
    for (key, (least, most)) in least.iter().zip(most).enumerate() {
        let version = match read(cluster, format!("key{key}").as_bytes()) {
            Value::Null => 0,
            other => other.text().and_then(|text| text.parse().ok()).expect("a version"),
        };
        // The write after the last acknowledged one may have been applied, too.
        assert!((*least..=most + 1).contains(&version), "key{key}: {version} is not in {least}..={most}+1");
    }
}

fn places(dir: &Path) -> Vec<PathBuf> {
    let list =
        |dir: &Path| fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let groups = list(dir).filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = groups.flat_map(|group| list(&group).collect::<Vec<_>>()).collect();
    files.sort();
    files
}

/// A backup under load of three nodes with two shards each comes back in two nodes of one shard, in other groups, as the
/// cluster view of Redis. What was acknowledged before the backup began is there, with that or a later value; what was
/// deleted stays deleted.
#[test]
fn a_backup_under_load_is_restored_into_a_cluster_of_another_shape() {
    let dir = data_dir().expect("a temporary directory");
    let out = dir.path().join("backup");
    let cluster = start(Options { nodes: 3, shards: 2, groups: Some(7), ..Options::default() });
    fill(&cluster);
    let versions = Versions::new();
    let targets = cluster.addresses();
    let (before, summary) = thread::scope(|scope| {
        scope.spawn(|| versions.write(&targets));
        assert!(poll::until(Instant::now() + PATIENCE, || versions.now().iter().all(|version| *version > 0)));
        let before = versions.now();
        let output = backup(cluster.address(2), &out);
        versions.over.store(true, Ordering::Relaxed);
        (before, succeeded(&output))
    });
    let after = versions.now();
    assert!(after > before, "it was written meanwhile");
    assert_eq!(summary["groups"], 7);
    assert!(summary["files"].as_u64() > Some(7), "some group has several files: {summary}");
    drop(cluster);

    let other = Options { nodes: 2, groups: Some(5), redirect: Redirect::Moved, ..Options::default() };
    let cluster = start(other);
    let restored = succeeded(&restore(cluster.address(1), &out, &[]));
    assert_eq!(restored["keys"], KEYS + 4, "{restored}");
    assert_restored(&cluster, &before, &after);
    let again = restore(cluster.address(1), &out, &[]);
    refused(&again, 2, &["the target has", "--into-existing"]);
    succeeded(&restore(cluster.address(2), &out, &["--into-existing"]));
    assert_restored(&cluster, &before, &after);
}

/// The node that leads a group dies while others are copied: whoever leads it then is asked.
#[test]
fn a_leader_that_dies_meanwhile_is_replaced() {
    let dir = data_dir().expect("a temporary directory");
    let out = dir.path().join("backup");
    let mut cluster = start(Options { nodes: 3, groups: Some(12), ..Options::default() });
    fill(&cluster);
    let versions = Versions::new();
    let targets = cluster.addresses();
    let before = thread::scope(|scope| {
        scope.spawn(|| versions.write(&targets));
        assert!(poll::until(Instant::now() + PATIENCE, || versions.now().iter().all(|version| *version > 0)));
        let before = versions.now();
        let (asked, to) = (cluster.address(1), &out);
        let running = scope.spawn(move || backup(asked, to));
        let first = out.join("group-00001");
        assert!(poll::until(Instant::now() + PATIENCE, || first.exists()), "it does not begin");
        let status = cluster.status(1).expect("a status");
        let led = status.groups.iter().rev().filter_map(|group| group.leader);
        let victim = led.filter_map(|node| u16::try_from(node).ok()).find(|node| *node != 1);
        cluster.kill(victim.expect("node 1 does not lead all"));
        let output = running.join().expect("it does not panic");
        versions.over.store(true, Ordering::Relaxed);
        assert_eq!(succeeded(&output)["groups"], 12);
        before
    });
    drop(cluster);
    let cluster = start(Options { nodes: 1, shards: 2, groups: Some(3), ..Options::default() });
    succeeded(&restore(cluster.address(1), &out, &[]));
    assert_restored(&cluster, &before, &versions.now());
}

/// A file that is not what was written is found before anything is, and named; so is a backup that did not end.
#[test]
fn damaged_missing_and_half_finished_backups_are_refused_by_name() {
    let dir = data_dir().expect("a temporary directory");
    let out = dir.path().join("backup");
    let cluster = start(Options { nodes: 1, groups: Some(2), ..Options::default() });
    fill(&cluster);
    succeeded(&backup(cluster.address(1), &out));
    assert_eq!(succeeded(&check(&out))["keys"], 4);
    refused(&backup(cluster.address(1), &out), 2, &["is not empty"]);
    refused(&restore(cluster.address(1), &out, &[]), 2, &["the target has"]);

    let list = out.join("backup.toml");
    let files = places(&out);
    let victim = files.iter().max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("files");
    let name = victim.file_name().expect("a name").to_str().expect("text").to_owned();
    let (sound, sound_list) = (fs::read(victim).expect("a file"), fs::read(&list).expect("a list"));
    // Whatever is wrong, a restore into a cluster finds it before it asks whether there is one.
    let refused_as = |code, words: &[&str]| {
        refused(&check(&out), code, words);
        refused(&restore(SocketAddr::from(([127, 0, 0, 1], 1)), &out, &[]), code, words);
    };

    let mut rotten = sound.clone();
    rotten[(1 << 20) + 77] ^= 1;
    fs::write(victim, &rotten).expect("it is ours");
    refused_as(5, &[&name, "corrupt at byte 1048576"]);
    fs::write(victim, &sound[..sound.len() - 4096]).expect("it is ours");
    refused_as(5, &[&name, "backup.toml says"]);
    fs::remove_file(victim).expect("it is ours");
    refused_as(5, &[&name, "is not there"]);
    let other = files.iter().find(|path| *path != victim).expect("another");
    fs::copy(other, victim).expect("it is ours");
    refused_as(5, &[&name]);
    fs::write(victim, &sound).expect("it is ours");

    fs::write(&list, &sound_list[..sound_list.len() / 2]).expect("it is ours");
    refused_as(5, &["backup.toml", "cut off"]);
    fs::remove_file(&list).expect("it is ours");
    refused_as(2, &["is no backup"]);
    fs::write(&list, &sound_list).expect("it is ours");
    succeeded(&check(&out));
    refused(&restore(SocketAddr::from(([127, 0, 0, 1], 1)), &out, &[]), 3, &["no status"]);
}

/// What the commands behind a backup refuse, and that files are kept for who asked for them.
#[test]
fn files_are_read_by_who_asked_for_them_and_kept_until_then() {
    let cluster = start(Options { nodes: 1, shards: 2, groups: Some(2), ..Options::default() });
    fill(&cluster);
    let mut client = cluster.client(1).expect("a ready node takes clients");
    let mut ask = |line: &str| client.line(line).expect("an answer");
    let error = |answer: Value| match answer {
        Value::Error(text) => text,
        other => panic!("refused, not {other:?}"),
    };
    assert!(error(ask("RINGRAFT FILES 2")).contains("is on shard 1 of this node, and this is shard 0"));
    assert!(error(ask("RINGRAFT SNAPSHOT 2")).contains("is on shard 1"));
    assert!(error(ask("RINGRAFT FILES 3")).contains("from 1 to 2"));
    let name = |answer: &Value| {
        let parts = answer.items().expect("a manifest");
        let file = parts[2].items().expect("files")[0].items().expect("a file");
        (file[0].text().expect("a name"), file[1].clone())
    };
    let (file, bytes) = name(&ask("RINGRAFT FILES 1"));
    let Value::Integer(bytes) = bytes else { panic!("a size: {bytes:?}") };
    let Value::Bulk(head) = ask(&format!("RINGRAFT READ {file} 0 100")) else { panic!("bytes") };
    assert_eq!(head.len(), 100);
    assert_eq!(
        ask(&format!("RINGRAFT READ {file} {} 100", bytes - 10)).text().map(|text| text.len() >= 10),
        Some(true)
    );
    assert_eq!(ask(&format!("RINGRAFT READ {file} {bytes} 100")), Value::Bulk(Vec::new()));
    assert!(error(ask(&format!("RINGRAFT READ {file} {} 1", bytes + 1))).contains("has"));
    let mut stranger = cluster.client(1).expect("a ready node takes clients");
    let refused = stranger.line(&format!("RINGRAFT READ {file} 0 1")).expect("an answer");
    assert!(error(refused).contains("not kept for this connection"));

    // The state moves on; the files that were named stay until the connection closes.
    let mut place = fs::read_dir(cluster.data(1)).expect("a directory");
    let path = place.find_map(|entry| {
        let path = entry.expect("an entry").path().join("snapshots").join(&file);
        path.exists().then_some(path)
    });
    let path = path.expect("it is there");
    let superseded = || {
        for key in 0..200 {
            set(&mut stranger, &format!("{{b}}{key}"), &[b'y'; 4096]);
        }
        assert_eq!(
            run(&["snapshot", "take", "--wait", "60s", "--target", &cluster.address(1).to_string()])
                .status
                .code(),
            Some(0)
        );
        !name(&stranger.line("RINGRAFT FILES 1").expect("an answer")).0.eq(&file)
    };
    assert!(poll::until(Instant::now() + PATIENCE, superseded), "no newer file");
    assert_eq!(ask(&format!("RINGRAFT READ {file} 0 100")), Value::Bulk(head));
    assert!(path.exists());
    drop(client);
    assert!(poll::until(Instant::now() + PATIENCE, || !path.exists()), "it is kept for nobody");
}

/// Who would keep the files of too many groups waits until another is done.
#[test]
fn files_are_kept_for_so_many_clients_at_a_time() {
    let cluster = start(Options { nodes: 1, groups: Some(1), ..Options::default() });
    fill(&cluster);
    let ask = || {
        let mut client = cluster.client(1).expect("a ready node takes clients");
        let answer = client.line("RINGRAFT FILES 1").expect("an answer");
        (client, answer)
    };
    let mut holding = Vec::new();
    let refused = loop {
        match ask() {
            (_, Value::Error(text)) => break text,
            (client, _) => holding.push(client),
        }
    };
    assert!(refused.contains("TRYAGAIN files of 4 groups") && holding.len() == 4, "{refused}");
    let again = holding[0].line("RINGRAFT FILES 1").expect("an answer");
    assert!(again.items().is_some(), "in the place of those that it has: {again:?}");
    holding.pop();
    assert!(poll::until(Instant::now() + PATIENCE, || ask().1.items().is_some()), "there is room again");
}
