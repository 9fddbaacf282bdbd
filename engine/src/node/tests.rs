//! Every refusal's text, and what survives which interruption.

use std::fs;
use std::path::Path;

use raft::NodeId;
use tempfile::TempDir;

use super::*;

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn wanted() -> Wanted {
    let cluster = parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7201,3=127.0.0.1:7301").unwrap();
    Wanted { node: NodeId(1), shards: Some(2), groups: None, cluster }
}

fn later() -> Wanted {
    Wanted { shards: None, cluster: Vec::new(), ..wanted() }
}

fn born() -> (TempDir, Identity) {
    let dir = tempfile::tempdir().unwrap();
    let identity = DataDir::open(dir.path(), wanted()).unwrap().identity().clone();
    (dir, identity)
}

fn formed() -> (TempDir, Identity) {
    let (dir, _) = born();
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    opened.store_record(CLUSTER, b"all three").unwrap();
    let identity = opened.identity().clone();
    (dir, identity)
}

/// What a refusal says, with the directory's name replaced; and that it changed nothing.
fn refusal(dir: &Path, wanted: Wanted) -> String {
    let before = contents(dir);
    let text = DataDir::open(dir, wanted).expect_err("refused").to_string();
    assert_eq!(contents(dir), before, "nothing is touched before a refusal");
    text.replace(dir.to_str().unwrap(), "DIR")
}

fn contents(dir: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        found.push((path.display().to_string(), fs::read(&path).ok()));
        found.extend(contents(&path));
    }
    found.sort();
    found
}

#[test]
fn a_directory_is_born_once_and_keeps_what_it_was_made_with() {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("deep/data");
    let first = DataDir::open(&dir, wanted()).unwrap();
    let identity = first.identity().clone();
    assert_eq!((first.boot(), first.record()), (1, None));
    assert_eq!((identity.shards, identity.groups, identity.cluster), (2, 16, None));
    assert_eq!(identity.members, wanted().cluster);
    for shard in 0..2 {
        assert!(
            first.shard_dir(shard).join("log").is_dir() && first.shard_dir(shard).join("snapshots").is_dir()
        );
    }
    assert!(first.shard_dir(1).ends_with("shard-001"));
    drop(first);

    for boot in 2..4 {
        let again = DataDir::open(&dir, if boot == 2 { later() } else { wanted() }).unwrap();
        assert_eq!((again.boot(), again.identity()), (boot, &identity));
    }
    assert_eq!(Identity::read(&dir).unwrap(), Some(identity.clone()));
    let (_other_dir, other) = born();
    assert_ne!((other.incarnation, other.store), (identity.incarnation, identity.store));
}

#[test]
fn counts_have_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted { shards: Some(40), ..wanted() };
    assert_eq!(DataDir::open(dir.path(), wanted).unwrap().identity().groups, 120, "nodes times shards");
    let dir = tempfile::tempdir().unwrap();
    let wanted = Wanted { shards: None, groups: Some(5), ..super::tests::wanted() };
    let opened = DataDir::open(dir.path(), wanted).unwrap();
    let cores = u32::try_from(runtime::allowed_cpus().len()).unwrap();
    assert_eq!((opened.identity().shards, opened.identity().groups), (cores.min(SHARDS_MAX), 5));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (dir, _) = born();
    let bad = |change: fn(&mut Wanted)| {
        let mut wanted = wanted();
        change(&mut wanted);
        refusal(dir.path(), wanted)
    };
    assert_eq!(bad(|wanted| wanted.shards = Some(0)), "--shards is 0, but must be between 1 and 256");
    assert_eq!(
        bad(|wanted| wanted.groups = Some(16_385)),
        "--groups is 16385, but must be between 1 and 16384"
    );
    assert_eq!(bad(|wanted| wanted.node = NodeId(4)), "--cluster does not list node 4 itself");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(refusal(empty.path(), later()), "--cluster is needed to start a new node");
}

#[test]
fn contradictions_are_refused() {
    let (dir, _) = formed();
    let node = Wanted { node: NodeId(2), ..later() };
    let text = "DIR/node.toml: node is 1, not 2: this is the data directory of another node";
    assert_eq!(refusal(dir.path(), node), text);
    let shards = Wanted { shards: Some(3), ..later() };
    let text = "DIR/node.toml: shards is 2, not 3: to change it, back up and restore";
    assert_eq!(refusal(dir.path(), shards), text);
    let groups = Wanted { groups: Some(17), ..later() };
    let text = "DIR/node.toml: groups is 16, not 17: it is fixed for the life of a cluster";
    assert_eq!(refusal(dir.path(), groups), text);
    assert!(DataDir::open(dir.path(), Wanted { groups: Some(16), ..wanted() }).is_ok());
}

#[test]
fn strangers_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(refusal(&file, wanted()), "DIR is not a directory");
    let text =
        "DIR is not empty and not a ringraft data directory (it holds \"file\"): name a new or empty one";
    assert_eq!(refusal(dir.path(), wanted()), text);
    assert!(!dir.path().join("LOCK").exists());
    // A fresh file system's root is empty enough.
    fs::remove_file(&file).unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    assert!(DataDir::open(dir.path(), wanted()).is_ok());
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let text = DataDir::open(Path::new("/proc/ringraft/data"), wanted()).unwrap_err().to_string();
    assert!(text.starts_with("cannot create /proc/ringraft: "), "{text}");
}

#[test]
fn a_lost_identity_is_not_replaced() {
    let (dir, _) = born();
    fs::write(dir.path().join("shard-001/log/segment"), "entries").unwrap();
    fs::remove_file(dir.path().join("node.toml")).unwrap();
    let text = "DIR/node.toml is missing while DIR/shard-001/log holds data: \
                restore the file, or start with an empty directory";
    assert_eq!(refusal(dir.path(), wanted()), text);
    let (dir, _) = formed();
    fs::remove_file(dir.path().join("node.toml")).unwrap();
    let text = "DIR/node.toml is missing while DIR/cluster holds data: \
                restore the file, or start with an empty directory";
    assert_eq!(refusal(dir.path(), wanted()), text);
}

#[test]
fn newer_and_damaged_files_are_refused() {
    let (dir, identity) = formed();
    let path = dir.path().join("node.toml");
    let text = fs::read_to_string(&path).unwrap();
    let with = |file: &str, content: &[u8]| {
        let path = dir.path().join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        let refused = refusal(dir.path(), later());
        fs::write(&path, before).unwrap();
        refused
    };
    let newer = text.replace("format = 0", "format = 3").replace("members", "people");
    let expected = "DIR/node.toml: format is 3, this program knows up to 0: use the program that wrote it";
    assert_eq!(with("node.toml", newer.as_bytes()), expected);
    let edited = text.replace("groups = 16", "groups = 17");
    let expected = "DIR/node.toml: checksum does not match: the file was edited or is damaged";
    assert_eq!(with("node.toml", edited.as_bytes()), expected);
    assert_eq!(with("node.toml", &[0xff]), "DIR/node.toml: it is not text");
    assert_eq!(with("node.toml", b"format = 0\n"), "DIR/node.toml: missing field `cluster`");
    assert_eq!(with("boot", b"3 00000000\n"), "DIR/boot: it is not a boot number with its checksum");

    let record = fs::read(dir.path().join("cluster")).unwrap();
    for place in 0..record.len() {
        let mut rotten = record.clone();
        rotten[place] ^= 4;
        assert!(with("cluster", &rotten).starts_with("DIR/cluster: its "), "byte {place}");
    }
    assert_eq!(with("cluster", &record[..20]), "DIR/cluster: it is cut off");
    assert_eq!(DataDir::open(dir.path(), later()).unwrap().identity(), &identity, "all was put back");
}

#[test]
fn a_formed_node_misses_nothing() {
    let gone = "is missing: a node that lost data must be removed and added again";
    for name in ["shard-001/log", "shard-000/snapshots"] {
        let (dir, _) = formed();
        fs::remove_dir(dir.path().join(name)).unwrap();
        assert_eq!(refusal(dir.path(), later()), format!("DIR/{name} {gone}"));
    }
    for name in ["cluster", "boot"] {
        let (dir, _) = formed();
        fs::remove_file(dir.path().join(name)).unwrap();
        assert_eq!(refusal(dir.path(), later()), format!("DIR/{name} {gone}"));
    }
    let (dir, _) = born();
    fs::remove_dir_all(dir.path().join("shard-001")).unwrap();
    assert!(
        DataDir::open(dir.path(), later()).unwrap().shard_dir(1).join("log").is_dir(),
        "nothing was promised"
    );
}

#[test]
fn a_directory_has_one_process() {
    let (dir, _) = born();
    let first = DataDir::open(dir.path(), later()).unwrap();
    let text = format!("DIR is in use by another process (pid {})", std::process::id());
    assert_eq!(refusal(dir.path(), later()), text);
    fs::write(dir.path().join("LOCK"), "").unwrap();
    assert_eq!(refusal(dir.path(), later()), "DIR is in use by another process");
    drop(first);
    assert!(DataDir::open(dir.path(), later()).is_ok());
}

#[test]
fn a_record_is_stored_once() {
    let (dir, identity) = formed();
    assert_eq!(identity.cluster, Some(CLUSTER));
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    assert_eq!(opened.record(), Some(&b"all three"[..]));
    opened.store_record(CLUSTER, b"all three").unwrap();
    for (cluster, record) in [(CLUSTER, &b"other"[..]), (ClusterId([8; 16]), b"all three")] {
        let text = opened.store_record(cluster, record).unwrap_err().to_string();
        assert!(
            text.ends_with("cluster exists already with another content: a formed node never forms again")
        );
    }
}

#[test]
fn a_record_that_was_stored_in_part_is_stored_again() {
    let (dir, _) = born();
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    for blocked in ["cluster.tmp", "node.toml.tmp"] {
        let blocked = dir.path().join(blocked);
        fs::create_dir(&blocked).unwrap();
        let error = opened.store_record(CLUSTER, b"all three").unwrap_err();
        assert!(!error.is_passing() && opened.identity().cluster.is_none(), "{error}");
        fs::remove_dir(&blocked).unwrap();
    }
    opened.store_record(CLUSTER, b"all three").unwrap();
    drop(opened);
    assert_eq!(DataDir::open(dir.path(), later()).unwrap().identity().cluster, Some(CLUSTER));
}

#[test]
fn what_is_full_may_have_room_later() {
    let passes = |errno| {
        DataDirError::io("write", Path::new("cluster"), std::io::Error::from_raw_os_error(errno)).is_passing()
    };
    let [eio, erofs, edquot, enospc, emfile] = [5, 30, 122, 28, 24];
    assert!([enospc, edquot, emfile].into_iter().all(passes));
    assert!(![eio, erofs].into_iter().any(passes));
    assert!(!DataDirError::NotADirectory { path: "cluster".into() }.is_passing());
}

#[test]
fn a_removed_node_s_directory_is_refused_for_ever() {
    let (dir, _) = formed();
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    opened.mark_removed("node 2 was removed from this cluster: add it again").unwrap();
    opened.mark_removed("node 2 was removed from this cluster: add it again").unwrap();
    drop(opened);
    for _ in 0..2 {
        assert_eq!(refusal(dir.path(), later()), "DIR: node 2 was removed from this cluster: add it again");
    }
}

#[test]
fn a_crash_between_record_and_identity_is_made_up_for() {
    let (dir, unformed) = born();
    let unformed_text = fs::read(dir.path().join("node.toml")).unwrap();
    DataDir::open(dir.path(), later()).unwrap().store_record(CLUSTER, b"record").unwrap();
    fs::write(dir.path().join("node.toml"), unformed_text).unwrap();
    fs::write(dir.path().join("node.toml.tmp"), "cut sh").unwrap();
    let opened = DataDir::open(dir.path(), later()).unwrap();
    let expected = Identity { cluster: Some(CLUSTER), ..unformed };
    assert_eq!((opened.identity(), opened.record()), (&expected, Some(&b"record"[..])));
    assert_eq!(Identity::read(dir.path()).unwrap(), Some(expected));
}

#[test]
fn a_birth_cut_short_is_repeated() {
    let (dir, _) = born();
    fs::remove_file(dir.path().join("node.toml")).unwrap();
    fs::write(dir.path().join("node.toml.tmp"), "format").unwrap();
    fs::remove_dir(dir.path().join("shard-001/snapshots")).unwrap();
    let opened = DataDir::open(dir.path(), Wanted { shards: Some(1), ..wanted() }).unwrap();
    assert_eq!((opened.boot(), opened.identity().shards), (1, 1));
}

#[test]
fn the_list_can_be_corrected_until_formed() {
    let corrected =
        || Wanted { cluster: parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:9201").unwrap(), ..later() };
    let (dir, _) = born();
    assert_eq!(DataDir::open(dir.path(), corrected()).unwrap().identity().members, corrected().cluster);
    assert_eq!(Identity::read(dir.path()).unwrap().unwrap().members, corrected().cluster);
    let (dir, identity) = formed();
    assert_eq!(DataDir::open(dir.path(), corrected()).unwrap().identity().members, identity.members);
}

#[test]
fn the_number_of_groups_can_be_corrected_until_formed() {
    let corrected = || Wanted { groups: Some(24), ..later() };
    let (dir, _) = born();
    assert_eq!(DataDir::open(dir.path(), corrected()).unwrap().identity().groups, 24);
    assert_eq!(DataDir::open(dir.path(), later()).unwrap().identity().groups, 24);
    let (dir, _) = formed();
    assert!(refusal(dir.path(), corrected()).contains("it is fixed for the life of a cluster"));
}

#[test]
fn a_promise_of_leases_outlives_starts_until_it_is_forgotten() {
    let (dir, _) = formed();
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    assert!(!opened.has_promised_leases());
    opened.promise_leases().unwrap();
    opened.promise_leases().unwrap();
    drop(opened);
    let mut opened = DataDir::open(dir.path(), later()).unwrap();
    assert!(opened.has_promised_leases());
    opened.forget_leases().unwrap();
    assert!(!opened.has_promised_leases());
    drop(opened);
    assert!(!DataDir::open(dir.path(), later()).unwrap().has_promised_leases());
}
