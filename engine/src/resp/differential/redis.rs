//! A Redis server to compare with.

use crate::resp::REDIS_VERSION;
use net::resp::read_reply;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A Redis server of our own on a free port, without any persistence.
pub(super) struct Redis {
    server: Child,
    stream: TcpStream,
    received: Vec<u8>,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// `None`, with a notice, where there is no such server.
    pub fn start() -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        let found = version.is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout).contains(&format!("v={REDIS_VERSION}"))
        });
        if !found {
            println!("skipped: no redis-server {REDIS_VERSION} in the path");
            return None;
        }
        // Another process may take the port between our look and the server's start: then look again.
        (0..20).find_map(|_| Self::try_start()).or_else(|| panic!("redis-server does not start"))
    }

    fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(server.stdout.take().unwrap());
        let ready =
            log.lines().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
        if !ready {
            server.wait().unwrap();
            return None;
        }
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(Self { server, stream, received: Vec::new(), _dir: dir })
    }

    /// The reply to a request.
    pub fn run(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request).unwrap();
        loop {
            if let Some((_, bytes)) = read_reply(&self.received).unwrap() {
                let rest = self.received.split_off(bytes);
                return std::mem::replace(&mut self.received, rest);
            }
            let mut buffer = [0; 65536];
            let received = self.stream.read(&mut buffer).unwrap();
            assert!(received > 0, "the server has closed the connection");
            self.received.extend_from_slice(&buffer[..received]);
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().expect("the server runs");
        self.server.wait().expect("the server was ours to wait for");
    }
}
