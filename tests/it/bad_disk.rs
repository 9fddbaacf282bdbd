//! Disks that fail, stall and fill up under a running node, and machines that refuse what a node needs.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use ringraft_tests::client::{Client, Value};
use ringraft_tests::fuse_disk::{Disk, Operation, available};
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options, Place, Process, Spec, TempDir, data_dir, find_program};
use ringraft_tests::workload::{Plan, Workload};

const PATIENCE: Duration = Duration::from_secs(30);
/// After the fault of one disk of three, every key is served again within this.
const BACK_IN_SERVICE: Duration = Duration::from_secs(10);
const DISK_BYTES: u64 = 160 << 20;
const PROBES: usize = 64;

/// A cluster whose node 1 has a disk of its own. Fields are dropped in order.
struct Bench {
    cluster: Cluster,
    disk: Disk,
    _dir: TempDir,
}

impl Bench {
    /// `None`, with a notice, when this machine does not allow such disks.
    fn start(nodes: u16, disk_bytes: u64, args: &[&str]) -> Option<Bench> {
        let mut bench = Bench::prepare(nodes, disk_bytes, args)?;
        bench.cluster.start_all().expect("a cluster starts");
        bench.cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
        Some(bench)
    }

    /// As [`Bench::start`], with no node started.
    fn prepare(nodes: u16, disk_bytes: u64, args: &[&str]) -> Option<Bench> {
        if !available() {
            return None;
        }
        let dir = data_dir().expect("a directory");
        let args = ["--segment-bytes", "2097152"].iter().chain(args).map(ToString::to_string).collect();
        let options =
            Options { nodes, groups: Some(4), args, dir: Some(dir.path().into()), ..Options::default() };
        let cluster = Cluster::prepare(&options).expect("free ports");
        let disk = Disk::start(&cluster.data(1), disk_bytes).expect("a disk");
        Some(Bench { cluster, disk, _dir: dir })
    }

    fn load(&self) -> Workload {
        let workload = Workload::start(self.cluster.addresses(), Plan::default());
        assert!(poll::until(Instant::now() + PATIENCE, || workload.acknowledged() > 300), "no answers");
        workload
    }

    /// Writes keys of all groups through `node` until all of them are taken.
    fn assert_served(&self, node: u16, what: &str) {
        let served = || {
            let mut client = Client::connect(self.cluster.address(node), Duration::from_secs(3)).ok()?;
            let keys: Vec<String> = (0..PROBES).map(|at| format!("probe{at}")).collect();
            let sets: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![b"SET", key.as_bytes(), b"x"]).collect();
            let replies = client.pipeline(&sets).ok()?;
            replies.iter().all(|reply| *reply == Value::Simple("OK".into())).then_some(())
        };
        let begin = Instant::now();
        let back = poll::until_some(begin + BACK_IN_SERVICE, served);
        assert!(back.is_some(), "no full service {BACK_IN_SERVICE:?} after {what}");
        println!("full service {:?} after {what}", begin.elapsed());
    }

    /// Waits for more answers to the load.
    fn let_work(&self, workload: &Workload) {
        let target = workload.acknowledged() + 2_000;
        let moved = poll::until(Instant::now() + PATIENCE, || workload.acknowledged() >= target);
        assert!(moved, "the clients get no answers");
    }

    /// Ends the load, reads everything back from every node and judges.
    fn judge(&self, workload: Workload) {
        let mut recorded = workload.stop();
        for target in self.cluster.addresses() {
            recorded.read_back(target).expect("every node answers");
        }
        let judgement = recorded.judge();
        println!("{judgement}");
        judgement.assert_clean();
    }

    /// Gives node 1 its disk back as it is after a power cut, and starts it.
    fn replace_power(&mut self) {
        self.disk.cut();
        self.disk.unmount();
        self.disk.calm();
        self.disk.mount();
        self.cluster.start_node(1).expect("it starts on what was synced");
    }
}

/// The node whose disk fails ends with exit code 6, the others go on, and it comes back with all it had promised.
fn fail(operation: Operation) {
    let Some(mut bench) = Bench::start(3, DISK_BYTES, &[]) else { return };
    let workload = bench.load();
    bench.disk.fail(operation, u32::MAX);
    let ended = bench.cluster.wait_end(1, PATIENCE).expect("no node goes on with a failed disk");
    assert_eq!(ended.code(), Some(6), "{ended}\n{}", bench.cluster.log(1));
    bench.assert_served(2, "the failure of a disk");
    bench.replace_power();
    bench.assert_served(1, "the return of the node");
    bench.judge(workload);
}

#[test]
fn a_node_whose_writes_fail_ends_and_the_others_go_on() {
    fail(Operation::Write);
}

#[test]
fn a_node_whose_syncs_fail_ends_and_the_others_go_on() {
    fail(Operation::Sync);
}

#[test]
fn a_stalled_disk_does_not_stop_the_cluster() {
    let Some(mut bench) = Bench::start(3, DISK_BYTES, &[]) else { return };
    let workload = bench.load();
    bench.disk.stall();
    bench.assert_served(2, "the stall of a disk");
    bench.let_work(&workload);
    bench.disk.calm();
    bench.assert_served(1, "the end of the stall");
    bench.judge(workload);
}

#[test]
fn a_slow_disk_does_not_stop_the_cluster() {
    let Some(mut bench) = Bench::start(3, DISK_BYTES, &[]) else { return };
    let workload = bench.load();
    bench.disk.slow(Duration::from_millis(100));
    bench.assert_served(2, "a disk became slow");
    bench.let_work(&workload);
    bench.disk.calm();
    bench.judge(workload);
}

#[test]
fn a_disk_that_cannot_be_read_refuses_the_start_and_is_whole_later() {
    let Some(mut bench) = Bench::start(3, DISK_BYTES, &[]) else { return };
    let workload = bench.load();
    bench.cluster.kill(1);
    bench.disk.unmount();
    bench.disk.mount();
    // The file system's own blocks are read now; what fails is what the node reads.
    let files: BTreeSet<_> = walk(&bench.cluster.data(1));
    assert!(!files.is_empty());
    bench.disk.fail(Operation::Read, u32::MAX);
    bench.cluster.launch(1).unwrap();
    let ended = bench.cluster.wait_end(1, PATIENCE).expect("a start without a disk ends");
    let log = bench.cluster.log(1);
    assert!(matches!(ended.code(), Some(1..=6)) && !log.contains("panicked"), "{ended}\n{log}");
    assert!(log.contains("os error 5") || log.contains("Input/output"), "{log}");
    bench.replace_power();
    bench.assert_served(1, "the return of the node");
    bench.judge(workload);
}

/// Every file below a directory.
pub(super) fn walk(dir: &Path) -> BTreeSet<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_space() {
    let Some(bench) = Bench::start(1, 48 << 20, &["--log-bytes-max", "1073741824"]) else { return };
    let ballast = bench.cluster.data(1).join("ballast");
    std::fs::write(&ballast, vec![7; 8 << 20]).expect("there is space yet");
    let mut client = bench.cluster.client(1).expect("a ready node");
    let value = vec![b'x'; 256 << 10];
    assert_eq!(client.line("SET early yes").unwrap(), Value::Simple("OK".into()));
    let refused = (0..400).find_map(|at| {
        let key = format!("big{at}");
        match client.call(&[b"SET", key.as_bytes(), &value]) {
            Ok(Value::Simple(_)) => None,
            other => Some(other),
        }
    });
    let refused = refused.expect("48 MiB do not hold 100 MiB");
    println!("a full disk says {refused:?}");
    let words = ["NOSPACE", "disk", "full", "not applied"];
    let named = matches!(&refused, Ok(Value::Error(text)) if words.iter().all(|word| text.contains(word)));
    assert!(named, "{refused:?}\n{}", bench.cluster.log(1));
    let mut readers = bench.cluster.client(1).unwrap();
    let answers = readers.pipeline(&[vec![b"SET", b"early", b"no"], vec![b"GET", b"early"]]).unwrap();
    assert_eq!(answers[0].error_code(), Some("NOSPACE"), "{answers:?}");
    assert_eq!(answers[1], Value::Bulk(b"yes".to_vec()), "a read behind a refused write is answered");
    assert_eq!(bench.cluster.client(1).unwrap().line("GET early").unwrap(), Value::Bulk(b"yes".to_vec()));
    std::fs::remove_file(&ballast).unwrap();
    bench.assert_served(1, "there is space again");
}

/// One full disk of three refuses nothing for long: those with room take over what its node leads.
#[test]
fn groups_led_on_a_full_disk_move_to_nodes_with_room() {
    let Some(bench) = Bench::start(3, 128 << 20, &["--log-bytes-max", "1073741824"]) else { return };
    let ballast = bench.cluster.data(1).join("ballast");
    std::fs::write(&ballast, vec![7; 80 << 20]).expect("there is space yet");
    let mut client = bench.cluster.client(2).expect("a ready node");
    let value = vec![b'x'; 256 << 10];
    let moved = || bench.cluster.log(1).contains("handing over, as the disk is full here");
    for at in 0..400 {
        client.call(&[b"SET", format!("big{at}").as_bytes(), &value]).expect("an answer");
        if moved() {
            break;
        }
    }
    assert!(moved(), "{}", bench.cluster.log(1));
    bench.assert_served(2, "a disk filled up");
    std::fs::remove_file(&ballast).unwrap();
    let leads = || {
        let status = bench.cluster.status(2).ok();
        status.is_some_and(|status| status.groups.iter().any(|of| of.leader == Some(1)))
    };
    assert!(poll::until(Instant::now() + PATIENCE, leads), "it leads again\n{}", bench.cluster.log(1));
    bench.assert_served(1, "there is space again");
}

/// Starts node 1, the founder, alone, breaks its disk by `fault` once it waits for the others, and starts these.
fn form_on(fault: impl FnOnce(&mut Bench)) -> Option<Bench> {
    let mut bench = Bench::prepare(3, DISK_BYTES, &[])?;
    bench.cluster.launch(1).expect("the binary is there");
    bench.cluster.wait_ready(1).expect("it listens, and waits for the others");
    fault(&mut bench);
    bench.cluster.launch(2).expect("the binary is there");
    bench.cluster.launch(3).expect("the binary is there");
    Some(bench)
}

#[test]
fn a_cluster_forms_once_the_founders_full_disk_has_room() {
    let fill = |bench: &mut Bench| {
        let ballast = bench.cluster.data(1).join("ballast");
        let mut ballast = std::fs::File::create(ballast).expect("there is space yet");
        for bytes in [1 << 20, 4096] {
            while ballast.write_all(&vec![7; bytes]).is_ok() {}
        }
    };
    let Some(bench) = form_on(fill) else { return };
    let waits = || bench.cluster.log(1).matches("cannot store the cluster's record; tries again").count() > 1;
    assert!(poll::until(Instant::now() + PATIENCE, waits), "{}", bench.cluster.log(1));
    std::fs::remove_file(bench.cluster.data(1).join("ballast")).expect("it is ours");
    bench.assert_served(1, "there is space again");
}

#[test]
fn a_founder_who_can_never_store_that_the_cluster_has_formed_ends() {
    let in_the_way = |cluster: &Cluster| cluster.data(1).join("cluster.tmp");
    let block = |bench: &mut Bench| std::fs::create_dir(in_the_way(&bench.cluster)).expect("it is not there");
    let Some(mut bench) = form_on(block) else { return };
    let ended = bench.cluster.wait_end(1, PATIENCE).expect("this does not pass by itself");
    let log = bench.cluster.log(1);
    assert_eq!(ended.code(), Some(6), "{ended}\n{log}");
    assert!(log.contains("cannot store that the cluster has formed"), "{log}");
    std::fs::remove_dir(in_the_way(&bench.cluster)).expect("it is ours");
    bench.cluster.start_node(1).expect("nothing is in the way any more");
    bench.assert_served(1, "the return of the founder");
}

/// Starts a lone node through `program`, with `before` its command line: how it ended and what it said.
fn start_with(program: &str, before: &[&str]) -> Option<(Option<i32>, String)> {
    let Some(program) = find_program(program) else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let cluster = Cluster::prepare(&Options { nodes: 1, ..Options::default() }).expect("free ports");
    let Spec { name, program: node, args, log } = cluster.spec(1);
    let before = before.iter().map(std::ffi::OsString::from);
    let args = before.chain([node.into()]).chain(args).collect();
    let mut process =
        Process::start(Spec { name, program, args, log: log.clone() }).expect("the program is there");
    let ended = process.wait_exit(Instant::now() + PATIENCE);
    let said = std::fs::read_to_string(log).expect("the log was made at the start");
    Some((ended.and_then(|ended| ended.code()), said))
}

/// The refusals that are injected leave the sysctl as it is: it is named only if it is what forbids.
#[test]
fn a_kernel_that_refuses_rings_is_named() {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let allowed = disabled.is_ok_and(|setting| setting.trim() == "0");
    for (error, words) in
        [("EPERM", "is forbidden"), ("ENOSYS", "answers that it has no"), ("ENOMEM", "memory.max")]
    {
        let inject = format!("inject=io_uring_setup:error={error}");
        let strace = ["-f", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e", &inject];
        let Some((code, said)) = start_with("strace", &strace) else { return };
        println!("{code:?}: {said}");
        let plain = matches!(code, Some(1..=3)) && said.contains("io_uring") && !said.contains("panicked");
        let right = !allowed || (said.contains(words) && !said.contains("io_uring_disabled"));
        assert!(plain && right, "{error}: {code:?}\n{said}");
    }
}

/// A cluster whose nodes' rings are refused an entry again and again, each with another error that passes.
#[test]
fn rings_that_fail_for_a_moment_cost_nothing() {
    if find_program("strace").is_none() {
        println!("skipped: strace is not installed");
        return;
    }
    let before = |error: &str| {
        let inject = format!("inject=io_uring_enter:error={error}:when=1+7");
        // -D: the node is the child, so that signals reach it; strace looks on from aside.
        let words = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=io_uring_enter", "-e", &inject];
        Place { before: words.map(String::from).to_vec(), ..Place::default() }
    };
    let places = ["EAGAIN", "EINTR", "EBUSY"].map(before).to_vec();
    let mut cluster =
        Cluster::start(&Options { groups: Some(4), places, ..Options::default() }).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    let workload = Workload::start(cluster.addresses(), Plan::default());
    let let_work = || {
        let target = workload.acknowledged() + 1_500;
        let moved = poll::until(Instant::now() + PATIENCE, || workload.acknowledged() >= target);
        assert!(moved, "the clients get no answers");
    };
    let_work();
    for id in 1..=3 {
        cluster.kill(id);
        cluster.start_node(id).expect("it starts again");
        let_work();
    }
    let mut recorded = workload.stop();
    for target in cluster.addresses() {
        recorded.read_back(target).expect("every node answers");
    }
    for id in 1..=3 {
        assert!(cluster.stop(id).expect("it ends").success(), "{}", cluster.log(id));
        assert!(!cluster.log(id).contains("panicked"), "{}", cluster.log(id));
    }
    let judgement = recorded.judge();
    println!("{judgement}");
    judgement.assert_clean();
    assert!(judgement.durable > 50, "the run did too little to show anything: {judgement}");
}

#[test]
fn limits_that_are_too_small_are_named() {
    for (limit, words) in [("-n 16", ["ulimit -n", "os error 24"]), ("-f 64", ["os error 27", "ulimit -f"])] {
        let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
        let Some((code, said)) = start_with("sh", &["-c", &script]) else { return };
        println!("ulimit {limit}: {code:?}: {said}");
        let named = words.iter().any(|word| said.contains(word));
        assert!(
            matches!(code, Some(1..=6)) && named && !said.contains("panicked"),
            "{limit}: {code:?}\n{said}"
        );
    }
}
