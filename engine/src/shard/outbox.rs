//! What waits for one link: requests passed on to a leader there, and answers to requests from there.

use std::collections::VecDeque;
use std::time::Duration;

use net::frame::TAIL_BYTES_MAX;

use raft::Time;
use smallvec::SmallVec;

use super::request::{Encode, Kind, Outcome, Request, RequestHead};
use crate::wire::{Body, Call, Reply};

/// Requests on their way to one node, unanswered, at most: with 64 connections of 128 pipelined requests
/// each there is room for all of them, and it bounds what a lost link leaves in doubt.
const CALLS_MAX: usize = 16_384;

/// Bytes of requests that wait for the link at most; beyond it requests are held with their group.
const CALL_BYTES_MAX: usize = 4 << 20;

/// How long after its deadline an answer may still come: the way back and a late turn.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Bytes of calls in one frame at most, and of answers (a larger one travels with no other).
const FRAME_CALL_BYTES_MAX: usize = 512 << 10;

/// Bytes of answers that wait for the link at most: more than it carries before they are overdue. Beyond it large ones
/// are dropped, and whoever asked is told that the outcome is unknown.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// An answer up to this size is kept whatever waits: what it says is worth more than its memory.
const SMALL_REPLY_BYTES: usize = 4 << 10;

/// Commands in the tail start where entries do.
const ALIGN: usize = raft::ENTRY_ALIGN;

/// A request sent to another node, until its answer comes.
struct Sent {
    head: RequestHead,
    /// All but a write's bytes are kept, as it may be asked again when the link breaks; a write's are not: whether it
    /// was applied is unknown then.
    query: Option<SmallVec<[u8; 64]>>,
}

/// The outgoing side of one link above Raft.
pub(crate) struct Outbox {
    /// Calls not yet in a frame, oldest first, with their bytes behind one another in `call_bytes`.
    calls: VecDeque<(Call, Time)>,
    call_bytes: Vec<u8>,
    /// How many of `call_bytes` are in frames already.
    framed_bytes: usize,
    /// Answers not yet in a frame, oldest first, with their bytes behind one another in `reply_bytes`.
    replies: VecDeque<Reply>,
    reply_bytes: Vec<u8>,
    /// How many of `reply_bytes` are in frames already.
    framed_reply_bytes: usize,
    /// Unanswered requests by sequence, from `sent_first` on; those in `calls` are at its end.
    sent: VecDeque<Option<Sent>>,
    sent_first: u64,
}

impl Outbox {
    /// An outbox whose requests count from `sent_first`. Two of the same pair of shards, in one start of the node or in
    /// two, must not share numbers: an answer may come after the link broke, on the next one, to a node that has restarted.
    pub(crate) fn counting_from(sent_first: u64) -> Outbox {
        Outbox {
            calls: VecDeque::new(),
            call_bytes: Vec::new(),
            framed_bytes: 0,
            replies: VecDeque::new(),
            reply_bytes: Vec::new(),
            framed_reply_bytes: 0,
            sent: VecDeque::new(),
            sent_first,
        }
    }

    /// Takes a request to pass on. False when the bound is reached: nothing was taken.
    pub(crate) fn pass_on(&mut self, head: RequestHead, body: &dyn Encode) -> bool {
        let bytes = body.encoded_bytes();
        let waiting = self.call_bytes.len() - self.framed_bytes;
        let full = self.sent.len() >= CALLS_MAX || waiting + bytes > CALL_BYTES_MAX;
        if full && !self.sent.is_empty() {
            return false;
        }
        let Ok(call_bytes) = u32::try_from(bytes) else { return false };
        let sequence = self.sent_first + self.sent.len() as u64;
        let is_write = head.kind == Kind::Write && !runtime::mutant!("request.write_repeated");
        let kind = head.kind as u8;
        let call = Call { group: head.group, sequence, kind, time_left_us: 0, bytes: call_bytes };
        let start = self.call_bytes.len();
        self.call_bytes.resize(start + bytes, 0);
        let place = &mut self.call_bytes[start..];
        body.encode(place);
        let query = (!is_write).then(|| SmallVec::from_slice(place));
        self.calls.push_back((call, head.deadline));
        self.sent.push_back(Some(Sent { head, query }));
        true
    }

    /// Adds the answer to a request of the other side.
    pub(crate) fn reply(&mut self, sequence: u64, outcome: Outcome, bytes: &[u8]) {
        let waiting = self.reply_bytes.len() - self.framed_reply_bytes;
        let fits = bytes.len() <= TAIL_BYTES_MAX && waiting + bytes.len() <= REPLY_BYTES_MAX;
        let (outcome, bytes) = match u32::try_from(bytes.len()) {
            Ok(_) if fits || bytes.len() <= SMALL_REPLY_BYTES => (outcome, bytes),
            _ => (Outcome::Unknown, &[][..]),
        };
        let len = u32::try_from(bytes.len()).expect("just seen");
        self.replies.push_back(Reply { sequence, outcome: outcome as u8, bytes: len });
        self.reply_bytes.extend_from_slice(bytes);
    }

    /// Whether what comes first is so large that it may not fit behind `other_bytes` in a frame.
    pub(crate) fn wants_frame_without(&self, other_bytes: usize) -> bool {
        let call = self.calls.front().map_or(0, |(call, _)| call.bytes);
        let reply = self.replies.front().map_or(0, |reply| reply.bytes);
        other_bytes + call.max(reply) as usize + ALIGN > TAIL_BYTES_MAX
    }

    /// Puts what fits into a frame that holds `other_bytes` already: the lists into `body`, the bytes behind one another
    /// into `tail`.
    pub(crate) fn fill(&mut self, body: &mut Body, tail: &mut Vec<u8>, other_bytes: usize, now: Time) {
        self.fill_calls(body, tail, other_bytes, now);
        self.fill_replies(body, tail, other_bytes);
    }

    fn fill_calls(&mut self, body: &mut Body, tail: &mut Vec<u8>, other_bytes: usize, now: Time) {
        let mut bytes = 0;
        while let Some((call, deadline)) = self.calls.front() {
            let call_bytes = call.bytes as usize;
            let full = bytes > 0 && bytes + call_bytes > FRAME_CALL_BYTES_MAX;
            if full || other_bytes + tail.len() + call_bytes + ALIGN > TAIL_BYTES_MAX {
                break;
            }
            bytes += call_bytes;
            let left = deadline.saturating_sub(now).as_micros();
            let call = Call { time_left_us: u32::try_from(left).unwrap_or(u32::MAX), ..*call };
            body.calls.push(call);
            tail.extend_from_slice(&self.call_bytes[self.framed_bytes..self.framed_bytes + call_bytes]);
            self.framed_bytes += call_bytes;
            tail.resize(tail.len().next_multiple_of(ALIGN), 0);
            self.calls.pop_front();
        }
        if self.calls.is_empty() {
            self.call_bytes.clear();
            self.framed_bytes = 0;
        } else if self.framed_bytes > CALL_BYTES_MAX {
            // Under a load that never pauses the framed bytes go now and then: one move for many frames.
            self.call_bytes.drain(..self.framed_bytes);
            self.framed_bytes = 0;
        }
    }

    fn fill_replies(&mut self, body: &mut Body, tail: &mut Vec<u8>, other_bytes: usize) {
        let mut bytes = 0;
        while let Some(reply) = self.replies.front() {
            let reply_bytes = reply.bytes as usize;
            let full = bytes > 0 && bytes + reply_bytes > FRAME_CALL_BYTES_MAX;
            if full || other_bytes + tail.len() + reply_bytes > TAIL_BYTES_MAX {
                break;
            }
            bytes += reply_bytes;
            let start = self.framed_reply_bytes;
            self.framed_reply_bytes += reply_bytes;
            tail.extend_from_slice(&self.reply_bytes[start..self.framed_reply_bytes]);
            body.replies.extend(self.replies.pop_front());
        }
        if self.replies.is_empty() {
            self.reply_bytes.clear();
            self.reply_bytes.shrink_to(CALL_BYTES_MAX); // a burst must not pin its memory
            self.framed_reply_bytes = 0;
        } else if self.framed_reply_bytes > CALL_BYTES_MAX {
            self.reply_bytes.drain(..self.framed_reply_bytes);
            self.framed_reply_bytes = 0;
        }
    }

    /// How full what has a limit is.
    #[cfg(feature = "simulation")]
    pub(crate) fn bounds(&self) -> [super::looks::Bound; 3] {
        use super::looks::Bound;
        let calls = self.call_bytes.len() - self.framed_bytes;
        let replies = self.reply_bytes.len() - self.framed_reply_bytes;
        // A single one may be larger, and small answers are kept whatever waits.
        let call_max = CALL_BYTES_MAX.max(raft::COMMAND_BYTES_MAX);
        let reply_max = REPLY_BYTES_MAX + CALLS_MAX * SMALL_REPLY_BYTES;
        [
            Bound::new("requests passed on, of a link", self.sent.len(), CALLS_MAX),
            Bound::new("bytes of requests for a link", calls, call_max),
            Bound::new("bytes of answers for a link", replies, reply_max),
        ]
    }

    /// How many requests were passed on and not answered.
    #[cfg(feature = "simulation")]
    pub(crate) fn unanswered(&self) -> usize {
        self.sent.len()
    }

    /// True when there is something to put into a frame.
    pub(crate) fn is_pending(&self) -> bool {
        !self.calls.is_empty() || !self.replies.is_empty()
    }

    /// The request that an answer belongs to; `None` when it is no longer waited for.
    pub(crate) fn answered(&mut self, sequence: u64) -> Option<RequestHead> {
        let place = usize::try_from(sequence.checked_sub(self.sent_first)?).ok()?;
        let sent = self.sent.get_mut(place)?.take();
        self.forget_answered();
        sent.map(|sent| sent.head)
    }

    fn forget_answered(&mut self) {
        while self.sent.front().is_some_and(Option::is_none) && !runtime::mutant!("request.keeps_its_place") {
            self.sent.pop_front();
            self.sent_first += 1;
        }
    }

    /// Removes and names the oldest requests whose answer is overdue: the leader answers at the deadline, so one
    /// that is silent well past it has lost the request. Nobody waits for ever on a peer's mistake.
    pub(crate) fn overdue(&mut self, now: Time) -> Vec<RequestHead> {
        let framed = self.sent.len() - self.calls.len();
        let mut overdue = Vec::new();
        for place in 0..framed {
            match &self.sent[place] {
                Some(sent) if sent.head.deadline + ANSWER_GRACE <= now => {
                    overdue.extend(self.sent[place].take().map(|sent| sent.head))
                }
                Some(_) => break,
                None => {}
            }
        }
        self.forget_answered();
        overdue
    }

    /// The link is gone: [`Outbox::give_up`], and answers for the other side are dropped with the link.
    pub(crate) fn lost(&mut self) -> Vec<(RequestHead, Option<Request>)> {
        self.replies.clear();
        (self.reply_bytes, self.framed_reply_bytes) = (Vec::new(), 0);
        self.give_up()
    }

    /// Nobody waits any more for answers to what was passed on: each unanswered request, oldest first, with its bytes if
    /// it surely was not applied (a read, or a write that was never sent). Answers that still come are ignored.
    pub(crate) fn give_up(&mut self) -> Vec<(RequestHead, Option<Request>)> {
        let unsent_from = self.sent.len() - self.calls.len();
        let mut lost = Vec::new();
        for (place, sent) in std::mem::take(&mut self.sent).into_iter().enumerate() {
            self.sent_first += 1;
            let unsent = (place >= unsent_from).then(|| {
                let (call, _) = self.calls.pop_front().expect("as many as counted");
                let start = self.framed_bytes;
                self.framed_bytes += call.bytes as usize;
                self.call_bytes[start..self.framed_bytes].to_vec()
            });
            let Some(sent) = sent else { continue };
            let bytes = unsent.or_else(|| sent.query.map(SmallVec::into_vec));
            lost.push((sent.head, bytes.map(|bytes| Request { head: sent.head, bytes })));
        }
        self.call_bytes.clear();
        self.framed_bytes = 0;
        lost
    }
}

#[cfg(test)]
mod tests {
    use raft::GroupId;

    use super::super::request::ReplyTo;
    use super::*;

    fn head(call: u64, kind: Kind) -> RequestHead {
        let reply_to = ReplyTo::Handle { call };
        RequestHead { group: GroupId(1), kind, reply_to, deadline: Time(2_000_000), proxied: false }
    }

    #[test]
    fn what_was_sent_is_in_doubt_and_what_was_not_comes_back() {
        let mut outbox = Outbox::counting_from(0);
        assert!(outbox.pass_on(head(1, Kind::Write), &b"w1".to_vec()));
        assert!(outbox.pass_on(head(2, Kind::Read), &b"r2".to_vec()));
        assert!(outbox.pass_on(head(3, Kind::Write), &b"w3".to_vec()));
        let (mut body, mut tail) = (Body::default(), Vec::new());
        outbox.fill(&mut body, &mut tail, 0, Time(500_000));
        assert_eq!(body.calls.len(), 3);
        assert_eq!(body.calls[0].time_left_us, 1_500_000);
        assert_eq!(tail.len(), 48, "each command starts on 16 bytes");
        assert!(outbox.pass_on(head(4, Kind::Write), &b"w4".to_vec()));
        assert_eq!(outbox.answered(0).map(|head| head.reply_to), Some(ReplyTo::Handle { call: 1 }));
        assert!(outbox.answered(0).is_none(), "an answer comes once");
        let lost = outbox.lost();
        let seen: Vec<_> =
            lost.iter().map(|(head, back)| (head.reply_to, back.as_ref().map(|r| r.bytes.clone()))).collect();
        assert_eq!(
            seen,
            [
                (ReplyTo::Handle { call: 2 }, Some(b"r2".to_vec())),
                (ReplyTo::Handle { call: 3 }, None),
                (ReplyTo::Handle { call: 4 }, Some(b"w4".to_vec())),
            ]
        );
        assert!(outbox.overdue(Time(9_000_000)).is_empty(), "nothing is waited for");
        assert!(outbox.pass_on(head(5, Kind::Write), &b"w5".to_vec()));
        assert!(outbox.overdue(Time(9_000_000)).is_empty(), "not even sent");
        assert!(outbox.answered(3).is_none(), "sequences never repeat");
        outbox.fill(&mut body, &mut tail, 0, Time(600_000));
        assert!(outbox.overdue(Time(2_500_000)).is_empty(), "its deadline has passed, the grace has not");
        assert_eq!(outbox.answered(4).map(|head| head.reply_to), Some(ReplyTo::Handle { call: 5 }));
        assert!(outbox.pass_on(head(6, Kind::Write), &b"w6".to_vec()));
        outbox.fill(&mut body, &mut tail, 0, Time(600_000));
        assert_eq!(outbox.overdue(Time(3_000_000)).len(), 1);
        assert!(outbox.answered(5).is_none(), "too late");
    }

    #[test]
    fn what_is_given_up_is_not_waited_for_and_the_other_side_gets_its_answers() {
        let mut outbox = Outbox::counting_from(0);
        assert!(outbox.pass_on(head(1, Kind::Write), &b"w1".to_vec()));
        let (mut body, mut tail) = (Body::default(), Vec::new());
        outbox.fill(&mut body, &mut tail, 0, Time(0));
        outbox.reply(7, Outcome::Done, b"+OK");
        assert_eq!(outbox.give_up().len(), 1);
        assert!(outbox.answered(0).is_none(), "too late");
        assert_eq!(frames(&mut outbox, 0), [3]);
    }

    /// Frames until nothing waits; how many bytes each had.
    fn frames(outbox: &mut Outbox, other_bytes: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        while outbox.is_pending() {
            let (mut body, mut tail) = (Body::default(), Vec::new());
            outbox.fill(&mut body, &mut tail, other_bytes, Time(0));
            assert!(!tail.is_empty() && other_bytes + tail.len() <= TAIL_BYTES_MAX, "{} bytes", tail.len());
            sizes.push(tail.len());
        }
        sizes
    }

    #[test]
    fn answers_fill_as_many_frames_as_they_need() {
        let mut outbox = Outbox::counting_from(0);
        (0..8).for_each(|sequence| outbox.reply(sequence, Outcome::Done, &vec![0; 200 << 10]));
        outbox.reply(8, Outcome::Done, &vec![0; 16 << 20]);
        assert_eq!(frames(&mut outbox, 0), [400 << 10, 400 << 10, 400 << 10, 400 << 10, 16 << 20]);
        assert_eq!((outbox.reply_bytes.len(), outbox.framed_reply_bytes), (0, 0));
    }

    #[test]
    fn what_is_large_does_not_share_a_frame() {
        let mut outbox = Outbox::counting_from(0);
        assert!(outbox.pass_on(head(1, Kind::Write), &vec![0; 20 << 20]));
        outbox.reply(1, Outcome::Done, &vec![0; 20 << 20]);
        assert!(!outbox.wants_frame_without(1 << 20));
        assert!(outbox.wants_frame_without(20 << 20));
        assert_eq!(frames(&mut outbox, 1 << 20), [20 << 20, 20 << 20]);
    }

    #[test]
    fn answers_that_nobody_could_take_in_time_are_unknown() {
        let mut outbox = Outbox::counting_from(0);
        let large = vec![0; 1 << 20];
        (0..100).for_each(|sequence| outbox.reply(sequence, Outcome::Done, &large));
        outbox.reply(100, Outcome::Done, b"+OK");
        outbox.reply(101, Outcome::Done, &vec![0; TAIL_BYTES_MAX + 1]);
        let outcomes: Vec<u8> = outbox.replies.iter().map(|reply| reply.outcome).collect();
        let expected = |place| if place < 64 || place == 100 { Outcome::Done } else { Outcome::Unknown };
        assert_eq!(outcomes, (0..102).map(|place| expected(place) as u8).collect::<Vec<_>>());
        assert_eq!(outbox.reply_bytes.len(), (64 << 20) + 3);
    }
}
