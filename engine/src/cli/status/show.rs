//! A [`Status`] for people.

use super::{FollowerStatus, GroupStatus, Role, Status, TransferStatus};
use crate::cli::{output, quantity::grouped};

/// A heading, the members, the groups.
pub(super) fn tables(status: &Status) -> String {
    let cluster = status.cluster.as_deref().unwrap_or("not formed");
    let Status { node, version, shards, .. } = status;
    let led = status.groups.iter().filter(|group| group.leader.is_some()).count();
    format!(
        "node {node} of cluster {cluster}, ringraft {version}, {shards} shards, {led} of {} groups led\n{}{}{}\n{}",
        status.groups.len(),
        change(status),
        transfers(status),
        nodes(status),
        groups(status),
    )
}

/// A line about the change of membership that is under way, if one is.
fn change(status: &Status) -> String {
    let changing = status.members.iter().filter(|member| member.state != "active");
    let changing: Vec<String> =
        changing.map(|member| format!("node {} is {}", member.id, member.state)).collect();
    match changing.is_empty() {
        true => String::new(),
        false => format!(
            "{}: {} of {} groups are done\n",
            changing.join(", "),
            status.groups_settled,
            status.groups.len()
        ),
    }
}

/// A line for each snapshot that is on its way.
fn transfers(status: &Status) -> String {
    let line = |transfer: &TransferStatus| {
        let node = |node: Option<u16>| node.map_or("nobody".to_owned(), |node| format!("node {node}"));
        let way = match transfer.to {
            Some(_) => format!("to {}", node(transfer.to)),
            None => format!("from {}", node(transfer.from)),
        };
        let percent = 100 * transfer.bytes_done / transfer.bytes.max(1);
        let (group, snapshot, bytes) = (transfer.group, grouped(transfer.snapshot), grouped(transfer.bytes));
        format!("group {group}: a snapshot of entry {snapshot}, {bytes} bytes, {way}: {percent} %\n")
    };
    status.transfers.iter().map(line).collect()
}

fn nodes(status: &Status) -> comfy_table::Table {
    let mut table = output::table(&["node", "client", "peer", "leads", "reachable"]);
    for node in &status.nodes {
        let leads = status.groups.iter().filter(|group| group.leader == Some(node.id)).count();
        let client = node.client.as_deref().unwrap_or("-");
        let reachable = if node.reachable { "yes" } else { "no" };
        table.add_row([&node.id.to_string(), client, &node.peer, &leads.to_string(), reachable]);
    }
    table
}

fn groups(status: &Status) -> comfy_table::Table {
    let mut table = output::table(&[
        "group",
        "slots",
        "leader",
        "here",
        "members",
        "followers",
        "term",
        "last",
        "committed",
        "applied",
        "snapshot",
    ]);
    for group in &status.groups {
        let leader = group.leader.map_or("-".to_owned(), |node| node.to_string());
        table.add_row([
            group.id.to_string(),
            slots(group),
            leader,
            role(group.role).to_owned(),
            members(group),
            followers(group),
            grouped(group.term),
            grouped(group.last),
            grouped(group.committed),
            grouped(group.applied),
            grouped(group.snapshot),
        ]);
    }
    output::align_numbers(&mut table, 6);
    table
}

fn slots(group: &GroupStatus) -> String {
    let ranges = group.slots.iter().map(|(first, last)| format!("{first}-{last}"));
    ranges.collect::<Vec<_>>().join(" ")
}

/// Voters, the voters before them while they change, and learners: `1 2 3 -> 1 2 4 +5`.
fn members(group: &GroupStatus) -> String {
    let words = |ids: &[u16]| ids.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    let config = &group.config;
    let mut shown = words(&config.voters);
    if !config.outgoing.is_empty() {
        shown = format!("{} -> {shown}", words(&config.outgoing));
    }
    config.learners.iter().for_each(|learner| shown.push_str(&format!(" +{learner}")));
    shown
}

/// On the leader: who lacks nothing, who lacks how many entries, and who is fed otherwise than entry by entry:
/// `2 3(-120) 4(snapshot)`.
fn followers(group: &GroupStatus) -> String {
    let word = |follower: &FollowerStatus| {
        let FollowerStatus { node, state, matched, .. } = follower;
        match group.committed.saturating_sub(*matched) {
            _ if state != "replicate" => format!("{node}({state})"),
            0 => node.to_string(),
            lacks => format!("{node}(-{})", grouped(lacks)),
        }
    };
    group.followers.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Recovering => "recovering",
        Role::Faulted => "faulted",
        Role::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemberStatus, example};
    use super::*;

    #[test]
    fn a_change_of_members_is_shown_with_its_progress() {
        let mut status = example(&[Some(1), Some(2)]);
        assert!(!tables(&status).contains("are done"));
        status.groups_settled = 1;
        status.members.push(MemberStatus {
            id: 4,
            incarnation: "00000000000000ff".into(),
            peer: "127.0.0.1:7401".into(),
            client: None,
            shards: 1,
            state: "joining".into(),
        });
        let group = &mut status.groups[0];
        group.config.learners = vec![4];
        for (node, state, matched) in [(2, "replicate", 119), (3, "replicate", 19), (4, "snapshot", 0)] {
            let (state, next) = (state.to_string(), matched + 1);
            group.followers.push(FollowerStatus {
                node,
                state,
                learner: node == 4,
                matched,
                next,
                inflight_bytes: 0,
            });
        }
        group.config.outgoing = vec![1, 2];
        let shown = tables(&status);
        assert!(shown.contains("\nnode 4 is joining: 1 of 2 groups are done\n"), "{shown}");
        assert!(shown.contains("1 2 -> 1 2 3 +4"), "{shown}");
        assert!(shown.contains("2 3(-100) 4(snapshot)"), "{shown}");
    }

    #[test]
    fn the_tables_show_members_and_groups() {
        let shown = tables(&example(&[Some(2), None, Some(2)]));
        assert!(shown.starts_with("node 1 of cluster 5eed, ringraft 0.1.0, 1 shards, 2 of 3 groups led\n"));
        let words =
            |line: &str| line.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        let rows: Vec<String> = shown.lines().map(words).collect();
        for row in [
            "2 127.0.0.1:6201 127.0.0.1:7201 2 yes",
            "3 - 127.0.0.1:7301 0 no",
            "1 100-199 - follower 1 2 3 3 120 119 118 100",
        ] {
            assert!(rows.iter().any(|shown| shown == row), "{row:?} is not in\n{shown}");
        }
    }
}
