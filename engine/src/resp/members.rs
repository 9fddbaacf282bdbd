//! RINGRAFT MEMBER and TRANSFER: what operators do to a cluster.

use super::gather::Gather;
use super::plan::{Asked, Context, Plan, Way, refuse, syntax_error};
use crate::members::{Ask, Command, Members, Verdict};
use crate::node::parse_member;
use crate::shard::{Handover, transfer_request};
use net::forming::MEMBERS_MAX;
use net::handshake::Address;
use net::resp::{parse_integer, reply};
use raft::{GroupId, NodeId};

/// The node directory.
const DIRECTORY: GroupId = GroupId(0);

pub(super) fn plan_member<'a>(context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let args = context.args;
    let ask = |way, bytes, worded| Plan::Ask(Asked { group: DIRECTORY, way, bytes }, Gather::words(worded));
    match (&*args[2].to_ascii_lowercase(), &args[3..]) {
        (b"list", []) => ask(Way::Read, Ask::List.encode(), list_in_words),
        (b"add", [member]) => match parse_addition(member) {
            Ok(command) => ask(Way::Write, command.encode(), verdict_in_words),
            Err(problem) => refuse(out, format_args!("ERR {problem}")),
        },
        (b"remove", [node]) => match parse_node(node) {
            Some(node) => ask(Way::Write, Command::Remove { node }.encode(), verdict_in_words),
            None => refuse(out, format_args!("ERR a node is a number from 1 to 65535")),
        },
        _ => syntax_error(out),
    }
}

pub(super) fn plan_transfer<'a>(context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let (group, node) = (context.args[2], context.args[3]);
    let groups = u32::from(context.view.slot_map().groups());
    let group = parse_integer(group).and_then(|group| u32::try_from(group).ok());
    let Some(group) = group.filter(|group| *group <= groups) else {
        return refuse(out, format_args!("ERR a group is a number from 0 to {groups}"));
    };
    let Some(node) = parse_node(node) else {
        return refuse(out, format_args!("ERR a node is a number from 1 to 65535"));
    };
    let asked = Asked { group: GroupId(group), way: Way::Control, bytes: transfer_request(node) };
    Plan::Ask(asked, Gather::words(handover_in_words))
}

fn parse_node(word: &[u8]) -> Option<NodeId> {
    let number = parse_integer(word).and_then(|number| u16::try_from(number).ok())?;
    (number > 0).then_some(NodeId(number))
}

/// `4=10.0.0.4:7401`: names are for those who ask, as looking one up may take long.
fn parse_addition(word: &[u8]) -> Result<Command, String> {
    let (node, address) = std::str::from_utf8(word)
        .map_err(|_| "a member is NODE=IP:PORT".to_owned())
        .and_then(|text| parse_member(text).map_err(|error| error.to_string()))?;
    if address.ip().is_unspecified() {
        return Err(format!("node {node} has the address {address}, which no peer can connect to"));
    }
    let peer = Address::new(&address.ip().to_string(), address.port()).map_err(|error| error.to_string())?;
    Ok(Command::Add { node, peer })
}

fn list_in_words(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let members = Members::decode(answer)?;
    reply::bulk(out, crate::status::members_json(&members).as_bytes());
    Some(())
}

fn verdict_in_words(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let refusal = match Verdict::from_byte(*answer.first()?)? {
        Verdict::Done => {
            reply::ok(out);
            return Some(());
        }
        Verdict::AlreadyMember => {
            "EXISTS the node is a member already: remove it first if its disk was replaced"
        }
        Verdict::NotMember => "NOMEMBER there is no such node, or it is gone already",
        Verdict::StillLeaving => "TRYAGAIN the node is still being removed: wait until it is gone",
        Verdict::TooMany => {
            reply::error(out, format_args!("TOOMANY a cluster has at most {MEMBERS_MAX} nodes"));
            return Some(());
        }
        Verdict::LastNode => "LASTNODE it is the last active node",
        Verdict::AddressTaken => "EXISTS another node has this address",
        Verdict::NoNode | Verdict::Outdated => "ERR no node can have this id",
    };
    reply::error(out, format_args!("{refusal}"));
    Some(())
}

fn handover_in_words(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match Handover::from_byte(*answer.first()?) {
        Handover::Begun => reply::ok(out),
        Handover::NotAVoter => reply::error(out, format_args!("NOVOTER the node is no voter of the group")),
        Handover::NotUnderstood => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::view::Redirect;
    use super::super::{Session, fixture::FakeView, plan};
    use super::*;
    use net::resp::Proto;
    use std::time::Duration;

    fn session() -> Session {
        let address = "127.0.0.1:1".parse().unwrap();
        Session::new(1, address, address, Duration::ZERO)
    }

    fn asked(line: &str) -> Result<(Asked, Gather), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        match plan(&mut session(), &args, &FakeView::new(16, Redirect::Moved), &mut out) {
            Plan::Ask(asked, gather) => Ok((asked, gather)),
            Plan::Done => Err(String::from_utf8(out).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn words(line: &str, answer: &[u8]) -> String {
        let (_, mut gather) = asked(line).expect("a question");
        assert!(gather.add(0, answer), "one part is all");
        let mut out = Vec::new();
        gather.finish(Proto::Resp3, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn members_are_asked_for_in_group_0() {
        let (add, _) = asked("RINGRAFT MEMBER ADD 4=127.0.0.1:7401").unwrap();
        assert_eq!((add.group, add.way), (GroupId(0), Way::Write));
        let peer = Address::new("127.0.0.1", 7401).unwrap();
        assert_eq!(add.bytes, Command::Add { node: NodeId(4), peer }.encode());
        let (remove, _) = asked("ringraft member remove 2").unwrap();
        assert_eq!(remove.bytes, Command::Remove { node: NodeId(2) }.encode());
        let (list, _) = asked("ringraft member LIST").unwrap();
        assert_eq!((list.way, list.bytes), (Way::Read, Ask::List.encode()));
        let (transfer, _) = asked("RINGRAFT TRANSFER 3 2").unwrap();
        assert_eq!((transfer.group, transfer.way), (GroupId(3), Way::Control));
        assert_eq!(transfer.bytes, transfer_request(NodeId(2)));
    }

    #[test]
    fn nonsense_is_refused_on_the_spot() {
        for (line, error) in [
            ("RINGRAFT MEMBER ADD", "-ERR syntax error"),
            ("RINGRAFT MEMBER ADD 4", "-ERR --cluster: \"4\" is not NODE=IP:PORT"),
            ("RINGRAFT MEMBER ADD 0=127.0.0.1:7401", "-ERR --cluster"),
            ("RINGRAFT MEMBER ADD 4=0.0.0.0:7401", "-ERR node 4 has the address 0.0.0.0:7401"),
            ("RINGRAFT MEMBER REMOVE 0", "-ERR a node is a number"),
            ("RINGRAFT MEMBER REMOVE two", "-ERR a node is a number"),
            ("RINGRAFT MEMBER LIST all", "-ERR syntax error"),
            ("RINGRAFT MEMBER PROMOTE 4", "-ERR syntax error"),
            ("RINGRAFT MEMBER", "-ERR wrong number of arguments for 'ringraft|member' command"),
            ("RINGRAFT TRANSFER 17 2", "-ERR a group is a number from 0 to 16"),
            ("RINGRAFT TRANSFER 3 x", "-ERR a node is a number"),
        ] {
            let refused = asked(line).expect_err(line);
            assert!(refused.starts_with(error), "{line}: {refused}");
        }
    }

    #[test]
    fn answers_are_put_into_words() {
        let add = "RINGRAFT MEMBER ADD 4=127.0.0.1:7401";
        assert_eq!(words(add, &[Verdict::Done as u8]), "+OK\r\n");
        for byte in 1..=8 {
            let text = words(add, &[byte]);
            assert!(text.starts_with('-') && text.ends_with("\r\n"), "{text}");
        }
        assert!(words(add, &[31]).starts_with("-ERR a part"));
        assert_eq!(words(add, b"-TIMEOUT outcome unknown\r\n"), "-TIMEOUT outcome unknown\r\n");
        assert_eq!(words("RINGRAFT TRANSFER 3 2", &[0]), "+OK\r\n");
        assert!(words("RINGRAFT TRANSFER 3 2", &[1]).starts_with("-NOVOTER "));
        let members = Members { version: 3, ..Members::default() };
        assert_eq!(words("RINGRAFT MEMBER LIST", &members.encode()), "$2\r\n[]\r\n");
    }
}
