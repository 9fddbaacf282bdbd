//! The shard's ring: sockets, file I/O and one timer on one io_uring.
//!
//! The batch of completions *is* the shard's inbox. One turn is: [`Ring::wait`], [`Ring::events`], work, and the next
//! wait submits all that the work has queued with one system call. A connection is an entry of a table, not a task.

mod core;
mod event;
mod files;
mod sockets;
mod state;

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    time::Duration,
};

pub(crate) use self::core::Core;
pub use event::{Event, ListenerId, Part, SocketId};

use crate::{BufferMut, Doorbell};

/// The ring of one shard. Clones are the same ring; it stays on its thread.
///
/// Nothing here fails on its own account: what goes wrong with a socket comes as an [`Event`], and a stale id is
/// ignored. Operations are queued, and begin with the next [`Ring::submit`] or [`Ring::wait`].
#[derive(Clone)]
pub struct Ring {
    core: Rc<Core>,
}

impl Ring {
    pub(crate) fn new(core: Rc<Core>) -> Ring {
        Ring { core }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Accepts connections: [`Event::Accepted`] for each, with TCP_NODELAY set.
    pub fn listen(&self, listener: TcpListener) -> ListenerId {
        self.core.queue(|state| state.listen(listener))
    }

    /// Accepts no more and closes the listener. Connections accepted but not yet handed out by [`Ring::events`] are
    /// closed too.
    pub fn close_listener(&self, listener: ListenerId) {
        self.core.queue(|state| state.close_listener(listener));
    }

    /// Connects: [`Event::Connected`] or [`Event::ConnectFailed`] follows. There is no time limit but the kernel's;
    /// [`Ring::close`] gives up.
    pub fn connect(&self, address: SocketAddr) -> SocketId {
        self.core.queue(|state| state.connect(address))
    }

    /// The address of the other side; `None` for a stale id or a connection that is not, or no more, established.
    pub fn peer_address(&self, socket: SocketId) -> Option<SocketAddr> {
        self.core.with(|state| state.peer_address(socket))
    }

    /// The address of this side; `None` for a stale id.
    pub fn local_address(&self, socket: SocketId) -> Option<SocketAddr> {
        self.core.with(|state| state.local_address(socket))
    }

    /// Receives into pooled buffers, again and again, until the end, [`Ring::pause`] or [`Ring::close`]. Fine if on
    /// already. A socket receives either like this or by [`Ring::receive_into`].
    ///
    /// # Panics
    ///
    /// When a [`Ring::receive_into`] is in flight on the socket.
    pub fn receive(&self, socket: SocketId) {
        self.core.queue(|state| state.receive(socket));
    }

    /// Receives once, as much as there is and fits, into `buffer[from..]`: [`Event::ReceivedInto`], or
    /// [`Event::Ended`]. So the bytes of large frames land where they are parsed.
    ///
    /// # Panics
    ///
    /// When another receive is in flight on the socket, or nothing fits.
    pub fn receive_into(&self, socket: SocketId, buffer: BufferMut, from: usize) {
        self.core.queue(|state| state.receive_into(socket, buffer, from));
    }

    /// Stops receiving into pooled buffers, so that TCP holds the sender back. What has been received already still
    /// comes. [`Ring::receive`] goes on.
    pub fn pause(&self, socket: SocketId) {
        self.core.queue(|state| state.pause(socket));
    }

    /// Sends all parts, in order, in as few calls as can be: [`Event::Sent`] when the kernel has them all, or
    /// [`Event::SendFailed`].
    ///
    /// # Panics
    ///
    /// When a send is in flight on the socket already: gather what comes meanwhile, and send it next.
    pub fn send(&self, socket: SocketId, parts: Vec<Part>) {
        self.core.queue(|state| state.send(socket, parts));
    }

    /// Cancels what is in flight and closes. No event of it comes after this. Bytes of a send in flight may be lost.
    pub fn close(&self, socket: SocketId) {
        self.core.queue(|state| state.close(socket));
    }

    /// Makes [`Ring::wait`] return at that time since boot (see [`now`](crate::now)), or soon if it has passed. Takes
    /// the place of the time set before; [`Duration::MAX`] is never. There may be a wake too many, never one too few.
    pub fn set_timer(&self, at: Duration) {
        self.core.queue(|state| state.set_timer(at));
    }

    /// Takes all completions, without a system call: events are added to `out`, file operations get their results.
    pub fn events(&self, out: &mut Vec<Event>) {
        self.core.with(|state| {
            state.reap();
            out.append(&mut state.events);
        });
    }

    /// Submits all queued operations with one system call, if there are any. [`Ring::wait`] does so too; this is for
    /// a long turn that wants its writes and sends under way before its end.
    pub fn submit(&self) {
        self.core.with(|state| {
            state.feed_starved();
            state.uring.submit();
        });
    }

    /// Submits all queued operations, and waits until there are completions, the timer fires, or the doorbell rings.
    /// File operations count if it was the main future that polled them. May also return for no reason.
    ///
    /// Rings of the doorbell up to the return are answered by it: look into mailboxes after, not before. A busy loop
    /// that finds something each time still lets the executor's other work run at least every millisecond.
    ///
    /// One task at a time waits. Dropping the future is harmless.
    pub async fn wait(&self) {
        self.core.wait().await;
    }

    /// What wakes this shard from any thread.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell::new(std::sync::Arc::clone(self.core.bell()))
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}
