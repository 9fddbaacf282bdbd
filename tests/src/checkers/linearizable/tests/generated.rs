use std::collections::HashSet;

use fastrand::Rng;

use super::*;

/// Which requests a history uses.
#[derive(Clone, Copy)]
struct Mix {
    clients: u32,
    operations: usize,
    /// Out of 100.
    unknown: u32,
    requests: &'static [fn(&mut Rng, usize) -> Request],
}

const GET: fn(&mut Rng, usize) -> Request = |_, _| Request::Get;
const SET: fn(&mut Rng, usize) -> Request = |_, at| Request::Set(format!("v{at}").into_bytes());
const SET_NUMBER: fn(&mut Rng, usize) -> Request = |_, at| Request::Set(at.to_string().into_bytes());
const DEL: fn(&mut Rng, usize) -> Request = |_, _| Request::Del;
const INCR: fn(&mut Rng, usize) -> Request = |rng, _| Request::Incr(rng.i64(1..4));
const APPEND: fn(&mut Rng, usize) -> Request = |_, at| Request::Append(format!("{at};").into_bytes());

const MIXES: &[Mix] = &[
    Mix { clients: 8, operations: 3000, unknown: 0, requests: &[GET, SET] },
    Mix { clients: 8, operations: 3000, unknown: 3, requests: &[GET, GET, SET] },
    Mix { clients: 6, operations: 1500, unknown: 2, requests: &[GET, SET, DEL] },
    Mix { clients: 4, operations: 600, unknown: 1, requests: &[GET, SET_NUMBER, DEL, INCR] },
    Mix { clients: 5, operations: 400, unknown: 1, requests: &[GET, INCR] },
    Mix { clients: 4, operations: 400, unknown: 1, requests: &[GET, SET, APPEND] },
];

/// The register again, written without the checker's code.
fn apply(value: &mut Option<Vec<u8>>, request: &Request) -> Reply {
    match request {
        Request::Get => Reply::Value(value.clone()),
        Request::Set(new) => {
            *value = Some(new.clone());
            Reply::Stored
        }
        Request::Del => Reply::Integer(i64::from(value.take().is_some())),
        Request::Incr(by) => {
            let old = value.as_deref().unwrap_or(b"0");
            match String::from_utf8_lossy(old).parse::<i64>() {
                Ok(number) => {
                    *value = Some((number + by).to_string().into_bytes());
                    Reply::Integer(number + by)
                }
                Err(_) => Reply::NotAnInteger,
            }
        }
        Request::Append(tail) => {
            let old = value.get_or_insert_default();
            old.extend_from_slice(tail);
            Reply::Integer(i64::try_from(old.len()).expect("short"))
        }
    }
}

/// A history that a correct server could have produced.
fn correct(mix: Mix, rng: &mut Rng) -> Vec<Operation> {
    let mut clients: Vec<(u64, u32)> = (0..mix.clients).map(|client| (0, client)).collect();
    let mut numbers = mix.clients;
    // (moment of effect, operation), the moment u64::MAX for never.
    let mut planned: Vec<(u64, Operation)> = Vec::new();
    for at in 0..mix.operations {
        let slot = rng.usize(0..clients.len());
        let called = clients[slot].0 + rng.u64(1..50);
        let returned = called + rng.u64(1..100);
        let request = mix.requests[rng.usize(0..mix.requests.len())](rng, at);
        let lost = rng.u32(0..100) < mix.unknown;
        let effect = match (lost, rng.u8(0..3)) {
            (true, 0) => u64::MAX,
            (true, 1) => returned + rng.u64(0..2_000),
            _ => rng.u64(called..=returned),
        };
        let answer = (!lost).then_some((returned, Reply::Stored));
        planned.push((effect, op(clients[slot].1, called, request, answer)));
        clients[slot].0 = returned;
        if lost {
            clients[slot].1 = numbers;
            numbers += 1;
        }
    }
    planned.sort_by_key(|(effect, _)| *effect);
    let mut value = None;
    for (effect, operation) in &mut planned {
        let answer = if *effect == u64::MAX { Reply::Stored } else { apply(&mut value, &operation.request) };
        if let Outcome::Ok { reply, .. } = &mut operation.outcome {
            *reply = answer;
        }
    }
    planned.into_iter().map(|(_, operation)| operation).collect()
}

/// Makes one read return a value that had been overwritten before the read was called, and before
/// which nothing else could have brought it back. False if the history offers no such place.
fn plant_stale_read(operations: &mut [Operation], rng: &mut Rng) -> bool {
    let answered_sets = |o: &&Operation| matches!(o.request, Request::Set(_)) && o.returned().is_some();
    let sets: Vec<Operation> = operations.iter().filter(answered_sets).cloned().collect();
    let reads: Vec<usize> =
        (0..operations.len()).filter(|&at| operations[at].request == Request::Get).collect();
    for _ in 0..1000 {
        let (old, new) = (&sets[rng.usize(0..sets.len())], &sets[rng.usize(0..sets.len())]);
        let read = &mut operations[reads[rng.usize(0..reads.len())]];
        let after = |first: &Operation, second: u64| first.returned().is_some_and(|end| end < second);
        if !after(old, new.called) || !after(new, read.called) {
            continue;
        }
        if let (Request::Set(value), Outcome::Ok { reply, .. }) = (&old.request, &mut read.outcome) {
            *reply = Reply::Value(Some(value.clone()));
            return true;
        }
    }
    false
}

#[test]
fn histories_of_a_correct_register_pass() {
    for (number, mix) in MIXES.iter().enumerate() {
        for seed in 0..8 {
            let operations = correct(*mix, &mut Rng::with_seed(seed));
            let report = report(operations);
            assert!(report.is_linearizable(), "mix {number} seed {seed}: {report}");
        }
    }
}

#[test]
fn the_same_histories_pass_when_they_are_cut_into_small_windows() {
    for (number, mix) in MIXES.iter().enumerate() {
        let mix = Mix { clients: 2, ..*mix };
        for seed in 100..104 {
            let history = correct(mix, &mut Rng::with_seed(seed)).into_iter().collect();
            let report = check(&history, &Limits { window_len: 20, ..Limits::default() });
            assert!(report.is_linearizable(), "mix {number} seed {seed}: {report}");
        }
    }
}

#[test]
fn one_stale_read_in_such_a_history_is_found() {
    for (number, mix) in MIXES.iter().take(3).enumerate() {
        for seed in 0..3 {
            for (clients, window_len) in [(mix.clients, 10_000), (2, 50)] {
                let mut rng = Rng::with_seed(seed);
                let mut operations = correct(Mix { clients, ..*mix }, &mut rng);
                assert!(plant_stale_read(&mut operations, &mut rng), "mix {number} seed {seed}");
                let limits = Limits { window_len, ..Limits::default() };
                let report = check(&operations.into_iter().collect(), &limits);
                assert_eq!(
                    report.violations.len(),
                    1,
                    "mix {number} seed {seed} window {window_len}: {report}"
                );
            }
        }
    }
}

#[test]
fn one_increment_answered_twice_with_the_same_sum_is_found() {
    for seed in 0..8 {
        let mut rng = Rng::with_seed(seed);
        let mix = Mix { clients: 4, operations: 300, unknown: 1, requests: &[INCR] };
        let mut operations = correct(mix, &mut rng);
        let answered: Vec<usize> =
            (0..operations.len()).filter(|&at| operations[at].returned().is_some()).collect();
        let from = answered[rng.usize(0..answered.len() / 2)];
        let to = answered[rng.usize(answered.len() / 2..answered.len())];
        let Outcome::Ok { reply: copied, .. } = operations[from].outcome.clone() else { continue };
        if let Outcome::Ok { reply, .. } = &mut operations[to].outcome {
            *reply = copied;
        }
        let report = report(operations);
        assert_eq!(report.violations.len(), 1, "seed {seed}: {report}");
    }
}

/// Tries every order of every choice of unanswered operations.
fn has_an_order(rest: &[&Operation], value: &Option<Vec<u8>>) -> bool {
    let must: Vec<&&Operation> = rest.iter().filter(|o| o.returned().is_some()).collect();
    let Some(first_return) = must.iter().filter_map(|o| o.returned()).min() else { return true };
    (0..rest.len()).filter(|&at| rest[at].called <= first_return).any(|at| {
        let mut value = value.clone();
        let reply = apply(&mut value, &rest[at].request);
        let fits = match &rest[at].outcome {
            Outcome::Ok { reply: seen, .. } => *seen == reply,
            _ => true,
        };
        fits && has_an_order(&[&rest[..at], &rest[at + 1..]].concat(), &value)
    })
}

fn arbitrary(rng: &mut Rng) -> Vec<Operation> {
    let value = |rng: &mut Rng| rng.u8(b'1'..=b'3');
    (0..rng.u32(1..8))
        .map(|client| {
            let (request, reply) = match rng.u8(0..8) {
                0 | 1 => (Request::Set(vec![value(rng)]), Reply::Stored),
                2 => (Request::Del, Reply::Integer(rng.i64(0..2))),
                3 => (Request::Incr(1), Reply::Integer(rng.i64(1..5))),
                4 => (Request::Append(vec![value(rng)]), Reply::Integer(rng.i64(1..3))),
                _ => (Request::Get, Reply::Value((rng.u8(0..5) > 0).then(|| vec![value(rng)]))),
            };
            let called = rng.u64(0..12);
            op(client, called, request, (rng.u8(0..4) > 0).then_some((called + rng.u64(1..6), reply)))
        })
        .collect()
}

#[test]
fn small_arbitrary_histories_are_judged_as_by_trying_every_order() {
    let mut verdicts = HashSet::new();
    for seed in 0..20_000 {
        let operations = arbitrary(&mut Rng::with_seed(seed));
        let expected = has_an_order(&operations.iter().collect::<Vec<_>>(), &None);
        let history: History = operations.into_iter().collect();
        for window_len in [1, 1000] {
            let report = check(&history, &Limits { window_len, ..Limits::default() });
            assert!(report.undecided.is_empty());
            assert_eq!(report.is_linearizable(), expected, "seed {seed} window {window_len}: {history:#?}");
            for violation in report.violations {
                let evidence: Vec<&Operation> = violation.operations.iter().collect();
                assert!(!evidence.is_empty(), "seed {seed}");
            }
        }
        verdicts.insert(expected);
    }
    assert_eq!(verdicts.len(), 2, "both verdicts occur");
}
