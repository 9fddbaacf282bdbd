use net::handshake::Address;

use super::*;

fn node(id: u16, state: MemberState) -> Node {
    let peer = Address::new("127.0.0.1", 7000 + id).expect("an address");
    Node { node: NodeId(id), incarnation: 100 + u64::from(id), shards: 1, client: None, peer, state }
}

fn nodes(active: &[u16], joining: &[u16], leaving: &[u16]) -> Vec<Node> {
    let of = |ids: &[u16], state| ids.iter().map(|id| node(*id, state)).collect::<Vec<_>>();
    let mut all = of(active, MemberState::Active);
    all.extend(of(joining, MemberState::Joining));
    all.extend(of(leaving, MemberState::Leaving));
    all.sort_by_key(|node| node.node);
    all
}

fn ids(ids: &[u16]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn config(voters: &[u16], learners: &[u16]) -> Config {
    Config { learners: ids(learners), ..Config::of_voters(&ids(voters)) }
}

fn follower(id: u16) -> Follower {
    Follower { node: NodeId(id), is_caught_up: true, is_live: true, is_replaced: false }
}

fn step(config: &Config, nodes: &[Node], followers: &[Follower]) -> Vec<Change> {
    reconcile(&Situation { me: NodeId(1), config, nodes, removed: &[], followers, held: &[] })
}

fn add(id: u16) -> Change {
    Change::Learner(NodeId(id))
}

fn promote(id: u16) -> Change {
    Change::Voter(NodeId(id))
}

fn remove(id: u16) -> Change {
    Change::Remove(NodeId(id))
}

const ALL: [u16; 3] = [1, 2, 3];

#[test]
fn nothing_is_done_when_all_is_as_it_should_be() {
    let nodes = nodes(&ALL, &[], &[]);
    assert_eq!(step(&config(&ALL, &[]), &nodes, &[follower(2), follower(3)]), []);
    assert!(is_as_wanted(&config(&ALL, &[]), &nodes));
}

#[test]
fn a_joining_node_learns_first_and_votes_when_it_has_caught_up() {
    let nodes = nodes(&ALL, &[4], &[]);
    let others = [follower(2), follower(3)];
    assert_eq!(step(&config(&ALL, &[]), &nodes, &others), [add(4)]);
    let learns = config(&ALL, &[4]);
    let slow = Follower { is_caught_up: false, ..follower(4) };
    assert_eq!(step(&learns, &nodes, &[others[0], others[1], slow]), []);
    assert_eq!(step(&learns, &nodes, &[others[0], others[1], follower(4)]), [promote(4)]);
    assert!(!is_as_wanted(&learns, &nodes) && !is_done_with(&learns, &nodes[3]));
    let votes = config(&[1, 2, 3, 4], &[]);
    assert!(is_as_wanted(&votes, &nodes) && is_done_with(&votes, &nodes[3]));
}

#[test]
fn a_node_that_was_never_heard_of_is_waited_for() {
    let mut nodes = nodes(&ALL, &[4], &[]);
    nodes[3].incarnation = 0;
    assert_eq!(step(&config(&ALL, &[]), &nodes, &[follower(2), follower(3)]), []);
    assert!(!is_as_wanted(&config(&ALL, &[]), &nodes), "it is not done for all that");
}

#[test]
fn several_nodes_change_in_one_step() {
    let nodes = nodes(&[1, 3], &[4, 5], &[2]);
    let others = [follower(2), follower(3), follower(4)];
    assert_eq!(step(&config(&ALL, &[4]), &nodes, &others), [remove(2), promote(4), add(5)]);
}

#[test]
fn a_leader_may_remove_itself() {
    let nodes = nodes(&[2, 3], &[], &[1]);
    let before = config(&ALL, &[]);
    assert_eq!(step(&before, &nodes, &[follower(2), follower(3)]), [remove(1)]);
    assert!(!is_done_with(&before, &nodes[0]) && is_done_with(&config(&[2, 3], &[]), &nodes[0]));
}

#[test]
fn a_step_that_could_not_commit_waits() {
    let dead = Follower { is_live: false, is_caught_up: false, ..follower(3) };
    let before = config(&ALL, &[]);
    assert_eq!(step(&before, &nodes(&[1, 3], &[], &[2]), &[follower(2), dead]), [], "1 and a dead node");
    assert_eq!(step(&before, &nodes(&[1, 2], &[], &[3]), &[follower(2), dead]), [remove(3)]);
    let both = nodes(&[1], &[], &[2, 3]);
    assert_eq!(step(&before, &both, &[follower(2), dead]), [remove(2), remove(3)], "1 alone is a majority");
    let five = config(&[1, 2, 3, 4, 5], &[]);
    let nodes_of_five = nodes(&[1, 4, 5], &[6], &[2, 3]);
    let gone = |id| Follower { is_live: false, is_caught_up: false, ..follower(id) };
    let others = [follower(2), gone(3), gone(4), gone(5)];
    assert_eq!(step(&five, &nodes_of_five, &others), [add(6)], "what needs no votes is done");
    let others = [follower(2), gone(3), follower(4), gone(5)];
    assert_eq!(
        step(&five, &nodes(&[1, 4, 5], &[], &[2, 3]), &others),
        [remove(2), remove(3)],
        "two of three are enough"
    );
}

#[test]
fn votes_in_group_0_wait_for_the_other_groups() {
    let nodes = nodes(&[1, 3], &[4, 5], &[2]);
    let followers = [follower(2), follower(3), follower(4), follower(5)];
    let config = config(&ALL, &[4]);
    let held = ids(&[2, 4, 5]);
    let situation = Situation {
        me: NodeId(1),
        config: &config,
        nodes: &nodes,
        removed: &[],
        followers: &followers,
        held: &held,
    };
    assert_eq!(reconcile(&situation), [add(5)]);
    assert_eq!(reconcile(&Situation { held: &held[1..], ..situation }), [remove(2), add(5)]);
}

#[test]
fn who_leaves_hears_the_directory_until_the_other_groups_are_done() {
    let nodes = nodes(&ALL, &[], &[4]);
    let (followers, held) = ([follower(2), follower(3), follower(4)], ids(&[4]));
    let (learns, gone) = (config(&ALL, &[4]), config(&ALL, &[]));
    let situation = Situation {
        me: NodeId(1),
        config: &learns,
        nodes: &nodes,
        removed: &[],
        followers: &followers,
        held: &held,
    };
    assert_eq!(reconcile(&situation), [], "it may lead another group, and must hear that it is to leave it");
    assert_eq!(reconcile(&Situation { held: &[], ..situation }), [remove(4)]);
    assert_eq!(reconcile(&Situation { config: &gone, ..situation }), [add(4)], "it went too early");
    assert_eq!(reconcile(&Situation { config: &gone, held: &[], ..situation }), []);
}

#[test]
fn a_disk_in_the_place_of_another_starts_anew() {
    let nodes = nodes(&ALL, &[4], &[]);
    let replaced = Follower { is_replaced: true, ..follower(4) };
    assert_eq!(step(&config(&ALL, &[4]), &nodes, &[follower(2), follower(3), replaced]), [remove(4)]);
}

#[test]
fn members_that_were_removed_go_and_unknown_ones_stay() {
    let nodes = nodes(&ALL, &[], &[]);
    let followers = [follower(2), follower(3)];
    let config = config(&ALL, &[4, 5]);
    let removed = [Tombstone { node: NodeId(4), incarnation: 9 }];
    let situation = Situation {
        me: NodeId(1),
        config: &config,
        nodes: &nodes,
        removed: &removed,
        followers: &followers,
        held: &[],
    };
    assert_eq!(reconcile(&situation), [remove(4)], "5 was added by who knows more than this node");
}

#[test]
fn a_joint_configuration_is_left_by_the_core() {
    let nodes = nodes(&[1, 3], &[], &[2]);
    let joint = config(&ALL, &[]).change(&[remove(2)]).expect("a change");
    assert!(joint.is_joint());
    assert_eq!(step(&joint, &nodes, &[follower(2), follower(3)]), []);
    assert!(!is_done_with(&joint, &nodes[1]));
}

#[test]
fn caught_up_means_nearly_there_replicating_and_alive() {
    let status = |matched, state| FollowerStatus {
        node: NodeId(4),
        state,
        matched: Index(matched),
        next: Index(matched + 1),
        inflight_bytes: 0,
        stands: true,
        learner: true,
        heard: raft::Time(0),
    };
    let is = |status: &FollowerStatus, live| Follower::new(status, Index(1000), live, false).is_caught_up;
    assert!(is(&status(744, FollowerState::Replicate), true));
    assert!(!is(&status(743, FollowerState::Replicate), true));
    assert!(!is(&status(1000, FollowerState::Probe), true));
    assert!(!is(&status(1000, FollowerState::Replicate), false));
    let joining = FollowerStatus { stands: false, ..status(1000, FollowerState::Replicate) };
    assert!(!is(&joining, true));
}

/// From any configuration and any directory, with everybody alive, the steps end at what is wanted, and each one is a
/// change that the core takes.
#[test]
fn every_way_ends_where_the_directory_points() {
    let mut rng = fastrand::Rng::with_seed(17);
    for round in 0..2000 {
        let pick = |rng: &mut fastrand::Rng| (2..=7_u16).filter(|_| rng.bool()).collect::<Vec<u16>>();
        let mut voters = vec![1];
        voters.extend(pick(&mut rng));
        let learners: Vec<u16> = pick(&mut rng).into_iter().filter(|id| !voters.contains(id)).collect();
        let mut config = config(&voters, &learners);
        let mut directory = Vec::new();
        for id in 1..=7 {
            let states = [MemberState::Joining, MemberState::Active, MemberState::Leaving];
            let state = if id == 1 { MemberState::Active } else { states[rng.usize(..3)] };
            if config.contains(NodeId(id)) || rng.bool() {
                directory.push(node(id, state));
            }
        }
        let mut steps = 0;
        while !is_as_wanted(&config, &directory) {
            let followers: Vec<Follower> =
                config.members().into_iter().filter(|id| id.0 != 1).map(|id| follower(id.0)).collect();
            let changes = step(&config, &directory, &followers);
            assert!(!changes.is_empty(), "round {round}: {config:?} is stuck before {directory:?}");
            config = config.change(&changes).expect("a change that the core takes");
            if config.is_joint() {
                config = config.leave().expect("it is joint");
            }
            steps += 1;
            assert!(steps <= 3, "round {round}: add and remove, promote, done");
        }
    }
}
