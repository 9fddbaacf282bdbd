//! Requests on their way to where they can be answered: this replica, another shard, another node, or a
//! place to wait.

use raft::GroupId;
use runtime::Disk;

use super::Shard;
use super::replica::Led;
use super::request::{Encode, Kind, Outcome, ReplyTo, Request, RequestBody, RequestHead};
use crate::state_machine::StateMachine;

/// The requests of one turn, by the replica they are for. They borrow from the turn's inputs.
#[derive(Default)]
pub(crate) struct Requests<'t> {
    list: Vec<(RequestHead, RequestBody<'t>)>,
}

impl<'t> Requests<'t> {
    pub(crate) fn push(&mut self, head: RequestHead, body: RequestBody<'t>) {
        self.list.push((head, body));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Which of a turn's requests each replica got; the memory is reused from turn to turn.
#[derive(Default)]
pub(crate) struct Buckets {
    by_replica: Vec<Vec<u32>>,
    touched: Vec<usize>,
}

impl Buckets {
    fn add(&mut self, replica: usize, request: usize) {
        if self.by_replica.len() <= replica {
            self.by_replica.resize_with(replica + 1, Vec::new);
        }
        if self.by_replica[replica].is_empty() {
            self.touched.push(replica);
        }
        self.by_replica[replica].push(u32::try_from(request).expect("one turn's requests are bounded"));
    }
}

impl<S: StateMachine, D: Disk> Shard<S, D> {
    /// Sends every request of the turn on its way. Each group's stay in their order.
    pub(super) fn dispatch(&mut self, requests: &Requests<'_>) {
        if requests.is_empty() {
            return;
        }
        let mut buckets = std::mem::take(&mut self.buckets);
        for (number, (head, body)) in requests.list.iter().enumerate() {
            match self.local(head.group) {
                Some(replica) => buckets.add(replica, number),
                None if self.is_ours(head.group) => self.wait_for_start(*head, body),
                None => self.send_to_owner(*head, body),
            }
        }
        for replica in buckets.touched.drain(..) {
            let numbers = &mut buckets.by_replica[replica];
            let at = |number: &u32| &requests.list[*number as usize];
            self.offer(replica, numbers.iter().map(at).map(|(head, body)| (*head, body as &dyn Encode)));
            numbers.clear();
        }
        self.buckets = buckets;
    }

    /// Offers requests to one replica: it leads them, passes them on, or holds them.
    pub(super) fn offer<'a>(
        &mut self,
        replica: usize,
        requests: impl Iterator<Item = (RequestHead, &'a dyn Encode)> + Clone,
    ) {
        self.mark_dirty(replica);
        // A new leader's no-op stands in the log before anything it proposes.
        self.take_events(replica);
        let me = self.directory.node;
        let group = &mut self.replicas[replica];
        let leader = if group.raft.is_leader() { Some(me) } else { group.raft.leader() };
        let open = leader.filter(|leader| !group.route.has_held() && group.route.open_to(*leader));
        match open {
            Some(leader) if leader == me && self.log.is_stuck() => self.lead_reads(replica, requests),
            Some(leader) if leader == me => {
                let writes = || requests.clone().any(|(head, _)| head.kind == Kind::Write);
                let led = if self.log.has_room() && (self.log.has_room_for_entries() || !writes()) {
                    group.lead(self.now, &mut self.log, requests.clone())
                } else {
                    Led::Full
                };
                if led != Led::All {
                    return self.hold_all(replica, requests);
                }
                for (head, body) in requests.filter(|(head, _)| head.kind == Kind::Control) {
                    self.control(replica, head, body);
                }
            }
            Some(leader) => {
                let Some(link) = self.links.for_group(leader, group.group) else {
                    return self.hold_all(replica, requests);
                };
                for (head, body) in requests {
                    let in_order = !self.replicas[replica].route.has_held();
                    let passed_on = in_order && !head.proxied && self.links.pass_on(link, head, body);
                    match passed_on {
                        true => self.replicas[replica].route.passed_on(leader),
                        false => self.hold(replica, head, body),
                    }
                }
            }
            None => self.hold_all(replica, requests),
        }
    }

    /// The log is full and its disk too. Waiting may not help, so writes are refused at once; all else goes on.
    fn lead_reads<'a>(
        &mut self,
        replica: usize,
        requests: impl Iterator<Item = (RequestHead, &'a dyn Encode)> + Clone,
    ) {
        for (head, _) in requests.clone().filter(|(head, _)| head.kind == Kind::Write) {
            self.answers.fail(head.reply_to, Outcome::NoSpace);
        }
        let others = requests.filter(|(head, _)| head.kind != Kind::Write);
        if self.replicas[replica].lead(self.now, &mut self.log, others.clone()) != Led::All {
            return self.hold_all(replica, others);
        }
        for (head, body) in others.filter(|(head, _)| head.kind == Kind::Control) {
            self.control(replica, head, body);
        }
    }

    fn hold_all<'a>(
        &mut self,
        replica: usize,
        requests: impl Iterator<Item = (RequestHead, &'a dyn Encode)>,
    ) {
        for (head, body) in requests {
            self.hold(replica, head, body);
        }
    }

    /// Keeps a request until its group has a leader. One that another node passed on goes back instead: it
    /// was sent to a leader, and only its first node knows where to send it next.
    fn hold(&mut self, replica: usize, head: RequestHead, body: &dyn Encode) {
        let mut bytes = vec![0; body.encoded_bytes()];
        body.encode(&mut bytes);
        if head.proxied && !self.replicas[replica].raft.is_leader() {
            self.answers.push(head.reply_to, Outcome::NotLeader, |out| out.extend_from_slice(&bytes));
            return;
        }
        if let Err(refused) = self.replicas[replica].route.hold(Request { head, bytes }) {
            let no_room = self.replicas[replica].raft.is_leader() && self.log.is_full();
            self.answers.fail(refused.head.reply_to, refused.head.refusal(no_room));
        }
    }

    /// Offers what `replica` holds again, if there may be a way now.
    pub(super) fn retry_held(&mut self, replica: usize) {
        let group = &mut self.replicas[replica];
        let me = self.directory.node;
        let leader = if group.raft.is_leader() { Some(me) } else { group.raft.leader() };
        if !group.route.has_held() || !leader.is_some_and(|leader| group.route.open_to(leader)) {
            return;
        }
        let held = group.route.take_held();
        self.offer(replica, held.iter().map(|request| (request.head, &request.bytes as &dyn Encode)));
    }

    /// Whether this shard has `group`, or will once the cluster has formed.
    fn is_ours(&self, group: GroupId) -> bool {
        let placement = self.directory.placement;
        placement.has(group) && placement.shard_of(group) == self.shard
    }

    /// The cluster has not formed yet: the request waits for that as it would for a leader.
    fn wait_for_start(&mut self, head: RequestHead, body: &dyn Encode) {
        let mut bytes = vec![0; body.encoded_bytes()];
        body.encode(&mut bytes);
        if head.proxied || self.unstarted.hold(Request { head, bytes }).is_err() {
            self.answers.fail(head.reply_to, Outcome::Refused);
        }
    }

    /// The groups have started: what waited for that is offered to them.
    pub(super) fn offer_unstarted(&mut self) {
        for request in self.unstarted.take_held() {
            let Some(replica) = self.local(request.head.group) else { continue };
            self.offer(replica, std::iter::once((request.head, &request.bytes as &dyn Encode)));
        }
    }

    /// The group is another shard's: the request crosses the mesh, the answer comes back the same way.
    fn send_to_owner(&mut self, mut head: RequestHead, body: &dyn Encode) {
        let ReplyTo::Client { socket, slot, part } = head.reply_to else {
            // Peers and callers of the library ask the owner in the first place.
            self.answers.fail(head.reply_to, Outcome::Refused);
            return;
        };
        let mut bytes = vec![0; body.encoded_bytes()];
        body.encode(&mut bytes);
        head.reply_to = ReplyTo::Mesh { shard: self.shard, socket, slot, part };
        let owner = self.directory.placement.shard_of(head.group);
        if owner == self.shard || self.mesh.ask(owner, head, bytes).is_err() {
            self.answers.fail(ReplyTo::Client { socket, slot, part }, Outcome::Refused);
        }
    }

    /// The local number of a group of this shard.
    pub(crate) fn local(&self, group: GroupId) -> Option<usize> {
        let placement = self.directory.placement;
        if !placement.has(group) || placement.shard_of(group) != self.shard {
            return None;
        }
        if group == GroupId(0) {
            return self.replicas.len().checked_sub(1); // see Placement::hosted_by
        }
        let number = usize::try_from((group.0 - 1) / u32::from(placement.shards)).ok()?;
        (number < self.replicas.len()).then_some(number)
    }
}
