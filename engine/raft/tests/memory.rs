//! What a replica at rest takes, by the word of the allocator.

#[path = "trio/mod.rs"]
mod trio;

use raft::{Index, Raft};
use trio::Trio;

const GROUPS: u32 = 10_000;
const FOLLOWER_BYTES_MAX: i64 = 512;
const LEADER_BYTES_MAX: i64 = 1024;

/// The bytes that the replicas give back, divided by their number: their list, which has no room to spare,
/// and all that they own.
fn bytes_each(replicas: Vec<Raft>) -> i64 {
    assert_eq!(replicas.capacity(), replicas.len());
    let len = i64::try_from(replicas.len()).expect("few");
    // Rounded up.
    -allocation_counter::measure(|| drop(replicas)).bytes_current.div_euclid(len)
}

#[test]
fn replicas_at_rest_are_small() {
    let mut trio = Trio::new(GROUPS);
    trio.elect(0);
    trio.replicate(0, 1000, 50);
    trio.rest();
    for raft in trio.nodes.iter().flatten() {
        assert_eq!((raft.last(), raft.committed()), (Index(1001), Index(1001)));
        assert!(raft.is_quiesced());
    }
    let [leader, follower, other] = trio.nodes.map(bytes_each);
    println!("size_of::<Raft>() is {}", size_of::<Raft>());
    println!("{GROUPS} groups at rest: a leader takes {leader} bytes, a follower {follower} or {other}");
    assert!(follower.max(other) <= FOLLOWER_BYTES_MAX, "a follower takes {follower} or {other} bytes");
    assert!(leader <= LEADER_BYTES_MAX, "a leader takes {leader} bytes");
}
