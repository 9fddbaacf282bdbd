//! Nodes with less memory than keys: they answer from their snapshot files, no shard waits for a page of these, and one that
//! goes bad under them is healed.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};

use super::bad_disk::walk;

const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: usize = 600;
const VALUE_BYTES: usize = 16 << 10;

/// With memory for a tenth of the values.
fn cluster(nodes: u16, check_at_start: &str) -> Cluster {
    let args = ["--state-memory-mib", "1", "--check-at-start-mib", check_at_start];
    let args = args.map(ToString::to_string).to_vec();
    let cluster = Cluster::start(&Options { nodes, groups: Some(4), args, ..Options::default() });
    let cluster = cluster.expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    cluster
}

fn value(key: usize, version: u8) -> Vec<u8> {
    let mut value = vec![version; VALUE_BYTES];
    value[..8].copy_from_slice(&(key as u64).to_le_bytes());
    value
}

fn write(cluster: &Cluster, keys: impl Iterator<Item = usize>, version: u8) {
    let mut client = cluster.client(1).expect("a ready node");
    for key in keys {
        let set = client.call(&[b"SET", format!("key{key}").as_bytes(), &value(key, version)]);
        assert_eq!(set.expect("an answer"), Value::Simple("OK".into()));
    }
    cluster.wait_caught_up(PATIENCE).expect("all nodes come so far");
}

/// Has all nodes save what they have.
fn save(cluster: &Cluster) {
    let saved = |node| {
        let status = cluster.status(node).expect("a status");
        status.groups.iter().all(|group| group.snapshot == group.applied)
    };
    for node in cluster.ids() {
        let mut client = cluster.client(node).expect("a ready node");
        assert_eq!(client.call(&[b"RINGRAFT", b"SNAPSHOT"]).expect("an answer"), Value::Simple("OK".into()));
        assert!(poll::until(Instant::now() + PATIENCE, || saved(node)), "node {node} does not save");
    }
}

/// Every key has the value of its version; the deleted ones none.
fn check(cluster: &Cluster, version: impl Fn(usize) -> Option<u8>) {
    let mut client = cluster.client(1).expect("a ready node");
    for key in 0..KEYS {
        let found = client.call(&[b"GET", format!("key{key}").as_bytes()]).expect("an answer");
        let expected = version(key).map_or(Value::Null, |version| Value::Bulk(value(key, version)));
        assert!(found == expected, "key{key} is not of version {:?}", version(key));
    }
    let keys = (0..KEYS).filter(|key| version(*key).is_some()).count();
    let counted = client.call(&[b"DBSIZE"]).expect("an answer");
    assert_eq!(counted, Value::Integer(i64::try_from(keys).expect("few")));
}

fn snapshot_files(cluster: &Cluster) -> Vec<PathBuf> {
    let dirs = std::fs::read_dir(cluster.data(1))
        .expect("its directory")
        .map(|entry| entry.expect("an entry").path());
    let dirs = dirs.map(|dir| dir.join("snapshots")).filter(|dir| dir.is_dir());
    dirs.flat_map(|dir| walk(&dir)).filter(|file| file.extension().is_some_and(|end| end == "run")).collect()
}

/// How often the threads of the shards waited for a page to be read from the disk: the threads that only wait for disks have
/// other names.
fn major_faults(cluster: &Cluster) -> u64 {
    let tasks = format!("/proc/{}/task", cluster.process_id(1).expect("it runs"));
    let threads = std::fs::read_dir(tasks).expect("it runs").filter_map(Result::ok);
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let of_shards = stats.filter(|stat| stat.contains("(ringraft-1-"));
    let faults = of_shards.map(|stat| {
        let fields = stat.rsplit_once(')').expect("a name in brackets").1;
        let majflt = fields.split_whitespace().nth(9).expect("the twelfth field");
        majflt.parse::<u64>().expect("a number")
    });
    faults.sum()
}

/// The system forgets what it has of the files.
fn drop_from_cache(files: &[PathBuf]) {
    for file in files {
        let file = std::fs::File::open(file).expect("it is there");
        file.sync_all().expect("synced");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
    }
}

/// Whether they were brought to memory before it starts, or are when they are asked for.
fn answers_without_waiting(check_at_start: &str) -> Cluster {
    let mut cluster = cluster(1, check_at_start);
    write(&cluster, 0..KEYS, 1);
    save(&cluster);
    write(&cluster, (0..KEYS).step_by(3), 2);
    let mut client = cluster.client(1).expect("a ready node");
    for key in (0..KEYS).step_by(10) {
        let deleted = client.call(&[b"DEL", format!("key{key}").as_bytes()]).expect("an answer");
        assert_eq!(deleted, Value::Integer(1));
    }
    let version = |key: usize| match key {
        _ if key.is_multiple_of(10) => None,
        _ if key.is_multiple_of(3) => Some(2),
        _ => Some(1),
    };
    check(&cluster, version);
    save(&cluster);
    check(&cluster, version);
    cluster.kill(1);
    let files = snapshot_files(&cluster);
    assert!(files.len() > 4, "some groups have several files: {files:?}");
    drop_from_cache(&files);
    cluster.start_node(1).expect("it starts");
    check(&cluster, version);
    check(&cluster, version);
    let (faults, blocks) = (major_faults(&cluster), KEYS as u64);
    scan(&cluster, version);
    assert!(faults < blocks / 20, "{faults} pages were waited for, where {blocks} blocks were read");
    cluster
}

/// A walk over all keys finds those that exist.
fn scan(cluster: &Cluster, version: impl Fn(usize) -> Option<u8>) {
    let mut client = cluster.client(1).expect("a ready node");
    let (mut cursor, mut found) = (b"0".to_vec(), Vec::new());
    loop {
        let answer = client.call(&[b"SCAN", &cursor, b"COUNT", b"50"]).expect("an answer");
        let Value::Array(parts) = answer else { panic!("{answer:?}") };
        let [Value::Bulk(next), Value::Array(keys)] = &parts[..] else { panic!("{parts:?}") };
        found.extend(keys.iter().map(|key| match key {
            Value::Bulk(key) => String::from_utf8(key.clone()).expect("a key of ours"),
            other => panic!("{other:?}"),
        }));
        cursor.clone_from(next);
        if cursor == b"0" {
            break;
        }
    }
    let keys = (0..KEYS).filter(|key| version(*key).is_some());
    let mut expected: Vec<String> = keys.map(|key| format!("key{key}")).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_node_with_little_memory_answers_from_its_files_without_waiting_for_their_pages() {
    drop(answers_without_waiting("128"));
}

#[test]
fn what_a_start_did_not_read_is_brought_when_it_is_asked_for_and_nobody_waits_for_its_pages() {
    let cluster = answers_without_waiting("1");
    let mut client = cluster.client(1).expect("a ready node");
    let Ok(Value::Bulk(info)) = client.call(&[b"INFO", b"ringraft"]) else { panic!("no INFO") };
    let info = String::from_utf8(info).expect("text");
    let number = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_else(|| panic!("no {name} in {info}"))
    };
    assert!(number("ringraft_blocks_brought_total") > 300, "{info}");
    assert!(number("ringraft_blocks_bytes") > 5 << 20, "{info}");
}

/// Node 1 starts without a file, which comes again from the others.
pub fn starts_and_heals(cluster: &mut Cluster) {
    cluster.start_node(1).expect("it starts without that file");
    let healed = || cluster.log(1).contains("has healed from its peers");
    assert!(poll::until(Instant::now() + PATIENCE, healed), "{}", cluster.log(1));
    cluster.wait_caught_up(PATIENCE).expect("it has all");
}

/// Turns a bit in the middle of a file, where there are only values.
fn flip(file: &Path) {
    let file = std::fs::File::options().read(true).write(true).open(file).expect("it is there");
    let (at, mut byte) = (file.metadata().expect("a file").len() / 2, [0]);
    file.read_exact_at(&mut byte, at).expect("it is that long");
    file.write_all_at(&[byte[0] ^ 4], at).expect("it is ours");
}

#[test]
fn damage_that_a_node_meets_while_it_runs_ends_it_and_comes_again_from_the_others() {
    let mut cluster = cluster(3, "1");
    write(&cluster, 0..KEYS, 1);
    save(&cluster);
    cluster.kill(1);
    let is_big = |file: &PathBuf| file.metadata().expect("a file").len() > 1 << 20;
    let rotten = snapshot_files(&cluster).into_iter().find(is_big).expect("a group's");
    flip(&rotten);
    cluster.start_node(1).expect("it starts, for it does not look at all of them");
    let ended = cluster.wait_end(1, PATIENCE).expect("it finds what is damaged, though nobody asks for it");
    assert_eq!(ended.code(), Some(5), "{ended}\n{}", cluster.log(1));
    assert!(cluster.log(1).contains("set aside: the next start heals"), "{}", cluster.log(1));
    let mut aside = rotten.into_os_string();
    aside.push(".damaged");
    assert!(Path::new(&aside).is_file(), "{}", aside.display());
    starts_and_heals(&mut cluster);
    check(&cluster, |_| Some(1));
}

#[test]
fn a_file_that_is_cut_short_under_a_node_ends_it_by_name_and_comes_again_from_the_others() {
    let mut cluster = cluster(3, "128");
    write(&cluster, 0..KEYS, 1);
    save(&cluster);
    cluster.kill(1);
    cluster.start_node(1).expect("it starts");
    cluster.wait_caught_up(PATIENCE).expect("it has all");
    for group in 1..=4 {
        let ask = format!("RINGRAFT TRANSFER {group} 1");
        cluster.command(&ask, PATIENCE).expect("node 1 may lead");
    }
    let files = snapshot_files(&cluster);
    for file in &files {
        let file = std::fs::File::options().write(true).open(file).expect("it is there");
        file.set_len(4096).expect("it is ours");
    }
    let mut client = cluster.client(2).expect("a ready node");
    for key in 0..KEYS {
        drop(client.call(&[b"GET", format!("key{key}").as_bytes()]));
        if !cluster.is_up(1) {
            break;
        }
    }
    let ended = cluster.wait_end(1, PATIENCE).expect("a node whose file is gone ends");
    assert_eq!(ended.code(), Some(6), "{ended}\n{}", cluster.log(1));
    assert!(cluster.log(1).contains("a mapped file cannot be read, or was cut short"), "{}", cluster.log(1));
    starts_and_heals(&mut cluster);
    check(&cluster, |_| Some(1));
}
