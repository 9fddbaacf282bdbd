//! Sockets on the ring, with real peers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use runtime::{Buffer, BufferMut, Event, Part, now};
use support::{Server, echo, echo_server, on_shard, pattern};

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
fn frames_land_in_the_buffer_they_are_parsed_in() {
    // One shard sends frames of many sizes to itself over a connection; each is received into one aligned buffer.
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let sender = ring.connect(address);
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
                        assert_eq!(ring.peer_address(socket), Some(address));
                        assert_eq!(ring.local_address(socket).unwrap().ip(), address.ip());
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
            assert_eq!((ring.peer_address(socket), ring.local_address(socket)), (None, None));
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

#[test]
fn background_work_sends_while_the_main_loop_sleeps() {
    on_shard(|context| async move {
        let ring = context.ring();
        let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let socket = ring.connect(listener.local_addr().unwrap());
        ring.listen(listener);
        let mut events = Vec::new();
        let (background, pauser) = (ring.clone(), context.clone());
        let (mut sent, mut received) = (0, 0);
        while received < 100 {
            ring.wait().await;
            ring.events(&mut events);
            for event in events.drain(..) {
                match event {
                    Event::Accepted { socket, .. } => ring.receive(socket),
                    Event::Received { data, .. } => received += data.len(),
                    Event::Connected { .. } | Event::Sent { .. } => {
                        sent += 1;
                        let (ring, pauser) = (background.clone(), pauser.clone());
                        context.spawn_background(async move {
                            // By now the main loop is parked, as far as that depends on this test.
                            pauser.pause(runtime::REST).await;
                            ring.send(socket, vec![Part::Bytes(vec![7])]);
                        });
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        assert!(sent >= 100);
    });
}
