//! The same code on a real disk, through a shard's ring.

use std::path::Path;

use runtime::{Context, RealDisk, ShardSpec, spawn_shard};

use super::{GROUP, Items, id, manifest, mixed_items, spec};
use crate::transfer::{CHUNK_BYTES_MIN, Message, Offer, Progress, Receiver, Sender, Step, TransferId};
use crate::{Builder, FileRun, Finished, Limits, Map, Room, Run, Store, Use};

async fn build(store: &Store<RealDisk>, context: &Context, items: &Items) -> Finished {
    let mut builder = Builder::create(store.begin_build(GROUP, id(42)).unwrap(), spec()).await.unwrap();
    for (key, value) in items {
        if builder.push(key, value).unwrap() == Room::Flush {
            builder.flush().await.unwrap();
            context.pause(runtime::REST).await;
        }
    }
    builder.finish().await.unwrap()
}

async fn send(from: &Store<RealDisk>, to: &Store<RealDisk>, disk: &RealDisk, file: &Finished) -> Run<Map> {
    let name = file.reference.name;
    let guard = from.hold(name, Use::Sending).unwrap();
    let offer = Offer { transfer: TransferId(1), chunk_bytes: CHUNK_BYTES_MIN, meta: Vec::new() };
    let mut sender = Sender::open(disk, &from.path(name), guard, &file.reference, offer).await.unwrap();
    let Step::Send(Message::Begin(begin)) = sender.step() else { panic!("a sender begins") };
    let slot = to.begin_receive(GROUP, id(42)).unwrap();
    let mut receiver = Receiver::create(slot, begin).await.unwrap();
    sender.receive(receiver.resume().unwrap()).unwrap();
    while let Some((Message::Chunk(header), data)) = sender.next_chunk().await.unwrap() {
        let progress = receiver.chunk(header, &data).await.unwrap();
        assert_eq!(progress == Progress::Complete, sender.step() == Step::Wait);
    }
    let received = receiver.finish().await.unwrap();
    let path = to.path(received.reference.name);
    let run = Run::open(Map::open(&path).unwrap(), &path).unwrap();
    run.expect(&received.reference).unwrap();
    run
}

async fn live(context: Context, dir: &Path) {
    let items = mixed_items();
    let disk = context.disk();
    let open = |name: &str, live| {
        let (disk, dir) = (disk.clone(), dir.join(name));
        async move { Store::open(disk, &dir, live, Limits::default()).await.unwrap() }
    };
    let ((from, _), (to, _)) = (open("from", &[]).await, open("to", &[]).await);
    let finished = build(&from, &context, &items).await;
    let manifest = manifest(id(42), &[&finished]);
    from.publish(&manifest);

    let run = send(&from, &to, &disk, &finished).await;
    run.verify().unwrap();
    let found: Items =
        run.items().map(|item| item.unwrap()).map(|item| (item.key.into(), item.value.into())).collect();
    assert!(found == items);

    // Given up in the middle, and found at the next start.
    let mut builder = Builder::create(from.begin_build(GROUP, id(43)).unwrap(), spec()).await.unwrap();
    builder.push_value(b"k", 2_000_000).unwrap();
    assert_eq!(builder.extend_value(&vec![1; 1_500_000]), Room::Flush);
    builder.flush().await.unwrap();
    drop(builder);
    let live = [manifest];
    let (again, report) = open("from", &live).await;
    assert_eq!(report.removed, ["g3-i43-t7-b0.run.tmp"]);
    let path = again.path(finished.reference.name);
    let mut file = FileRun::open(&disk, &path).await.unwrap();
    file.expect(&finished.reference).unwrap();
    file.verify().await.unwrap();
    assert_eq!(file.get(b"large").await.unwrap().unwrap().len(), 3_000_000);
    again.forget(GROUP);
    assert_eq!(again.collect().await.unwrap(), 1);
    assert!(!path.exists());
}

#[test]
fn a_snapshot_lives_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let shard = ShardSpec { name: "snapshot-test".to_string(), cpu: None };
    let thread = spawn_shard(shard, |context| async move { live(context, &path).await }).unwrap();
    thread.join().unwrap();
}
