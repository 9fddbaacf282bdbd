//! A disk that cannot read any more what is on it: a file system on a loop device whose backing file is cut short. Needs root, and
//! a machine that lets it mount; elsewhere it says so and passes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ringraft_tests::client::Value;
use ringraft_tests::poll;
use ringraft_tests::process::{Cluster, Options};

use super::served::starts_and_heals;

const PATIENCE: Duration = Duration::from_secs(60);
/// More than of one file is kept in memory.
const KEYS: usize = 6_000;
const VALUE_BYTES: usize = 16 << 10;
/// Room for the file, and for another one in its place.
const DEVICE_BYTES: u64 = 320 << 20;

/// A file system in a file, mounted until it is dropped.
struct LoopDevice {
    image: PathBuf,
    place: PathBuf,
}

fn succeeds(program: &str, args: &[&Path]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

impl LoopDevice {
    /// Moves the files of `place` to a new file system there. None: this machine does not let us.
    fn mount(dir: &Path, place: &Path) -> Option<LoopDevice> {
        let (image, aside) = (dir.join("device.img"), dir.join("device"));
        std::fs::File::create(&image).expect("a directory of ours").set_len(DEVICE_BYTES).expect("room");
        let [no_journal, quiet] = ["-Onone,extent", "-q"].map(Path::new);
        if !succeeds("mkfs.ext4", &[quiet, no_journal, &image]) {
            println!("skipped: there is no mkfs.ext4");
            return None;
        }
        std::fs::create_dir(&aside).expect("a directory of ours");
        let [option, is_loop] = ["-o", "loop"].map(Path::new);
        if !succeeds("mount", &[option, is_loop, &image, &aside]) {
            println!("skipped: this machine does not mount loop devices");
            return None;
        }
        let device = LoopDevice { image, place: aside.clone() };
        std::fs::remove_dir(aside.join("lost+found")).expect("it is empty");
        for entry in std::fs::read_dir(place).expect("a directory") {
            let path = entry.expect("an entry").path();
            let copy = aside.join(path.file_name().expect("a name"));
            std::fs::copy(&path, &copy).expect("there is room");
            // Whoever reads it reads the device.
            let copy = std::fs::File::open(copy).expect("it was just made");
            copy.sync_all().expect("there is room");
            rustix::fs::fadvise(&copy, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
        }
        let moved = succeeds("mount", &["--bind".as_ref(), &aside, place]);
        assert!(moved, "what may be mounted may be mounted twice");
        let twice = LoopDevice { image: device.image.clone(), place: place.to_path_buf() };
        drop(device);
        Some(twice)
    }

    /// From the middle of the file on nothing can be read any more.
    fn cut(&self, file: &Path) {
        assert!(succeeds("sync", &["-f".as_ref(), file]), "it is written");
        let extents =
            Command::new("filefrag").args(["-v", "-b1"]).arg(file).output().expect("beside mkfs.ext4");
        let extents = String::from_utf8(extents.stdout).expect("text");
        // Lines of: number: first..last of the file: first..last of the device: ...
        let starts = extents.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let number = fields.next()?.trim().parse::<u64>().ok()?;
            let start = fields.nth(1)?.split("..").next()?.trim().parse::<u64>().ok()?;
            Some((number, start))
        });
        let (_, first) = starts.min().unwrap_or_else(|| panic!("no extents in {extents}"));
        let middle = first + std::fs::metadata(file).expect("it is there").len() / 2;
        let image = std::fs::File::options().write(true).open(&self.image).expect("it is there");
        image.set_len(middle).expect("it becomes shorter");
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // Whoever still has files open there keeps it, and nobody sees it any more.
        let unmounted = succeeds("umount", &["-l".as_ref(), &self.place]);
        println!("{} is unmounted: {unmounted}", self.place.display());
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("key{number}").into_bytes()
}

fn value(number: usize) -> Vec<u8> {
    let mut value = vec![7; VALUE_BYTES];
    value[..8].copy_from_slice(&(number as u64).to_le_bytes());
    value
}

fn snapshot(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let runs = files.filter(|file| file.extension().is_some_and(|end| end == "run"));
    runs.max_by_key(|file| file.metadata().expect("a file").len()).expect("a snapshot")
}

#[test]
fn what_a_disk_cannot_read_any_more_ends_a_node_by_name_and_comes_again_from_the_others() {
    let args = ["--state-memory-mib", "1", "--mapped-memory-mib", "64", "--check-at-start-mib", "1"];
    let args = args.map(ToString::to_string).to_vec();
    let options = Options { nodes: 3, groups: Some(1), args, ..Options::default() };
    let mut cluster = Cluster::start(&options).expect("a cluster starts");
    cluster.wait_leaders(PATIENCE).expect("it finds its leaders");
    let mut client = cluster.client(2).expect("a ready node");
    for number in 0..KEYS {
        let set = client.call(&[b"SET", &key(number), &value(number)]).expect("an answer");
        assert_eq!(set, Value::Simple("OK".into()));
    }
    cluster.wait_caught_up(PATIENCE).expect("all nodes come so far");
    assert_eq!(client.call(&[b"RINGRAFT", b"SNAPSHOT"]).expect("an answer"), Value::Simple("OK".into()));
    let mut own = cluster.client(1).expect("a ready node");
    assert_eq!(own.call(&[b"RINGRAFT", b"SNAPSHOT"]).expect("an answer"), Value::Simple("OK".into()));
    let is_saved = || {
        let status = cluster.status(1).expect("a status");
        status.groups.iter().all(|group| group.snapshot == group.applied)
    };
    assert!(poll::until(Instant::now() + PATIENCE, is_saved), "{}", cluster.log(1));
    cluster.kill(1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = cluster.data(1).join("shard-000/snapshots");
    let Some(device) = LoopDevice::mount(dir.path(), &place) else { return };
    cluster.start_node(1).expect("it starts");
    let file = snapshot(&place);
    device.cut(&file);
    let ended =
        cluster.wait_end(1, PATIENCE).expect("it comes upon what cannot be read, though nobody asks for it");
    assert_eq!(ended.code(), Some(5), "{ended}\n{}", cluster.log(1));
    let log = cluster.log(1);
    assert!(log.contains("set aside: the next start heals") && log.contains("Input/output error"), "{log}");
    starts_and_heals(&mut cluster);
    cluster.command("RINGRAFT TRANSFER 1 1", PATIENCE).expect("it may lead");
    let mut client = cluster.client(1).expect("a ready node");
    for number in (0..KEYS).step_by(7) {
        let found = client.call(&[b"GET", &key(number)]).expect("an answer");
        assert!(found == Value::Bulk(value(number)), "key{number}");
    }
    cluster.kill(1);
}
