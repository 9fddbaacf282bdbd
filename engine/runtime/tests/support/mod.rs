//! What the tests share: shards that must come to an end, and sockets from outside.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::Duration,
};

use runtime::{Context, Doorbell, Event, Part, Ring, ShardSpec, ShardThread, SocketId, spawn_shard};

/// Far longer than anything here takes: a test that waits this long has failed.
pub const FOR_EVER: Duration = Duration::from_secs(120);

pub fn spec(name: &str) -> ShardSpec {
    ShardSpec { name: name.to_owned(), cpu: None }
}

/// Runs `main` as a shard to its end and gives back what it returns.
pub fn on_shard<T, F, Fut>(main: F) -> T
where
    T: Send + 'static,
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let shard = spawn_shard(spec("test"), |context| async move {
        let _ = sender.send(main(context).await);
    })
    .unwrap();
    shard.join().unwrap();
    receiver.recv().unwrap()
}

/// What a server does with each event.
pub type Turn = Box<dyn FnMut(&Ring, Event)>;

/// A shard that serves until it is told to stop.
pub struct Server {
    pub address: SocketAddr,
    shard: ShardThread,
    stop: mpsc::Sender<()>,
    doorbell: Doorbell,
}

impl Server {
    /// Starts a shard that listens, and hands each event to what `make_turn` makes on its thread.
    pub fn start(make_turn: impl FnOnce() -> Turn + Send + 'static) -> Server {
        let (stop, stopped) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let shard = spawn_shard(spec("server"), move |context| async move {
            let listener = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let ring = context.ring();
            ring.listen(listener);
            ready.send((address, ring.doorbell())).unwrap();
            let mut turn = make_turn();
            let mut events = Vec::new();
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                ring.wait().await;
                ring.events(&mut events);
                for event in events.drain(..) {
                    turn(&ring, event);
                }
            }
        })
        .unwrap();
        let (address, doorbell) = started.recv().unwrap();
        Server { address, shard, stop, doorbell }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(FOR_EVER)).unwrap();
        stream.set_write_timeout(Some(FOR_EVER)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub fn stop(self) {
        self.stop.send(()).unwrap();
        self.doorbell.ring();
        self.shard.join().unwrap();
    }
}

/// Bytes that differ from place to place.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// Sends `sent` in pieces and reads it back, both at once.
pub fn echo(stream: &TcpStream, sent: &[u8], piece: usize) {
    std::thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(move || {
            for piece in sent.chunks(piece) {
                writer.write_all(piece).unwrap();
            }
        });
        let mut received = vec![0; sent.len()];
        (&*stream).read_exact(&mut received).unwrap();
        assert!(received == sent, "an echo of {} bytes came back changed", sent.len());
    });
}

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

/// A server that sends back what it receives.
pub fn echo_server() -> Server {
    Server::start(|| {
        let mut echo = Echo::default();
        Box::new(move |ring, event| echo.turn(ring, event))
    })
}
