//! Who belongs to the cluster and who leads what, through the library: the same on every node, as every request finds
//! its leader.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use net::handshake::Address;
use raft::{GroupId, NodeId};

use crate::completion::Completion;
use crate::engine::Engine;
use crate::error::{AddMemberError, MembersError, RemoveMemberError, TransferError};
use crate::group::Group;
use crate::members::{Ask, Command, Member, Members, Verdict};
use crate::shard::{CallAnswer, Handover, Kind, Outcome, transfer_request};
use crate::status::EngineStatus;

type Answer = Option<CallAnswer>;

impl Engine {
    /// Adds node `node`, whose shard 0 listens for peers at `peer`. It is to be started with an empty data directory
    /// and a list of peers that has some members and itself; it then gets all data, and a vote in every group, while
    /// the cluster goes on serving. `Ok` says that the cluster has taken it down, durably, and will go on with it after
    /// any crash; [`Engine::members`] shows how far it is. To add a node that joins already changes nothing.
    ///
    /// # Errors
    /// See [`AddMemberError`].
    pub fn add_member(
        &self,
        node: u16,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<(), AddMemberError>> + Send + use<> {
        let asked = self.ask_to_add(node, peer);
        async move { added(NodeId(node), asked?.await) }
    }

    /// [`Engine::add_member`] for plain threads.
    ///
    /// # Errors
    /// As [`Engine::add_member`].
    pub fn add_member_blocking(&self, node: u16, peer: SocketAddr) -> Result<(), AddMemberError> {
        added(NodeId(node), self.ask_to_add(node, peer)?.wait())
    }

    fn ask_to_add(&self, node: u16, peer: SocketAddr) -> Result<Completion<CallAnswer>, AddMemberError> {
        if node == 0 || peer.port() == 0 || peer.ip().is_unspecified() {
            return Err(AddMemberError::Impossible);
        }
        let peer =
            Address::new(&peer.ip().to_string(), peer.port()).map_err(|_| AddMemberError::Impossible)?;
        let command = Command::Add { node: NodeId(node), peer };
        self.node_directory().call(Kind::Write, command.encode()).ok_or(AddMemberError::Dead)
    }

    /// Removes node `node`: it leaves every group, hands over what it leads, and ends once it hears that it is out.
    /// Its data directory is refused from then on; the same id may be added again with an empty one. `Ok` says that
    /// the cluster has taken it down, durably. To remove a node that is leaving already changes nothing.
    ///
    /// # Errors
    /// See [`RemoveMemberError`].
    pub fn remove_member(
        &self,
        node: u16,
    ) -> impl Future<Output = Result<(), RemoveMemberError>> + Send + use<> {
        let asked = self.ask_to_remove(node);
        async move { removed(NodeId(node), asked.ok_or(RemoveMemberError::Dead)?.await) }
    }

    /// [`Engine::remove_member`] for plain threads.
    ///
    /// # Errors
    /// As [`Engine::remove_member`].
    pub fn remove_member_blocking(&self, node: u16) -> Result<(), RemoveMemberError> {
        removed(NodeId(node), self.ask_to_remove(node).ok_or(RemoveMemberError::Dead)?.wait())
    }

    fn ask_to_remove(&self, node: u16) -> Option<Completion<CallAnswer>> {
        self.node_directory().call(Kind::Write, Command::Remove { node: NodeId(node) }.encode())
    }

    /// The nodes of the cluster, linearizably: every change acknowledged before the call is in it.
    ///
    /// # Errors
    /// See [`MembersError`].
    pub fn members(&self) -> impl Future<Output = Result<Vec<Member>, MembersError>> + Send + use<> {
        let asked = self.node_directory().call(Kind::Read, Ask::List.encode());
        async move { listed(asked.ok_or(MembersError::Dead)?.await) }
    }

    /// [`Engine::members`] for plain threads.
    ///
    /// # Errors
    /// As [`Engine::members`].
    pub fn members_blocking(&self) -> Result<Vec<Member>, MembersError> {
        let asked = self.node_directory().call(Kind::Read, Ask::List.encode());
        listed(asked.ok_or(MembersError::Dead)?.wait())
    }

    /// Has the leader of `group` hand over to node `to` (thesis 3.10): it waits until that one has caught up and then
    /// lets it campaign. `Ok` says that this has begun, or that `to` leads already; [`Engine::leader`] tells when it is
    /// done, which takes one round trip and one election, or never if `to` fails meanwhile.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn transfer_leader(
        &self,
        group: GroupId,
        to: u16,
    ) -> impl Future<Output = Result<(), TransferError>> + Send + use<> {
        let asked = self.ask_to_transfer(group, to);
        async move { handed_over(NodeId(to), asked?.await) }
    }

    /// [`Engine::transfer_leader`] for plain threads.
    ///
    /// # Errors
    /// As [`Engine::transfer_leader`].
    pub fn transfer_leader_blocking(&self, group: GroupId, to: u16) -> Result<(), TransferError> {
        handed_over(NodeId(to), self.ask_to_transfer(group, to)?.wait())
    }

    fn ask_to_transfer(&self, group: GroupId, to: u16) -> Result<Completion<CallAnswer>, TransferError> {
        let placement = self.directory.placement;
        if !placement.has(group) {
            return Err(TransferError::NoSuchGroup(group));
        }
        let shard = Arc::clone(&self.mailboxes[usize::from(placement.shard_of(group))]);
        let group = Group::new(group, shard, self.deadline);
        group.call(Kind::Control, transfer_request(NodeId(to))).ok_or(TransferError::Dead)
    }

    /// What this node knows now of itself, its groups and the cluster, without asking anybody.
    pub fn status(&self) -> EngineStatus {
        EngineStatus::of(&self.directory)
    }

    /// The handle to group 0.
    fn node_directory(&self) -> Group {
        Group::new(GroupId(0), Arc::clone(&self.mailboxes[0]), self.deadline)
    }
}

fn verdict(answer: &CallAnswer) -> Option<Verdict> {
    match answer {
        (Outcome::Done, bytes) => bytes.first().copied().and_then(Verdict::from_byte),
        _ => None,
    }
}

fn added(node: NodeId, answer: Answer) -> Result<(), AddMemberError> {
    match verdict(&answer.ok_or(AddMemberError::Dead)?) {
        Some(Verdict::Done) => Ok(()),
        Some(Verdict::AlreadyMember) => Err(AddMemberError::AlreadyMember(node)),
        Some(Verdict::StillLeaving) => Err(AddMemberError::StillLeaving(node)),
        Some(Verdict::TooMany) => Err(AddMemberError::TooMany),
        Some(Verdict::AddressTaken) => Err(AddMemberError::AddressTaken),
        Some(Verdict::NoNode) => Err(AddMemberError::Impossible),
        Some(Verdict::NotMember | Verdict::LastNode | Verdict::Outdated) | None => {
            Err(AddMemberError::Unavailable)
        }
    }
}

fn removed(node: NodeId, answer: Answer) -> Result<(), RemoveMemberError> {
    match verdict(&answer.ok_or(RemoveMemberError::Dead)?) {
        Some(Verdict::Done) => Ok(()),
        Some(Verdict::NotMember) => Err(RemoveMemberError::NotMember(node)),
        Some(Verdict::LastNode) => Err(RemoveMemberError::LastNode(node)),
        _ => Err(RemoveMemberError::Unavailable),
    }
}

fn listed(answer: Answer) -> Result<Vec<Member>, MembersError> {
    match answer.ok_or(MembersError::Dead)? {
        (Outcome::Done, bytes) => {
            Members::decode(&bytes).map(|members| members.list()).ok_or(MembersError::Newer)
        }
        _ => Err(MembersError::Unavailable),
    }
}

fn handed_over(to: NodeId, answer: Answer) -> Result<(), TransferError> {
    match answer.ok_or(TransferError::Dead)? {
        (Outcome::Done, bytes) => match bytes.first().copied().map(Handover::from_byte) {
            Some(Handover::Begun) => Ok(()),
            Some(Handover::NotAVoter) => Err(TransferError::NotAVoter(to)),
            Some(Handover::NotUnderstood) | None => Err(TransferError::Unavailable),
        },
        _ => Err(TransferError::Unavailable),
    }
}
