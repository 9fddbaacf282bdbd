//! Waking: timers, doorbells, mailboxes, and that no shard ever sleeps through its work.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    cell::Cell,
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use runtime::{Disk, mailbox, now, spawn_shard};
use support::{FOR_EVER, on_shard, spec};

#[test]
fn a_timer_fires_not_before_its_time_and_can_be_moved() {
    on_shard(|context| async move {
        let ring = context.ring();
        let ms = Duration::from_millis;
        let began = now();
        ring.set_timer(Duration::MAX);
        // Far away, then nearer, then farther: only the last counts.
        ring.set_timer(began + Duration::from_secs(3600));
        ring.set_timer(began + ms(1));
        ring.set_timer(began + ms(30));
        while now() < began + ms(30) {
            ring.wait().await;
        }
        let armed = now();
        ring.set_timer(armed + Duration::from_secs(3600));
        ring.submit();
        ring.set_timer(armed + ms(5));
        while now() < armed + ms(5) {
            ring.wait().await;
        }
        // In the past: at once. And many sets leave nothing behind that delays the next.
        for step in 0..10_000 {
            ring.set_timer(now() + ms(1000) - Duration::from_micros(step));
        }
        ring.set_timer(Duration::ZERO);
        ring.wait().await;
    });
}

#[test]
fn a_shard_without_work_sleeps() {
    let turns = on_shard(|context| async move {
        let ring = context.ring();
        let end = now() + Duration::from_millis(300);
        let mut turns = 0;
        while now() < end {
            ring.set_timer(end);
            ring.wait().await;
            turns += 1;
        }
        turns
    });
    assert!(turns < 20, "{turns} turns with nothing to do");
}

#[test]
fn a_storm_of_rings_from_many_threads_ends_and_misses_nothing() {
    const RINGS: u64 = 250_000;
    let rung = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let count = Arc::clone(&rung);
    let shard = spawn_shard(spec("storm"), |context| async move {
        let ring = context.ring();
        sender.send(ring.doorbell()).unwrap();
        while count.load(Ordering::Acquire) < 4 * RINGS {
            ring.wait().await;
        }
    })
    .unwrap();
    let doorbell = receiver.recv().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..RINGS {
                    rung.fetch_add(1, Ordering::Release);
                    doorbell.ring();
                }
            });
        }
    });
    shard.join().unwrap();
}

#[test]
fn every_letter_arrives_once_and_in_order() {
    const LETTERS: u64 = 100_000;
    let (sender, receiver) = mpsc::channel();
    let shard = spawn_shard(spec("mailbox"), |context| async move {
        let ring = context.ring();
        let (post, mut mailbox) = mailbox::<(usize, u64)>(64, ring.doorbell());
        sender.send(post).unwrap();
        let mut next = [0; 3];
        while next != [LETTERS; 3] {
            if mailbox.is_empty() {
                ring.wait().await;
            }
            mailbox.drain(16, |(from, number)| {
                assert_eq!(next[from], number);
                next[from] += 1;
            });
        }
    })
    .unwrap();
    let post = receiver.recv().unwrap();
    std::thread::scope(|scope| {
        for from in 0..3 {
            let post = post.clone();
            scope.spawn(move || {
                for number in 0..LETTERS {
                    while post.try_send((from, number)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    shard.join().unwrap();
}

#[test]
fn a_letter_to_a_sleeping_shard_is_answered_each_time() {
    // Ping-pong: each side sleeps until the other has answered. A lost wake would end it.
    let (posts, receiver) = mpsc::channel();
    let mut players = Vec::new();
    let (to_first, from_test) = mpsc::channel::<runtime::MailboxSender<u64>>();
    let (to_second, from_test_too) = mpsc::channel::<runtime::MailboxSender<u64>>();
    for (name, other) in [("ping", from_test), ("pong", from_test_too)] {
        let posts = posts.clone();
        let player = spawn_shard(spec(name), move |context| async move {
            let ring = context.ring();
            let (post, mut mailbox) = mailbox::<u64>(4, ring.doorbell());
            posts.send((name, post)).unwrap();
            let other = other.recv().unwrap();
            let mut done = false;
            while !done {
                ring.wait().await;
                mailbox.drain(4, |ball| {
                    done = ball >= 19_999;
                    other.try_send(ball + 1).unwrap();
                });
            }
        });
        players.push(player.unwrap());
    }
    let (name, post) = receiver.recv().unwrap();
    let (_, other) = receiver.recv().unwrap();
    let (ping, pong) = if name == "ping" { (post, other) } else { (other, post) };
    to_first.send(pong).unwrap();
    to_second.send(ping.clone()).unwrap();
    ping.try_send(0).unwrap();
    for player in players {
        player.join().unwrap();
    }
}

#[test]
fn a_wait_given_up_takes_no_wake_with_it() {
    on_shard(|context| async move {
        let ring = context.ring();
        // With other work about, a wait parks in the executor at once; without, it would sleep in its own ring first.
        context.spawn_background(std::future::pending::<()>());
        for _ in 0..1000 {
            // Polled once, parked, dropped.
            let mut wait = Box::pin(ring.wait());
            poll_fn(|task| Poll::Ready(wait.as_mut().poll(task).is_ready())).await;
            drop(wait);
            let doorbell = ring.doorbell();
            std::thread::scope(|scope| {
                scope.spawn(move || doorbell.ring());
            });
            ring.wait().await;
        }
    });
}

#[test]
fn a_busy_loop_lets_background_work_and_blocking_calls_go_on() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().to_owned();
    on_shard(|context| async move {
        let ring = context.ring();
        let slices = Rc::new(Cell::new(0));
        let done = Rc::new(Cell::new(false));
        let (counted, finished, pauser) = (Rc::clone(&slices), Rc::clone(&done), context.clone());
        context.spawn_background(async move {
            let disk = pauser.disk();
            for slice in 0..20 {
                pauser.pause(runtime::REST).await;
                disk.list(&path).await.unwrap();
                counted.set(slice + 1);
            }
            finished.set(true);
        });
        // Never idle: the timer is always due.
        while !done.get() {
            ring.set_timer(Duration::ZERO);
            ring.wait().await;
        }
        assert_eq!(slices.get(), 20);
    });
}

/// The pattern that hung glommio: wakes from outside in a storm while the loop works and timers end. Every beat of
/// the shard must be seen, or the watchdog has failed.
#[test]
fn a_shard_under_a_storm_of_wakes_stays_alive() {
    let stop = Arc::new(AtomicBool::new(false));
    let beats = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let (stopped, beat) = (Arc::clone(&stop), Arc::clone(&beats));
    let shard = spawn_shard(spec("soak"), |context| async move {
        let ring = context.ring();
        sender.send(ring.doorbell()).unwrap();
        let pauser = context.clone();
        context.spawn_background(async move {
            loop {
                pauser.pause(runtime::REST).await;
            }
        });
        while !stopped.load(Ordering::Relaxed) {
            ring.set_timer(now() + Duration::from_micros(200));
            ring.wait().await;
            beat.fetch_add(1, Ordering::Relaxed);
            // Some work: the next completions come while the thread computes.
            let end = now() + Duration::from_micros(50);
            while now() < end {
                std::hint::spin_loop();
            }
        }
    })
    .unwrap();
    let doorbell = receiver.recv().unwrap();
    let end = now() + Duration::from_secs(5);
    std::thread::scope(|scope| {
        for pause in [0, 20, 150] {
            let (doorbell, stop) = (doorbell.clone(), Arc::clone(&stop));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    doorbell.ring();
                    if pause > 0 {
                        std::thread::park_timeout(Duration::from_micros(pause));
                    }
                }
            });
        }
        let (mut seen, mut longest) = (0, Duration::ZERO);
        while now() < end {
            let still = now();
            while beats.load(Ordering::Relaxed) == seen {
                assert!(now() - still < FOR_EVER, "the shard sleeps for ever");
                std::thread::yield_now();
            }
            seen = beats.load(Ordering::Relaxed);
            longest = longest.max(now() - still);
        }
        println!("longest time without a turn: {longest:?}");
        stop.store(true, Ordering::Relaxed);
    });
    println!("{} turns, {} rescues", beats.load(Ordering::Relaxed), shard.rescues());
    shard.join().unwrap();
}
