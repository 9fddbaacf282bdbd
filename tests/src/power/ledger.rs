//! What clients have sent and been acknowledged, and whether what a store holds after a power cut agrees with it.
//!
//! Every client writes keys of its own in one order, so that what may be left of them is known exactly:
//!
//! | key | requests | what must be there |
//! |---|---|---|
//! | `u..` | SET, once per key | the value if acknowledged; the value or nothing if not |
//! | `o..` | SET of 1, 2, 3, .. | a number that was sent, not before the last acknowledged one |
//! | `a..` | APPEND of a token | all acknowledged tokens, and of the others any, all in the order they were sent |
//! | `s..` | APPEND of a token, by all clients | the same for each client; and every acknowledged token where its reply said |
//!
//! A key that was judged once must stay as it is: what was lost does not come back.

use std::collections::HashMap;

use crate::client::Value;

/// One request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Once,
    Over,
    Append,
    Shared,
}

/// The requests are sent in this order, over and over.
pub(super) const KINDS: [Kind; 4] = [Kind::Once, Kind::Append, Kind::Over, Kind::Shared];

/// A request and how it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) kind: Kind,
    pub(super) number: u32,
    /// The reply, if it said that the write is done: for an append the length it gave.
    pub(super) acknowledged: Option<i64>,
}

/// What one client did in one round.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) round: u32,
    pub(super) client: u32,
    pub(super) sent: Vec<Sent>,
}

impl Session {
    pub(super) fn key(&self, kind: Kind, number: u32) -> String {
        let Session { round, client, .. } = self;
        match kind {
            Kind::Once => format!("u{round}.{client}.{number}"),
            Kind::Over => format!("o{round}.{client}"),
            Kind::Append => format!("a{round}.{client}"),
            Kind::Shared => format!("s{round}"),
        }
    }

    /// What the request writes.
    pub(super) fn value(&self, kind: Kind, number: u32) -> String {
        match kind {
            Kind::Once => format!("{}-{}-{number}", self.client, self.round),
            Kind::Over => number.to_string(),
            Kind::Append | Kind::Shared => format!("{}.{number};", self.client),
        }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(move |sent| sent.kind == kind)
    }
}

/// What keys hold: those that were read.
pub(super) type Store = HashMap<String, Option<String>>;

/// All keys of a round, one that was never written among them.
pub(super) fn keys(sessions: &[Session]) -> Vec<String> {
    let mut keys = Vec::new();
    for session in sessions {
        keys.extend(session.of(Kind::Once).map(|sent| session.key(sent.kind, sent.number)));
        keys.push(session.key(Kind::Once, u32::MAX));
        keys.extend([Kind::Over, Kind::Append, Kind::Shared].map(|kind| session.key(kind, 0)));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// A reply to GET as what a key holds.
pub(super) fn held(reply: Value) -> Result<Option<String>, String> {
    match reply {
        Value::Bulk(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Value::Null => Ok(None),
        other => Err(format!("a GET was answered {other:?}")),
    }
}

/// Everything that is wrong with what the keys of one round hold.
pub(super) fn judge(sessions: &[Session], store: &Store) -> Vec<String> {
    let mut wrong = Vec::new();
    for session in sessions {
        once(session, store, &mut wrong);
        over(session, store, &mut wrong);
        for kind in [Kind::Append, Kind::Shared] {
            let key = session.key(kind, 0);
            let value = store.get(&key).cloned().flatten().unwrap_or_default();
            appended(session, kind, &key, &value, &mut wrong);
        }
    }
    wrong
}

fn once(session: &Session, store: &Store, wrong: &mut Vec<String>) {
    let never = Sent { kind: Kind::Once, number: u32::MAX, acknowledged: None };
    for sent in session.of(Kind::Once).chain([&never]) {
        let (key, value) = (session.key(sent.kind, sent.number), session.value(sent.kind, sent.number));
        match (store.get(&key).cloned().flatten(), sent.acknowledged) {
            (None, Some(_)) => wrong.push(format!("lost: the acknowledged SET {key} {value}")),
            (Some(held), _) if held != value || sent.number == u32::MAX => {
                wrong.push(format!("invented: {key} holds {held}, and nobody wrote that"));
            }
            _ => {}
        }
    }
}

fn over(session: &Session, store: &Store, wrong: &mut Vec<String>) {
    let key = session.key(Kind::Over, 0);
    let last = session.of(Kind::Over).map(|sent| sent.number).max().unwrap_or_default();
    let acknowledged = session.of(Kind::Over).filter(|sent| sent.acknowledged.is_some());
    let acknowledged = acknowledged.map(|sent| sent.number).max().unwrap_or_default();
    match store.get(&key).cloned().flatten() {
        None if acknowledged == 0 => {}
        None => wrong.push(format!("lost: {key} holds nothing, {acknowledged} was acknowledged")),
        Some(held) => match held.parse::<u32>() {
            Ok(number) if number < acknowledged => {
                wrong.push(format!("lost: {key} holds {number}, {acknowledged} was acknowledged"));
            }
            Ok(number) if (1..=last).contains(&number) => {}
            _ => wrong.push(format!("invented: {key} holds {held}, the last that was sent is {last}")),
        },
    }
}

/// Judges the tokens of one client in a value.
fn appended(session: &Session, kind: Kind, key: &str, value: &str, wrong: &mut Vec<String>) {
    let mut at = 0;
    let mut expected = session.of(kind);
    for token in value.split_inclusive(';') {
        at += token.len();
        if !token.starts_with(&format!("{}.", session.client)) {
            if kind == Kind::Append {
                wrong.push(format!("invented: {key} holds {token}"));
            }
            continue;
        }
        loop {
            let Some(sent) = expected.next() else {
                wrong.push(format!("invented, doubled or out of order: {token} in {key}"));
                return;
            };
            if session.value(kind, sent.number) == token {
                if sent.acknowledged.is_some_and(|length| usize::try_from(length) != Ok(at)) {
                    wrong.push(format!(
                        "moved: {token} ends at {at} of {key}, the reply said {:?}",
                        sent.acknowledged
                    ));
                }
                break;
            }
            if sent.acknowledged.is_some() {
                wrong.push(format!("lost or out of order: {} before {token} in {key}", sent.number));
                return;
            }
        }
    }
    let lost = expected.filter(|sent| sent.acknowledged.is_some());
    wrong.extend(lost.map(|sent| format!("lost: the acknowledged APPEND {key} {}", sent.number)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(acknowledged: u32, sent: u32) -> Session {
        let mut session = Session { round: 1, client: 2, sent: vec![] };
        let mut length = 0;
        for number in 1..=sent {
            for kind in KINDS {
                let reply = if kind == Kind::Append {
                    length += i64::try_from(session.value(kind, number).len()).unwrap();
                    length
                } else {
                    0
                };
                let acknowledged = (number <= acknowledged && kind != Kind::Shared).then_some(reply);
                session.sent.push(Sent { kind, number, acknowledged });
            }
        }
        session
    }

    fn store(pairs: &[(&str, &str)]) -> Store {
        pairs.iter().map(|(key, value)| ((*key).to_string(), Some((*value).to_string()))).collect()
    }

    const FULL: [(&str, &str); 4] =
        [("u1.2.1", "2-1-1"), ("u1.2.2", "2-1-2"), ("o1.2", "2"), ("a1.2", "2.1;2.2;")];

    fn with(key: &str, value: &str) -> Vec<String> {
        let mut store = store(&FULL);
        store.insert(key.into(), Some(value.into()));
        judge(&[session(2, 3)], &store)
    }

    #[test]
    fn what_was_acknowledged_is_enough_and_what_was_sent_is_allowed() {
        assert_eq!(judge(&[session(2, 3)], &store(&FULL)), Vec::<String>::new());
        for (key, value) in [("u1.2.3", "2-1-3"), ("o1.2", "3"), ("a1.2", "2.1;2.2;2.3;"), ("s1", "7.1;2.2;")]
        {
            assert_eq!(with(key, value), Vec::<String>::new(), "{key} {value}");
        }
    }

    #[test]
    fn losses_and_inventions_are_seen() {
        let wrongs = [
            ("u1.2.1", "2-1-2", "invented"),
            ("u1.2.4294967295", "x", "invented"),
            ("o1.2", "1", "lost"),
            ("o1.2", "4", "invented"),
            ("a1.2", "2.1;", "lost"),
            ("a1.2", "2.2;2.1;", "lost"),
            ("a1.2", "2.1;2.2;2.2;", "doubled"),
            ("a1.2", "2.1;2.2;2.9;", "invented"),
            ("a1.2", "2.1;2.2;3.1;", "invented"),
            ("s1", "2.2;2.1;", "out of order"),
        ];
        for (key, value, word) in wrongs {
            let wrong = with(key, value);
            assert!(wrong.iter().any(|line| line.contains(word)), "{key} {value}: {wrong:?}");
        }
        let missing = judge(&[session(2, 3)], &Store::new());
        assert!(missing.len() >= 4 && missing.iter().all(|line| line.contains("lost")), "{missing:?}");
    }
}
