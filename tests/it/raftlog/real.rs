//! The log on the real disk, through the runtime.

use raft::{
    Check, EntryId, EntryKind, EntrySpec, GroupId, HardState, Index, NodeId, Term, encode_entry, entry_bytes,
};
use raftlog::{BatchSeq, Log, Options};
use runtime::{Context, RealDisk, ShardSpec, spawn_shard};

const GROUP: GroupId = GroupId(1);

fn append(log: &mut Log<RealDisk>, index: u64) {
    let id = EntryId::new(Term(1), Index(index));
    let command = index.to_le_bytes();
    let place = log.entries_space(GROUP, 1, id, 1, entry_bytes(8));
    let spec = EntrySpec { group: GROUP, incarnation: 1, id, kind: EntryKind::Command };
    encode_entry(place, spec, 8, |out| out.copy_from_slice(&command));
}

async fn wait_for(context: &Context, log: &mut Log<RealDisk>, batch: BatchSeq) {
    while log.poll().expect("the disk works") < batch {
        context.ring().submit();
        context.ring().wait().await;
        context.ring().events(&mut Vec::new());
    }
}

async fn write_and_read_back(context: Context, dir: std::path::PathBuf) {
    let options = Options { segment_bytes: 64 * 1024, cap_bytes: 1 << 20, ..Options::new([1; 16], 0, 1) };
    let (mut log, recovered) = Log::open(context.disk(), &dir, options.clone()).await.expect("a new log");
    assert!(recovered.groups.is_empty());
    let hard_state =
        HardState { term: Term(1), vote: Some(NodeId(2)), commit: Index(0), ..HardState::default() };
    log.hard_state(GROUP, hard_state);
    for index in 1..=60 {
        append(&mut log, index);
        log.submit();
        let batch = log.building();
        wait_for(&context, &mut log, batch).await;
        if let Some(job) = log.wanted() {
            let prepared = job.run(&context.disk()).await;
            log.prepared(prepared);
        }
    }
    assert!(log.stats().rolls > 1, "{:?}", log.stats());
    drop(log);
    let (log, recovered) = Log::open(context.disk(), &dir, options).await.expect("a sound log");
    assert_eq!((recovered.groups[0].hard_state, recovered.groups[0].last), (hard_state, Index(60)));
    let parts = log.read(GROUP, Index(1), Index(60), usize::MAX).await.expect("entries are there");
    let entries = parts.iter().flat_map(|part| raft::entries(part, Check::Checksum));
    let commands: Vec<Vec<u8>> = entries.map(|entry| entry.expect("whole").command.to_vec()).collect();
    let expected: Vec<Vec<u8>> = (1_u64..=60).map(|index| index.to_le_bytes().to_vec()).collect();
    assert_eq!(commands, expected);
}

#[test]
fn what_is_written_to_the_real_disk_is_read_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("log");
    let spec = ShardSpec { name: "log-test".to_owned(), cpu: None };
    let shard = spawn_shard(spec, move |context| write_and_read_back(context, path)).expect("a shard starts");
    shard.join().expect("no panic on the shard");
}
