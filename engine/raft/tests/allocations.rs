//! A core in its stride allocates nothing.

#[path = "trio/mod.rs"]
#[expect(dead_code, reason = "memory.rs uses more of it")]
mod trio;

use raft::{Message, Raft, Time};
use trio::{ENTRY_BYTES, IDS, Trio, append, apply, persist};

/// Appends that are under way at once.
const AHEAD: usize = 32;

/// Allocations of `run`.
fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

/// The leader proposes and sends, many times before anything is acked.
fn lead(leader: &mut Raft, now: Time, batch: u64, appends: &mut Vec<(usize, Message)>) {
    for _ in 0..AHEAD {
        leader.propose(batch, batch * ENTRY_BYTES).expect("it leads");
        for to in [1, 2] {
            appends.push((to, append(leader, now, IDS[to]).expect("a new entry")));
        }
        persist(leader);
    }
}

/// Allocations of the leader and of its followers, for `AHEAD` proposals of `batch` entries and a read.
fn replicate(trio: &mut Trio, batch: u64) -> (u64, u64) {
    let now = trio.now;
    let mut appends = Vec::with_capacity(2 * AHEAD);
    let mut acks = Vec::with_capacity(2 * AHEAD);
    let [leaders, followers @ ..] = &mut trio.nodes;
    let leader = &mut leaders[0];
    let mut leading = allocations(|| lead(leader, now, batch, &mut appends));
    let following = allocations(|| {
        for (to, message) in appends.drain(..) {
            let follower = &mut followers[to - 1][0];
            follower.step(now, IDS[0], message, &[]);
            persist(follower);
            apply(follower);
            acks.push((to, follower.take_message(now, IDS[0]).expect("an ack")));
        }
    });
    leading += allocations(|| {
        for (from, ack) in acks.drain(..) {
            leader.step(now, IDS[from], ack, &[]);
        }
        apply(leader);
    });
    (leading, following)
}

#[test]
fn a_replicated_entry_allocates_nothing() {
    let mut trio = Trio::new(1);
    trio.elect(0);
    for batch in [1, 16] {
        // Once, and the window's lists have their sizes.
        replicate(&mut trio, batch);
        let committed = trio.nodes[0][0].committed().0;
        for _ in 0..10 {
            assert_eq!(replicate(&mut trio, batch), (0, 0), "leader and followers");
        }
        let expected = committed + 10 * AHEAD as u64 * batch;
        assert_eq!(trio.nodes[0][0].committed().0, expected, "the work was done");
    }
}

#[test]
fn beats_and_reads_allocate_nothing() {
    let mut trio = Trio::new(1);
    trio.elect(0);
    let round = |trio: &mut Trio| {
        trio.now = trio.nodes[0][0].deadline();
        let now = trio.now;
        allocations(|| {
            trio.nodes[0][0].tick(now);
            let read = trio.nodes[0][0].read(now).unwrap();
            trio.settle(0);
            assert_eq!(trio.nodes[0][0].take_reads().map(|(id, _)| id), Some(read), "confirmed by the beat");
        })
    };
    // Until the list of remembered rounds has its size.
    for _ in 0..100 {
        round(&mut trio);
    }
    for _ in 0..20 {
        assert_eq!(round(&mut trio), 0);
    }
}
