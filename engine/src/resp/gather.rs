//! One reply of many: what the parts of a scattered request answer, put together.

use super::proto;
use super::strings::Picked;
use net::resp::{Proto, reply};

/// Errors that promise that nothing was applied.
const NOT_APPLIED: [&[u8]; 2] = [b"-CLUSTERDOWN ", b"-NOSPACE "];

/// What is said of a command of which one part was not applied, and another was or may be.
const PARTLY: &[u8] =
    b"-TIMEOUT outcome unknown: one part of the command was not applied, another was or may be\r\n";

/// Collects the replies of a scattered request's parts, in any order. If a part fails, the whole reply is its
/// error (the first one's, in the order of parts), unless that says that nothing was applied while other parts of a command
/// that may write have taken effect, or may have.
#[derive(Debug)]
pub struct Gather {
    merge: Merge,
    replies: Vec<Option<Vec<u8>>>,
    missing: usize,
}

#[derive(Debug)]
enum Merge {
    /// Integers are added up.
    Sum,
    /// Every part says OK.
    Ok,
    /// Arrays whose elements go where the arguments stood that each part got.
    Values(Vec<Picked>),
    /// Arrays end to end.
    Concat,
    /// One of the keys, each by the chance that its part's count gives it.
    RandomKey(u64),
    /// What the node directory or a leader answers, in words.
    Words(Worded),
}

/// Puts an answer that is no RESP into words; `None`: it is none.
pub(super) type Worded = fn(&[u8], &mut Vec<u8>) -> Option<()>;

impl Gather {
    fn new(merge: Merge, parts: usize) -> Self {
        Self { merge, replies: vec![None; parts], missing: parts }
    }

    pub(super) fn sum(parts: usize) -> Self {
        Self::new(Merge::Sum, parts)
    }

    pub(super) fn ok(parts: usize) -> Self {
        Self::new(Merge::Ok, parts)
    }

    pub(super) fn values(picked: Vec<Picked>) -> Self {
        let parts = picked.len();
        Self::new(Merge::Values(picked), parts)
    }

    pub(super) fn concat(parts: usize) -> Self {
        Self::new(Merge::Concat, parts)
    }

    pub(super) fn random_key(parts: usize, seed: u64) -> Self {
        Self::new(Merge::RandomKey(seed), parts)
    }

    pub(super) fn words(worded: Worded) -> Self {
        Self::new(Merge::Words(worded), 1)
    }

    /// How many parts have not answered yet.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// About how many bytes the collected replies take.
    pub fn bytes(&self) -> usize {
        self.replies.iter().flatten().map(Vec::len).sum()
    }

    /// Takes the RESP2 reply of part number `part`: its place in the plan. Answers whether all parts are there. A
    /// second reply of a part, and one of a part that does not exist, changes nothing.
    pub fn add(&mut self, part: usize, reply: &[u8]) -> bool {
        if let Some(slot @ None) = self.replies.get_mut(part) {
            *slot = Some(reply.to_vec());
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// Writes the whole reply. Parts that never answered make it an error.
    pub fn finish(&self, proto: Proto, out: &mut Vec<u8>) {
        let error = self.replies.iter().flatten().find(|reply| reply.first() == Some(&b'-'));
        if let Some(error) = error {
            let is_refusal = |reply: &[u8]| NOT_APPLIED.iter().any(|word| reply.starts_with(word));
            let may_write = matches!(self.merge, Merge::Sum | Merge::Ok);
            let all = self.replies.iter().flatten().all(|reply| is_refusal(reply));
            let is_partly = may_write && is_refusal(error) && !all;
            return out.extend_from_slice(if is_partly { PARTLY } else { error });
        }
        let start = out.len();
        if self.merge(proto, out).is_none() {
            out.truncate(start);
            reply::error(out, format_args!("ERR a part of the request was not answered as it should be"));
        }
    }

    fn merge(&self, proto: Proto, out: &mut Vec<u8>) -> Option<()> {
        let replies: Vec<&[u8]> = self.replies.iter().map(Option::as_deref).collect::<Option<_>>()?;
        match &self.merge {
            Merge::Sum => {
                let sum =
                    replies.iter().try_fold(0_i64, |sum, reply| sum.checked_add(proto::integer(reply)?))?;
                reply::integer(out, sum);
            }
            Merge::Ok => {
                if replies.iter().any(|reply| *reply != b"+OK\r\n") {
                    return None;
                }
                reply::ok(out);
            }
            Merge::Values(picked) => values(&replies, picked, proto, out)?,
            Merge::Concat => {
                let arrays: Vec<(usize, &[u8])> =
                    replies.iter().map(|reply| proto::array(reply)).collect::<Option<_>>()?;
                reply::array_header(out, arrays.iter().map(|(len, _)| len).sum());
                arrays.iter().for_each(|(_, body)| out.extend_from_slice(body));
            }
            Merge::Words(worded) => worded(replies.first()?, out)?,
            Merge::RandomKey(seed) => match random_key(&replies, *seed)? {
                Some(key) => out.extend_from_slice(key),
                None => reply::null(out, proto),
            },
        }
        Some(())
    }
}

fn values(replies: &[&[u8]], picked: &[Picked], proto: Proto, out: &mut Vec<u8>) -> Option<()> {
    let mut elements: Vec<(u32, &[u8])> = Vec::new();
    for (reply, picked) in replies.iter().zip(picked) {
        let (len, mut body) = proto::array(reply)?;
        if len != picked.len() {
            return None;
        }
        for &at in picked {
            let (element, rest) = proto::split(body)?;
            elements.push((at, element));
            body = rest;
        }
    }
    elements.sort_unstable_by_key(|&(at, _)| at);
    reply::array_header(out, elements.len());
    elements.iter().for_each(|(_, element)| proto::to_proto(element, proto, out));
    Some(())
}

/// Of parts that answered how many keys they have and one of them: one, as if picked from all keys.
fn random_key<'r>(replies: &[&'r [u8]], seed: u64) -> Option<Option<&'r [u8]>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut total = 0_u64;
    let mut chosen = None;
    for reply in replies {
        let (len, body) = proto::array(reply)?;
        let (count, key) = proto::split(body)?;
        let count = u64::try_from(proto::integer(count)?).ok()?;
        if len != 2 || count == 0 {
            continue;
        }
        total = total.checked_add(count)?;
        if rng.u64(..total) < count {
            chosen = Some(key);
        }
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn gathered(mut gather: Gather, replies: &[&[u8]]) -> Vec<u8> {
        for (part, reply) in replies.iter().enumerate().rev() {
            assert_eq!(gather.add(part, reply), part == 0, "complete with the last one");
            assert_eq!(gather.missing(), part);
            gather.add(part, b"-ERR a second reply\r\n");
        }
        let mut out = Vec::new();
        gather.finish(Proto::Resp3, &mut out);
        out
    }

    #[test]
    fn parts_become_one_reply() {
        assert_eq!(gathered(Gather::sum(3), &[b":1\r\n", b":0\r\n", b":41\r\n"]), b":42\r\n");
        assert_eq!(gathered(Gather::ok(2), &[b"+OK\r\n", b"+OK\r\n"]), b"+OK\r\n");
        let values = Gather::values(vec![smallvec![1, 4], smallvec![2, 3]]);
        let parts: [&[u8]; 2] = [b"*2\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n$2\r\n\r\n\r\n$0\r\n\r\n"];
        assert_eq!(gathered(values, &parts), b"*4\r\n$1\r\na\r\n$2\r\n\r\n\r\n$0\r\n\r\n_\r\n");
        let parts: [&[u8]; 3] = [b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*2\r\n$1\r\nb\r\n$1\r\nc\r\n"];
        assert_eq!(gathered(Gather::concat(3), &parts), b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    }

    #[test]
    fn no_parts_at_all_make_an_empty_reply() {
        assert_eq!(gathered(Gather::sum(0), &[]), b":0\r\n");
        assert_eq!(gathered(Gather::ok(0), &[]), b"+OK\r\n");
        assert_eq!(gathered(Gather::concat(0), &[]), b"*0\r\n");
        assert_eq!(gathered(Gather::random_key(0, 1), &[]), b"_\r\n");
    }

    #[test]
    fn the_first_error_is_the_reply() {
        let parts: [&[u8]; 3] = [b":1\r\n", b"-TIMEOUT one\r\n", b"-ERR two\r\n"];
        assert_eq!(gathered(Gather::sum(3), &parts), b"-TIMEOUT one\r\n");
        let parts: [&[u8]; 2] = [b"-CLUSTERDOWN one\r\n", b"*0\r\n"];
        assert_eq!(gathered(Gather::concat(2), &parts), b"-CLUSTERDOWN one\r\n", "nothing to apply");
    }

    /// Seed 109837 of the node simulator: a DEL of two keys was refused for one and done for the other.
    #[test]
    fn who_applied_a_part_does_not_say_that_nothing_was_applied() {
        for merge in [Gather::sum, Gather::ok] {
            for other in [&b":1\r\n"[..], b"+OK\r\n", b"-TIMEOUT perhaps\r\n"] {
                for refusal in [&b"-CLUSTERDOWN no\r\n"[..], b"-NOSPACE no\r\n"] {
                    assert_eq!(gathered(merge(2), &[refusal, other]), PARTLY);
                }
            }
            let refusals: [&[u8]; 2] = [b"-NOSPACE no\r\n", b"-CLUSTERDOWN no\r\n"];
            assert_eq!(gathered(merge(2), &refusals), refusals[0], "no part was");
        }
    }

    #[test]
    fn replies_of_the_wrong_shape_and_missing_ones_are_errors() {
        let wrong: [(Gather, &[u8]); 6] = [
            (Gather::sum(1), b"+OK\r\n"),
            (Gather::ok(1), b":1\r\n"),
            (Gather::values(vec![smallvec![1]]), b"*2\r\n:1\r\n:2\r\n"),
            (Gather::values(vec![smallvec![1, 2]]), b"*2\r\n:1\r\n"),
            (Gather::concat(1), b"$-1\r\n"),
            (Gather::random_key(1, 0), b"*2\r\n$1\r\na\r\n:1\r\n"),
        ];
        for (gather, reply) in wrong {
            assert!(gathered(gather, &[reply]).starts_with(b"-ERR a part"));
        }
        let mut out = Vec::new();
        Gather::sum(1).finish(Proto::Resp2, &mut out);
        assert!(out.starts_with(b"-ERR a part"));
    }

    #[test]
    fn a_length_that_no_answer_has_is_an_error() {
        let parts: [&[u8]; 2] = [b"*9223372036854775807\r\n", b"*9223372036854775807\r\n"];
        assert!(gathered(Gather::concat(2), &parts).starts_with(b"-ERR a part"));
        assert!(gathered(Gather::random_key(2, 0), &parts).starts_with(b"-ERR a part"));
        assert!(gathered(Gather::concat(1), &[b"*2\r\n$"]).starts_with(b"-ERR a part"));
    }

    #[test]
    fn random_keys_come_in_proportion_to_how_many_there_are() {
        let parts: [&[u8]; 3] = [b"*2\r\n:10\r\n$1\r\na\r\n", b"*1\r\n:0\r\n", b"*2\r\n:90\r\n$1\r\nb\r\n"];
        let a =
            (0..1000).filter(|&seed| gathered(Gather::random_key(3, seed), &parts) == b"$1\r\na\r\n").count();
        assert!((50..200).contains(&a), "{a} of 1000");
    }
}
