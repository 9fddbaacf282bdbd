//! Who joins, who was removed, and calls out of turn.

use raft::NodeId;

use super::world::World;
use super::*;
use crate::forming::Tombstone;

/// Both ends are members, except that the second is formed and the first is not.
fn world_with_a_joiner(joiner: usize) -> World {
    let mut world = World::new();
    world.settings.patience = Some(SECOND);
    world.ends[joiner].local.identity.cluster_id = ClusterId::UNFORMED;
    world.ends[1 - joiner].local.directory.nodes.retain(|known| usize::from(known.node.0) != joiner + 1);
    world.relink();
    world
}

#[test]
fn who_joins_calls_even_out_of_turn() {
    for joiner in [0, 1] {
        let mut world = world_with_a_joiner(joiner);
        // The member would not call: it knows nobody there.
        world.ends[1 - joiner].link.stop(world.now);
        world.pass(2 * SECOND);
        assert_eq!(world.ends[joiner].seen, ["established for forming"], "end {joiner}");
    }
}

#[test]
fn of_two_calls_at_once_that_of_the_lower_id_stays() {
    let mut world = world_with_a_joiner(1);
    world.unreachable = true;
    world.settle();
    // Both call at the same moment, again and again.
    for round in 0..20 {
        world.unreachable = false;
        let deadline = world.ends[0].link.deadline().max(world.ends[1].link.deadline());
        world.now = deadline;
        world.settle();
        for end in [0, 1] {
            assert!(
                world.ends[end].link.identity().is_some(),
                "round {round}, end {end}: {:?}",
                world.ends[end].seen
            );
        }
        let [one, two] = [0, 1].map(|end| world.ends[end].link.socket().expect("up"));
        assert_eq!(one ^ 1, two, "both have the same connection");
        world.pass(2 * SECOND);
        world.break_cables();
        world.settle();
    }
}

#[test]
fn members_keep_to_their_turn() {
    let mut world = World::new();
    world.settings.patience = Some(SECOND);
    world.relink();
    world.ends[0].link.stop(world.now);
    world.pass(3 * SECOND);
    let sentence = "refused by peer, 6: node 1 calls node 2, not the other way round";
    assert_eq!(world.ends[1].seen.first().map(String::as_str), Some(sentence));
    assert!(!crate::handshake::Refusal::is_news(6), "the higher id asks now and then");
}

#[test]
fn who_was_removed_is_told_so_and_believes_those_who_know_more() {
    for (known, believes) in [(9, true), (8, true), (7, false)] {
        let mut world = World::new();
        world.settings.patience = Some(SECOND);
        world.relink();
        let (member, removed) = (&mut world.ends[0].local, 1002);
        (member.identity.directory_version, member.directory.version) = (known, known);
        member.directory.nodes.retain(|known| known.node == NodeId(1));
        member.directory.removed = vec![Tombstone { node: NodeId(2), incarnation: removed }];
        world.ends[1].local.identity.directory_version = 8;
        world.ends[0].link.stop(world.now);
        world.pass(3 * SECOND);
        let sentence = "refused by peer, 14: node 2 was removed from this cluster: its data directory cannot come \
                        back; start it with an empty one and add it again";
        let seen = &world.ends[1].seen;
        assert_eq!(seen[0], sentence);
        assert_eq!(seen.contains(&"no member any more".to_string()), believes, "{seen:?}");
    }
}

#[test]
fn a_connection_to_another_disk_is_closed_when_the_members_change() {
    let mut world = World::new();
    world.settle();
    let now = world.now;
    world.ends[0].link.keep_only(now, 1002);
    assert!(world.ends[0].link.is_up());
    world.ends[0].link.keep_only(now, 7);
    world.settle();
    assert_eq!(world.ends[0].seen, ["established", "lost: the peer is no member any more"]);
}
