//! Sockets on the ring, with real peers.

mod support;

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use runtime::{Buffer, BufferMut, Event, Part, Ring, SocketId, now};
use support::{Server, echo, on_shard, pattern};

/// Echoes what comes in; one send at a time per socket, gathering what comes meanwhile.
#[derive(Default)]
struct Echo {
    sockets: HashMap<SocketId, (Vec<Part>, bool)>,
}

impl Echo {
    fn turn(&mut self, ring: &Ring, event: Event) {
        match event {
            Event::Accepted { socket, .. } => {
                self.sockets.insert(socket, (Vec::new(), false));
                ring.receive(socket);
            }
            Event::Received { socket, data } => {
                let (parts, _) = self.sockets.get_mut(&socket).unwrap();
                parts.push(Part::Bytes(data.to_vec()));
                self.send(ring, socket);
            }
            Event::Sent { socket, .. } => {
                self.sockets.get_mut(&socket).unwrap().1 = false;
                self.send(ring, socket);
            }
            Event::Ended { socket, .. } | Event::SendFailed { socket, .. } => {
                ring.close(socket);
                self.sockets.remove(&socket);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn send(&mut self, ring: &Ring, socket: SocketId) {
        let (parts, sending) = self.sockets.get_mut(&socket).unwrap();
        if !parts.is_empty() && !*sending {
            *sending = true;
            ring.send(socket, std::mem::take(parts));
        }
    }
}

fn echo_server() -> Server {
    Server::start(|| {
        let mut echo = Echo::default();
        Box::new(move |ring, event| echo.turn(ring, event))
    })
}

#[test]
fn one_byte_comes_back() {
    let server = echo_server();
    let stream = server.connect();
    for byte in 0..100 {
        echo(&stream, &[byte], 1);
    }
    drop(stream);
    server.stop();
}

#[test]
fn many_sockets_and_pipelines_come_back_whole() {
    let server = echo_server();
    let sent: Vec<Vec<u8>> = (0..100).map(|seed| pattern(seed, 40_000)).collect();
    std::thread::scope(|scope| {
        for (index, sent) in sent.iter().enumerate() {
            let server = &server;
            scope.spawn(move || echo(&server.connect(), sent, 1 + index * 37));
        }
    });
    server.stop();
}

#[test]
fn more_bytes_than_all_pooled_buffers_come_back_whole() {
    let server = echo_server();
    // Four of these are more than the pool holds.
    let sent = pattern(7, 4 << 20);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| echo(&server.connect(), &sent, 1 << 20));
        }
    });
    server.stop();
}

#[test]
fn sockets_go_on_after_the_pool_ran_out() {
    // Holds on to all it gets until there is nothing more to get, then lets go: 300 sockets, 256 buffers.
    let server = Server::start(|| {
        let mut held = Vec::new();
        let mut echoed = 0;
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => ring.receive(socket),
            Event::Received { socket, data } => {
                held.push((socket, data));
                if held.len() == 256 || echoed >= 256 {
                    echoed += held.len();
                    for (socket, data) in held.drain(..) {
                        ring.send(socket, vec![Part::Bytes(data.to_vec())]);
                    }
                }
            }
            Event::Sent { .. } => {}
            Event::Ended { socket, .. } => ring.close(socket),
            other => panic!("unexpected {other:?}"),
        })
    });
    let mut streams: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"x").unwrap();
    }
    for stream in &mut streams {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
    drop(streams);
    server.stop();
}

#[test]
fn a_paused_socket_holds_its_sender_back_and_loses_nothing() {
    // Pauses at the first bytes. The client, which cannot get rid of its bytes, then says so on another connection.
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let mut paused: Option<SocketId> = None;
    let mut resumed = false;
    let server = Server::start(move || {
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => ring.receive(socket),
            Event::Received { socket, data } if resumed || paused.is_none() || paused == Some(socket) => {
                count.fetch_add(data.len(), Ordering::SeqCst);
                if paused.is_none() {
                    paused = Some(socket);
                    ring.pause(socket);
                }
            }
            Event::Received { socket, data } => {
                assert_eq!(&data[..], b"r");
                resumed = true;
                ring.receive(paused.unwrap());
                ring.close(socket);
            }
            Event::Ended { socket, .. } => ring.close(socket),
            other => panic!("unexpected {other:?}"),
        })
    });
    let mut sender = server.connect();
    sender.write_all(&[1; 1000]).unwrap();
    while received.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    sender.set_nonblocking(true).unwrap();
    let piece = vec![2; 1 << 20];
    let mut sent = 1000;
    let stuck = loop {
        match sender.write(&piece) {
            Ok(bytes) => sent += bytes,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "nothing holds the sender back");
    };
    assert_eq!(stuck.kind(), ErrorKind::WouldBlock);
    server.connect().write_all(b"r").unwrap();
    sender.shutdown(Shutdown::Write).unwrap();
    while received.load(Ordering::SeqCst) < sent {
        std::thread::yield_now();
    }
    assert_eq!(received.load(Ordering::SeqCst), sent);
    server.stop();
}

#[test]
fn pausing_and_resuming_at_random_loses_nothing() {
    let received = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&received);
    let sent = pattern(3, 8 << 20);
    let expected = sent.clone();
    let server = Server::start(move || {
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => ring.receive(socket),
            Event::Received { socket, data } => {
                let at = count.fetch_add(data.len(), Ordering::SeqCst);
                assert!(expected[at..at + data.len()] == data[..], "bytes changed at {at}");
                ring.pause(socket);
                if data[0] % 2 == 0 {
                    ring.submit();
                }
                ring.receive(socket);
            }
            Event::Ended { socket, error } => {
                assert!(error.is_none());
                ring.close(socket);
            }
            other => panic!("unexpected {other:?}"),
        })
    });
    let mut stream = server.connect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the server closes after the end");
    assert_eq!(received.load(Ordering::SeqCst), sent.len());
    server.stop();
}

#[test]
fn frames_land_in_the_buffer_they_are_parsed_in() {
    // One shard sends frames of many sizes to itself over a connection; each is received into one aligned buffer.
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sender = ring.connect(listener.local_addr().unwrap());
        ring.listen(listener);
        let sizes: [u32; 6] = [1, 4096, 100_000, 5, 1 << 20, 65_536];
        let frames: Vec<Vec<u8>> =
            sizes.iter().map(|size| pattern(u64::from(*size), *size as usize)).collect();
        let mut to_send = frames.clone().into_iter();
        let mut got = Vec::new();
        let mut receiver = None;
        let mut events = Vec::new();
        let send_next = |frame: Vec<u8>| {
            let size = u32::try_from(frame.len()).unwrap().to_le_bytes().to_vec();
            let (front, back) = frame.split_at(frame.len() / 2);
            ring.send(
                sender,
                vec![Part::Bytes(size), Part::Bytes(front.to_vec()), Part::Buffer(Buffer::copy_from(back))],
            );
        };
        while got.len() < frames.len() {
            ring.wait().await;
            ring.events(&mut events);
            for event in events.drain(..) {
                match event {
                    Event::Connected { socket } => {
                        assert_eq!(socket, sender);
                        send_next(to_send.next().unwrap());
                    }
                    Event::Sent { .. } => {
                        if let Some(frame) = to_send.next() {
                            send_next(frame);
                        }
                    }
                    Event::Accepted { socket, .. } => {
                        receiver = Some(socket);
                        ring.receive_into(socket, BufferMut::zeroed(2 << 20), 0);
                    }
                    Event::ReceivedInto { socket, mut buffer, mut filled } => {
                        while filled >= 4 {
                            let size = u32::from_le_bytes(buffer[..4].try_into().unwrap()) as usize;
                            if filled < 4 + size {
                                break;
                            }
                            got.push(buffer[4..4 + size].to_vec());
                            buffer.copy_within(4 + size..filled, 0);
                            filled -= 4 + size;
                        }
                        ring.receive_into(socket, buffer, filled);
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        assert!(got == frames);
        ring.close(receiver.unwrap());
    });
}

#[test]
fn a_gathered_send_of_thousands_of_parts_arrives_in_order() {
    let whole = pattern(11, 3 << 20);
    let expected = whole.clone();
    let server = Server::start(move || {
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => {
                let parts = whole.chunks(700).map(|chunk| Part::Bytes(chunk.to_vec())).collect();
                ring.send(socket, parts);
            }
            Event::Sent { socket, parts } => {
                assert_eq!(parts.len(), (3_usize << 20).div_ceil(700), "all parts come back");
                ring.close(socket);
            }
            other => panic!("unexpected {other:?}"),
        })
    });
    let mut received = Vec::new();
    server.connect().read_to_end(&mut received).unwrap();
    assert!(received == expected);
    server.stop();
}

#[test]
fn closing_with_everything_in_flight_yields_no_event_and_frees_the_socket() {
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        ring.listen(listener);
        for _ in 0..50 {
            let mut client = TcpStream::connect(address).unwrap();
            let mut events = Vec::new();
            while events.is_empty() {
                ring.wait().await;
                ring.events(&mut events);
            }
            let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("not accepted") };
            ring.receive(socket);
            // More than the socket's buffers take: this send cannot end.
            ring.send(socket, vec![Part::Buffer(BufferMut::zeroed(16 << 20).freeze())]);
            client.write_all(b"bytes nobody will see").unwrap();
            ring.submit();
            ring.close(socket);
            // Stale from here on.
            ring.receive(socket);
            ring.pause(socket);
            ring.send(socket, vec![Part::Bytes(vec![1])]);
            ring.receive_into(socket, BufferMut::zeroed(1), 0);
            ring.close(socket);
            // The client sees the end once all operations have ended and the descriptor is closed.
            ring.set_timer(now());
            ring.wait().await;
            ring.events(&mut events);
            assert!(events.is_empty(), "{events:?}");
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
        }
    });
}

#[test]
fn a_refused_connection_is_told() {
    on_shard(|context| async move {
        let ring = context.ring();
        let free = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        let asked = ring.connect(free);
        let mut events = Vec::new();
        while events.is_empty() {
            ring.wait().await;
            ring.events(&mut events);
        }
        let [Event::ConnectFailed { socket, error }] = &events[..] else { panic!("unexpected {events:?}") };
        assert_eq!((*socket, error.kind()), (asked, ErrorKind::ConnectionRefused));
        ring.close(asked);
    });
}

#[test]
fn a_reset_connection_ends_with_an_error() {
    let (sender, ended) = std::sync::mpsc::channel();
    let server = Server::start(move || {
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => {
                ring.receive(socket);
                ring.send(socket, vec![Part::Bytes(vec![0; 100])]);
            }
            Event::Ended { socket, error } => {
                ring.close(socket);
                sender.send(error.map(|error| error.kind())).unwrap();
            }
            _ => {}
        })
    });
    let stream = server.connect();
    stream.peek(&mut [0]).unwrap();
    // Bytes left unread make the close a reset.
    drop(stream);
    assert_eq!(ended.recv_timeout(support::FOR_EVER).unwrap(), Some(ErrorKind::ConnectionReset));
    server.stop();
}

#[test]
fn a_closed_listener_refuses() {
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let id = ring.listen(listener);
        ring.submit();
        ring.close_listener(id);
        ring.close_listener(id);
        // The descriptor closes with its operation.
        while TcpStream::connect(address).is_ok() {
            ring.set_timer(now());
            ring.wait().await;
        }
    });
}
