//! More bytes than fit: back-pressure, pooled buffers that run out, sends that the other side takes slowly.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use runtime::{Event, Part, SocketId};
use support::{Server, echo, echo_server, pattern};

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
