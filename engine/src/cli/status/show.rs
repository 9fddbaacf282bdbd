//! A [`Status`] for people.

use super::{GroupStatus, Role, Status};
use crate::cli::{output, quantity::grouped};

/// A heading, the members, the groups.
pub(super) fn tables(status: &Status) -> String {
    let cluster = status.cluster.as_deref().unwrap_or("not formed");
    let Status { node, version, shards, .. } = status;
    let led = status.groups.iter().filter(|group| group.leader.is_some()).count();
    format!(
        "node {node} of cluster {cluster}, ringraft {version}, {shards} shards, {led} of {} groups led\n{}\n{}",
        status.groups.len(),
        nodes(status),
        groups(status),
    )
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
    let mut table =
        output::table(&["group", "slots", "leader", "here", "term", "last", "committed", "applied"]);
    for group in &status.groups {
        let leader = group.leader.map_or("-".to_owned(), |node| node.to_string());
        table.add_row([
            group.id.to_string(),
            slots(group),
            leader,
            role(group.role).to_owned(),
            grouped(group.term),
            grouped(group.last),
            grouped(group.committed),
            grouped(group.applied),
        ]);
    }
    output::align_numbers(&mut table, 4);
    table
}

fn slots(group: &GroupStatus) -> String {
    let ranges = group.slots.iter().map(|(first, last)| format!("{first}-{last}"));
    ranges.collect::<Vec<_>>().join(" ")
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
    use super::super::example;
    use super::*;

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
            "1 100-199 - follower 3 120 119 118",
        ] {
            assert!(rows.iter().any(|shown| shown == row), "{row:?} is not in\n{shown}");
        }
    }
}
