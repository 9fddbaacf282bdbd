//! Linearizable reads: what confirms them and what does not (thesis 6.4).

use raft::{Body, Index, ReadId, Role};

use crate::stage::lone::{Lone, Said};

fn read(leader: &mut Lone) -> (ReadId, Vec<Said>) {
    let now = leader.now;
    let read = leader.node.raft.read(now).expect("it leads");
    (read, leader.turn())
}

/// The round that a message to node 2 asks about.
fn round(said: &[Said]) -> Option<u64> {
    said.iter().filter(|said| said.to == 2).find_map(|said| match said.body {
        Body::Append { round, .. } | Body::Beat { round, .. } => Some(round),
        _ => None,
    })
}

fn answer(leader: &mut Lone, from: u16, term: u64, round: u64) -> Vec<Said> {
    leader.hear(from, term, Body::BeatAck { round, proven: true, lease: false })
}

fn confirmed(leader: &Lone) -> Option<(ReadId, Index)> {
    leader.node.reads.last().copied()
}

#[test]
fn a_new_leader_parks_reads_until_it_knows_what_is_committed() {
    let mut leader = Lone::in_role(Role::Leader);
    let (first, said) = read(&mut leader);
    assert_eq!(said, [], "no round is opened for it");
    // Beats of the leader are answered, and prove that it leads. That is not enough.
    let beats = leader.wait(100);
    let beat = round(&beats).expect("a beat");
    answer(&mut leader, 2, 2, beat);
    answer(&mut leader, 3, 2, beat);
    assert_eq!((confirmed(&leader), leader.committed()), (None, 0));
    let said = leader.ack(2, 2);
    assert_eq!(leader.committed(), 2);
    let opened = round(&said).expect("now it is");
    assert!(opened > beat);
    answer(&mut leader, 3, 2, opened);
    assert_eq!(confirmed(&leader), Some((first, Index(2))), "at what was committed by leaders before, too");
}

#[test]
fn only_answers_to_a_round_opened_after_a_read_confirm_it() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    leader.ack(3, 2);
    let (first, said) = read(&mut leader);
    let old = round(&said).expect("a round");
    let (second, said) = read(&mut leader);
    let new = round(&said).expect("another round");
    assert!(new > old);
    for _ in 0..3 {
        answer(&mut leader, 2, 2, old);
        answer(&mut leader, 2, 2, old - 1);
        answer(&mut leader, 9, 2, new); // no member
        answer(&mut leader, 3, 1, new); // of another term
    }
    assert_eq!(confirmed(&leader), Some((first, Index(2))), "not {second:?}");
    // A round that was never opened proves nothing either.
    answer(&mut leader, 3, 2, new + 1);
    assert_eq!(confirmed(&leader), Some((first, Index(2))));
    answer(&mut leader, 3, 2, new);
    assert_eq!(confirmed(&leader), Some((second, Index(2))));
}

#[test]
fn reads_of_a_lost_term_are_never_confirmed() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    let (lost, said) = read(&mut leader);
    let old = round(&said).expect("a round");
    leader.hear(3, 3, Body::Beat { commit: Index(0), round: 0 });
    answer(&mut leader, 2, 2, old);
    assert_eq!((leader.role(), confirmed(&leader)), (Role::Follower, None));
    // It leads again, later. What was asked for in the first term is not remembered, late answers are not counted.
    leader.wait(1000);
    leader.elect();
    let (later, _) = read(&mut leader);
    assert!(later > lost);
    answer(&mut leader, 2, 2, old);
    answer(&mut leader, 2, 3, old);
    assert_eq!(confirmed(&leader), None);
    let last = leader.node.raft.last().0;
    let said = leader.ack(2, last);
    let new = round(&said).expect("a round");
    let term = leader.term();
    answer(&mut leader, 2, term, new);
    assert_eq!(confirmed(&leader), Some((later, Index(last))));
}

#[test]
fn many_reads_share_few_rounds() {
    let mut leader = Lone::in_role(Role::Leader);
    leader.ack(2, 2);
    let now = leader.now;
    let reads: Vec<ReadId> = (0..1000).map(|_| leader.node.raft.read(now).expect("it leads")).collect();
    let said = leader.turn();
    let one = round(&said).expect("a round");
    assert_eq!(said.iter().filter(|said| said.to == 2).count(), 1, "one message");
    answer(&mut leader, 2, 2, one);
    assert_eq!(confirmed(&leader).map(|confirmed| confirmed.0), reads.last().copied());
    // While rounds are unanswered only so many are opened; later reads wait and share the next.
    let asked = (0..1000).filter(|_| round(&read(&mut leader).1).is_some()).count();
    assert!(asked <= 16, "{asked} rounds");
    for later in one + 1..=one + 16 {
        answer(&mut leader, 3, 2, later);
    }
    let said = leader.turn();
    assert!(round(&said).is_none() && confirmed(&leader).is_some());
}

#[test]
fn a_read_is_not_confirmed_by_a_leader_that_was_replaced() {
    // Node 1 led, was replaced by node 2 which committed more, and gets a late answer of node 3 of its own term.
    let mut old = Lone::in_role(Role::Leader);
    old.ack(3, 2);
    let said = old.wait(100);
    let late = round(&said).expect("a beat");
    let (_, said) = read(&mut old);
    assert!(round(&said).expect("a round") > late);
    answer(&mut old, 3, 2, late);
    assert_eq!(confirmed(&old), None, "node 3 may have voted for node 2 after that");
    let said = old.hear(3, 3, Body::BeatAck { round: 0, proven: false, lease: false });
    assert_eq!((old.role(), confirmed(&old)), (Role::Follower, None), "{said:?}");
}
