use super::*;
use crate::history::{Reply, Request};

/// `Some((returned, reply))`, or `None` for an operation without an answer.
type Answer = Option<(u64, Reply)>;

fn op(client: u32, called: u64, request: Request, answer: Answer) -> Operation {
    let outcome = answer.map_or(Outcome::Unknown, |(returned, reply)| Outcome::Ok { returned, reply });
    Operation { client, key: b"k".to_vec(), request, called, outcome }
}

fn set(client: u32, called: u64, returned: u64, value: &str) -> Operation {
    op(client, called, Request::Set(value.into()), Some((returned, Reply::Stored)))
}

fn lost_set(client: u32, called: u64, value: &str) -> Operation {
    op(client, called, Request::Set(value.into()), None)
}

fn get(client: u32, called: u64, returned: u64, value: &str) -> Operation {
    let value = (!value.is_empty()).then(|| value.into());
    op(client, called, Request::Get, Some((returned, Reply::Value(value))))
}

fn number(client: u32, called: u64, returned: u64, request: Request, answer: i64) -> Operation {
    op(client, called, request, Some((returned, Reply::Integer(answer))))
}

fn report(operations: Vec<Operation>) -> Report {
    check(&operations.into_iter().collect(), &Limits::default())
}

fn assert_legal(operations: Vec<Operation>) {
    report(operations).assert_linearizable();
}

/// Asserts a violation and returns its evidence.
fn assert_illegal(operations: Vec<Operation>) -> Violation {
    let report = report(operations);
    assert_eq!((report.violations.len(), report.undecided.len()), (1, 0), "{report}");
    report.violations.into_iter().next().expect("its length was checked")
}

#[test]
fn what_a_register_may_do_passes() {
    assert_legal(vec![]);
    assert_legal(vec![get(1, 1, 2, ""), set(1, 3, 4, "a"), get(2, 5, 6, "a")]);
    // Overlapping a write, a read may see either side of it, and the next read the other.
    assert_legal(vec![set(1, 1, 2, "a"), set(1, 3, 9, "b"), get(2, 4, 5, "a"), get(2, 6, 7, "b")]);
    // Two writes at once: the order is the server's.
    assert_legal(vec![set(1, 1, 5, "a"), set(2, 1, 5, "b"), get(3, 6, 7, "a")]);
    assert_legal(vec![set(1, 1, 5, "a"), set(2, 1, 5, "b"), get(3, 6, 7, "b")]);
    // Equal times on the clock decide nothing.
    assert_legal(vec![set(1, 1, 5, "a"), get(2, 5, 6, "")]);
    // Every request, one after the other.
    assert_legal(vec![
        number(1, 1, 2, Request::Incr(3), 3),
        number(1, 3, 4, Request::Append(b"1".to_vec()), 2),
        number(1, 5, 6, Request::Incr(1), 32),
        number(1, 7, 8, Request::Append(b"x".to_vec()), 3),
        op(1, 9, Request::Incr(1), Some((10, Reply::NotAnInteger))),
        get(1, 11, 12, "32x"),
        number(1, 13, 14, Request::Del, 1),
        number(1, 15, 16, Request::Del, 0),
        get(1, 17, 18, ""),
    ]);
}

#[test]
fn a_write_without_an_answer_may_come_late_or_never() {
    assert_legal(vec![lost_set(1, 1, "a"), get(2, 2, 3, ""), get(2, 4, 5, "")]);
    assert_legal(vec![lost_set(1, 1, "a"), get(2, 2, 3, ""), get(2, 4, 5, "a")]);
    // Even after a later write that was acknowledged.
    assert_legal(vec![lost_set(1, 1, "a"), set(2, 2, 3, "b"), get(2, 4, 5, "b"), get(2, 6, 7, "a")]);
    // A lost DEL or INCR too, once each.
    assert_legal(vec![
        set(1, 1, 2, "5"),
        op(2, 3, Request::Incr(1), None),
        get(1, 4, 5, "5"),
        get(1, 6, 7, "6"),
    ]);
    assert_legal(vec![set(1, 1, 2, "5"), op(2, 3, Request::Del, None), get(1, 4, 5, "5"), get(1, 6, 7, "")]);
    // A lost write that nobody read can still be what a DEL found.
    assert_legal(vec![lost_set(1, 1, "a"), number(2, 2, 3, Request::Del, 1)]);
}

#[test]
fn a_failed_operation_must_have_no_effect() {
    let failed = Operation { outcome: Outcome::Fail, ..lost_set(1, 1, "a") };
    assert_legal(vec![failed.clone(), get(2, 2, 3, "")]);
    assert_illegal(vec![failed, get(2, 2, 3, "a")]);
}

#[test]
fn a_stale_read_is_found_and_shown_without_its_surroundings() {
    let mut operations: Vec<Operation> = Vec::new();
    for at in 0..100 {
        operations.push(set(1, at * 10 + 1, at * 10 + 2, &format!("v{at}")));
        operations.push(get(2, at * 10 + 1, at * 10 + 4, &format!("v{at}")));
    }
    operations.push(get(3, 805, 806, "v79"));
    let violation = assert_illegal(operations);
    assert!(violation.operations.len() <= 3, "{}", violation.table);
    assert!(violation.table.contains("<-- fits nowhere"), "{}", violation.table);
    assert!(violation.table.contains("\"v79\""), "{}", violation.table);
}

#[test]
fn reads_that_go_back_in_time_are_found() {
    let violation = assert_illegal(vec![
        set(1, 1, 2, "a"),
        set(1, 3, 20, "b"),
        get(2, 4, 5, "b"),
        get(3, 6, 7, "a"),
        get(2, 8, 9, "b"),
    ]);
    assert!(violation.operations.len() <= 4, "{}", violation.table);
}

#[test]
fn an_acknowledged_write_that_is_lost_is_found() {
    assert_illegal(vec![set(1, 1, 2, "a"), get(2, 3, 4, "")]);
    assert_illegal(vec![set(1, 1, 2, "a"), set(1, 3, 4, "b"), get(2, 5, 6, "a")]);
    assert_illegal(vec![number(1, 1, 2, Request::Append(b"x".to_vec()), 1), get(1, 3, 4, "")]);
}

#[test]
fn a_read_from_the_future_is_found() {
    assert_illegal(vec![get(1, 1, 2, "a"), set(2, 3, 4, "a")]);
    assert_illegal(vec![get(1, 1, 2, "a"), lost_set(2, 3, "a")]);
    assert_illegal(vec![get(1, 1, 2, "a")]);
}

#[test]
fn a_lost_update_is_found() {
    // Both increments saw the same value.
    assert_illegal(vec![number(1, 1, 5, Request::Incr(1), 1), number(2, 2, 6, Request::Incr(1), 1)]);
}

#[test]
fn an_increment_that_ran_twice_is_found() {
    assert_illegal(vec![number(1, 1, 2, Request::Incr(1), 1), get(1, 3, 4, "2")]);
    // A lost one may run once, not twice.
    assert_illegal(vec![op(1, 1, Request::Incr(1), None), get(2, 2, 3, "2")]);
}

#[test]
fn a_lost_write_that_comes_and_goes_is_found() {
    let split = [get(2, 4, 5, "b"), get(2, 6, 7, "a")];
    assert_illegal([vec![set(1, 1, 2, "a"), lost_set(1, 3, "b")], split.to_vec()].concat());
    // Twice, with another write between.
    assert_illegal(vec![
        lost_set(1, 1, "a"),
        get(2, 2, 3, "a"),
        set(2, 4, 5, "b"),
        get(2, 6, 7, "b"),
        get(2, 8, 9, "a"),
    ]);
}

#[test]
fn many_lost_writes_do_not_exhaust_the_search() {
    let history = |lost: u32| {
        let mut operations: Vec<Operation> =
            (0..lost).map(|at| lost_set(at, 1, &format!("lost{at}"))).collect();
        operations.extend((0..lost).map(|at| op(at, 2, Request::Del, None)));
        for at in 0..400 {
            operations.push(set(1000, at * 10 + 10, at * 10 + 12, &format!("v{at}")));
            operations.push(get(1001, at * 10 + 11, at * 10 + 14, &format!("v{at}")));
            operations.push(number(1002, at * 10 + 15, at * 10 + 16, Request::Del, 1));
        }
        operations
    };
    assert_legal(history(300));
    let stale = get(1003, 5_000, 5_001, "v7");
    assert_illegal([history(20), vec![stale]].concat());
}

#[test]
fn limits_that_are_too_small_answer_undecided() {
    let operations: Vec<Operation> = (0..50).map(|at| set(at, 1, 100, &format!("v{at}"))).collect();
    let limits = Limits { tries_per_key: 10, ..Limits::default() };
    let report = check(&operations.into_iter().collect(), &limits);
    assert_eq!((report.violations.len(), report.undecided.len()), (0, 1));
    assert!(!report.is_linearizable());
    assert!(report.to_string().contains("undecided: key \"k\""), "{report}");
}

/// A register with clients that take effect at a random moment between call and return.
mod generated;
