//! Layering, origins, and every refusal.

use super::*;
use clap::{CommandFactory, Parser};
use std::collections::HashMap;

#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Line {
    #[command(flatten)]
    args: ServeArgs,
}

const THREE: &str = "1=127.0.0.1:7101,2=127.0.0.1:7201,3=127.0.0.1:7301";

fn resolve_all(
    flags: &[&str],
    environment: &[(&str, &str)],
    file: Option<&str>,
) -> Result<(Settings, Layers), SettingsError> {
    let line = Line::try_parse_from([&["serve"], flags].concat()).unwrap();
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    let file = file.map(|text| (Path::new("some.toml"), text));
    Settings::resolve(&line.args, |name| environment.get(name).map(|text| (*text).to_owned()), file)
}

fn resolve(flags: &[&str]) -> Result<Settings, String> {
    let basics: &[&str] = &["--node=1", "--data=d"];
    let cluster = format!("--cluster={THREE}");
    let given = flags.iter().any(|flag| flag.starts_with("--cluster"));
    let basics = if given { basics.to_vec() } else { [basics, &[cluster.as_str()]].concat() };
    resolve_all(&[&basics, flags].concat(), &[], None)
        .map(|(settings, _)| settings)
        .map_err(|e| e.to_string())
}

#[track_caller]
fn refused(flags: &[&str], words: &[&str]) {
    let message = resolve(flags).expect_err("must be refused");
    for word in words {
        assert!(message.contains(word), "{message:?} lacks {word:?}");
    }
}

#[test]
fn every_setting_has_its_flag_and_every_flag_its_setting() {
    let command = Line::command();
    // The last two are for tests, which want logs smaller than an operator should have.
    let not_settings =
        ["config", "print-config", "until-stdin-closes", "help", "segment-bytes", "log-bytes-max"];
    let mut flags: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|name| !not_settings.contains(name))
        .map(|name| format!("--{name}"))
        .collect();
    let mut settings: Vec<String> = SETTINGS.iter().map(Setting::flag).collect();
    flags.sort();
    settings.sort();
    assert_eq!(flags, settings);
    let layered: Vec<&str> = ServeArgs::default().flags().iter().map(|(name, _)| *name).collect();
    assert_eq!(layered, SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>());
}

#[test]
fn a_flag_wins_over_environment_over_file_over_default() {
    let file = format!("cluster = '{THREE}'\nshards = 3\ngroups = 30\nnode = 3\nredirect = 'moved'");
    let environment = [("RINGRAFT_SHARDS", "2"), ("RINGRAFT_NODE", "2"), ("RINGRAFT_DATA", "env-dir")];
    let (settings, layers) = resolve_all(&["--node", "1"], &environment, Some(&file)).unwrap();
    assert_eq!(settings.node, 1);
    assert_eq!(settings.shards, Some(2));
    assert_eq!(settings.groups, Some(30));
    assert_eq!(settings.redirect, Redirect::Moved);
    assert_eq!(settings.deadline, Duration::from_secs(2));
    assert_eq!(settings.data, PathBuf::from("env-dir"));
    assert_eq!(layers.origin("node"), Some(&Origin::Flag("--node".into())));
    assert_eq!(layers.origin("shards"), Some(&Origin::Environment("RINGRAFT_SHARDS".into())));
    assert_eq!(layers.origin("groups"), Some(&Origin::File("some.toml".into())));
    assert_eq!(layers.origin("deadline"), Some(&Origin::Default));
    assert_eq!(layers.origin("http"), None);
}

#[test]
fn the_printed_settings_are_a_settings_file_with_the_same_result() {
    let cluster = format!("--cluster={THREE}");
    let flags =
        ["--node=2", "--data=a \"b\" 'c'", &cluster, "--insecure", "--shards=4", "--client=[::1]:6101"];
    let (settings, layers) = resolve_all(&flags, &[], None).unwrap();
    let printed = layers.to_string();
    assert!(printed.contains("# flag --shards"), "{printed}");
    assert!(printed.contains("# default"), "{printed}");
    assert!(printed.contains("# http ="), "{printed}");
    let (again, layers) = resolve_all(&[], &[], Some(&printed)).unwrap();
    assert_eq!(again, settings);
    assert_eq!(layers.origin("shards"), Some(&Origin::File("some.toml".into())));
}

#[test]
fn lease_reads_are_off_unless_some_layer_turns_them_on() {
    let cluster = format!("--cluster={THREE}");
    let flags = ["--node=1", "--data=d", cluster.as_str()];
    let resolved = |more: &[&str], environment: &[(&'static str, &'static str)], file: Option<&str>| {
        let flags: Vec<&str> = flags.iter().chain(more).copied().collect();
        resolve_all(&flags, environment, file).unwrap().0.lease_reads
    };
    assert!(!resolved(&[], &[], None));
    assert!(resolved(&["--lease-reads"], &[], None));
    assert!(resolved(&[], &[("RINGRAFT_LEASE_READS", "true")], None));
    assert!(resolved(&[], &[], Some("lease_reads = true")));
    assert!(!resolved(&["--lease-reads=false"], &[], Some("lease_reads = true")));
}

#[test]
fn a_list_may_be_an_array() {
    let file = "node = 1\ndata = 'd'\ncluster = ['2=127.0.0.1:7201', '1=127.0.0.1:7101']";
    let (settings, _) = resolve_all(&[], &[], Some(file)).unwrap();
    let shown: Vec<String> = settings.cluster.iter().map(Member::to_string).collect();
    assert_eq!(shown, ["1=127.0.0.1:7101", "2=127.0.0.1:7201"], "in the order of ids");
}

#[test]
fn a_bad_file_is_named() {
    let cases: [(&str, &[&str]); 6] = [
        ("shard = 2", &["some.toml", "unknown setting \"shard\"", "did you mean shards?"]),
        ("colour = 'red'", &["some.toml", "unknown setting \"colour\"", "known are node, data"]),
        ("[log]\nlevel = 1", &["some.toml", "unknown setting \"log\""]),
        ("shards = 'two'", &["some.toml", "shards", "whole number"]),
        ("insecure = 1", &["some.toml", "insecure", "true or false"]),
        ("shards = ", &["some.toml", "not valid TOML"]),
    ];
    for (file, words) in cases {
        let message = resolve_all(&["--node=1"], &[], Some(file)).expect_err(file).to_string();
        for word in words {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    }
}

#[test]
fn an_error_names_the_layer() {
    let cluster = format!("--cluster={THREE}");
    let flags = ["--node=1", "--data=d", cluster.as_str()];
    let environment = [("RINGRAFT_SHARDS", "many")];
    let message = resolve_all(&flags, &environment, None).unwrap_err().to_string();
    assert_eq!(message, "shards = \"many\" (environment RINGRAFT_SHARDS): not a number from 1 to 1024");
    let message = resolve_all(&["--node=1"], &[], None).unwrap_err().to_string();
    assert!(message.contains("cluster is missing: give --cluster, RINGRAFT_CLUSTER"), "{message}");
}

#[test]
fn variables_of_a_scheduler_do_no_harm() {
    let cluster = format!("--cluster={THREE}");
    let flags = ["--node=1", "--data=d", cluster.as_str()];
    let environment = [("RINGRAFT_SERVICE_HOST", "10.0.0.1"), ("RINGRAFT_PORT", "tcp://10.0.0.1:1")];
    assert!(resolve_all(&flags, &environment, None).is_ok());
}

#[test]
fn values_that_make_no_sense_are_refused() {
    refused(&["--node=0"], &["node", "1 to 65535"]);
    refused(&["--shards=0"], &["shards", "1 to 1024"]);
    refused(&["--groups=16385"], &["groups", "1 to 16384"]);
    refused(&["--redirect=ask"], &["redirect", "proxy or moved"]);
    refused(&["--deadline=1ms"], &["deadline", "10ms"]);
    refused(&["--deadline=soon"], &["deadline", "flag --deadline"]);
    refused(&["--client=6101"], &["client", "HOST:PORT"]);
    refused(&["--client=::1:6101"], &["brackets"]);
    refused(&["--client=localhost:0"], &["65535"]);
    refused(&["--advertise=host:6101"], &["advertise", "without a port"]);
    refused(&["--snapshot-after-mib=0"], &["snapshot_after_mib", "1 to 2048"]);
    refused(&["--state-memory-mib=0"], &["state_memory_mib", "1 to 1048576"]);
    refused(&["--save-mib-per-second=0"], &["save_mib_per_second", "1 to 1048576"]);
    refused(&["--mapped-memory-mib=1048577"], &["mapped_memory_mib", "1 to 1048576"]);
    refused(&["--check-at-start-mib=0"], &["check_at_start_mib", "1 to 1048576"]);
    refused(&["--scrub-every=0s"], &["scrub_every", "at least 1s"]);
    refused(&["--lease-reads=perhaps"], &["lease_reads", "true or false"]);
    refused(&["--insecure=maybe"], &["insecure", "true or false"]);
    refused(&["--data="], &["data", "empty"]);
}

#[test]
fn members_are_checked() {
    refused(&["--cluster="], &["1 to 7"]);
    refused(&["--cluster=1=a"], &["HOST:PORT"]);
    refused(&["--cluster=a:1"], &["ID=HOST:PORT"]);
    refused(&["--cluster=1=localhost:1,1=localhost:2"], &["node 1 twice"]);
    refused(&["--cluster=2=localhost:1,3=localhost:9"], &["node 1 is not in cluster", "2, 3"]);
    refused(&["--insecure", "--cluster=1=0.0.0.0:7101,2=b:7101"], &["wildcard", "1=0.0.0.0:7101"]);
}

#[test]
fn open_addresses_need_consent() {
    refused(&["--client=192.168.1.2:6101"], &["client 192.168.1.2:6101", "--insecure"]);
    refused(
        &["--cluster=1=one.example:7101,2=two.example:7101"],
        &["cluster one.example:7101", "--insecure"],
    );
    refused(&["--client=0.0.0.0:6101", "--insecure"], &["wildcard", "--advertise"]);
    let open = ["--client=0.0.0.0:6101", "--insecure", "--advertise=db.example"];
    assert_eq!(resolve(&open).unwrap().advertise.as_deref(), Some("db.example"));
    assert!(resolve(&["--client=127.9.9.9:6101"]).is_ok());
}

#[test]
fn overlapping_ports_are_refused_naming_both() {
    let near = "--cluster=1=127.0.0.1:7101,2=127.0.0.1:7103,3=127.0.0.1:7105";
    assert!(resolve(&[near, "--shards=2"]).is_ok());
    refused(&[near, "--shards=3"], &["1=127.0.0.1:7101", "2=127.0.0.1:7103", "3 shards"]);
    refused(&["--client=localhost:7101"], &["client localhost:7101", "1=127.0.0.1:7101"]);
    refused(&["--http=127.0.0.1:6102", "--shards=2"], &["client 127.0.0.1:6101", "http 127.0.0.1:6102"]);
    refused(&["--client=127.0.0.1:65535", "--shards=2"], &["beyond 65535"]);
    let hosts = "--cluster=1=127.0.0.1:7101,2=127.0.0.2:7101,3=127.0.0.3:7101";
    assert!(resolve(&[hosts, "--shards=8"]).is_ok(), "other hosts may use the same ports");
}
