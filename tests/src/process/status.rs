//! What `RINGRAFT STATUS` says about a node.

use serde_json::Value as Json;

/// A replica, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: u64,
    /// The node that leads it, as far as this node knows.
    pub leader: Option<u64>,
    /// The last index of its log.
    pub last: u64,
    /// The last index that its state machine has taken.
    pub applied: u64,
    /// The last index that its newest snapshot holds.
    pub snapshot: u64,
    /// The newest term that this node knows of.
    pub term: u64,
    /// It rests: nothing is to be done.
    pub quiesced: bool,
}

/// All replicas of a node, ordered by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// The replicas.
    pub groups: Vec<GroupStatus>,
    /// Messages of groups it has sent to other nodes.
    pub raft_messages_sent: u64,
    /// Signs of life of its shards it has sent.
    pub beats_sent: u64,
    /// Connections with peers that it closed because of what came.
    pub links_damaged: u64,
}

impl NodeStatus {
    /// Reads the JSON of one `RINGRAFT STATUS`: an object with `groups`, each with `id`, `leader` (null when
    /// unknown), `last`, `applied` and `snapshot`.
    ///
    /// # Errors
    ///
    /// A sentence that names what is missing and shows the text.
    pub fn parse(text: &str) -> Result<NodeStatus, String> {
        let wrong = |what: &str| format!("RINGRAFT STATUS: {what} in {text}");
        let json: Json = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
        let groups = json["groups"].as_array().ok_or_else(|| wrong("no array `groups`"))?;
        let number = |group: &Json, name: &str| {
            group[name].as_u64().ok_or_else(|| wrong(&format!("a group without the number `{name}`")))
        };
        let read = |group: &Json| {
            Ok(GroupStatus {
                group: number(group, "id")?,
                leader: group["leader"].as_u64(),
                last: number(group, "last")?,
                applied: number(group, "applied")?,
                snapshot: number(group, "snapshot")?,
                term: group["term"].as_u64().unwrap_or_default(),
                quiesced: group["quiesced"].as_bool().unwrap_or_default(),
            })
        };
        let groups = groups.iter().map(read).collect::<Result<_, String>>()?;
        let sent = |name: &str| json[name].as_u64().unwrap_or_default();
        let (raft_messages_sent, beats_sent) = (sent("raft_messages_sent"), sent("beats_sent"));
        let links_damaged = sent("links_damaged");
        Ok(NodeStatus { groups, raft_messages_sent, beats_sent, links_damaged }.sorted())
    }

    /// Adds what another shard of the same node said. Counts are the node's already: the later ones stay.
    pub fn merge(mut self, other: NodeStatus) -> NodeStatus {
        self.raft_messages_sent = self.raft_messages_sent.max(other.raft_messages_sent);
        self.beats_sent = self.beats_sent.max(other.beats_sent);
        self.links_damaged = self.links_damaged.max(other.links_damaged);
        let new = |group: &GroupStatus| self.groups.iter().all(|known| known.group != group.group);
        let added: Vec<GroupStatus> = other.groups.into_iter().filter(new).collect();
        self.groups.extend(added);
        self.sorted()
    }

    fn sorted(mut self) -> NodeStatus {
        self.groups.sort_unstable_by_key(|group| group.group);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_and_merged_and_what_is_missing_is_named() {
        let text = r#"{"node":1,"groups":[{"id":2,"leader":1,"last":9,"applied":8,"snapshot":7,"term":3,"quiesced":true,"more":true},
            {"id":0,"leader":null,"last":1,"applied":1,"snapshot":0}]}"#;
        let status = NodeStatus::parse(text).unwrap();
        let zero = GroupStatus {
            group: 0,
            leader: None,
            last: 1,
            applied: 1,
            snapshot: 0,
            term: 0,
            quiesced: false,
        };
        let two = GroupStatus {
            group: 2,
            leader: Some(1),
            last: 9,
            applied: 8,
            snapshot: 7,
            term: 3,
            quiesced: true,
        };
        assert_eq!(status.groups, [zero.clone(), two.clone()]);
        let one = GroupStatus { group: 1, ..zero.clone() };
        let merged =
            status.merge(NodeStatus { groups: vec![one.clone(), two.clone()], ..NodeStatus::default() });
        assert_eq!(merged.groups, [zero, one, two]);
        let error = NodeStatus::parse(r#"{"groups":[{"id":1,"last":1}]}"#).unwrap_err();
        assert!(error.contains("`applied`"), "{error}");
        assert!(NodeStatus::parse("ERR").is_err());
    }
}
