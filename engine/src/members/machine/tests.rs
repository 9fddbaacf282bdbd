use net::forming::{MEMBERS_MAX, REMOVED_MAX, Record, Tombstone};
use net::handshake::{Address, ClusterId};
use raft::{EntryId, Index, NodeId, Term};

use super::super::command::Verdict;
use super::super::state::MemberState;
use super::*;

fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).expect("an address")
}

fn founded() -> Members {
    let member = |id: u16| net::forming::Member {
        node: NodeId(id),
        incarnation: u64::from(id) + 100,
        shard_count: 2,
        peer: address(7001 + 100 * id),
        client: address(6001 + 100 * id),
    };
    let members = vec![member(1), member(2), member(3)];
    Members::founded(&Record { cluster_id: ClusterId([7; 16]), group_count: 16, members })
}

/// A directory and the index of its last entry.
struct Group(Members, u64);

impl Group {
    fn run(&mut self, command: &Command) -> Verdict {
        self.1 += 1;
        let mut reply = Vec::new();
        let applied = self.0.apply(EntryId::new(Term(1), Index(self.1)), &command.encode(), &mut reply);
        assert_eq!(applied, Applied::Done);
        assert_eq!(reply.len(), 1);
        Verdict::from_byte(reply[0]).expect("a verdict")
    }

    fn add(&mut self, id: u16) -> Verdict {
        self.run(&Command::Add { node: NodeId(id), peer: address(7001 + 100 * id) })
    }

    fn remove(&mut self, id: u16) -> Verdict {
        self.run(&Command::Remove { node: NodeId(id) })
    }

    fn identify(&mut self, id: u16, incarnation: u64) -> Verdict {
        let client = address(6001 + 100 * id);
        self.run(&Command::Identify { node: NodeId(id), incarnation, shards: 3, client })
    }

    fn state(&self, id: u16) -> Option<MemberState> {
        self.0.node(NodeId(id)).map(|node| node.state)
    }
}

#[test]
fn a_node_joins_and_leaves_step_by_step() {
    let mut group = Group(founded(), 0);
    assert_eq!((group.0.version, group.0.is_changing()), (0, false));
    assert_eq!(group.add(4), Verdict::Done);
    assert_eq!(group.add(4), Verdict::Done, "asked twice, done once");
    assert_eq!((group.0.version, group.state(4)), (1, Some(MemberState::Joining)));
    assert_eq!(group.0.roster().members.len(), 3, "nobody is told of a disk that is not known");
    let (node, incarnation) = (NodeId(4), 77);
    assert_eq!(group.run(&Command::Joined { node, incarnation }), Verdict::Outdated);
    assert_eq!(group.identify(4, 77), Verdict::Done);
    assert_eq!(group.identify(4, 77), Verdict::Done);
    assert_eq!(group.identify(4, 78), Verdict::Outdated, "another disk must be added anew");
    let roster = group.0.roster();
    assert!(roster.is_possible());
    assert_eq!(roster.version, 4);
    assert_eq!(roster.member(node).map(|member| (member.incarnation, member.shard_count)), Some((77, 3)));
    assert_eq!(group.run(&Command::Joined { node, incarnation }), Verdict::Done);
    assert_eq!((group.state(4), group.0.is_changing()), (Some(MemberState::Active), false));
    assert_eq!(group.add(4), Verdict::AlreadyMember);

    assert_eq!(
        group.run(&Command::Left { node, incarnation }),
        Verdict::Outdated,
        "nobody asked it to leave"
    );
    assert_eq!(group.remove(4), Verdict::Done);
    assert_eq!(group.remove(4), Verdict::Done);
    assert_eq!(group.add(4), Verdict::StillLeaving);
    assert_eq!(group.run(&Command::Joined { node, incarnation }), Verdict::Outdated, "it was late");
    assert_eq!(group.run(&Command::Left { node, incarnation: 1 }), Verdict::Outdated);
    assert_eq!(group.run(&Command::Left { node, incarnation }), Verdict::Done);
    assert_eq!(group.state(4), None);
    assert_eq!(group.0.removed, [Tombstone { node, incarnation }]);
    assert_eq!(group.add(4), Verdict::Done);
    assert_eq!(group.identify(4, 77), Verdict::Outdated, "that disk was removed");
    assert_eq!(group.identify(4, 79), Verdict::Done);
}

#[test]
fn a_disk_that_was_lost_is_replaced_by_removing_and_adding_its_node() {
    let mut group = Group(founded(), 0);
    assert_eq!(group.identify(2, 500), Verdict::Outdated, "an active node is the disk it is");
    assert_eq!(group.add(2), Verdict::AlreadyMember);
    assert_eq!(group.remove(2), Verdict::Done);
    assert_eq!(group.run(&Command::Left { node: NodeId(2), incarnation: 102 }), Verdict::Done);
    assert_eq!(group.add(2), Verdict::Done);
    assert_eq!(group.identify(2, 500), Verdict::Done);
    assert_eq!(group.0.node(NodeId(2)).map(|node| node.incarnation), Some(500));
}

#[test]
fn bounds_and_impossible_wishes_are_named() {
    let mut group = Group(founded(), 0);
    assert_eq!(group.run(&Command::Add { node: NodeId(0), peer: address(1) }), Verdict::NoNode);
    assert_eq!(group.run(&Command::Add { node: NodeId(9), peer: address(7101) }), Verdict::AddressTaken);
    assert_eq!(group.remove(9), Verdict::NotMember);
    for id in 4..=7 {
        assert_eq!(group.add(id), Verdict::Done);
    }
    assert_eq!(group.0.nodes.len(), MEMBERS_MAX);
    assert_eq!(group.add(8), Verdict::TooMany);
    assert_eq!(group.remove(5), Verdict::Done);
    assert_eq!(group.state(5), None, "never heard of: it is gone at once");
    assert_eq!((group.remove(1), group.remove(2)), (Verdict::Done, Verdict::Done));
    assert_eq!(group.remove(3), Verdict::LastNode, "joining nodes cannot carry a cluster");
    for (round, id) in (0..u64::try_from(REMOVED_MAX).unwrap() + 5).zip(std::iter::repeat(6)) {
        group.add(id);
        assert_eq!(group.identify(id, 1000 + round), Verdict::Done);
        assert_eq!(group.remove(id), Verdict::Done);
        assert_eq!(group.run(&Command::Left { node: NodeId(id), incarnation: 1000 + round }), Verdict::Done);
    }
    assert_eq!(group.0.removed.len(), REMOVED_MAX);
}

#[test]
fn what_changes_nothing_makes_no_new_version() {
    let mut group = Group(founded(), 10);
    assert_eq!(group.remove(9), Verdict::NotMember);
    assert_eq!(group.0.version, 0);
    let set = Command::Set { name: "a".into(), value: "b".into() };
    assert_eq!((group.run(&set), group.0.version), (Verdict::Done, 12));
    assert_eq!((group.run(&set), group.0.version), (Verdict::Done, 12));
}

#[test]
fn an_unknown_command_stops_the_group_and_changes_nothing() {
    let mut members = founded();
    let mut reply = Vec::new();
    for command in [&b""[..], b"\x02\x01", b"\x01\x63\x04\x00", b"\x01\x02\x04"] {
        assert_eq!(members.apply(EntryId::default(), command, &mut reply), Applied::Unknown);
    }
    assert_eq!(members, founded());
}

#[test]
fn a_directory_survives_a_save() {
    let mut group = Group(founded(), 0);
    group.add(4);
    group.remove(3);
    group.run(&Command::Left { node: NodeId(3), incarnation: 103 });
    group.run(&Command::Set { name: "a".into(), value: "b".into() });
    let mut saved: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    assert_eq!(group.0.freeze().write(&mut saved, 1), Progress::Done);
    let mut restored = Members::default();
    for (key, value) in &saved {
        restored.restore_entry(key, value).expect("what was saved");
    }
    restored.restore_end().expect("whole");
    assert_eq!(restored, group.0);
    let mut listed = Vec::new();
    restored.query(&Ask::List.encode(), &mut listed);
    assert_eq!(Members::decode(&listed), Some(group.0.clone()));
    for end in 0..listed.len() {
        assert_eq!(Members::decode(&listed[..end]), None, "cut at {end}");
    }
    assert!(Members::default().restore_end().is_err());
    assert!(Members::default().restore_entry(b"other", &listed).is_err());
}

/// Saves come from disks and peers; what is read is told to other nodes, which assert that it is possible.
#[test]
fn a_directory_that_no_cluster_comes_to_is_refused() {
    let bytes = founded().encode();
    assert_eq!(Members::decode(&bytes), Some(founded()));
    let shards_of_the_first = 1 + 8 + 2 + 2 + 2 + 8;
    let mut without_shards = bytes.clone();
    without_shards[shards_of_the_first..shards_of_the_first + 2].fill(0);
    assert_eq!(Members::decode(&without_shards), None);

    let mut in_and_out = founded();
    in_and_out.removed.push(Tombstone { node: NodeId(2), incarnation: 102 });
    assert_eq!(Members::decode(&in_and_out.encode()), None);

    let mut unknown = founded();
    unknown.nodes.iter_mut().for_each(|node| node.incarnation = 0);
    assert_eq!(Members::decode(&unknown.encode()), None);
}
