//! What clients' commands mean, and what is made of the answers of other nodes.

use std::time::Duration;

use net::resp::{Parse, Proto, parse, read_reply};
use raft::{EntryId, GroupId, NodeId};
use ringraft::kv::{Command, Kv, SlotMap};
use ringraft::resp::{
    ClusterView, Gather, Leader, Node, Place, Plan, Redirect, Request, Session, Statistics, plan, to_proto,
};
use ringraft::{Applied, StateMachine};

use super::resp::command;
use crate::feed::{Feed, parts};

const GROUPS: u16 = 3;
/// Commands of one input: some write 16 MiB.
const COMMANDS_MAX: usize = 12;

/// A cluster of two nodes, which never changes.
struct View {
    nodes: Vec<Node>,
    redirect: Redirect,
}

impl View {
    fn new(redirect: Redirect) -> View {
        let node = |id: u16| Node {
            id: NodeId(id),
            host: format!("10.0.0.{id}"),
            port: 6000 + id,
            shards: 2,
            reachable: id == 1,
        };
        View { nodes: vec![node(1), node(2)], redirect }
    }
}

impl ClusterView for View {
    fn cluster_id(&self) -> [u8; 16] {
        *b"cluster-identity"
    }
    fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    fn own(&self) -> Place {
        Place { node: NodeId(1), shard: 0 }
    }
    fn slot_map(&self) -> SlotMap {
        SlotMap::new(GROUPS)
    }
    fn leader(&self, group: GroupId) -> Option<Leader> {
        let place = |node| Place { node: NodeId(node), shard: 1 };
        match group.0 {
            1 => Some(Leader { place: self.own(), current: true }),
            2 => Some(Leader { place: place(2), current: true }),
            _ => None,
        }
    }
    fn epoch(&self) -> u64 {
        7
    }
    fn redirect(&self) -> Redirect {
        self.redirect
    }
    fn unix_time(&self) -> Duration {
        Duration::from_micros(1_700_000_000_123_456)
    }
    fn statistics(&self) -> Statistics {
        Statistics { clients_max: 10_000, ..Statistics::default() }
    }
}

fn session() -> Session {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Session::new(5, address(50_000), address(6_100), Duration::from_secs(1_700_000_000))
}

/// The first byte chooses the view and the protocol; the rest are commands of one connection.
pub fn commands(data: &[u8]) {
    let mut feed = Feed(data);
    let view = View::new(if feed.flag() { Redirect::Moved } else { Redirect::Proxy });
    let map = view.slot_map();
    let mut groups: Vec<Kv> = map.all().map(|group| Kv::new(map.slots(group))).collect();
    let (mut session, mut rest) = (session(), feed.0);
    for _ in 0..COMMANDS_MAX {
        let (args, consumed) = match parse(rest, &net::resp::Limits::default()) {
            Parse::Command { args, consumed } => (args.to_vec(), consumed),
            Parse::Empty { consumed } => (Vec::new(), consumed),
            _ => return,
        };
        rest = &rest[consumed..];
        let mut out = Vec::new();
        match plan(&mut session, &args, &view, &mut out) {
            Plan::One(request) => to_proto(&execute(&mut groups, &request), session.proto, &mut out),
            Plan::Scatter(parts, mut gather) => {
                for (part, request) in parts.iter().enumerate() {
                    gather.add(part, &execute(&mut groups, request));
                }
                gather.finish(session.proto, &mut out);
            }
            _ => {}
        }
        assert_whole_replies(&out);
    }
}

/// Error replies may hold any bytes, so only their shape counts.
fn assert_whole_replies(mut out: &[u8]) {
    while !out.is_empty() {
        let read = read_reply(out);
        let Ok(Some((_, consumed))) = read else {
            panic!("not a whole reply: {read:?} of {}", out.escape_ascii())
        };
        out = &out[consumed..];
    }
}

fn execute(groups: &mut [Kv], request: &Request<'_>) -> Vec<u8> {
    let kv = &mut groups[request.group.0 as usize - 1];
    let bytes = request.command.to_vec();
    assert_eq!(bytes.len(), request.command.encoded_bytes());
    let decoded = Command::decode(&bytes).expect("a planned command travels");
    assert_eq!(decoded.to_vec(), bytes, "a command written again");
    let mut reply = Vec::new();
    if request.is_write() {
        assert_eq!(kv.apply(EntryId::default(), &bytes, &mut reply), Applied::Done);
    } else {
        kv.query(&bytes, &mut reply);
    }
    reply
}

/// Seeds of [`commands`].
#[must_use]
pub fn command_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "SET k v|GET k|APPEND k w|STRLEN k|GETRANGE k -2 -1|SETRANGE k 5 x|TYPE k",
        "SET k 1 NX GET|INCRBY k 5|DECR k|GETDEL k|INCR k|INCRBY k -9223372036854775808",
        "MSET {a}1 x {a}2 y|MGET {a}1 b c {a}2|DEL a b c|EXISTS a b|TOUCH a|UNLINK a",
        "SCAN 0 MATCH a* COUNT 100 TYPE string|KEYS *|RANDOMKEY|DBSIZE|FLUSHALL",
        "HELLO 3 SETNAME me|CLIENT INFO|CLIENT SETINFO lib-name x|CLIENT GETNAME|RESET|QUIT",
        "COMMAND|COMMAND COUNT|COMMAND DOCS get|COMMAND INFO get set|COMMAND GETKEYS MSET a b c d",
        "CLUSTER SLOTS|CLUSTER SHARDS|CLUSTER NODES|CLUSTER KEYSLOT k|CLUSTER COUNTKEYSINSLOT 5",
        "CLUSTER GETKEYSINSLOT 5 10|CLUSTER INFO|CLUSTER MYID|INFO server|CONFIG GET *|CONFIG SET save x",
        "WAIT 1 0|SELECT 0|ECHO x|PING x|TIME|ROLE|READONLY|ASKING|LOLWUT|AUTH x|SUBSTR k 0 1",
        "RINGRAFT STATUS json|RINGRAFT MEMBER LIST|RINGRAFT MEMBER ADD 4=10.0.0.4:7401|RINGRAFT TRANSFER 1 2",
    ];
    let line = |line: &str| -> Vec<u8> {
        line.split('|').flat_map(|words| command(&words.split(' ').collect::<Vec<_>>())).collect()
    };
    lines.iter().flat_map(|words| [[&[0], &*line(words)].concat(), [&[1], &*line(words)].concat()]).collect()
}

/// Questions whose answers come from several groups, or in the words of the directory.
const QUESTIONS: [&str; 9] = [
    "DEL a b c d",
    "MSET a 1",
    "MGET a b c d a",
    "KEYS *",
    "RANDOMKEY",
    "DBSIZE",
    "FLUSHALL",
    "RINGRAFT MEMBER LIST",
    "RINGRAFT MEMBER REMOVE 2",
];

/// Answers of other nodes to parts of a request: peers may say anything.
pub fn gathered(data: &[u8]) {
    let mut feed = Feed(data);
    let question = QUESTIONS[usize::from(feed.byte()) % QUESTIONS.len()];
    let proto = if feed.flag() { Proto::Resp3 } else { Proto::Resp2 };
    let args: Vec<&[u8]> = question.split(' ').map(str::as_bytes).collect();
    let view = View::new(Redirect::Proxy);
    let mut gather: Option<Gather> = match plan(&mut session(), &args, &view, &mut Vec::new()) {
        Plan::Scatter(_, gather) | Plan::Ask(_, gather) => Some(gather),
        _ => None,
    };
    for part in 0..4 {
        let reply = feed.part();
        to_proto(reply, proto, &mut Vec::new());
        if let Some(gather) = &mut gather {
            gather.add(part, reply);
        }
    }
    if let Some(gather) = gather {
        gather.finish(proto, &mut Vec::new());
    }
}

/// Seeds of [`gathered`].
#[must_use]
pub fn gathered_seeds() -> Vec<Vec<u8>> {
    let answers: [[&[u8]; 3]; 7] = [
        [b":1\r\n", b":9223372036854775807\r\n", b":0\r\n"],
        [b"+OK\r\n", b"+OK\r\n", b"+OK\r\n"],
        [b"*2\r\n$1\r\na\r\n$-1\r\n", b"*1\r\n$0\r\n\r\n", b"*1\r\n$-1\r\n"],
        [b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*9223372036854775807\r\n"],
        [b"*2\r\n:10\r\n$1\r\na\r\n", b"*1\r\n:0\r\n", b"*2\r\n:9223372036854775807\r\n$1\r\nb\r\n"],
        [b"-TIMEOUT x\r\n", b"$9\r\nab\r\n", b""],
        [b"\x00", b"\x08", b"\x05"],
    ];
    let mut seeds = Vec::new();
    for question in 0..u8::try_from(QUESTIONS.len()).expect("few") {
        for answers in answers {
            seeds.push([&[question, 1], &*parts(answers)].concat());
        }
    }
    let list = super::directory::founded().save();
    seeds.push([&[7, 0], &*parts([list])].concat());
    seeds
}
