//! A whole shard, the only one of a cluster of one, on a simulated disk and in simulated time.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use raft::{GroupId, NodeId, Time};
use raftlog::{Log, RecoveredGroup};
use ringraft_tests::disk::{SimDisk, block_on};
use runtime::Disk;

use super::background::Background;
use super::loader::{ServingLimits, by_reading};
use super::restore::open_snapshots;
use super::save_task::Pause;
use super::settings::ELECTION_TIMEOUT_MIN;
use super::{CallAnswer, Kind, Opened, Outcome, Shard, ShardMessage, ShardSettings, SharedDataDir};
use crate::completion::{Completion, completion};
use crate::directory::{Directory, NodeFacts};
use crate::node::{DataDir, Wanted};
use crate::placement::Placement;
use crate::shard::machine::Machine;
use crate::{Builder, RestoreError, Simple, SimpleMachine};

/// A turn at least this often, as a shard that is awake has.
const STEP: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Counter(u64);

impl SimpleMachine for Counter {
    fn apply(&mut self, _command: &[u8], reply: &mut Vec<u8>) {
        self.0 += 1;
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
        reply.extend_from_slice(&self.0.to_le_bytes());
    }

    fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| RestoreError::new("eight bytes"))?);
        Ok(())
    }
}

struct Alone {
    now: Time,
    disk: SimDisk,
    shard: Shard<Simple<Counter>, SimDisk>,
    background: Vec<Background>,
    /// Whether work beside the turns stands still.
    is_background_held: bool,
    _dir: tempfile::TempDir,
}

pub(super) fn factory(_group: GroupId) -> Simple<Counter> {
    Simple::from(Counter::default())
}

fn settings(dir: &Path, groups: u32) -> ShardSettings {
    let address = "127.0.0.1:7101".parse().unwrap();
    let builder = Builder::new(1, dir.to_path_buf()).peer(1, address);
    let cluster = builder.cluster.clone();
    let wanted = Wanted { node: NodeId(1), shards: Some(1), groups: Some(groups), cluster };
    let data_dir = DataDir::open(dir, wanted).unwrap();
    let identity = data_dir.identity().clone();
    let directory = Arc::new(Directory::new(NodeId(1), Placement { shards: 1, groups }));
    directory.learn(NodeFacts {
        node: NodeId(1),
        incarnation: identity.incarnation.0,
        peer_host: "127.0.0.1".into(),
        client_host: String::new(),
        client_port: 0,
        peer_port: 7101,
        shards: 1,
    });
    let data_dir = Arc::new(SharedDataDir::new(data_dir));
    ShardSettings::new(0, &builder, &identity, directory, data_dir, [7; 24])
}

/// An empty log in `dir` of a simulated disk.
pub(super) fn empty_log(disk: &SimDisk, dir: &Path) -> (Log<SimDisk>, Vec<RecoveredGroup>) {
    block_on(disk.create_dir(dir)).unwrap();
    let options = raftlog::Options { segment_bytes: 8 << 20, ..raftlog::Options::new([7; 16], 0, 1) };
    let (log, recovered) = block_on(Log::open(disk.clone(), dir, options)).unwrap();
    (log, recovered.groups)
}

impl Alone {
    fn start(groups: u32) -> Alone {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), groups);
        let disk = SimDisk::new();
        let (log, recovered) = empty_log(&disk, &dir.path().join("log"));
        block_on(disk.create_dir(&settings.snapshots_dir)).unwrap();
        let pause: Pause = Rc::new(|_rest| Box::pin(std::future::ready(())));
        let machine = |group| Machine::new(group, factory);
        let serving = ServingLimits { mapped_bytes_max: u64::MAX, checked_at_start_bytes: 0 };
        let access = (by_reading(&disk), serving);
        let opened = open_snapshots(&disk, &settings.snapshots_dir, recovered, &machine, access, true);
        let (loader, groups) = block_on(opened).unwrap();
        let opened = Opened {
            log,
            disk: disk.clone(),
            loader,
            groups,
            #[cfg(feature = "simulation")]
            losses: Vec::new(),
        };
        let now = Time(1_000_000);
        let clock = Rc::new(move || now);
        let shard = Shard::new(now, settings, Arc::new(factory), opened, Rc::new(|| {}), pause, clock);
        let mut alone =
            Alone { now, disk, shard, background: Vec::new(), is_background_held: false, _dir: dir };
        alone.pass(Duration::from_secs(2));
        alone
    }

    fn turn(&mut self, messages: Vec<ShardMessage>) {
        self.shard.turn(self.now, &mut Vec::new(), &mut { messages }).expect("no write fails");
        self.background.extend(self.shard.take_background());
        if self.is_background_held {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        self.background.retain_mut(|work| work.as_mut().poll(&mut context).is_pending());
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = (self.now + STEP).min(until);
            self.turn(Vec::new());
        }
    }

    fn increment(&mut self) -> Completion<CallAnswer> {
        let (completer, completion) = completion();
        let deadline = self.now + Duration::from_secs(2);
        let (group, kind, bytes) = (GroupId(1), Kind::Write, b"+".to_vec());
        self.turn(vec![ShardMessage::Call { group, kind, deadline, bytes, completer }]);
        completion
    }

    fn leads(&self) -> bool {
        self.shard.replicas[0].raft.is_leader()
    }

    fn vouches(&self) -> bool {
        self.shard.batches.vouches(self.now, ELECTION_TIMEOUT_MIN / 2)
    }
}

#[test]
fn a_leader_whose_disk_hangs_steps_down_and_its_shard_vouches_no_more() {
    let mut alone = Alone::start(2);
    assert!(alone.leads());
    let first = alone.increment();
    alone.pass(STEP * 2);
    assert_eq!(first.wait(), Some((Outcome::Done, 1_u64.to_le_bytes().to_vec())));

    alone.disk.hold(true);
    let second = alone.increment();
    alone.pass(ELECTION_TIMEOUT_MIN / 2 - STEP * 2);
    assert!(alone.leads() && alone.vouches(), "a slow write is no hung disk");
    alone.pass(STEP * 3);
    assert!(alone.leads() && !alone.vouches());
    // The core looks at each of its beats.
    alone.pass(ELECTION_TIMEOUT_MIN / 2 + Duration::from_millis(200));
    assert!(!alone.leads(), "who cannot write makes room for another");
    alone.pass(Duration::from_secs(2));
    assert!(!alone.leads() && !alone.vouches());
    assert_eq!(second.wait().map(|(outcome, _)| outcome), Some(Outcome::Unknown));

    alone.disk.hold(false);
    alone.disk.release_all();
    alone.pass(Duration::from_secs(3));
    assert!(alone.leads() && alone.vouches(), "it was a hiccup of the disk");
    let third = alone.increment();
    alone.pass(STEP * 2);
    assert_eq!(third.wait(), Some((Outcome::Done, 3_u64.to_le_bytes().to_vec())), "the second was kept");
}

#[test]
fn ten_thousand_groups_at_rest_leave_a_shard_one_timer() {
    let mut alone = Alone::start(10_000);
    alone.pass(Duration::from_secs(6));
    let shard = &alone.shard;
    assert_eq!(shard.replicas.len(), 10_001, "and the directory");
    assert!(shard.replicas.iter().all(|replica| replica.raft.is_leader() && replica.raft.is_quiesced()));
    assert_eq!(shard.timers.next(), Time::NEVER, "no group has a deadline");
    assert_eq!(shard.deadline(), shard.next_beat);
    for _ in 0..30 {
        alone.pass(STEP);
        let shard = &alone.shard;
        assert!(
            shard.dirty.is_empty() && shard.watched.waiting.is_empty() && shard.watched.writing.is_empty()
        );
    }
    let one = alone.increment();
    alone.pass(STEP * 2);
    assert!(one.wait().is_some_and(|(outcome, _)| outcome == Outcome::Done), "and wakes for a request");
    let awake = alone.shard.replicas.iter().filter(|replica| !replica.raft.is_quiesced()).count();
    assert_eq!(awake, 1);
}

#[test]
fn what_is_to_be_saved_while_a_save_is_under_way_is_saved_after_it() {
    let mut alone = Alone::start(1);
    let number = alone.shard.local(GroupId(1)).expect("its only group");
    let saved = |alone: &Alone| alone.shard.replicas[number].raft.compacted().index;
    let applied = |alone: &Alone| alone.shard.replicas[number].raft.applied_index();
    let one = alone.increment();
    alone.pass(STEP * 2);
    assert!(one.wait().is_some_and(|(outcome, _)| outcome == Outcome::Done));
    let first = applied(&alone);
    alone.shard.save_all();
    alone.is_background_held = true;
    alone.pass(STEP * 2);
    drop(alone.increment());
    alone.pass(STEP * 2);
    alone.shard.save_all();
    assert!(
        saved(&alone) < first && first < applied(&alone),
        "its image is frozen, and another entry applied"
    );
    alone.is_background_held = false;
    alone.pass(STEP * 20);
    assert_eq!(saved(&alone), applied(&alone));
}
