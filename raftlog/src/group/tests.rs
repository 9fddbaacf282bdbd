use super::*;

fn record(first: u64, count: u32, term: u64, batch: u64) -> Record {
    Record {
        first: Index(first),
        count,
        cut: false,
        moved: false,
        memberships: false,
        term: Term(term),
        batch: BatchSeq(batch),
        body_offset: 0,
        body_bytes: 48 * count,
    }
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

#[test]
fn an_overlapping_append_drops_exactly_the_suffix() {
    let mut released = Vec::new();
    let mut log = GroupLog::default();
    let mut append = |log: &mut GroupLog, r| log.append(0, r, &mut |r: &Record| released.push(r.batch.0));
    append(&mut log, record(1, 5, 1, 1));
    append(&mut log, record(6, 5, 1, 2));
    append(&mut log, record(11, 2, 1, 3));
    append(&mut log, record(8, 1, 2, 4));
    assert_eq!(log.last, id(2, 8));
    assert_eq!(log.gap(), None);
    let spans: Vec<_> = log.records().map(|r| (r.first.0, r.last().0, r.cut)).collect();
    assert_eq!(spans, [(1, 5, false), (6, 7, true), (8, 8, false)]);
    assert_eq!(released, [3], "a record that lost only its end is still needed");
    let runs: Vec<_> = log.runs().iter().map(|run| (run.first.0, run.term.0)).collect();
    assert_eq!(runs, [(1, 1), (8, 2)]);
}

#[test]
fn compaction_inside_a_record_keeps_it() {
    let mut log = GroupLog::default();
    log.append(0, record(1, 5, 1, 1), &mut |_| {});
    log.compact(id(1, 3), &mut |_| panic!("the record still holds live entries"));
    assert_eq!((log.compacted, log.last, log.gap()), (id(1, 3), id(1, 5), None));
    assert_eq!(log.runs(), [TermRun { first: Index(4), term: Term(1) }]);
    log.compact(id(1, 2), &mut |_| panic!("never backwards"));
    assert_eq!(log.compacted, id(1, 3));
    log.compact(id(1, 9), &mut |_| {});
    assert_eq!((log.last, log.records().count()), (id(1, 9), 0));
}

#[test]
fn a_record_of_which_only_compacted_entries_are_left_is_dropped() {
    let mut released = 0;
    let mut log = GroupLog::default();
    log.append(0, record(1, 5, 1, 1), &mut |_| {});
    log.compact(id(1, 3), &mut |_| {});
    log.append(0, record(4, 1, 2, 2), &mut |_| released += 1);
    assert_eq!((released, log.last, log.records().count()), (1, id(2, 4), 1));
    assert_eq!(log.runs(), [TermRun { first: Index(4), term: Term(2) }]);
}

#[test]
fn what_is_visible_is_in_an_issued_batch() {
    let mut log = GroupLog::default();
    assert_eq!(log.visible(BatchSeq(9)), Index::ZERO);
    log.append(0, record(1, 5, 1, 1), &mut |_| {});
    assert_eq!((log.visible(BatchSeq(0)), log.visible(BatchSeq(1))), (Index::ZERO, Index(5)));
    log.append(0, record(3, 4, 2, 2), &mut |_| {});
    assert_eq!(log.visible(BatchSeq(1)), Index(2), "truncation takes back what was visible");
    assert_eq!(log.visible(BatchSeq(2)), Index(6));
    log.restart_after(id(3, 20), &mut |_| {});
    assert_eq!(log.visible(BatchSeq(2)), Index(20));
}

#[test]
fn configurations_of_an_issued_record_are_noted() {
    let mut log = GroupLog::default();
    log.append(0, record(1, 5, 1, 1), &mut |_| {});
    log.append(0, record(6, 2, 1, 2), &mut |_| {});
    log.note_memberships(BatchSeq(1), Index(6));
    log.note_memberships(BatchSeq(2), Index(6));
    log.note_memberships(BatchSeq(3), Index(9));
    assert_eq!(log.records().map(|record| record.memberships).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_checkpoint_clips_what_lies_outside() {
    let mut log = GroupLog::default();
    log.append(1, record(1, 5, 1, 1), &mut |_| {});
    log.append(1, record(8, 5, 1, 2), &mut |_| {});
    log.clip(1, id(1, 7), id(1, 10));
    assert_eq!((log.gap(), log.last), (None, id(1, 10)));
    log.clip(2, EntryId::ZERO, EntryId::ZERO);
    assert_eq!(log.records().count(), 0, "another incarnation's entries are nobody's");
}

#[test]
fn a_new_incarnation_sees_nothing_of_the_old_one() {
    let mut released = 0;
    let mut log = GroupLog::default();
    log.hard_state.term = Term(4);
    log.append(1, record(1, 5, 1, 1), &mut |_| {});
    log.set_snapshot(id(1, 2), Rc::from(&b"s"[..]), false, &mut |_| {});
    log.append(2, record(1, 1, 5, 2), &mut |_| released += 1);
    assert_eq!((released, log.compacted, log.last), (1, EntryId::ZERO, id(5, 1)));
    assert_eq!((log.snapshot, log.hard_state.term), (None, Term(4)), "the vote outlives the log");
}

fn moved(first: u64, count: u32, term: u64, batch: u64) -> Record {
    Record { moved: true, ..record(first, count, term, batch) }
}

fn spans(log: &GroupLog) -> Vec<(u64, u64, u64)> {
    log.records().map(|r| (r.first.0, r.last().0, r.batch.0)).collect()
}

#[test]
fn what_was_relocated_is_put_in_its_place() {
    let mut log = GroupLog::default();
    let none = std::iter::empty;
    log.append(1, record(6, 5, 1, 2), &mut |_| {});
    log.put_back(1, moved(1, 5, 1, 7), none());
    assert_eq!((spans(&log), log.last, log.gap()), (vec![(1, 5, 7), (6, 10, 2)], id(1, 10), None));
    log.put_back(1, moved(6, 5, 1, 8), none());
    assert_eq!(spans(&log), [(1, 5, 7), (6, 10, 8)], "the older place of the same");
    log.append(1, record(8, 1, 2, 9), &mut |_| {});
    assert_eq!((spans(&log), log.last), (vec![(1, 5, 7), (6, 7, 8), (8, 8, 9)], id(2, 8)));
    log.put_back(0, moved(1, 1, 1, 10), none());
    assert_eq!(log.records().count(), 3, "of an incarnation before");
}

#[test]
fn what_it_overlaps_is_dead_with_all_behind_it() {
    let mut log = GroupLog::default();
    log.append(1, record(4, 20, 1, 1), &mut |_| {});
    log.put_back(1, moved(6, 4, 2, 7), std::iter::empty());
    assert_eq!((spans(&log), log.last), (vec![(4, 5, 1), (6, 9, 7)], id(2, 9)));
    log.put_back(1, moved(4, 1, 1, 8), std::iter::empty());
    assert_eq!(spans(&log), [(4, 5, 1), (6, 9, 7)], "more of the same was there");
    let config = |index| (Index(index), Rc::from(&b"c"[..]));
    log.memberships = vec![config(5), config(7), config(9)];
    log.put_back(1, moved(6, 4, 2, 9), [config(6), config(8)].into_iter());
    assert_eq!(log.memberships.iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [5, 6, 8]);
}

#[test]
fn configurations_die_with_the_records_that_what_was_relocated_replaces() {
    let config = |index| (Index(index), Rc::from(&b"c"[..]));
    let kept = |log: &GroupLog| log.memberships.iter().map(|(index, _)| index.0).collect::<Vec<_>>();
    let mut log = GroupLog::default();
    log.append(1, record(4, 20, 1, 1), &mut |_| {});
    log.memberships = vec![config(5), config(12)];
    log.put_back(1, moved(6, 4, 2, 7), std::iter::empty());
    assert_eq!((kept(&log), log.last), (vec![5], id(2, 9)), "12 was cut off with the end of its record");
    log.memberships.push(config(9));
    log.put_back(1, moved(6, 2, 3, 8), std::iter::empty());
    assert_eq!((kept(&log), log.last), (vec![5], id(3, 7)), "9 went with its whole record");
}

#[test]
fn a_relocated_record_takes_the_place_of_what_still_lives() {
    let mut log = GroupLog::default();
    log.append(1, record(1, 5, 1, 1), &mut |_| {});
    log.append(1, record(6, 5, 1, 2), &mut |_| {});
    assert_eq!(log.move_to(1, moved(1, 5, 1, 7)).map(|before| before.batch), Some(BatchSeq(1)));
    log.append(1, record(4, 1, 2, 3), &mut |_| {});
    assert_eq!(log.move_to(1, moved(6, 5, 1, 8)), None, "truncated meanwhile");
    assert_eq!(log.move_to(1, moved(1, 5, 1, 9)).map(|before| before.batch), Some(BatchSeq(7)));
    assert_eq!(spans(&log), [(1, 3, 9), (4, 4, 3)]);
    assert!(log.records().next().unwrap().cut, "its body holds more");
    log.compact(id(1, 2), &mut |_| {});
    assert_eq!(log.move_to(1, moved(3, 1, 1, 10)).map(|before| before.batch), Some(BatchSeq(9)));
    assert_eq!((spans(&log), log.gap()), (vec![(3, 3, 10), (4, 4, 3)], None));
    assert_eq!(log.move_to(1, moved(3, 1, 1, 10)), None, "twice in one batch");
    assert_eq!(log.move_to(2, moved(3, 1, 1, 11)), None, "of another incarnation");
}

#[test]
fn configurations_go_with_their_entries() {
    let mut log = GroupLog::default();
    let kept = |log: &GroupLog| log.memberships.iter().map(|(index, _)| index.0).collect::<Vec<_>>();
    let add = |log: &mut GroupLog, index| log.memberships.push((Index(index), Rc::from(&b"c"[..])));
    log.append(0, record(1, 9, 1, 1), &mut |_| {});
    [2, 5, 9].into_iter().for_each(|index| add(&mut log, index));
    log.compact(id(1, 2), &mut |_| {});
    assert_eq!(kept(&log), [5, 9], "the snapshot has the one at its end and all before");
    log.append(0, record(9, 1, 2, 2), &mut |_| {});
    assert_eq!(kept(&log), [5], "truncated, and what took its place is none");
    add(&mut log, 9);
    log.clip(0, id(1, 3), id(1, 8));
    assert_eq!(kept(&log), [5]);
    log.restart_after(id(3, 20), &mut |_| {});
    assert!(kept(&log).is_empty());
}

#[test]
fn a_gap_is_named() {
    let mut log = GroupLog::default();
    log.append(0, record(1, 2, 1, 1), &mut |_| {});
    log.append(0, record(5, 2, 1, 1), &mut |_| {});
    assert_eq!(log.gap(), Some((Index(3), Index(4))));
    log.last = id(1, 9);
    log.compact(id(1, 4), &mut |_| {});
    assert_eq!(log.gap(), Some((Index(7), Index(9))));
}
