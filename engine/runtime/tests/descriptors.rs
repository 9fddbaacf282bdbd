//! File descriptors run out: accepting pauses, connections live on, and accepting goes on by itself.
//! In a process of its own, for the limit holds for all of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs::File,
    io::{Read, Write},
    sync::mpsc,
};

use runtime::Event;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Server, echo};

#[test]
fn accepting_pauses_while_descriptors_are_out_and_goes_on() {
    // Before the server starts: the kernel takes the limit that holds when accepting begins.
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) }).unwrap();
    let (failed, failures) = mpsc::channel();
    let server = Server::start(move || {
        Box::new(move |ring, event| match event {
            Event::Accepted { socket, .. } => ring.receive(socket),
            Event::Received { socket, data } => ring.send(socket, vec![runtime::Part::Bytes(data.to_vec())]),
            Event::AcceptFailed { error, .. } => failed.send(error.raw_os_error()).unwrap(),
            Event::Ended { socket, .. } => ring.close(socket),
            _ => {}
        })
    });
    let mut first = server.connect();
    echo(&first, b"before", 6);
    // All but one are taken: that one is for the client's end, none is left for the server's.
    let spare = File::open("/dev/null").unwrap();
    let mut hoard: Vec<File> = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    drop(spare);
    let mut second = server.connect();
    assert_eq!(failures.recv_timeout(support::FOR_EVER).unwrap(), Some(24), "EMFILE");
    first.write_all(b"x").unwrap();
    first.read_exact(&mut [0]).unwrap();
    hoard.clear();
    second.write_all(b"after").unwrap();
    let mut answer = [0; 5];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"after");
    server.stop();
}
