//! Several chunks under way at a time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::transfer::{Ends, ends};
use crate::fake_disk::{FakeDisk, FakeFile, run};
use crate::transfer::{
    CHUNKS_UNDER_WAY_MAX, ChunkHeader, Message, Progress, ReceiveError, Receiver, Sender, Step, TransferId,
    Window,
};

const TRANSFER: TransferId = TransferId(9);
const CHUNK_BYTES: u32 = 100;

fn resume(offset: u64) -> Message {
    Message::Resume { transfer: TRANSFER, offset }
}

/// A window in which the chunks of these numbers were sent.
fn window(numbers: std::ops::Range<u64>) -> Window {
    let mut window = Window::new(TRANSFER);
    send(&mut window, numbers);
    window
}

fn send(window: &mut Window, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert!(!window.is_full());
        window.sent(&Message::Chunk(ChunkHeader {
            transfer: TRANSFER,
            offset: number * u64::from(CHUNK_BYTES),
            file_bytes: 100_000,
            data_bytes: CHUNK_BYTES,
            data_checksum: 0,
        }));
    }
}

#[test]
fn answers_in_order_let_as_many_chunks_follow() {
    let mut window = window(0..4);
    for answered in 1..50 {
        assert!(window.is_full());
        assert_eq!(window.heard(resume(answered * 100)), None, "no news");
        assert_eq!(window.under_way(), 3);
        send(&mut window, answered + 3..answered + 4);
    }
}

#[test]
fn only_chunks_are_answered() {
    let mut window = Window::new(TRANSFER);
    window.sent(&Message::Abort { transfer: TRANSFER, reason: String::new() });
    assert_eq!(window.under_way(), 0);
    assert_eq!(window.heard(resume(300)), Some(resume(300)), "what answers `Begin` is news");
    send(&mut window, 3..5);
    let ends = [
        Message::Done { transfer: TRANSFER, ok: true, reason: String::new() },
        Message::Abort { transfer: TRANSFER, reason: String::new() },
        Message::Resume { transfer: TransferId(8), offset: 0 },
    ];
    for end in ends {
        assert_eq!(window.heard(end.clone()), Some(end), "with chunks under way, too");
        assert_eq!(window.under_way(), 2);
    }
}

#[test]
fn a_refused_chunk_sends_back_once() {
    let mut window = window(0..4);
    assert_eq!(window.heard(resume(100)), None);
    assert_eq!(window.heard(resume(100)), Some(resume(100)), "the second was not taken");
    assert_eq!(window.under_way(), 2, "the other two are answered, too");
    send(&mut window, 1..3);
    assert!(window.is_full(), "with those that will come again");
    for _ in 0..2 {
        assert_eq!(window.heard(resume(100)), None, "of a chunk behind the refused one");
    }
    assert_eq!(window.heard(resume(200)), None);
    assert_eq!(window.heard(resume(200)), Some(resume(200)), "the next one refused");
    assert_eq!(window.under_way(), 0);
}

#[test]
fn a_chunk_that_is_refused_again_sends_back_again() {
    let mut window = window(0..4);
    for _ in 0..10 {
        assert_eq!(window.heard(resume(0)), Some(resume(0)));
        assert_eq!(window.under_way(), 3);
        send(&mut window, 0..1);
        for _ in 0..3 {
            assert_eq!(window.heard(resume(0)), None);
        }
        send(&mut window, 1..4);
    }
}

#[test]
fn a_lost_connection_answers_nothing_any_more() {
    let mut window = window(0..4);
    assert_eq!(window.heard(resume(0)), Some(resume(0)));
    window.disconnected();
    assert_eq!(window.under_way(), 0);
    assert_eq!(window.heard(resume(200)), Some(resume(200)), "where the new one begins");
    send(&mut window, 2..4);
    assert_eq!(window.heard(resume(300)), None);
    assert_eq!(window.under_way(), 1);
}

/// Two ends, and what is on its way between them.
struct Net<'a> {
    ends: &'a Ends,
    sender: Sender<FakeFile>,
    window: Window,
    receiver: Option<Receiver<FakeDisk>>,
    to_receiver: VecDeque<(Message, Vec<u8>)>,
    to_sender: VecDeque<Message>,
    chunks_sent: u64,
}

impl<'a> Net<'a> {
    fn new(ends: &'a Ends) -> Net<'a> {
        let sender = ends.sender();
        let window = Window::new(sender.transfer());
        let (to_receiver, to_sender) = (VecDeque::new(), VecDeque::new());
        Net { ends, sender, window, receiver: None, to_receiver, to_sender, chunks_sent: 0 }
    }

    /// The sender says one thing. False: it has nothing to say.
    fn send(&mut self, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.sender.next_chunk_bytes() > 0 {
            if self.window.is_full() {
                return false;
            }
            let (message, data) = run(self.sender.next_chunk()).unwrap().unwrap();
            let mut data = data.to_vec();
            damage(&mut data);
            self.window.sent(&message);
            self.chunks_sent += 1;
            self.to_receiver.push_back((message, data));
            assert!(self.to_receiver.len() <= CHUNKS_UNDER_WAY_MAX, "what a receiver must have room for");
            return true;
        }
        let Step::Send(message) = self.sender.step() else { return false };
        self.to_receiver.push_back((message, Vec::new()));
        true
    }

    /// The receiver hears one thing. False: nothing came.
    fn receive(&mut self) -> bool {
        let Some((message, data)) = self.to_receiver.pop_front() else { return false };
        match message {
            Message::Begin(begin) => {
                let known = self.receiver.as_mut().is_some_and(|receiver| receiver.resumes(&begin));
                if !known {
                    self.receiver = Some(self.ends.receiver(begin));
                }
            }
            Message::Chunk(header) => {
                let here = self.receiver.as_mut().expect("begun");
                match run(here.chunk(header, &data)) {
                    Ok(Progress::More | Progress::Complete) | Err(ReceiveError::BadChunk { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            message => panic!("{message:?}"),
        }
        match self.receiver.as_ref().unwrap().resume() {
            Some(answer) => self.to_sender.push_back(answer),
            None => {
                let received = run(self.receiver.take().unwrap().finish()).unwrap();
                self.ends.check(&received);
                let transfer = self.sender.transfer();
                self.to_sender.push_back(Message::Done { transfer, ok: true, reason: String::new() });
            }
        }
        true
    }

    /// The sender hears one thing. False: nothing came.
    fn hear(&mut self) -> bool {
        let Some(message) = self.to_sender.pop_front() else { return false };
        let news = self.window.heard(message);
        news.into_iter().for_each(|news| self.sender.receive(news).unwrap());
        true
    }

    fn disconnect(&mut self) {
        self.to_receiver.clear();
        self.to_sender.clear();
        self.window.disconnected();
        self.sender.disconnected();
    }

    /// Goes on without faults.
    fn finish(&mut self) {
        while self.send(|_| {}) || self.receive() || self.hear() {}
        assert_eq!(self.sender.step(), Step::Over(Ok(())));
    }
}

#[test]
fn a_file_arrives_with_several_chunks_under_way() {
    let ends = ends();
    let mut net = Net::new(&ends);
    net.finish();
    assert_eq!(net.chunks_sent, ends.chunks());
}

#[test]
fn a_damaged_chunk_costs_itself_and_those_behind_it() {
    let ends = ends();
    let mut net = Net::new(&ends);
    while net.window.under_way() == 0 {
        let _ = net.send(|data| data[7] ^= 1) || net.receive() || net.hear();
    }
    while net.send(|_| {}) {}
    net.finish();
    assert_eq!(net.chunks_sent, ends.chunks() + 4, "each is sent again once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order the ends act, whatever is damaged, and whenever connections break.
    #[test]
    fn any_faults_and_delays_only_cost_time(moves in prop::collection::vec(0u8..16, 0..200)) {
        let ends = ends();
        let mut net = Net::new(&ends);
        for choice in moves {
            match choice {
                0 => net.disconnect(),
                1 => { net.send(|data| data[0] ^= 0x80); },
                2 => { net.send(|data| data.truncate(data.len() - 1)); },
                3..8 => { net.send(|_| {}); },
                8..12 => { net.receive(); },
                _ => { net.hear(); },
            }
        }
        net.finish();
    }
}
