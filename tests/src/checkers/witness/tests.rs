use fastrand::Rng;

use super::*;

/// Keys of group 1 begin with `a`, all others are of group 2.
fn group_of(key: &[u8]) -> u32 {
    if key.starts_with(b"a") { 1 } else { 2 }
}

/// A history in the making: requests with what became of them.
#[derive(Clone, Default)]
struct Story {
    operations: Vec<Operation>,
    witness: Witness,
}

/// When it was called, and when it returned.
type Times = (u64, u64);

impl Story {
    fn ask(mut self, client: u32, key: &str, request: Request, called: u64, outcome: Outcome) -> Story {
        self.operations.push(Operation { client, key: key.into(), request, called, outcome });
        self
    }

    /// The newest request is the entry at `index`.
    fn applied(mut self, index: u64, reply: Reply) -> Story {
        let at = self.operations.len() - 1;
        let group = group_of(&self.operations[at].key);
        self.witness.entries.push(Entry { group, index, operation: Some(at), reply });
        self
    }

    /// A write, acknowledged with the reply of its entry.
    fn write(self, client: u32, key: &str, request: Request, time: Times, index: u64, reply: Reply) -> Story {
        let outcome = Outcome::Ok { returned: time.1, reply: reply.clone() };
        self.ask(client, key, request, time.0, outcome).applied(index, reply)
    }

    fn set(self, client: u32, key: &str, value: &str, time: Times, index: u64) -> Story {
        self.write(client, key, Request::Set(value.into()), time, index, Reply::Stored)
    }

    /// A SET without an answer, so far applied nowhere.
    fn lost(self, client: u32, key: &str, value: &str, called: u64) -> Story {
        self.ask(client, key, Request::Set(value.into()), called, Outcome::Unknown)
    }

    /// A machine answers a read at a time, in the state at an index.
    fn machine(mut self, key: &str, value: &str, at: u64, index: u64) -> Story {
        let group = group_of(key.as_bytes());
        let value = (!value.is_empty()).then(|| value.into());
        self.witness.answers.push(Answer { group, first: index, last: index, at, key: key.into(), value });
        self
    }

    /// A read, answered by a machine just before it returned.
    fn get(self, client: u32, key: &str, value: &str, time: Times, index: u64) -> Story {
        let seen = (!value.is_empty()).then(|| value.into());
        let outcome = Outcome::Ok { returned: time.1, reply: Reply::Value(seen) };
        self.ask(client, key, Request::Get, time.0, outcome).machine(key, value, time.1, index)
    }

    #[track_caller]
    fn passes(&self, placed: usize) {
        match check(&self.operations, &self.witness, group_of) {
            Ok(found) => assert_eq!(found, placed),
            Err(violation) => panic!("{violation}"),
        }
    }

    #[track_caller]
    fn fails(&self, what: &str) {
        match check(&self.operations, &self.witness, group_of) {
            Ok(_) => panic!("passes, and should not for: {what}"),
            Err(violation) => assert!(violation.to_string().contains(what), "{violation}"),
        }
    }
}

fn story() -> Story {
    Story::default()
}

#[test]
fn what_may_be_passes() {
    story().passes(0);
    let number = Reply::Integer;
    // Every kind of request; indexes may have gaps, since not every entry is a request.
    story()
        .set(1, "a", "5", (1, 2), 3)
        .write(1, "a", Request::Incr(2), (3, 4), 4, number(7))
        .write(1, "a", Request::Append(b"x".to_vec()), (5, 6), 8, number(2))
        .write(1, "a", Request::Incr(1), (7, 8), 9, Reply::NotAnInteger)
        .get(1, "a", "7x", (9, 10), 9)
        .write(1, "a", Request::Del, (11, 12), 10, number(1))
        .write(1, "a", Request::Del, (13, 14), 11, number(0))
        .get(1, "a", "", (15, 16), 11)
        .passes(8);
    // Concurrent writes in either order; groups have nothing to do with each other.
    story().set(1, "a", "x", (1, 9), 2).set(2, "a", "y", (1, 9), 1).set(3, "b", "z", (10, 11), 1).passes(3);
    // A read beside a write sees it or not; at one and the same time nothing is before.
    story().set(1, "a", "x", (2, 9), 1).get(2, "a", "", (3, 4), 0).get(2, "a", "x", (5, 6), 1).passes(3);
    story().set(1, "a", "x", (1, 5), 1).get(2, "a", "", (5, 5), 0).passes(2);
    // Requests without an answer come late, or never; refused ones never.
    let late = story().lost(1, "a", "x", 1).applied(2, Reply::Stored).set(2, "a", "y", (3, 4), 1);
    late.lost(3, "a", "z", 1)
        .ask(4, "a", Request::Set(b"w".to_vec()), 1, Outcome::Fail)
        .get(5, "a", "x", (5, 6), 2)
        .passes(3);
    // An answer that nobody heard, before the one that was heard.
    story().set(1, "a", "x", (1, 2), 1).machine("a", "x", 4, 1).get(2, "a", "x", (3, 5), 1).passes(2);
}

#[test]
fn a_read_stands_at_the_earliest_place_that_explains_it() {
    // Its answer was given twice in its time: by the earlier one, the next write may be before its return.
    let twice = story().get(1, "a", "", (1, 9), 4).machine("a", "", 2, 0);
    let twice = |index: u64| twice.clone().set(2, "b", "x", (20, 21), 1).set(2, "a", "x", (10, 11), index);
    twice(1).fails("is answered (nil)");
    twice(5).passes(3);
    let keys = story().get(1, "a1", "", (1, 9), 4).machine("a1", "", 2, 0);
    keys.clone().set(2, "a2", "x", (10, 11), 1).passes(2);
    // A state that was restored and is that of entries 2 to 5.
    let mut restored = story().set(1, "a1", "x", (1, 2), 2).get(2, "a1", "x", (3, 4), 5);
    restored.witness.answers[0].first = 2;
    restored.set(3, "a2", "y", (5, 6), 4).passes(3);
}

#[test]
fn each_kind_of_violation_of_entries_is_found() {
    let one = || story().set(1, "a", "x", (1, 2), 1);
    one().applied(2, Reply::Stored).fails("applied twice, at 1 and 2");
    story().lost(1, "a", "x", 1).applied(1, Reply::Stored).applied(4, Reply::Stored).fails("applied twice");
    let refused = story().ask(1, "a", Request::Set(b"x".to_vec()), 1, Outcome::Fail);
    refused.applied(7, Reply::Stored).fails("refused, and applied at 7");
    let mut lost = one();
    lost.witness.entries.clear();
    lost.fails("acknowledged, and applied nowhere");
    let mut invented = one();
    invented.witness.entries.push(Entry { group: 1, index: 9, operation: None, reply: Reply::Stored });
    invented.fails("nobody asked for what was applied at 9");
    let mut elsewhere = one();
    elsewhere.witness.entries[0].group = 2;
    elsewhere.fails("has not this key");
    let mut other = one();
    other.witness.entries[0].reply = Reply::Integer(1);
    other.fails("the reply is not that of entry 1");
    one().write(1, "a", Request::Del, (3, 4), 2, Reply::Integer(0)).fails("answers 0, not 1");
}

#[test]
fn each_kind_of_violation_of_order_is_found() {
    let one = || story().set(1, "a1", "x", (1, 2), 5);
    one().set(2, "a2", "y", (3, 4), 4).fails("the second stands at 4 of group 1, the first, before it, at 5");
    one().lost(2, "a2", "y", 3).applied(4, Reply::Stored).fails("the second stands at 4");
    one()
        .get(2, "a2", "", (3, 4), 4)
        .fails("the second saw group 1 as of 4, the first, before it, stands at 5");
    one().get(2, "a1", "", (3, 4), 4).fails("the second saw");
    // No read goes back behind another, whatever it reads; no write in front of what was read already.
    let read = one().get(2, "a2", "", (1, 3), 8);
    read.clone().get(3, "a2", "", (4, 5), 7).fails("the second saw group 1 as of 7");
    read.clone().set(3, "a2", "y", (4, 5), 9).passes(3);
    read.set(3, "a3", "y", (4, 5), 8).fails("the second stands at 8");
    // Nobody answered so, or not in its time.
    let mut unheard = one().get(2, "a1", "x", (3, 4), 5);
    unheard.witness.answers[0].at = 9;
    unheard.fails("no machine answered so in its time");
    one().get(2, "a1", "z", (3, 4), 5).fails("is answered \"z\", not \"x\"");
}

#[test]
fn requests_of_one_client_take_effect_in_the_order_sent() {
    // Sent in one write, so that time says nothing.
    let first = || story().set(1, "a1", "x", (1, 9), 5);
    first().set(1, "a2", "y", (1, 9), 4).fails("the second stands at 4");
    first().set(2, "a2", "y", (1, 9), 4).passes(2);
    first().set(1, "b", "y", (1, 9), 4).passes(2);
    first().lost(1, "a2", "y", 1).applied(4, Reply::Stored).passes(2);
    first().get(1, "a1", "", (1, 9), 4).fails("the second saw");
    story().get(1, "a1", "x", (1, 9), 5).set(1, "a1", "x", (1, 9), 5).fails("the second stands at 5");
}

/// A history of a correct register under random clients: entries are applied some time between call and return.
fn generated(rng: &mut Rng) -> Story {
    let mut story = story();
    let (mut registers, mut at) = ([HashMap::new(), HashMap::new()], 0);
    let keys: [&[u8]; 4] = [b"a1", b"a2", b"b1", b"b2"];
    let mut applied = [0_u64; 2];
    let mut free = [0_u64; 6];
    for number in 0..rng.u64(20..120) {
        at += rng.u64(..4);
        let client = rng.usize(..free.len());
        let (called, key) =
            (at.saturating_sub(rng.u64(..6)).max(free[client]), rng.choice(keys).expect("some"));
        at = at.max(called);
        let returned = at + rng.u64(..6);
        free[client] = returned + 1;
        let group = usize::from(!key.starts_with(b"a"));
        let request = match rng.u8(..6) {
            0 => Request::Set(number.to_string().into_bytes()),
            1 => Request::Append(format!("{number};").into_bytes()),
            2 => Request::Incr(i64::try_from(number).expect("small")),
            3 => Request::Del,
            _ => Request::Get,
        };
        let is_read = request == Request::Get;
        applied[group] += u64::from(!is_read);
        let reply = apply(&mut registers[group], key, &request);
        let name = std::str::from_utf8(key).expect("text");
        if let Reply::Value(value) = &reply {
            let value = value.as_ref().map_or("", |value| std::str::from_utf8(value).expect("text"));
            story = story.machine(name, value, at, applied[group]);
        }
        let known = rng.u8(..8) > 0;
        let outcome = if known { Outcome::Ok { returned, reply: reply.clone() } } else { Outcome::Unknown };
        let author = if known {
            u32::try_from(client).expect("few")
        } else {
            1000 + u32::try_from(number).expect("few")
        };
        story = story.ask(author, name, request, called, outcome);
        if !is_read {
            story = story.applied(applied[group], reply);
        }
    }
    story
}

#[test]
fn correct_histories_pass_and_falsified_ones_do_not() {
    let rng = &mut Rng::with_seed(7);
    let mut caught = [0; 4];
    for _ in 0..500 {
        let story = generated(rng);
        check(&story.operations, &story.witness, group_of).unwrap_or_else(|violation| panic!("{violation}"));
        let Witness { entries, answers } = &story.witness;
        for (way, caught) in caught.iter_mut().enumerate() {
            let mut bad = story.clone();
            let (entry, answer) = (rng.usize(..entries.len()), rng.usize(..answers.len().max(1)));
            match way {
                0 => drop(bad.witness.entries.remove(entry)),
                1 => bad.witness.entries[entry].reply = Reply::Integer(-1),
                2 if answer < answers.len() => bad.witness.answers[answer].value = Some(b"never".to_vec()),
                3 if answer < answers.len() => {
                    let Answer { first, last, .. } = &mut bad.witness.answers[answer];
                    (*first, *last) = (first.saturating_sub(4), last.saturating_sub(4));
                }
                _ => continue,
            }
            *caught += u32::from(check(&bad.operations, &bad.witness, group_of).is_err());
        }
    }
    // What was taken away may have been unanswered and unread; a state a few entries ago may hold the same, to nobody's harm.
    assert!(caught[0] > 400 && caught[1] > 480 && caught[2] > 480 && caught[3] > 300, "{caught:?}");
}
