//! Single steps of forming, records, and slots.

use std::collections::VecDeque;

use super::*;
use raft::{GroupId, NodeId, Time};

const NOW: Time = Time(5_000_000);

fn address(port: u16) -> Address {
    Address::new("127.0.0.1", port).unwrap()
}

fn birth(node: u16, nodes: u16) -> Birth {
    Birth {
        node: NodeId(node),
        incarnation: 100 + u64::from(node),
        shard_count: 2,
        group_count: 16,
        client: address(6000 + node),
        list: (1..=nodes).map(|node| (NodeId(node), address(7000 + node))).collect(),
    }
}

fn former(birth: Birth, record: Option<Record>) -> Former {
    let candidate = ClusterId([u8::try_from(birth.node.0).unwrap(); 16]);
    Former::new(NOW, birth, 1, record.map(Cluster::as_formed), candidate)
}

fn member(birth: &Birth) -> Member {
    Member {
        node: birth.node,
        incarnation: birth.incarnation,
        shard_count: birth.shard_count,
        peer: birth.peer().expect("it is listed").clone(),
        client: birth.client.clone(),
    }
}

fn outputs(former: &mut Former) -> Vec<Output> {
    std::iter::from_fn(|| former.take_output()).collect()
}

/// Connects all with all, passes messages at once, syncs at once, and answers what else came out.
fn run(formers: &mut [(Birth, Former)]) -> Vec<(NodeId, Output)> {
    let births: Vec<Birth> = formers.iter().map(|(birth, _)| birth.clone()).collect();
    for (birth, former) in formers.iter_mut() {
        for peer in births.iter().filter(|peer| peer.node != birth.node) {
            former.connected(NOW, peer.node, peer.incarnation);
        }
    }
    let mut other = Vec::new();
    let mut letters: VecDeque<(NodeId, u64, NodeId, Forming)> = VecDeque::new();
    loop {
        for (birth, former) in formers.iter_mut() {
            while let Some(output) = former.take_output() {
                match output {
                    Output::Send { to, message } => {
                        letters.push_back((birth.node, birth.incarnation, to, message));
                    }
                    Output::Sync(_) => former.synced(NOW),
                    output => other.push((birth.node, output)),
                }
            }
        }
        let Some((from, incarnation, to, message)) = letters.pop_front() else { return other };
        if let Some((_, former)) = formers.iter_mut().find(|(birth, _)| birth.node == to) {
            former.heard(NOW, from, incarnation, message);
        }
    }
}

fn pair(birth: Birth, record: Option<Record>) -> (Birth, Former) {
    (birth.clone(), former(birth, record))
}

fn notices(outputs: &[(NodeId, Output)]) -> Vec<String> {
    let notice = |(node, output): &(NodeId, Output)| match output {
        Output::Notice(notice) => Some(format!("{node}: {notice}")),
        _ => None,
    };
    outputs.iter().filter_map(notice).collect()
}

/// The record that three nodes make.
fn formed() -> Record {
    let mut formers: Vec<_> = (1..=3).map(|node| pair(birth(node, 3), None)).collect();
    run(&mut formers);
    formers[0].1.record().expect("formed").clone()
}

#[test]
fn three_nodes_form_without_waiting() {
    let mut formers: Vec<_> = (1..=3).map(|node| pair(birth(node, 3), None)).collect();
    let other = run(&mut formers);
    let record = formers[0].1.record().expect("formed").clone();
    assert_eq!(record.cluster_id, ClusterId([1; 16]), "the lowest id founds");
    assert_eq!(record.group_count, 16);
    for (birth, former) in &formers {
        assert_eq!(former.record(), Some(&record));
        let member = record.member(birth.node).expect("all are members");
        assert_eq!((member.incarnation, member.shard_count), (birth.incarnation, 2));
        assert_eq!((&member.client, &member.peer), (&birth.client, &address(7000 + birth.node.0)));
        assert!(other.contains(&(birth.node, Output::Formed(Cluster::as_formed(record.clone())))));
        let regreets = other
            .iter()
            .filter(|(node, output)| *node == birth.node && matches!(output, Output::Reconnect(_)));
        assert!(regreets.count() >= 2, "node {} knows the others as formed", birth.node);
    }
    assert_eq!(notices(&other), Vec::<String>::new());
}

#[test]
fn a_single_node_forms_alone() {
    let mut formers = [pair(birth(1, 1), None)];
    let other = run(&mut formers);
    assert!(matches!(&other[..], [(_, Output::Formed(cluster))] if cluster.record.members.len() == 1));
}

#[test]
fn two_of_three_do_not_form() {
    let mut formers = [pair(birth(1, 3), None), pair(birth(2, 3), None)];
    assert_eq!(run(&mut formers), []);
    assert!(formers.iter().all(|(_, former)| former.record().is_none()));
}

#[test]
fn those_who_were_told_different_things_do_not_form() {
    let mut other_list = birth(3, 3);
    other_list.list[0].1 = address(9999);
    let mut other_groups = birth(3, 3);
    other_groups.group_count = 17;
    for odd in [other_list, other_groups] {
        let mut formers = [pair(birth(1, 3), None), pair(birth(2, 3), None), pair(odd, None)];
        let other = run(&mut formers);
        assert!(formers.iter().all(|(_, former)| former.record().is_none()));
        let expected = "1: node 3 was started with another --cluster list or --groups: no cluster can form";
        assert!(notices(&other).contains(&expected.to_string()));
    }
}

#[test]
fn a_notice_is_said_once() {
    let mut odd = birth(2, 2);
    odd.group_count = 17;
    let mut one = former(birth(1, 2), None);
    one.connected(NOW, NodeId(2), odd.incarnation);
    let mut said = 0;
    for round in 0..5 {
        let now = NOW + ROUND * round;
        one.tick(now);
        for output in outputs(&mut one) {
            match output {
                Output::Send { message: Forming::StateQuery { question }, .. } => {
                    let state = State::Unformed { birth: odd.clone(), promise: 1 };
                    one.heard(now, NodeId(2), odd.incarnation, Forming::State { question, state });
                }
                Output::Notice(_) => said += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(said, 1);
}

#[test]
fn a_member_that_missed_it_takes_the_record_over_from_anybody() {
    let record = formed();
    let mut formers = [pair(birth(2, 3), Some(record.clone())), pair(birth(3, 3), None)];
    run(&mut formers);
    assert_eq!(formers[1].1.record(), Some(&record));
}

#[test]
fn who_is_not_a_member_waits() {
    let record = formed();
    let mut lost = birth(1, 3);
    lost.incarnation = 999;
    let mut stranger = birth(4, 4);
    stranger.list = vec![(NodeId(3), address(7003)), (NodeId(4), address(7004))];
    let mut formers = [pair(birth(3, 3), Some(record.clone())), pair(lost, None), pair(stranger, None)];
    let other = run(&mut formers);
    assert!(formers[1].1.record().is_none() && formers[2].1.record().is_none());
    let cluster = "01".repeat(16);
    let notices = notices(&other);
    let disk = format!("1: cluster {cluster} knows node 1 with another disk: remove it and add it again");
    assert!(notices.contains(&disk), "{notices:?}");
    let unknown = format!("4: cluster {cluster} does not know node 4: add it as a member");
    assert!(notices.contains(&unknown), "{notices:?}");

    // Those who wait are known by name; the one who lost its disk too: it can only be added as another one.
    let waiting = |former: &Former| former.joiners().cloned().collect::<Vec<Birth>>();
    assert_eq!(waiting(&formers[0].1), [formers[1].0.clone(), formers[2].0.clone()]);
    assert_eq!(waiting(&formers[2].1), [], "only members know");

    // Once it is added, it is in, with the record as it always was.
    let mut roster = Roster::as_formed(&record);
    roster.version = 40;
    roster.members.push(member(&formers[2].0));
    formers[0].1.update(roster.clone());
    formers[0].1.update(Roster { version: 39, ..Roster::as_formed(&record) });
    run(&mut formers);
    assert_eq!(formers[2].1.cluster(), Some(&Cluster { record, roster }));
    assert_eq!(waiting(&formers[0].1), [formers[1].0.clone()]);
    formers[0].1.disconnected(NodeId(1));
    assert_eq!(waiting(&formers[0].1), []);
}

#[test]
fn another_number_of_groups_is_no_cluster_to_join() {
    let record = formed();
    let mut stranger = birth(4, 4);
    stranger.group_count = 24;
    let mut formers = [pair(birth(3, 3), Some(record.clone())), pair(stranger.clone(), None)];
    let mut roster = Roster::as_formed(&record);
    roster.members.push(member(&stranger));
    formers[0].1.update(Roster { version: 7, ..roster });
    let other = run(&mut formers);
    let cluster = "01".repeat(16);
    let sentence = format!(
        "4: cluster {cluster} has 16 groups, this node was started for 24: start it with --groups 16"
    );
    assert_eq!(notices(&other), [sentence]);
    assert!(formers[1].1.record().is_none());
}

#[test]
fn a_record_sent_to_an_older_promise_comes_too_late() {
    let record = formed();
    let mut node = former(birth(2, 3), None);
    let founder = NodeId(1);
    node.connected(NOW, founder, 101);
    let promise = |node: &mut Former, incarnation| {
        node.heard(NOW, founder, incarnation, Forming::StateQuery { question: 1 });
        let promise = |output| match output {
            Output::Send {
                message: Forming::State { state: State::Unformed { promise, .. }, .. }, ..
            } => Some(promise),
            _ => None,
        };
        outputs(node).into_iter().find_map(promise).expect("it answers")
    };
    let first = promise(&mut node, 101);
    let second = promise(&mut node, 555);
    assert_ne!(first, second);
    assert_eq!(second, promise(&mut node, 555));
    let form = |promise| Forming::Form { promise, record: record.clone() };
    node.heard(NOW, founder, 101, form(first));
    node.heard(NOW, founder, 555, form(second));
    node.heard(NOW, founder, 101, form(second));
    node.heard(NOW, founder, 101, form(0));
    assert_eq!(outputs(&mut node), [], "nothing of that is the newest promise kept");
    let third = promise(&mut node, 101);
    node.heard(NOW, NodeId(3), 103, form(third));
    assert_eq!(outputs(&mut node), [], "not from the founder");
    node.heard(NOW, founder, 101, form(third));
    assert_eq!(outputs(&mut node), [Output::Sync(Cluster::as_formed(record))]);
}

#[test]
fn clusters_come_back_from_their_file_or_not_at_all() {
    let mut cluster = Cluster::as_formed(formed());
    cluster.roster.version = 77;
    cluster.roster.removed = vec![Tombstone { node: NodeId(2), incarnation: 5 }];
    let bytes = cluster.encode();
    assert_eq!(Cluster::decode(&bytes), Ok(cluster.clone()));
    assert_eq!(&bytes[4..8], b"rrcl");
    for end in 0..bytes.len() {
        assert!(Cluster::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(Cluster::decode(&[bytes.clone(), vec![0; 16]].concat()).is_err());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Cluster::decode(&damaged).is_err(), "bit {bit}");
    }
    let impossible: [fn(&mut Record); 6] = [
        |record| record.cluster_id = ClusterId::UNFORMED,
        |record| record.group_count = GROUPS_MAX + 1,
        |record| record.members.clear(),
        |record| record.members.swap(0, 1),
        |record| record.members[1].incarnation = 0,
        |record| record.members[2].shard_count = 0,
    ];
    for change in impossible {
        let mut record = cluster.record.clone();
        change(&mut record);
        assert!(!record.is_possible());
    }
    let impossible: [fn(&mut Roster); 3] = [
        |roster| roster.members.clear(),
        |roster| roster.removed = vec![roster.removed[0]; REMOVED_MAX + 1],
        |roster| roster.removed[0].incarnation = roster.members[1].incarnation,
    ];
    for change in impossible {
        let mut roster = cluster.roster.clone();
        change(&mut roster);
        assert!(!roster.is_possible());
    }
}

#[test]
fn every_slot_belongs_to_one_group() {
    for group_count in [1, 2, 3, 7, 16, 1000, 16_383, GROUPS_MAX] {
        let mut next = 0;
        for group in 1..=group_count {
            let range = slot_range(GroupId(group), group_count);
            assert_eq!(range.start, next, "{group} of {group_count}");
            let even = u32::from(SLOTS) / group_count;
            assert!((even..=even + 1).contains(&u32::try_from(range.len()).unwrap()));
            next = range.end;
            for slot in range {
                assert_eq!(slot_group(slot, group_count), GroupId(group));
            }
        }
        assert_eq!(next, SLOTS);
        assert!(slot_range(GroupId(0), group_count).is_empty());
        assert!(slot_range(GroupId(group_count + 1), group_count).is_empty());
    }
}
