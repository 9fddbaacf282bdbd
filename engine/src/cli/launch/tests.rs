//! Children are shell scripts here: what matters is how they start, speak and end.

use super::*;
use crate::cli::Exit;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
const READY: &str = "echo ready node=1 client=127.0.0.1:1 peer=127.0.0.1:2 shards=1 groups=16 pid=$$";

fn start(script: &str) -> Child {
    let arguments: Vec<OsString> = vec!["-c".into(), script.into()];
    Child::start(1, Path::new("/bin/sh"), &arguments, false).unwrap()
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_child_is_ready_when_it_says_so_and_ends_when_its_input_closes() {
    let mut child = start(&format!("echo starting; {READY}; cat > /dev/null"));
    let ready = child.wait_ready(LONG, || false).unwrap();
    assert_eq!((ready.node, ready.groups), (1, 16));
    child.check().unwrap();
    child.ask_to_end();
    assert!(child.wait_end(Instant::now() + LONG), "it ends by itself");
    assert!(!is_alive(ready.pid));
}

#[test]
fn a_child_that_fails_leaves_its_last_words() {
    let mut child = start("for i in $(seq 30); do echo line $i >&2; done; echo no such disk >&2; exit 6");
    let error = child.wait_ready(LONG, || false).unwrap_err().to_string();
    assert!(error.contains("node 1 ended (exit status: 6)"), "{error}");
    assert!(error.contains("node 1: no such disk"), "{error}");
    assert!(!error.contains("line 11\n") && error.contains("line 12\n"), "only the last 20 lines: {error}");
}

#[test]
fn a_child_that_hangs_is_given_up() {
    let mut child = start("echo waiting for the disk >&2; cat > /dev/null");
    let error = child.wait_ready(Duration::from_millis(200), || false).unwrap_err().to_string();
    assert!(error.contains("not ready after 200ms"), "{error}");
    let error = child.wait_ready(LONG, || true).unwrap_err();
    assert!(matches!(error, ChildError::NotReady { .. }), "the caller may stop waiting");
}

#[test]
fn a_killed_or_dropped_child_is_gone() {
    for kill in [true, false] {
        let mut child = start(&format!("trap '' TERM; {READY}; while :; do read line || sleep 1; done"));
        let pid = child.wait_ready(LONG, || false).unwrap().pid;
        assert!(is_alive(pid));
        if kill {
            child.kill()
        } else {
            drop(child)
        }
        assert!(!is_alive(pid));
    }
}

#[test]
fn a_child_that_ends_later_is_noticed() {
    let mut child = start(&format!("{READY}; read line; echo told to >&2; exit 3"));
    child.wait_ready(LONG, || false).unwrap();
    child.ask_to_end();
    let deadline = Instant::now() + LONG;
    let error = loop {
        match child.check() {
            Ok(()) => assert!(Instant::now() < deadline, "it never ended"),
            Err(error) => break error.to_string(),
        }
        std::thread::yield_now();
    };
    assert!(error.contains("exit status: 3") && error.contains("told to"), "{error}");
}

#[test]
fn a_cluster_whose_node_fails_says_why() {
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("node");
    std::fs::write(&script, "#!/bin/sh\necho \"cannot lock $4\" >&2\nexit 2\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = vec![scratch.path().join("node-1"), scratch.path().join("node-2")];
    let spec = ClusterSpec { executable: script, data, shards: 2, groups: 4, loud: false };
    let failure = Cluster::start(spec, &|| false).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    let text = failure.error.to_string();
    assert!(text.contains("node 1: cannot lock") && text.contains("node-1"), "{text}");
}

#[test]
fn a_directory_removes_what_it_made_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("new");
    let mut directory = Directory::new(Some(&path), "unused").unwrap();
    let node = directory.subdirectory("node-1");
    std::fs::create_dir_all(node.join("deep")).unwrap();
    directory.subdirectory("never-made");
    drop(directory);
    assert!(!path.exists());

    std::fs::create_dir(&path).unwrap();
    let mut directory = Directory::new(Some(&path), "unused").unwrap();
    std::fs::create_dir(directory.subdirectory("node-1")).unwrap();
    std::fs::write(path.join("of-the-user"), "").unwrap();
    drop(directory);
    assert!(!path.join("node-1").exists() && path.join("of-the-user").exists());

    let failure = Directory::new(Some(&path), "unused").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.error.to_string().contains("not empty"));
}

#[test]
fn a_kept_directory_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("new");
    let mut directory = Directory::new(Some(&path), "unused").unwrap();
    directory.keep();
    drop(directory);
    assert!(path.exists());
}

#[test]
fn memory_is_told_from_disks() {
    assert!(!is_memory(Path::new("/proc")).unwrap());
    if Path::new("/dev/shm").exists() {
        assert!(is_memory(Path::new("/dev/shm")).unwrap());
    }
    assert!(is_memory(Path::new("/no/such/path")).is_err());
}
