//! Links over virtual cables: greeting, refusing, breaking, silence, and being dialled again.

mod incoming;
mod joining;
mod world;

use std::time::Duration;

use proptest::prelude::*;
use world::World;

use super::*;
use crate::forming::Forming;
use crate::handshake::ClusterId;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_members_meet_and_frames_pass() {
    let mut world = World::new();
    world.settle();
    for end in [0, 1] {
        assert_eq!(world.ends[end].seen[..1], ["established"], "end {end}");
        assert!(world.ends[end].link.is_up() && world.ends[end].link.can_send());
    }
    for number in 0..5_u8 {
        world.send(0, &[number; 100], &vec![number; 5000]);
        world.send(1, &[number; 10], &[]);
        world.settle();
    }
    let expected =
        |body: usize, tail: usize| (0..5).map(|n| (vec![n; body], vec![n; tail])).collect::<Vec<_>>();
    assert_eq!(world.ends[1].frames, expected(100, 5000));
    assert_eq!(world.ends[0].frames, expected(10, 0));
    let [one, two] = [world.ends[0].link.counters(), world.ends[1].link.counters()];
    assert_eq!((one.dials, one.established, two.dials, two.established), (1, 1, 0, 1));
    assert_eq!((one.frames_out, two.frames_in, two.frames_out, one.frames_in), (5, 5, 5, 5));
    assert!(one.bytes_out > 25_000 && one.bytes_in == two.bytes_out);
}

#[test]
fn no_frame_is_sent_while_one_is_under_way() {
    let mut world = World::new();
    world.hold_sends = true;
    world.settle();
    // The hello is on its way for ever.
    assert!(!world.ends[0].link.can_send());
    world.hold_sends = false;
    world.settle();
    assert!(world.ends[0].link.can_send());
    world.hold_sends = true;
    world.send(0, b"one", &[]);
    assert!(!world.ends[0].link.can_send());
    world.settle();
    world.pass(SECOND);
    assert!(!world.ends[0].link.can_send());
}

#[test]
fn a_refused_caller_is_told_why_and_tries_slowly() {
    let mut world = World::new();
    world.ends[1].local.identity.cluster_id = ClusterId([9; 16]);
    world.settle();
    let ours = "09".repeat(16);
    let theirs = "01".repeat(16);
    let sentence = format!("refused by peer, 7: this node belongs to cluster {ours}, the caller to {theirs}");
    assert_eq!(world.ends[0].seen, [sentence]);
    assert_eq!(world.ends[1].seen, ["turned away"]);
    let wait = world.ends[0].link.deadline().saturating_sub(world.now);
    assert!(wait >= SECOND && wait <= 2 * SECOND, "{wait:?}");
    world.pass(10 * SECOND);
    let Counters { dials, refused, established, dials_failed, .. } = world.ends[0].link.counters();
    assert!((6..=11).contains(&dials), "{dials} dials");
    assert_eq!((refused, established, dials_failed), (dials, 0, 0));
}

#[test]
fn the_caller_refuses_an_answer_too() {
    let mut world = World::new();
    world.settle();
    world.ends[0].local.directory.nodes[1].incarnation = 5;
    world.break_cables();
    world.ends[0].seen.clear();
    world.pass(SECOND / 5);
    let sentence = "refused by us, 9: node 2 was replaced: this is not the disk that belongs to the cluster";
    assert!(world.ends[0].seen.contains(&sentence.to_string()), "{:?}", world.ends[0].seen);
}

#[test]
fn not_yet_formed_is_tried_again_soon() {
    let mut world = World::new();
    for end in &mut world.ends {
        end.local.identity.cluster_id = ClusterId::UNFORMED;
        end.local.identity.shard = 1;
    }
    world.shard = 1;
    world.relink();
    world.settle();
    assert_eq!(world.ends[0].seen, ["refused by peer, 12: node 2 is not yet part of the cluster"]);
    let wait = world.ends[0].link.deadline().saturating_sub(world.now);
    assert!(wait <= Duration::from_millis(100), "{wait:?}");
}

#[test]
fn an_address_where_nobody_listens_is_tried_with_growing_pauses() {
    let mut world = World::new();
    world.unreachable = true;
    world.settle();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let deadline = world.ends[0].link.deadline();
        pauses.push(deadline.saturating_sub(world.now));
        world.now = deadline;
        world.settle();
    }
    assert!(pauses[0] >= Duration::from_millis(50) && pauses[0] <= Duration::from_millis(100));
    assert!(pauses.iter().all(|pause| *pause <= 2 * SECOND));
    assert!(pauses[6..].iter().all(|pause| *pause >= SECOND), "{pauses:?}");
    assert_eq!(world.ends[0].link.counters().dials_failed, 13);
    world.unreachable = false;
    world.pass(2 * SECOND);
    assert!(world.ends[0].link.is_up());
}

#[test]
fn a_greeting_without_an_answer_ends_after_five_seconds() {
    let mut world = World::new();
    world.mute = true;
    world.settle();
    assert_eq!(world.ends[0].link.deadline().saturating_sub(world.now), 5 * SECOND);
    world.pass(5 * SECOND);
    let Counters { dials, dials_failed, .. } = world.ends[0].link.counters();
    assert_eq!((dials, dials_failed), (1, 1));
    world.mute = false;
    world.pass(SECOND);
    assert!(world.ends[0].link.is_up());
}

#[test]
fn silence_ends_a_link_and_it_comes_back() {
    let mut world = World::new();
    world.settle();
    for _ in 0..10 {
        world.pass(2 * SECOND);
        world.send(0, b"beat", &[]);
        world.send(1, b"beat", &[]);
        world.settle();
    }
    assert_eq!(world.ends[0].link.counters().lost, 0);
    world.mute = true;
    world.pass(3 * SECOND);
    for end in [0, 1] {
        assert!(world.ends[end].seen.contains(&"lost: the peer is silent".to_string()), "end {end}");
        assert!(!world.ends[end].link.is_up());
    }
    assert_eq!(world.ends[1].link.deadline(), raft::Time::NEVER, "the higher id waits to be dialled");
    world.mute = false;
    world.pass(6 * SECOND);
    assert!(world.ends[0].link.counters().established >= 2);
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let mut world = World::new();
    world.settings.silence_max = 60 * SECOND;
    world.relink();
    world.settle();
    world.hold_sends = true;
    world.send(0, b"never arrives", &[]);
    world.pass(29 * SECOND);
    assert!(world.ends[0].link.is_up());
    world.pass(SECOND);
    assert_eq!(world.ends[0].seen, ["established", "lost: the peer does not read"]);
}

#[test]
fn a_broken_cable_is_mended_at_once() {
    let mut world = World::new();
    world.settle();
    world.pass(2 * SECOND);
    world.break_cables();
    world.settle();
    assert_eq!(world.ends[0].seen, ["established", "lost: the connection broke"]);
    world.pass(Duration::from_millis(100));
    assert!(world.ends[0].link.is_up() && world.ends[1].link.is_up());
    world.send(0, b"again", &[]);
    world.settle();
    assert_eq!(world.ends[1].frames, [(b"again".to_vec(), vec![])]);
}

#[test]
fn a_new_connection_replaces_the_old_one_but_not_one_of_an_older_boot() {
    let mut world = World::new();
    world.settle();
    // Node 1 restarts; node 2 has not noticed.
    world.ends[0].local.identity.boot = 2;
    world.forget(0);
    world.settle();
    assert_eq!(world.ends[1].seen, ["established", "lost: the peer made a new connection", "established"]);
    assert_eq!(world.ends[1].link.counters().replaced, 1);
    let current = world.ends[1].link.socket();
    // What its former process had sent arrives only now.
    world.ends[0].local.identity.boot = 1;
    world.forget(0);
    world.settle();
    assert_eq!(world.ends[1].link.socket(), current);
    assert_eq!(world.ends[1].seen.len(), 3);
}

#[test]
fn garbage_ends_the_link_and_is_counted() {
    let mut world = World::new();
    world.settle();
    world.send(0, b"sound", &[]);
    world.corrupt = Some(70);
    world.settle();
    assert!(world.ends[1].seen[1].contains(" of the connection: the payload's checksum is "));
    assert_eq!((world.ends[1].link.counters().garbage, world.ends[1].frames.len()), (1, 0));
}

#[test]
fn frames_out_of_order_or_for_another_shard_end_the_link() {
    let spec = crate::frame::FrameSpec { from_shard: 0, to_shard: 0, sequence: 0, durable_batch: 0 };
    let cases = [
        (crate::frame::FrameSpec { sequence: 1, ..spec }, "lost: frame 0 was due, frame 1 came"),
        (
            crate::frame::FrameSpec { from_shard: 3, ..spec },
            "lost: a frame from shard 3 to shard 0 has no place here",
        ),
    ];
    for (spec, expected) in cases {
        let mut world = World::new();
        world.settle();
        let frame = crate::frame::frame_parts(spec, b"body".to_vec(), vec![]);
        world.inject(0, &frame.iter().flat_map(Part::bytes).copied().collect::<Vec<u8>>());
        world.settle();
        assert_eq!(world.ends[1].seen[1], expected);
    }
}

#[test]
fn a_link_for_forming_carries_only_that_and_greets_again() {
    let mut world = World::new();
    for end in &mut world.ends {
        end.local.identity.cluster_id = ClusterId::UNFORMED;
    }
    world.settle();
    assert_eq!(world.ends[0].seen, ["established for forming"]);
    assert!(!world.ends[0].link.can_send() && !world.ends[0].link.is_up());
    let query = Forming::StateQuery { question: 7 };
    let ack = Forming::FormAck { cluster_id: ClusterId([1; 16]) };
    let now = world.now;
    // More than one at once: the second waits for the first.
    world.ends[0].link.send_forming(now, query.clone());
    world.ends[0].link.send_forming(now, ack.clone());
    world.settle();
    assert_eq!(world.ends[1].formings, [query, ack]);

    for end in &mut world.ends {
        end.local.identity.cluster_id = ClusterId([1; 16]);
    }
    world.ends[0].link.regreet(now);
    world.settle();
    assert_eq!(world.ends[0].seen, ["established for forming", "lost: greeting again", "established"]);
    world.ends[0].link.regreet(now);
    assert!(world.ends[0].link.is_up(), "only links for forming greet again");
}

#[test]
fn a_stopped_link_stays_down() {
    let mut world = World::new();
    world.settle();
    let now = world.now;
    world.ends[0].link.stop(now);
    world.pass(10 * SECOND);
    assert_eq!(world.ends[0].link.counters().dials, 1);
    assert_eq!(world.ends[0].link.deadline(), raft::Time::NEVER);
    world.ends[0].link.start(world.now);
    world.settle();
    assert!(world.ends[0].link.is_up());
    assert_eq!(world.ends[0].link.counters().dials, 2);
}

#[test]
fn late_events_of_old_sockets_do_no_harm() {
    let mut world = World::new();
    world.settle();
    let now = world.now;
    let local = world.ends[0].local.clone();
    let link = &mut world.ends[0].link;
    link.closed(now, 999);
    link.sent(now, 999);
    link.connected(now, 999, &local);
    link.received(now, 999, BufferMut::zeroed(4096), 10, &local);
    link.dialed(999);
    assert!(link.is_up());
    assert!(matches!(link.take_output(), Some(Output::Close { socket: 999 })));
}

proptest! {
    #[test]
    fn pieces_of_any_size_make_the_same_conversation(
        pieces in prop::collection::vec(1..3000_usize, 1..6),
        sizes in prop::collection::vec((0..2000_usize, 0..200_000_usize), 1..6),
    ) {
        let mut world = World::new();
        world.pieces = pieces;
        world.settle();
        let mut sent = Vec::new();
        for (number, (body, tail)) in (0..=255).cycle().zip(sizes) {
            let (body, tail) = (vec![number; body], vec![number; tail]);
            world.send(0, &body, &tail);
            sent.push((body, tail));
            world.settle();
        }
        prop_assert_eq!(&world.ends[1].frames, &sent);
    }

    #[test]
    fn a_flipped_bit_anywhere_never_becomes_a_frame(at in 0..400_usize) {
        let mut world = World::new();
        world.corrupt = Some(at);
        world.settle();
        if world.ends[0].link.can_send() {
            world.send(0, &[1; 64], &[2; 64]);
            world.settle();
        }
        // Silence ends it now and then, as nobody beats here; but it always comes back.
        let comes_back = (0..200).any(|_| {
            world.pass(SECOND / 10);
            world.corrupt.is_none() && world.ends[0].link.is_up()
        });
        prop_assert!(comes_back);
        let sound = (vec![1; 64], vec![2; 64]);
        prop_assert!(world.ends[1].frames.iter().all(|frame| *frame == sound));
    }
}
