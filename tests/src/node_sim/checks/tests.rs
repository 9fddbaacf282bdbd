//! Every check condemns what it is there for, and lets pass what is right.

use ringraft::simulation::{Bound, Promise, SnapshotLook};

use super::*;
use crate::core_sim::run::violation_of;
use crate::disk::Removed;

fn look(node: u16) -> Look {
    Look {
        node: NodeId(node),
        life: 0,
        start: 1,
        group: GroupId(1),
        role: Role::Follower,
        term: Term(1),
        last: EntryId::new(Term(1), Index(3)),
        persisted: Index(3),
        committed: Index(0),
        applied: Index(0),
        compacted: EntryId::ZERO,
        standing: Standing::Normal,
        may_forget: false,
        config: Config::of_voters(&[NodeId(1), NodeId(2), NodeId(3)]),
        config_index: Index(0),
    }
}

/// Shows one look after another at replicas whose entries all have the term of the look; each entry's checksum is `checksum`.
fn show(checks: &mut Checks, look: Look, checksum: u32) {
    let term = look.last.term;
    let last = look.last.index;
    let term_at = move |index: Index| (index.0 > 0 && index <= last).then_some(term);
    checks.touched(look, term_at, move |first| {
        let entry = |index| EntryLook {
            id: EntryId::new(term, Index(index)),
            kind: raft::EntryKind::Command,
            checksum,
        };
        (first.0..=last.0).map(entry).collect()
    });
}

/// The check that condemns what `happen` shows; none if it passes.
fn condemned(happen: impl FnOnce(&mut Checks)) -> Option<&'static str> {
    let run = std::panic::AssertUnwindSafe(|| happen(&mut Checks::default()));
    std::panic::catch_unwind(run).err().map(|panic| violation_of(&*panic).check)
}

#[test]
fn a_good_life_passes() {
    let good = condemned(|checks| {
        for node in [1, 2, 3] {
            show(checks, look(node), 7);
        }
        let leads = Look { role: Role::Leader, committed: Index(3), applied: Index(2), ..look(1) };
        show(checks, leads.clone(), 7);
        show(checks, Look { compacted: EntryId::new(Term(1), Index(2)), ..leads }, 7);
        show(checks, Look { start: 2, ..look(2) }, 7);
    });
    assert_eq!(good, None);
}

#[test]
fn what_is_missing_where_nothing_was_damaged_is_condemned() {
    let recovers = Look { standing: Standing::Recovering, ..look(2) };
    assert_eq!(condemned(|checks| show(checks, recovers.clone(), 7)), Some("damage"));
    assert_eq!(condemned(|checks| show(checks, Look { may_forget: true, ..recovers }, 7)), None);
    let loss = raftlog::Loss { path: "slot-000001.log".into(), offset: 0, what: "it is gone".into() };
    assert_eq!(condemned(|_| check_losses(false, std::slice::from_ref(&loss))), Some("damage"));
    assert_eq!(condemned(|_| check_losses(true, &[loss])), None);
}

#[test]
fn what_is_wrong_is_condemned_by_the_check_of_its_name() {
    let leader = |node| Look { role: Role::Leader, ..look(node) };
    let shorter = |last: u64, look: Look| Look {
        last: EntryId::new(Term(1), Index(last)),
        persisted: Index(last),
        ..look
    };
    let two = |first: Look, second: Look| {
        condemned(|checks| {
            show(checks, first, 7);
            show(checks, second, 7);
        })
    };
    assert_eq!(two(leader(1), leader(2)), Some("election_safety"));
    assert_eq!(two(leader(1), shorter(2, leader(1))), Some("leader_append_only"));
    assert_eq!(two(look(1), Look { term: Term(0), ..look(1) }), Some("cursors"));
    assert_eq!(
        two(look(1), Look { applied: Index(1), ..look(1) }),
        Some("cursors"),
        "applied beyond committed"
    );
    assert_eq!(two(look(1), shorter(2, Look { start: 2, ..look(1) })), Some("restarts"));
    let alone = Look { committed: Index(3), ..leader(1) };
    assert_eq!(two(leader(1), alone), Some("durable_quorum"), "nobody else has it");
    let matching = condemned(|checks| {
        show(checks, look(1), 7);
        show(checks, look(2), 8);
    });
    assert_eq!(matching, Some("log_matching"));
    let committed = condemned(|checks| {
        show(checks, Look { committed: Index(3), ..look(1) }, 7);
        let newer = EntryId::new(Term(2), Index(3));
        show(checks, Look { term: Term(2), last: newer, committed: Index(3), ..look(2) }, 7);
    });
    assert_eq!(committed, Some("committed"));
    let incomplete = condemned(|checks| {
        (1..=3).for_each(|node| show(checks, look(node), 7));
        show(checks, Look { committed: Index(3), ..leader(1) }, 7);
        show(checks, Look { term: Term(2), ..shorter(2, look(2)) }, 7);
        show(checks, Look { term: Term(2), role: Role::Leader, ..shorter(2, look(2)) }, 7);
    });
    assert_eq!(incomplete, Some("leader_completeness"));
    let said = |node: u16, to: u16, term: u64, promise| {
        let (group, to, term) = (GroupId(1), NodeId(to), Term(term));
        ((NodeId(node), 0), [Said { group, to, term, promise }])
    };
    let votes = |second: ((NodeId, u64), [Said; 1])| {
        condemned(|checks| {
            let (node, first) = said(1, 2, 1, Promise::Vote);
            checks.said(node, &first);
            show(checks, look(1), 7);
            show(checks, Look { start: 2, ..look(1) }, 7);
            checks.said(second.0, &second.1);
        })
    };
    assert_eq!(votes(said(1, 2, 1, Promise::Vote)), None, "said again");
    assert_eq!(votes(said(1, 3, 2, Promise::Vote)), None, "in another term");
    assert_eq!(votes(said(2, 3, 1, Promise::Vote)), None, "another node's");
    assert_eq!(votes(said(1, 3, 1, Promise::Term)), None, "no vote");
    assert_eq!(votes(said(1, 3, 1, Promise::Vote)), Some("one_vote"));
    assert_eq!(votes(said(1, 3, 1, Promise::OwnVote)), Some("one_vote"));
    let forgets = condemned(|checks| {
        let (node, acked) = said(1, 2, 4, Promise::Term);
        checks.said(node, &acked);
        show(checks, Look { start: 2, ..look(1) }, 7);
    });
    assert_eq!(forgets, Some("one_vote"));
    let unbounded = condemned(|checks| {
        checks.bounds(&BoundsLook { log_file_bytes: 2, log_file_bytes_max: 1, ..BoundsLook::default() });
    });
    assert_eq!(unbounded, Some("bounds"));
}

#[test]
fn queues_keep_their_limits_and_are_empty_at_rest() {
    let bound = |is| Bound { what: "requests", is, max: 3 };
    assert_eq!(condemned(|_| check_queues(&[bound(0), bound(3)])), None);
    assert_eq!(condemned(|_| check_queues(&[bound(0), bound(4)])), Some("bounds"));
    assert_eq!(condemned(|_| check_rest(NodeId(1), &[("reads", 0)])), None);
    assert_eq!(condemned(|_| check_rest(NodeId(1), &[("reads", 0), ("writes", 1)])), Some("leftovers"));
}

#[test]
fn files_that_are_open_or_named_must_stay() {
    let place = (NodeId(1), 0, 0);
    let removed =
        |name: &str, was_open| [Removed { path: format!("/shard/snapshots/{name}").into(), was_open }];
    let look = |published: &str, pending: &str| {
        let files = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        vec![SnapshotLook { group: GroupId(1), published: files(published), pending: files(pending) }]
    };
    let after = |file: &'static str, was_open| {
        condemned(|checks| {
            checks.files.check(place, 1, false, || look("old", ""));
            checks.files.check(place, 1, true, || look("old", "new"));
            // Published too early: its record is not durable.
            checks.files.check(place, 1, true, || look("new", "new"));
            checks.files.removed(place, 1, &removed(file, was_open));
        })
    };
    assert_eq!(after("other", false), None);
    assert_eq!(after("other", true), Some("files_in_use"));
    assert_eq!(after("old", false), Some("files_in_use"));
    assert_eq!(after("new", false), Some("files_in_use"));
    let later = condemned(|checks| {
        checks.files.check(place, 1, true, || look("old", "new"));
        checks.files.check(place, 1, false, || look("new", ""));
        checks.files.removed(place, 1, &removed("old", false));
        checks.files.removed(place, 2, &removed("new", false));
    });
    assert_eq!(later, None, "superseded, and another start's business");
    let two_on_their_way = |file: &'static str| {
        condemned(|checks| {
            checks.files.check(place, 1, true, || look("old", "saved installed"));
            checks.files.check(place, 1, true, || look("saved", "installed"));
            checks.files.removed(place, 1, &removed(file, false));
        })
    };
    assert_eq!(two_on_their_way("old"), None, "superseded, though another record is on its way");
    assert_eq!(two_on_their_way("saved"), Some("files_in_use"));
    assert_eq!(two_on_their_way("installed"), Some("files_in_use"));
}

#[test]
fn a_joint_configuration_counts_for_what_comes_after_it() {
    let leader = Look { role: Role::Leader, ..look(1) };
    let joint = |config_index| Look {
        committed: Index(3),
        config: Config {
            outgoing: vec![NodeId(1), NodeId(2), NodeId(3)],
            ..Config::of_voters(&[NodeId(2), NodeId(3)])
        },
        config_index: Index(config_index),
        ..leader.clone()
    };
    let two = |second: Look| {
        condemned(|checks| {
            show(checks, look(2), 7);
            show(checks, second, 7);
        })
    };
    assert_eq!(two(joint(4)), None, "it was committed before");
    assert_eq!(two(joint(3)), Some("durable_quorum"), "one of two new voters is no quorum");
}
