//! A cluster of three etcd members on loopback, and clients that use it as registers through its JSON gateway.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringraft_tests::history::{Clock, Operation, Recorder, Reply, Request};
use ringraft_tests::poll;
use ringraft_tests::process::{Process, Spec, TempDir, data_dir, find_program, free_ports};
use serde_json::{Value as Json, json};

const MEMBERS: usize = 3;
/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
const CLIENTS: u64 = 6;
const KEYS: usize = 8;
/// Between two requests of a client: the search wants long histories, not dense ones.
const PACE: Duration = Duration::from_millis(5);

struct Member {
    client: SocketAddr,
    spec: Spec,
    process: Option<Process>,
}

/// A running cluster. Dropping it kills it.
pub(super) struct Etcd {
    members: Vec<Member>,
    _dir: TempDir,
}

impl Etcd {
    /// Starts three members. `None`, with a printed notice, when etcd is not installed.
    pub(super) fn start() -> Option<Etcd> {
        let Some(program) = find_program("etcd") else {
            println!("skipped: etcd is not installed");
            return None;
        };
        let dir = data_dir().unwrap();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ports: Vec<(SocketAddr, SocketAddr)> =
            (0..MEMBERS).map(|_| (address(free_ports(1)), address(free_ports(1)))).collect();
        let list: Vec<String> =
            ports.iter().enumerate().map(|(at, (_, peer))| format!("m{at}=http://{peer}")).collect();
        let member = |(at, (client, peer)): (usize, &(SocketAddr, SocketAddr))| {
            let name = format!("m{at}");
            let args = arguments(&name, dir.path().join(&name), *client, *peer, &list.join(","));
            let log = dir.path().join(format!("{name}.log"));
            let spec = Spec { name: format!("etcd {name}"), program: program.clone(), args, log };
            Member { client: *client, process: Some(Process::start(spec.clone()).unwrap()), spec }
        };
        let members = ports.iter().enumerate().map(member).collect();
        let etcd = Etcd { members, _dir: dir };
        etcd.leader(Duration::from_secs(30));
        Some(etcd)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Waits for a leader, and says which member it is.
    pub(super) fn leader(&self, time: Duration) -> usize {
        let leads = |member: &Member| {
            let status = post(member.client, "/v3/maintenance/status", &json!({})).ok()?;
            let own = status["header"]["member_id"].as_str()?.to_string();
            Some(status["leader"].as_str()? == own)
        };
        let found = poll::until_some(Instant::now() + time, || {
            self.members.iter().position(|member| member.process.is_some() && leads(member) == Some(true))
        });
        found.unwrap_or_else(|| {
            panic!("{}", self.members[0].process.as_ref().unwrap().explain("has no leader"))
        })
    }

    pub(super) fn kill(&mut self, member: usize) {
        self.members[member].process.take().unwrap().kill();
    }

    pub(super) fn restart(&mut self, member: usize) {
        let spec = self.members[member].spec.clone();
        self.members[member].process = Some(Process::start(spec).unwrap());
    }

    pub(super) fn pause(&mut self, member: usize) {
        self.members[member].process.as_mut().unwrap().pause();
    }

    pub(super) fn resume(&mut self, member: usize) {
        self.members[member].process.as_mut().unwrap().resume();
    }
}

fn arguments(
    name: &str,
    data: PathBuf,
    client: SocketAddr,
    peer: SocketAddr,
    list: &str,
) -> Vec<std::ffi::OsString> {
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let mut args: Vec<std::ffi::OsString> = vec!["--data-dir".into(), data.into()];
    for (flag, value) in [
        ("--name", name),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", list),
        ("--initial-cluster-state", "new"),
    ] {
        args.extend([flag.into(), value.into()]);
    }
    args
}

/// One request on a connection of its own, in HTTP/1.0, so that the answer's end is the connection's.
fn post(address: SocketAddr, path: &str, body: &Json) -> io::Result<Json> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let body = body.to_string();
    write!(stream, "POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let other = |what: &str| io::Error::other(format!("{what}: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| other("no end of the head"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(other("refused"));
    }
    serde_json::from_str(body).map_err(|error| other(&error.to_string()))
}

/// Bytes as the gateway wants them.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

struct Shared {
    targets: Vec<SocketAddr>,
    clock: Clock,
    stop: AtomicBool,
    answered: AtomicU64,
    /// Every value that is written, by its number: answers are compared as the gateway sends them, undecoded.
    values: AtomicU64,
}

/// Running clients.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Operation>>>,
}

impl Load {
    pub(super) fn start(targets: Vec<SocketAddr>) -> Load {
        let shared = Arc::new(Shared {
            targets,
            clock: Clock::default(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            values: AtomicU64::new(0),
        });
        let run = |number| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.run(Rng::with_seed(number)))
        };
        Load { threads: (0..CLIENTS).map(run).collect(), shared }
    }

    /// Waits for some progress.
    pub(super) fn let_work(&self, more: u64) {
        let answered = || self.shared.answered.load(Ordering::Relaxed);
        let target = answered() + more;
        let moved = poll::until(Instant::now() + Duration::from_secs(60), || answered() >= target);
        assert!(moved, "the clients of etcd get no answers");
    }

    pub(super) fn stop(self) -> Vec<Operation> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

impl Shared {
    fn run(&self, mut rng: Rng) -> Vec<Operation> {
        let mut recorder = self.clock.recorder();
        while !self.stop.load(Ordering::Relaxed) {
            self.step(&mut rng, &mut recorder);
            poll::until(Instant::now() + PACE, || self.stop.load(Ordering::Relaxed));
        }
        recorder.into_operations()
    }

    fn step(&self, rng: &mut Rng, recorder: &mut Recorder) {
        let target = self.targets[rng.usize(..self.targets.len())];
        let key = format!("k{}", rng.usize(..KEYS)).into_bytes();
        let named = base64(&key);
        let unique = self.values.fetch_add(1, Ordering::Relaxed).to_string();
        let (request, path, body) = match rng.u8(..5) {
            0 => (Request::Del, "/v3/kv/deleterange", json!({ "key": named })),
            1 | 2 => {
                let value = base64(unique.as_bytes());
                let body = json!({ "key": named, "value": value });
                (Request::Set(value.into_bytes()), "/v3/kv/put", body)
            }
            _ => (Request::Get, "/v3/kv/range", json!({ "key": named })),
        };
        let call = recorder.call(&key, request.clone());
        // What is refused may have been proposed: nobody can tell.
        let Ok(answer) = post(target, path, &body) else { return recorder.unknown(call) };
        let value = || answer["kvs"][0]["value"].as_str().map(|text| text.as_bytes().to_vec());
        let reply = match request {
            Request::Get => Reply::Value(value()),
            Request::Set(_) => Reply::Stored,
            _ => Reply::Integer(answer["deleted"].as_str().map_or(0, |count| count.parse().unwrap())),
        };
        recorder.answered(call, reply);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn bytes_are_encoded_as_the_gateway_wants_them() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
