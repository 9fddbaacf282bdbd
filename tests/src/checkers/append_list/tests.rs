use fastrand::Rng;

use super::*;
use crate::checkers::linearizable;

fn op(client: u32, called: u64, request: Request, answer: Option<(u64, Reply)>) -> Operation {
    let outcome = answer.map_or(Outcome::Unknown, |(returned, reply)| Outcome::Ok { returned, reply });
    Operation { client, key: b"list".to_vec(), request, called, outcome }
}

fn append(called: u64, returned: u64, token: &str, length: i64) -> Operation {
    op(1, called, Request::Append(token.into()), Some((returned, Reply::Integer(length))))
}

fn lost(called: u64, token: &str) -> Operation {
    op(2, called, Request::Append(token.into()), None)
}

fn get(called: u64, returned: u64, value: &str) -> Operation {
    let value = (!value.is_empty()).then(|| value.into());
    op(3, called, Request::Get, Some((returned, Reply::Value(value))))
}

#[track_caller]
fn assert_found(operations: Vec<Operation>, what: &str) {
    let history: History = operations.into_iter().collect();
    let violations = check(&history);
    assert_eq!(violations.len(), 1, "{history:#?}");
    assert!(violations[0].to_string().contains(what), "{}", violations[0]);
    assert!(!linearizable::check(&history, &Default::default()).is_linearizable(), "the search agrees");
}

#[test]
fn what_a_list_may_do_passes() {
    for operations in [
        vec![],
        vec![get(1, 2, "")],
        vec![append(1, 2, "a;", 2), append(3, 4, "b;", 4), get(5, 6, "a;b;")],
        // Concurrent appends in either order; a read in between.
        vec![append(1, 9, "a;", 4), append(1, 9, "b;", 2), get(2, 3, "b;"), get(10, 11, "b;a;")],
        // Lost ones come late, or never.
        vec![lost(1, "x;"), append(2, 3, "a;", 2), get(4, 5, "a;"), get(6, 7, "a;x;"), lost(1, "y;")],
        // An append that nobody read yet.
        vec![append(1, 2, "a;", 2), get(3, 4, "a;"), append(5, 6, "b;", 4)],
    ] {
        assert_ordered(&operations.into_iter().collect());
    }
}

#[test]
fn each_kind_of_violation_is_found() {
    let ab = || vec![append(1, 2, "a;", 2), append(3, 4, "b;", 4)];
    let with = |more: Operation| [ab(), vec![more]].concat();
    assert_found(with(get(5, 6, "a;")), "earlier state");
    assert_found(vec![append(1, 2, "a;", 2), get(3, 4, "")], "earlier state");
    assert_found(vec![get(1, 2, "a;"), append(3, 4, "a;", 2)], "earlier state");
    assert_found(vec![get(1, 2, "a;"), lost(3, "a;")], "earlier state");
    assert_found([with(get(5, 6, "a;b;")), vec![get(1, 6, "b;")]].concat(), "different orders");
    assert_found(with(get(5, 6, "b;a;")), "elsewhere");
    assert_found(vec![append(1, 2, "a;", 2), lost(1, "b;"), get(3, 4, "b;")], "missing");
    assert_found(vec![lost(1, "a;"), get(3, 4, "a;a;")], "twice");
    assert_found(vec![get(3, 4, "z;")], "nobody appended");
    assert_found(vec![append(1, 5, "a;", 2), append(1, 5, "b;", 2)], "same bytes");
    assert_found(vec![append(1, 5, "a;", 1)], "less than its own length");
    let failed = Operation { outcome: Outcome::Fail, ..lost(1, "a;") };
    assert_found(vec![failed, get(2, 3, "a;")], "failed for sure");
}

/// Appends and reads that take effect one after the other at a moment between call and return.
fn correct(rng: &mut Rng, operations: u64) -> Vec<Operation> {
    let mut value = String::new();
    let mut history = Vec::new();
    for at in 0..operations {
        let moment = at * 10;
        let (called, returned) = (moment.saturating_sub(rng.u64(0..40)), moment + rng.u64(0..40));
        if rng.bool() {
            history.push(get(called, returned, &value));
            continue;
        }
        let token = format!("t{at};");
        match rng.u8(0..20) {
            0 => history.push(lost(called, &token)),
            effect => {
                value.push_str(&token);
                let length = i64::try_from(value.len()).expect("short");
                history.push(if effect == 1 {
                    lost(called, &token)
                } else {
                    append(called, returned, &token, length)
                });
            }
        }
    }
    history
}

#[test]
fn generated_lists_pass_and_one_changed_read_is_found() {
    for seed in 0..50 {
        let rng = &mut Rng::with_seed(seed);
        let mut operations = correct(rng, 300);
        assert_ordered(&operations.iter().cloned().collect());
        let reads: Vec<usize> =
            (150..operations.len()).filter(|&at| operations[at].request == Request::Get).collect();
        let at = reads[rng.usize(0..reads.len())];
        if let Outcome::Ok { reply: Reply::Value(Some(value)), .. } = &mut operations[at].outcome {
            value.truncate(value.len() / 2);
        }
        assert_eq!(check(&operations.into_iter().collect()).len(), 1, "seed {seed}");
    }
}
