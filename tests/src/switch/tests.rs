//! The network does what its rules say, between two sockets of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

fn socket(switch: &Switch, port: u16) -> UdpSocket {
    let _inside = switch.namespaces[usize::from(port)].enter();
    let socket = UdpSocket::bind((address(port), 9000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

/// How many of `sent` datagrams arrive, and when the last did.
fn exchange(from: &UdpSocket, to: &UdpSocket, sent: u8) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    for number in 0..sent {
        from.send_to(&[number], to.local_addr().unwrap()).unwrap();
    }
    let (mut seen, mut last, mut buffer) = (vec![], Duration::ZERO, [0; 16]);
    while to.recv(&mut buffer).is_ok() {
        seen.push(buffer[0]);
        last = start.elapsed();
    }
    (seen, last)
}

#[test]
fn rules_hold_one_way_and_change_at_any_time() {
    let Some(switch) = Switch::start(2, 7) else { return };
    let (one, two) = (socket(&switch, 1), socket(&switch, 2));
    let all: Vec<u8> = (0..100).collect();
    assert_eq!(exchange(&one, &two, 100).0, all);
    assert_eq!(exchange(&two, &one, 100).0, all);

    switch.set(1, 2, Rule::CUT);
    assert_eq!(exchange(&one, &two, 100).0, [0_u8; 0]);
    assert_eq!(exchange(&two, &one, 100).0, all, "the other way is open");
    assert_eq!(switch.passed(1, 2).lost, 100);

    switch.heal();
    let (seen, last) = exchange(&one, &two, 1);
    assert_eq!(seen, [0]);
    assert!(last < Duration::from_millis(100), "an open way took {last:?}");
    switch.set(1, 2, Rule::slow(Duration::from_millis(120), Duration::ZERO));
    let (seen, last) = exchange(&one, &two, 100);
    assert_eq!(seen, all, "equal delays keep the order");
    assert!(last >= Duration::from_millis(120), "a slow way took {last:?}");

    switch.set(1, 2, Rule { duplication: 1.0, ..Rule::default() });
    assert_eq!(exchange(&one, &two, 100).0.len(), 200);
    switch.set(1, 2, Rule { reordering: 0.2, ..Rule::default() });
    let (mut seen, _) = exchange(&one, &two, 100);
    assert_ne!(seen, all);
    seen.sort_unstable();
    assert_eq!(seen, all);
    switch.set(1, 2, Rule::lossy(0.5));
    assert!((20..80).contains(&exchange(&one, &two, 100).0.len()));
}

#[test]
fn connections_survive_a_cut_and_nothing_is_left_behind() {
    let network = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = network();
    let Some(switch) = Switch::start(1, 7) else { return };
    let names: Vec<_> = switch.namespaces.iter().map(|namespace| namespace.name().to_string()).collect();
    let listener = {
        let _inside = switch.namespaces[1].enter();
        TcpListener::bind((address(1), 9000)).unwrap()
    };
    let mut client = {
        let _inside = switch.enter();
        assert_ne!(network(), before);
        TcpStream::connect((address(1), 9000)).unwrap()
    };
    let (mut server, _) = listener.accept().unwrap();
    switch.cut(&[CLIENTS], &[1]);
    client.write_all(b"hello").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(server.read(&mut [0; 5]).is_err(), "it is cut off");
    switch.heal();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut hello = [0; 5];
    server.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    switch.set(CLIENTS, 1, Rule { corruption: 1.0, ..Rule::default() });
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut hello).unwrap();
    let flipped: u32 = hello.iter().zip(b"hello").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((flipped, switch.passed(CLIENTS, 1).corrupted), (1, 1), "{hello:?}");
    let made = |name: &String| std::path::Path::new("/run/netns").join(name).exists();
    assert!(names.iter().all(made));
    drop(switch);
    assert!(!names.iter().any(made));
    assert_eq!(network(), before, "this thread is where it was");
}
