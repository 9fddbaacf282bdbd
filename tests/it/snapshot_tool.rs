//! `ringraft snapshot` on real nodes and their directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ringraft_tests::client::Value;
use ringraft_tests::process::{Cluster, Options};
use serde_json::Value as Json;

use super::log_tool::contents;

const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: usize = 200;

fn cluster(nodes: u16, shards: u16) -> Cluster {
    let cluster = Cluster::start(&Options { nodes, shards, ..Options::default() }).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    let mut client = cluster.client(1).expect("a ready node takes clients");
    for key in 0..KEYS {
        let stored = client.line(&format!("SET key{key} value{key}")).expect("a leader serves");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    assert_eq!(client.line("DEL key0").expect("a leader serves"), Value::Integer(1));
    cluster
}

fn take(cluster: &Cluster, nodes: &[u16]) -> Output {
    let targets: Vec<String> = nodes.iter().map(|node| cluster.address(*node).to_string()).collect();
    let mut command = Command::new(cluster.binary());
    command.args(["snapshot", "take", "--wait", "30s", "--target", &targets.join(",")]);
    command.output().expect("the binary is there")
}

fn look(cluster: &Cluster, args: &[&str]) -> Output {
    let mut command = Command::new(cluster.binary());
    command.arg("snapshot").args(args).arg("--data").arg(cluster.data(1));
    command.output().expect("the binary is there")
}

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// What `ls --json` says of every file.
fn listed(cluster: &Cluster) -> Vec<Json> {
    let shards = json(&look(cluster, &["ls", "--json"]));
    let shards = shards.as_array().expect("one of each shard").iter();
    shards.flat_map(|shard| shard["files"].as_array().expect("files").clone()).collect()
}

fn path(cluster: &Cluster, file: &Json) -> PathBuf {
    let name = Path::new(file["file"].as_str().expect("a name"));
    let shards = std::fs::read_dir(cluster.data(1)).expect("a data directory");
    let mut places = shards.map(|entry| entry.expect("an entry").path().join("snapshots").join(name));
    places.find(|path| path.exists()).expect("it is there")
}

/// What `dump` says of every key; each is there once.
fn dumped(cluster: &Cluster) -> BTreeMap<String, String> {
    let dumped = look(cluster, &["dump", "--json", "--values"]);
    let lines = String::from_utf8(dumped.stdout).expect("text");
    let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_keys: Vec<&Json> = lines.iter().filter(|line| line["kind"] != "raw").collect();
    let text = |line: &Json, field: &str| line[field].as_str().expect("text").to_owned();
    let found: BTreeMap<String, String> =
        of_keys.iter().map(|line| (text(line, "key"), text(line, "value"))).collect();
    assert_eq!(found.len(), of_keys.len(), "{of_keys:?}");
    found
}

/// Where a snapshot consists of several files, what is shown is the state that they make together.
#[test]
fn of_several_files_the_newest_entry_of_each_key_is_shown_and_none_that_was_deleted() {
    let mut cluster = cluster(1, 1);
    assert_eq!(take(&cluster, &[1]).status.code(), Some(0));
    let mut client = cluster.client(1).expect("a ready node takes clients");
    assert_eq!(client.line("DEL key1").expect("a leader serves"), Value::Integer(1));
    assert_eq!(client.line("SET key2 new").expect("a leader serves"), Value::Simple("OK".into()));
    assert_eq!(take(&cluster, &[1]).status.code(), Some(0));
    cluster.kill(1);
    let live = listed(&cluster).into_iter().filter(|file| file["group"] != 0 && file["state"] == "live");
    let mut groups: Vec<u64> = live.map(|file| file["group"].as_u64().expect("a number")).collect();
    let files = groups.len();
    groups.dedup();
    assert!(files > groups.len(), "some group has several files");
    let expected = (2..KEYS).map(|key| match key {
        2 => ("key2".to_owned(), "new".to_owned()),
        _ => (format!("key{key}"), format!("value{key}")),
    });
    assert_eq!(dumped(&cluster), expected.collect());
    assert_eq!(look(&cluster, &["verify"]).status.code(), Some(0));
}

/// Every node saves what it has, and the tool shows just that: what the keys hold, once each, and no deleted ones.
#[test]
fn snapshots_are_taken_listed_dumped_and_verified_and_stay_as_they_are() {
    let mut cluster = cluster(3, 2);
    cluster.wait_applied(PATIENCE).expect("all come so far");
    let taken = take(&cluster, &[1, 2, 3]);
    assert_eq!(taken.status.code(), Some(0), "{taken:?}");
    assert_eq!(String::from_utf8_lossy(&taken.stdout).matches(": saved").count(), 3, "{taken:?}");
    for node in 1..=3 {
        let status = cluster.status(node).expect("a status");
        assert!(status.groups.iter().all(|group| group.snapshot == group.last), "node {node}: {status:?}");
    }
    let busy = look(&cluster, &["ls"]);
    assert_eq!(busy.status.code(), Some(2), "a node works there");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("stop it first"), "{busy:?}");
    cluster.kill(1);
    let before = contents(&cluster.data(1));

    let files = listed(&cluster);
    assert!(files.iter().all(|file| file["state"] == "live" && file["problem"].is_null()), "{files:?}");
    let of_keys = files.iter().filter(|file| file["group"] != 0);
    let items: u64 = of_keys.clone().map(|file| file["items"].as_u64().expect("a number")).sum();
    // Each has the counts of its keys besides.
    assert_eq!(items, KEYS as u64 - 1 + of_keys.count() as u64);
    assert!(String::from_utf8_lossy(&look(&cluster, &["ls"]).stdout).contains(".run"));

    let expected = (1..KEYS).map(|key| (format!("key{key}"), format!("value{key}")));
    assert_eq!(dumped(&cluster), expected.collect());
    let one = look(&cluster, &["dump", "--key", "key7", "--values"]);
    let said = String::from_utf8_lossy(&one.stdout).into_owned();
    assert!(said.contains("\"key7\" string, 6 bytes: \"value7\"") && said.lines().count() == 1, "{said}");

    let verified = look(&cluster, &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let shards = json(&verified);
    let counted: u64 =
        shards.as_array().expect("shards").iter().map(|shard| shard["files"].as_u64().unwrap()).sum();
    assert_eq!(counted, files.len() as u64);
    assert_eq!(contents(&cluster.data(1)), before, "nothing is changed");
}

/// A flipped bit, a file that is not there, and one that the log does not name are told apart.
#[test]
fn damage_is_named_exactly() {
    let mut cluster = cluster(1, 1);
    assert_eq!(take(&cluster, &[1]).status.code(), Some(0));
    cluster.kill(1);
    let files = listed(&cluster);
    let holds_much = |file: &&Json| file["group"] != 0 && file["items"].as_u64() > Some(2);
    let mut of_keys = files.iter().filter(holds_much);
    let (rotten, gone) = (of_keys.next().expect("a group"), of_keys.next().expect("another"));

    let victim = path(&cluster, rotten);
    let mut bytes = std::fs::read(&victim).expect("a file");
    bytes[4096 + 100] ^= 1;
    std::fs::write(&victim, &bytes).expect("it is ours");
    std::fs::remove_file(path(&cluster, gone)).expect("it is ours");
    std::fs::write(victim.with_file_name("g9999-i1-t1-b0.run"), &bytes).expect("it is ours");

    let verified = look(&cluster, &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(5), "{verified:?}");
    let damaged = json(&verified)[0]["damaged"].clone();
    let of = |file: &Json| {
        let mut places = damaged.as_array().expect("places").iter();
        places
            .find(|place| place["file"] == file["file"])
            .unwrap_or_else(|| panic!("not named: {file} in {damaged}"))
    };
    assert_eq!(of(rotten)["offset"], 0, "the first chunk: {damaged}");
    assert!(of(gone)["what"].as_str().expect("text").contains("not there"), "{damaged}");
    assert_eq!(
        damaged.as_array().map(Vec::len),
        Some(2),
        "a file that no start reads is no damage: {damaged}"
    );
    let spoken = look(&cluster, &["verify"]);
    assert!(String::from_utf8_lossy(&spoken.stdout).contains("DAMAGED"), "{spoken:?}");

    let states: BTreeMap<String, String> = listed(&cluster)
        .iter()
        .map(|file| (file["file"].to_string(), file["state"].as_str().expect("a word").to_owned()))
        .collect();
    assert_eq!(states[&gone["file"].to_string()], "missing");
    assert_eq!(states["\"g9999-i1-t1-b0.run\""], "unnamed");
    let group = rotten["group"].to_string();
    let dumped = look(&cluster, &["dump", "--group", &group]);
    assert_eq!(dumped.status.code(), Some(5), "{dumped:?}");
    assert!(String::from_utf8_lossy(&dumped.stderr).contains("corrupt at byte 4096"), "{dumped:?}");
}

#[test]
fn what_cannot_be_looked_at_or_asked_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let binary = ringraft_tests::process::find_ringraft().expect("the binary is there");
    let run = |args: &[&str]| {
        Command::new(&binary).arg("snapshot").args(args).output().expect("the binary is there")
    };
    let nowhere = dir.path().to_str().expect("text");
    for action in ["ls", "dump", "verify"] {
        let output = run(&[action, "--data", nowhere]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no data directory"), "{output:?}");
    }
    let output = run(&["take", "--target", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}
