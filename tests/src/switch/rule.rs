//! What becomes of frames on their way from one port to another.

use std::time::Duration;

use fastrand::Rng;

use super::corrupt::flip;

/// A held frame waits this much longer than those behind it.
const HELD_BACK: Duration = Duration::from_millis(5);
/// What would wait longer than this for a slow link is dropped, as a router's queue does.
const QUEUE_MAX: Duration = Duration::from_millis(300);

/// How frames from one port to another fare. The default lets everything pass at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing passes.
    pub cut: bool,
    /// The share of frames that are lost, 0 to 1.
    pub loss: f64,
    /// Every frame takes this long.
    pub delay: Duration,
    /// And up to this much longer, each by itself: so jitter reorders frames, too.
    pub jitter: Duration,
    /// The share of frames that come twice, the second time up to 5 ms later.
    pub duplication: f64,
    /// The share of frames that are overtaken by those of the next 5 ms.
    pub reordering: f64,
    /// The share of frames of which a bit is flipped behind TCP's back.
    pub corruption: f64,
    /// How much passes in a second; the rest queues for up to 300 ms, then is lost. `None`: as much as comes.
    pub rate_bytes: Option<u64>,
}

impl Rule {
    /// Nothing passes.
    pub const CUT: Rule = Rule {
        cut: true,
        loss: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        duplication: 0.0,
        reordering: 0.0,
        corruption: 0.0,
        rate_bytes: None,
    };

    /// A share of the frames is lost.
    pub fn lossy(loss: f64) -> Rule {
        Rule { loss, ..Rule::default() }
    }

    /// Frames take a while, and some a while longer.
    pub fn slow(delay: Duration, jitter: Duration) -> Rule {
        Rule { delay, jitter, ..Rule::default() }
    }
}

/// What has happened on one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames that were passed on, each once.
    pub frames: u64,
    /// Frames that were passed on twice.
    pub doubled: u64,
    /// Frames that were held up by a delay, a queue or to be overtaken.
    pub held: u64,
    /// Frames that were lost or cut off.
    pub lost: u64,
    /// Frames that were damaged, of those passed on.
    pub corrupted: u64,
}

/// One ordered pair of ports.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub rule: Rule,
    pub passed: Passed,
    /// With a limited rate: when the link will have sent all it has, after the switch's start.
    busy_until: Duration,
}

/// When to pass a frame on. Zero means at once; the second is that of its double.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    pub first: Option<Duration>,
    pub second: Option<Duration>,
}

fn chance_of(share: f64, rng: &mut Rng) -> bool {
    share > 0.0 && rng.f64() < share
}

impl Way {
    /// Decides about a frame that came at `now`, and damages it if that is its fate.
    pub fn judge(&mut self, now: Duration, frame: &mut [u8], rng: &mut Rng) -> Verdict {
        let rule = self.rule;
        let lost = rule.cut || chance_of(rule.loss, rng);
        let (doubled, overtaken) = (chance_of(rule.duplication, rng), chance_of(rule.reordering, rng));
        let queued = if lost { None } else { self.queue(now, frame.len()) };
        let Some(queued) = queued else {
            self.passed.lost += 1;
            return Verdict::default();
        };
        let mut wait = queued + rule.delay + rule.jitter.mul_f64(rng.f64());
        if overtaken {
            wait += HELD_BACK;
        }
        if chance_of(rule.corruption, rng) && flip(frame, rng) {
            self.passed.corrupted += 1;
        }
        self.passed.frames += 1;
        self.passed.doubled += u64::from(doubled);
        self.passed.held += u64::from(!wait.is_zero());
        Verdict { first: Some(wait), second: doubled.then(|| wait + HELD_BACK.mul_f64(rng.f64())) }
    }

    /// How long the frame waits for the link and on it; `None`: the queue is full.
    fn queue(&mut self, now: Duration, size: usize) -> Option<Duration> {
        let Some(rate) = self.rule.rate_bytes else { return Some(Duration::ZERO) };
        let size = u64::try_from(size).expect("frames are small");
        let takes = Duration::from_nanos(size * 1_000_000_000 / rate.max(1));
        let until = self.busy_until.max(now) + takes;
        if until - now > QUEUE_MAX.max(takes) {
            return None;
        }
        self.busy_until = until;
        Some(until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(rule: Rule) -> Way {
        Way { rule, ..Way::default() }
    }

    #[test]
    fn shares_are_kept_and_delays_are_within_their_bounds() {
        let mut rng = Rng::with_seed(1);
        let ms = Duration::from_millis;
        let rule = Rule { loss: 0.1, duplication: 0.2, reordering: 0.3, ..Rule::slow(ms(10), ms(5)) };
        let mut way = way(rule);
        for _ in 0..10_000 {
            let Verdict { first, second } = way.judge(Duration::ZERO, &mut [0; 1000], &mut rng);
            assert!(first.is_none_or(|wait| (ms(10)..=ms(20)).contains(&wait)), "{first:?}");
            assert!(second.is_none_or(|wait| first.is_some_and(|first| wait >= first)), "{second:?}");
        }
        let Passed { frames, doubled, held, lost, corrupted: 0 } = way.passed else { panic!("{way:?}") };
        assert_eq!((frames + lost, held), (10_000, frames));
        assert!((900..1100).contains(&lost) && (1600..2000).contains(&doubled), "{lost} {doubled}");
    }

    #[test]
    fn a_cut_way_passes_nothing_and_an_open_one_everything_at_once() {
        let mut rng = Rng::with_seed(1);
        assert_eq!(way(Rule::CUT).judge(Duration::ZERO, &mut [0; 60], &mut rng), Verdict::default());
        let at_once = Verdict { first: Some(Duration::ZERO), second: None };
        assert_eq!(way(Rule::default()).judge(Duration::ZERO, &mut [0; 60], &mut rng), at_once);
    }

    #[test]
    fn a_slow_link_sends_its_rate_and_drops_what_would_wait_too_long() {
        let mut rng = Rng::with_seed(1);
        let mut way = way(Rule { rate_bytes: Some(100_000), ..Rule::default() });
        let waits: Vec<_> =
            (0..100).map(|_| way.judge(Duration::ZERO, &mut [0; 1000], &mut rng).first).collect();
        assert_eq!(waits[0], Some(Duration::from_millis(10)));
        assert_eq!(waits.iter().flatten().count(), 30, "300 ms of queue");
        assert!(
            way.judge(Duration::from_secs(1), &mut [0; 1000], &mut rng).first.is_some(),
            "it has emptied"
        );
    }
}
