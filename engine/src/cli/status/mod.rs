//! `ringraft status`: what one node knows about itself and the cluster, and the JSON it travels in.
//!
//! The server answers `RINGRAFT STATUS` with one bulk string: [`Status`] as JSON. `ringraft status --json`
//! prints the same. Fields are only ever added, and readers skip what they do not know.

mod command;
mod show;

pub(super) use command::resolve;
pub use command::{StatusArgs, fetch, run, wait_for_leaders};

use serde::{Deserialize, Serialize};

/// One node's view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node that answered.
    pub node: u16,
    /// The cluster's id in hex; none while the cluster has not formed.
    pub cluster: Option<String>,
    /// The node's version of ringraft.
    pub version: String,
    /// The node's shards.
    pub shards: u32,
    /// Every group this node has a replica of, by id.
    pub groups: Vec<GroupStatus>,
    /// Every member, by id; the answering node too.
    pub nodes: Vec<NodeStatus>,
    /// The node directory, as the answering node has it.
    #[serde(default)]
    pub members: Vec<MemberStatus>,
    /// How many groups have the members that the node directory wants; all of them when no change is under way.
    #[serde(default)]
    pub groups_settled: u32,
    /// Snapshots on their way to and from it, as of at most a tenth of a second ago.
    #[serde(default)]
    pub transfers: Vec<TransferStatus>,
    /// Messages of groups that it has sent to other nodes since it started.
    #[serde(default)]
    pub raft_messages_sent: u64,
    /// Signs of life of its shards that it has sent.
    #[serde(default)]
    pub beats_sent: u64,
    /// Connections with peers that it closed because of what came.
    #[serde(default)]
    pub links_damaged: u64,
}

/// One group as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// The group.
    pub id: u32,
    /// The hash slots it owns, as inclusive ranges.
    pub slots: Vec<(u16, u16)>,
    /// The node that leads it, as far as the answering node knows.
    pub leader: Option<u16>,
    /// What the answering node is in it.
    pub role: Role,
    /// The newest term the answering node saw.
    pub term: u64,
    /// Its log's last index.
    pub last: u64,
    /// Up to here entries will never change.
    pub committed: u64,
    /// Up to here they are in the state machine.
    pub applied: u64,
    /// The entry of the answering node's newest snapshot, which its log begins behind; 0 without one.
    #[serde(default)]
    pub snapshot: u64,
    /// Nothing is to be done, and nothing is sent.
    #[serde(default)]
    pub quiesced: bool,
    /// Who belongs to it, as the answering node knows.
    #[serde(default)]
    pub config: ConfigStatus,
    /// If the answering node leads it: how far the others are, as of at most a second ago.
    #[serde(default)]
    pub followers: Vec<FollowerStatus>,
}

/// A snapshot on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferStatus {
    /// Whose state it is.
    pub group: u32,
    /// The node that it is sent to, if the answering node sends it.
    pub to: Option<u16>,
    /// The node that it comes from, if the answering node receives it; none while its sender is away.
    pub from: Option<u16>,
    /// The last entry in it.
    pub snapshot: u64,
    /// How much of it has arrived.
    pub bytes_done: u64,
    /// How much it is.
    pub bytes: u64,
}

/// A group's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Who votes.
    pub voters: Vec<u16>,
    /// While it changes: who voted before, and does until the change is through.
    pub outgoing: Vec<u16>,
    /// Who receives the log and does not vote.
    pub learners: Vec<u16>,
    /// Who will be a learner once the change is through.
    pub learners_next: Vec<u16>,
    /// Whether it is known to be committed.
    pub committed: bool,
}

/// A follower, as its leader knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerStatus {
    /// The follower.
    pub node: u16,
    /// How it is fed: `probe`, `replicate` or `snapshot`.
    pub state: String,
    /// Whether it does not vote.
    pub learner: bool,
    /// The newest index that is durable there.
    pub matched: u64,
    /// The next index to send.
    pub next: u64,
    /// Bytes sent and not acknowledged.
    pub inflight_bytes: u64,
}

/// A node, as the node directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: u16,
    /// Which disk it is, in hex; zeros while it was not heard of.
    pub incarnation: String,
    /// Where its shard 0 listens for peers.
    pub peer: String,
    /// Where clients reach its shard 0, once known.
    pub client: Option<String>,
    /// Its shards.
    pub shards: u16,
    /// `joining`, `active` or `leaving`.
    pub state: String,
}

/// What a node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It orders the group's writes.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It receives the log but has no vote.
    Learner,
    /// Acknowledged data of it was damaged; it heals from its peers and does not vote.
    Recovering,
    /// Its history contradicts the group's: remove it and add it again.
    Faulted,
    /// A role of a later version.
    #[serde(other)]
    Other,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The member.
    pub id: u16,
    /// Where its shard 0 listens for peers.
    pub peer: String,
    /// Where its shard 0 listens for clients, once known.
    pub client: Option<String>,
    /// Whether the answering node has a connection to it (to itself: true).
    pub reachable: bool,
}

impl Status {
    /// Whether every group has a leader; false while there are no groups.
    pub fn all_led(&self) -> bool {
        !self.groups.is_empty() && self.groups.iter().all(|group| group.leader.is_some())
    }

    /// The node that leads most groups; of equals the one with the lowest id.
    pub fn leads_most(&self) -> Option<u16> {
        let mut led: Vec<u16> = self.groups.iter().filter_map(|group| group.leader).collect();
        led.sort_unstable();
        led.chunk_by(|left, right| left == right)
            .rev()
            .max_by_key(|groups| groups.len())
            .and_then(|groups| groups.first().copied())
    }
}

#[cfg(test)]
pub(crate) fn example(leaders: &[Option<u16>]) -> Status {
    let groups = leaders.iter().enumerate().map(|(position, leader)| {
        let id = u32::try_from(position).unwrap();
        let first = u16::try_from(position * 100).unwrap();
        GroupStatus {
            id,
            slots: vec![(first, first + 99)],
            leader: *leader,
            role: if *leader == Some(1) { Role::Leader } else { Role::Follower },
            term: 3,
            last: 120,
            committed: 119,
            applied: 118,
            snapshot: 100,
            quiesced: false,
            config: ConfigStatus { voters: vec![1, 2, 3], committed: true, ..ConfigStatus::default() },
            followers: Vec::new(),
        }
    });
    let nodes = (1..=3).map(|id| NodeStatus {
        id,
        peer: format!("127.0.0.1:7{id}01"),
        client: (id != 3).then(|| format!("127.0.0.1:6{id}01")),
        reachable: id != 3,
    });
    Status {
        node: 1,
        cluster: Some("5eed".into()),
        version: "0.1.0".into(),
        shards: 1,
        groups: groups.collect(),
        nodes: nodes.collect(),
        members: Vec::new(),
        groups_settled: 0,
        transfers: Vec::new(),
        raft_messages_sent: 0,
        beats_sent: 0,
        links_damaged: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_what_scripts_rely_on() {
        let mut status = example(&[Some(1)]);
        status.nodes.truncate(1);
        let expected = serde_json::json!({
            "node": 1, "cluster": "5eed", "version": "0.1.0", "shards": 1,
            "groups": [{"id": 0, "slots": [[0, 99]], "leader": 1, "role": "leader", "term": 3, "last": 120,
                        "committed": 119, "applied": 118, "snapshot": 100, "quiesced": false, "followers": [],
                        "config": {"voters": [1, 2, 3], "outgoing": [], "learners": [], "learners_next": [],
                                   "committed": true}}],
            "nodes": [{"id": 1, "peer": "127.0.0.1:7101", "client": "127.0.0.1:6101", "reachable": true}],
            "members": [], "groups_settled": 0, "transfers": [], "raft_messages_sent": 0, "beats_sent": 0, "links_damaged": 0,
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }

    #[test]
    fn later_versions_may_say_more() {
        let text = r#"{"node":1,"cluster":null,"version":"9","shards":2,"nodes":[],"mood":"good",
            "groups":[{"id":0,"slots":[],"leader":null,"role":"witness","term":1,"last":0,"committed":0,"applied":0}]}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.groups[0].role, Role::Other);
        assert!(!status.all_led());
    }

    #[test]
    fn leaders_are_counted() {
        assert_eq!(example(&[Some(2), Some(1), Some(2), None]).leads_most(), Some(2));
        assert_eq!(example(&[Some(2), Some(1)]).leads_most(), Some(1), "of equals the lowest");
        assert_eq!(example(&[None]).leads_most(), None);
        assert!(!example(&[Some(1), None]).all_led());
        assert!(!example(&[]).all_led());
        assert!(example(&[Some(1), Some(3)]).all_led());
    }
}
