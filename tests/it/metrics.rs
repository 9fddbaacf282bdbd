//! What a running node says of its logs in INFO.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};

const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: u64 = 200;

/// The numbers of `INFO ringraft`.
fn info(cluster: &Cluster) -> BTreeMap<String, u64> {
    let mut client = cluster.client(1).expect("a ready node takes clients");
    let Ok(Value::Bulk(text)) = client.call(&[b"INFO", b"ringraft"]) else { panic!("INFO is answered") };
    let text = String::from_utf8(text).expect("INFO is text");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[test]
fn a_node_says_how_long_its_log_takes_and_what_its_last_start_found() {
    let mut cluster =
        Cluster::start(&Options { nodes: 1, shards: 2, ..Options::default() }).expect("a node starts");
    cluster.wait_leaders(PATIENCE).expect("it finds that it leads");
    let before = info(&cluster);
    let mut client = cluster.client(1).expect("a ready node takes clients");
    for key in 0..KEYS {
        let stored = client.line(&format!("SET key{key} value")).expect("a leader serves");
        assert_eq!(stored, Value::Simple("OK".into()));
    }
    let of = |info: &BTreeMap<String, u64>, name: &str| info[&format!("ringraft_log_{name}")];
    let grown = |info: &BTreeMap<String, u64>, name: &str| of(info, name) - of(&before, name);
    // Each SET is a write, and what is applied was just written. A shard tells ten times a second.
    let all_counted = |info: BTreeMap<String, u64>| {
        grown(&info, "writes_total") >= KEYS && grown(&info, "cache_hits_total") >= KEYS
    };
    let is_told = poll::until(Instant::now() + PATIENCE, || all_counted(info(&cluster)));
    assert!(is_told, "{:?}", info(&cluster));
    let after = info(&cluster);
    let (write_us, ack_us) = (grown(&after, "write_us_total"), grown(&after, "ack_us_total"));
    assert!(write_us > 0 && write_us <= ack_us, "{after:?}");
    assert!(of(&after, "write_us_max") >= write_us / grown(&after, "writes_total"), "{after:?}");
    let within = [32, 128, 512, 2048, 8192, 32768, 131_072, 524_288]
        .map(|bound| of(&after, &format!("write_us_le_{bound}_total")));
    assert!(within.is_sorted() && within[7] <= of(&after, "writes_total") && within[7] > 0, "{after:?}");
    assert!(of(&after, "fdatasync") <= 2, "{after:?}");
    let at_rest = ["damages_total", "damaged_reads_total", "failed_reads_total", "segments_failed_total"];
    assert!(at_rest.iter().all(|name| of(&after, name) == 0), "{after:?}");
    assert_eq!((after["ringraft_groups_recovering"], after["ringraft_groups_faulted"]), (0, 0));

    cluster.kill(1);
    cluster.start_node(1).expect("it starts again");
    cluster.wait_leaders(PATIENCE).expect("it finds that it leads");
    let again = info(&cluster);
    assert!(of(&again, "recovery_read_bytes") > 0 && of(&again, "recovery_losses") == 0, "{again:?}");
    let phases = ["survey", "read", "replay", "write"].map(|phase| format!("recovery_{phase}_us_max"));
    let took: u64 = phases.iter().map(|phase| of(&again, phase)).sum();
    assert!(took > 0 && u128::from(took) < PATIENCE.as_micros(), "{again:?}");
}
