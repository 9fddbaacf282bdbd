//! The disk as its file system asks for it, with what shall go wrong.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::image::Image;

/// Why an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// EIO
    Failed,
    /// ENOSPC
    Full,
}

/// How many more operations of each kind fail.
#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    reads: u32,
    writes: u32,
    syncs: u32,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    /// Which life of the disk this is: whoever opened it before the last cut gets nothing but errors, so that what is
    /// still on its way from the old life cannot reach the new one.
    life: u64,
    failing: Failing,
    full: bool,
    stalled: bool,
    delay: Duration,
}

/// A disk that several threads share.
#[derive(Debug, Default)]
pub(super) struct Faulty {
    state: Mutex<State>,
    changed: Condvar,
}

/// One of `left` failures is used up, if there is one.
fn take(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

impl Faulty {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong from now on.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The life that an opener now belongs to.
    pub(super) fn life(&self) -> u64 {
        self.lock().life
    }

    /// Waits as long as the disk is slow or stalled, and refuses those of an earlier life.
    fn enter(&self, life: u64) -> Result<MutexGuard<'_, State>, Refusal> {
        let mut state = self.lock();
        let end = Instant::now() + state.delay;
        while state.life == life {
            let left = end.saturating_duration_since(Instant::now());
            state = if state.stalled {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return Ok(state);
            } else {
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        Err(Refusal::Failed)
    }

    pub(super) fn read(&self, life: u64, offset: u64, into: &mut [u8]) -> Result<(), Refusal> {
        let mut state = self.enter(life)?;
        if take(&mut state.failing.reads) {
            return Err(Refusal::Failed);
        }
        state.image.read(offset, into);
        Ok(())
    }

    pub(super) fn write(&self, life: u64, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let mut state = self.enter(life)?;
        if state.full {
            return Err(Refusal::Full);
        }
        if take(&mut state.failing.writes) {
            return Err(Refusal::Failed);
        }
        state.image.write(offset, bytes);
        Ok(())
    }

    pub(super) fn sync(&self, life: u64) -> Result<(), Refusal> {
        let mut state = self.enter(life)?;
        if take(&mut state.failing.syncs) {
            return Err(Refusal::Failed);
        }
        state.image.sync();
        Ok(())
    }

    /// Obeys a command of [`super::Disk`].
    pub(super) fn obey(&self, command: &str) -> Result<(), String> {
        let words: Vec<&str> = command.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        let count = |text: &str| number(text).map(|many| u32::try_from(many).unwrap_or(u32::MAX));
        match words.as_slice() {
            ["cut"] => self.cut(None),
            ["torn", seed] => self.cut(Some(Rng::with_seed(number(seed)?))),
            ["calm"] => self.change(|state| {
                (state.failing, state.full, state.stalled) = (Failing::default(), false, false);
                state.delay = Duration::ZERO;
            }),
            ["fail", "read", many] => count(many).map(|many| self.change(|s| s.failing.reads = many))?,
            ["fail", "write", many] => count(many).map(|many| self.change(|s| s.failing.writes = many))?,
            ["fail", "sync", many] => count(many).map(|many| self.change(|s| s.failing.syncs = many))?,
            ["full"] => self.change(|state| state.full = true),
            ["stall"] => self.change(|state| state.stalled = true),
            ["delay", us] => {
                let delay = Duration::from_micros(number(us)?);
                self.change(|state| state.delay = delay);
            }
            ["flip", offset, bit] => {
                let (offset, bit) = (number(offset)?, number(bit)? % 8);
                self.change(|state| state.image.flip(offset, u8::try_from(bit).expect("it is below 8")));
            }
            _ => return Err(format!("no command: {command}")),
        }
        Ok(())
    }

    fn cut(&self, torn: Option<Rng>) {
        self.change(|state| {
            state.image.cut(torn);
            state.life += 1;
            state.stalled = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_used_up_and_an_earlier_life_gets_nothing() {
        let disk = Faulty::default();
        let life = disk.life();
        disk.obey("fail write 2").unwrap();
        assert_eq!(disk.write(life, 0, b"x"), Err(Refusal::Failed));
        assert_eq!(disk.write(life, 0, b"x"), Err(Refusal::Failed));
        assert_eq!(disk.write(life, 0, b"x"), Ok(()));
        disk.obey("fail sync 1").unwrap();
        assert_eq!(disk.sync(life), Err(Refusal::Failed));
        disk.obey("cut").unwrap();
        assert_eq!(disk.write(life, 0, b"y"), Err(Refusal::Failed));
        let mut byte = [9];
        assert_eq!(disk.read(disk.life(), 0, &mut byte), Ok(()));
        assert_eq!(byte, [0], "the write was never synced");
        assert!(disk.obey("burn").is_err() && disk.obey("delay x").is_err());
    }

    #[test]
    fn a_full_disk_refuses_writes_until_it_is_calmed() {
        let disk = Faulty::default();
        disk.obey("full").unwrap();
        assert_eq!(disk.write(0, 0, b"x"), Err(Refusal::Full));
        disk.obey("calm").unwrap();
        assert_eq!(disk.write(0, 0, b"x"), Ok(()));
    }

    #[test]
    fn a_cut_wakes_whoever_waits_for_a_stalled_disk() {
        let disk = std::sync::Arc::new(Faulty::default());
        disk.obey("stall").unwrap();
        let waiting = disk.clone();
        let waiter = std::thread::spawn(move || waiting.sync(0));
        disk.obey("cut").unwrap();
        assert_eq!(waiter.join().unwrap(), Err(Refusal::Failed));
    }
}
