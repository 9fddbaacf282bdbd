//! `ringraft log` on the directories of real nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ringraft_tests::client::Value;
use ringraft_tests::process::{Cluster, Options};
use serde_json::Value as Json;

const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: usize = 200;

/// One node of two shards that holds some keys.
fn cluster() -> Cluster {
    let options = Options { nodes: 1, shards: 2, ..Options::default() };
    let cluster = Cluster::start(&options).expect("a node starts");
    cluster.wait_leaders(PATIENCE).expect("a node finds that it leads");
    let mut client = cluster.client(1).expect("a ready node takes clients");
    for key in 0..KEYS {
        let stored = client.line(&format!("SET key{key} value{key}")).expect("a leader serves");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    cluster
}

fn log(cluster: &Cluster, args: &[&str]) -> Output {
    let mut command = Command::new(cluster.binary());
    command.arg("log").args(args).arg("--data").arg(cluster.data(1));
    command.output().expect("the binary is there")
}

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).expect("JSON on standard output")
}

fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Every byte of every file below a directory.
pub(super) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a data directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    files
}

#[test]
fn a_log_is_listed_dumped_and_verified_and_stays_as_it_is() {
    let mut cluster = cluster();
    let busy = log(&cluster, &["ls"]);
    assert_eq!(busy.status.code(), Some(2), "a node works there");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("stop it first"), "{busy:?}");
    cluster.kill(1);
    let before = contents(&cluster.data(1));

    let listed = json(&log(&cluster, &["ls", "--json"]));
    let shards = listed.as_array().expect("one of each shard");
    assert_eq!(shards.len(), 2);
    let groups: Vec<&Json> =
        shards.iter().flat_map(|shard| shard["groups"].as_array().expect("groups")).collect();
    let entries: u64 = groups.iter().map(|group| group["last"].as_u64().expect("an index")).sum();
    assert!(entries >= KEYS as u64, "{entries} entries for {KEYS} keys: {listed}");
    assert!(String::from_utf8_lossy(&log(&cluster, &["ls"]).stdout).contains("slot-000001.log"));

    let dumped = lines(&log(&cluster, &["dump", "--entries", "--json"]));
    let commands: Vec<&str> = dumped
        .iter()
        .filter_map(|line| line["entries"].as_array())
        .flatten()
        .filter_map(|entry| entry["command"].as_str())
        .collect();
    for key in 0..KEYS {
        let hex: String = format!("value{key}").bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(commands.iter().any(|command| command.contains(&hex)), "key{key} is in no entry");
    }
    let busiest = groups.iter().max_by_key(|group| group["last"].as_u64()).expect("some group");
    let group = busiest["group"].to_string();
    let few = lines(&log(&cluster, &["dump", "--entries", "--json", "--group", &group, "--index", "2..3"]));
    let seen: Vec<u64> = few
        .iter()
        .filter_map(|line| line["entries"].as_array())
        .flatten()
        .filter_map(|entry| entry["index"].as_u64())
        .collect();
    assert_eq!(seen, [2, 3], "{few:?}");

    let verified = log(&cluster, &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(
        json(&verified)
            .as_array()
            .expect("shards")
            .iter()
            .all(|shard| shard["damaged"] == Json::Array(vec![]))
    );
    assert_eq!(contents(&cluster.data(1)), before, "nothing is changed");
}

#[test]
fn what_rotted_is_named_exactly() {
    let mut cluster = cluster();
    cluster.kill(1);
    cluster.start_node(1).expect("it starts again"); // so that the rot lies behind what a start verifies
    cluster.wait_leaders(PATIENCE).expect("it leads again");
    cluster.kill(1);
    let shard = cluster.data(1).join("shard-000/log");
    let written = lines(&log(&cluster, &["dump", "--json", "--shard", "0"]));
    let (victim, _) = written
        .iter()
        .filter(|line| line["record"] == "entries" && line["bytes"].as_u64() > Some(0))
        .map(|line| (line, line["batch"].as_u64()))
        .min_by_key(|(_, batch)| *batch)
        .expect("entries of the first start");
    let file = shard.join(victim["file"].as_str().expect("a name"));
    let at = usize::try_from(victim["offset"].as_u64().expect("a place")).expect("small") + 5;
    let mut bytes = std::fs::read(&file).expect("a segment");
    bytes[at] ^= 0x10;
    std::fs::write(&file, bytes).expect("a segment");

    let verified = log(&cluster, &["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(5), "{verified:?}");
    let damaged = json(&verified)[0]["damaged"].clone();
    assert_eq!(damaged.as_array().map(Vec::len), Some(1), "{damaged}");
    for field in ["file", "offset", "batch", "group", "term", "first", "last"] {
        assert_eq!(damaged[0][field], victim[field], "{field} of {damaged}");
    }
    let spoken = log(&cluster, &["verify"]);
    assert!(String::from_utf8_lossy(&spoken.stdout).contains("DAMAGED"), "{spoken:?}");
}

#[test]
fn what_is_no_data_directory_is_said_to_be_none() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let binary = ringraft_tests::process::find_ringraft().expect("the binary is there");
    for action in ["ls", "dump", "verify"] {
        let output = Command::new(&binary)
            .args(["log", action, "--data"])
            .arg(dir.path())
            .output()
            .expect("the binary is there");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no data directory"), "{output:?}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0, "nothing was made");
    }
}
