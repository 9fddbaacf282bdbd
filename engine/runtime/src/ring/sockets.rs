//! Sockets and listeners.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    rc::Rc,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt},
};

use super::{
    event::{Event, ListenerId, Part, SocketId},
    state::State,
};
use crate::{
    BufferMut,
    sys::{Completion, Gathered, Lent, Operation, Pinned, Target},
};

/// A listener. Its descriptor is shared with its operations and closes with the last of them.
pub(super) struct Listener {
    descriptor: Rc<OwnedFd>,
    accepting: Option<u32>,
}

/// A socket, and the operations in flight on it. Its descriptor is shared with them and closes with the last.
pub(super) struct Socket {
    descriptor: Rc<OwnedFd>,
    connecting: Option<u32>,
    sending: Option<u32>,
    /// The one receive in flight, pooled or into a buffer of the caller.
    receiving: Option<u32>,
    /// It has been asked to end.
    cancelled: bool,
    /// Pooled receiving is on: a receive that ends by itself begins anew.
    pooled: bool,
    /// Nothing more will come.
    ended: bool,
}

impl Socket {
    fn new(descriptor: OwnedFd) -> Socket {
        Socket {
            descriptor: Rc::new(descriptor),
            connecting: None,
            sending: None,
            receiving: None,
            cancelled: false,
            pooled: false,
            ended: false,
        }
    }
}

impl State {
    pub(super) fn listen(&mut self, listener: TcpListener) -> ListenerId {
        // The ring waits for connections only on a descriptor that blocks; on another it answers EAGAIN.
        let blocks = listener.set_nonblocking(false);
        let listener = Listener { descriptor: Rc::new(listener.into()), accepting: None };
        let id = ListenerId::from_key(self.listeners.insert(listener));
        match blocks {
            Ok(()) => self.accept(id),
            Err(error) => self.rest_listener(id, error),
        }
        id
    }

    fn accept(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(id.key()) else { return };
        let operation = Operation::Accept { listener: Rc::clone(&listener.descriptor) };
        listener.accepting = Some(self.uring.start(Target::Listener(id), operation));
    }

    pub(super) fn accept_on_rested(&mut self) {
        for key in self.listeners.keys() {
            if self.listeners.get_mut(key).is_some_and(|listener| listener.accepting.is_none()) {
                self.accept(ListenerId::from_key(key));
            }
        }
    }

    pub(super) fn accepted(&mut self, id: ListenerId, completion: Completion) {
        let Some(listener) = self.listeners.get_mut(id.key()) else { return };
        if completion.ended.is_some() {
            listener.accepting = None;
        }
        if let Some(descriptor) = completion.accepted {
            set_nodelay(&descriptor);
            let socket = SocketId::from_key(self.sockets.insert(Socket::new(descriptor)));
            self.events.push(Event::Accepted { listener: id, socket });
        }
        if completion.ended.is_none() {
            return;
        }
        match completion.result {
            // The connection was gone before it was accepted, or the operation merely ended: no reason to rest.
            Ok(_) | Err(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN | Errno::PROTO) => self.accept(id),
            Err(error) => self.rest_listener(id, error.into()),
        }
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.remove(id.key()) else { return };
        if let Some(key) = listener.accepting {
            self.uring.cancel(key);
        }
        let of_it = |event: &Event| matches!(event, Event::AcceptFailed { listener, .. } | Event::Accepted { listener, .. } if *listener == id);
        // Connections that nobody has heard of go with it.
        for event in self.events.extract_if(.., |event| of_it(event)).collect::<Vec<_>>() {
            if let Event::Accepted { socket, .. } = event {
                self.close(socket);
            }
        }
    }

    pub(super) fn connect(&mut self, address: SocketAddr) -> SocketId {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let descriptor =
            match socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP)) {
                Ok(descriptor) => descriptor,
                Err(error) => {
                    // An id that is stale from birth: the failure comes as an event like any other.
                    let socket = SocketId::from_key(self.sockets.stale());
                    self.events.push(Event::ConnectFailed { socket, error: error.into() });
                    return socket;
                }
            };
        set_nodelay(&descriptor);
        let id = SocketId::from_key(self.sockets.insert(Socket::new(descriptor)));
        let socket = self.sockets.get_mut(id.key()).expect("inserted by the line above");
        let operation = Operation::Connect {
            socket: Rc::clone(&socket.descriptor),
            address: Pinned::new(address.into()),
        };
        socket.connecting = Some(self.uring.start(Target::Socket(id), operation));
        id
    }

    pub(super) fn peer_address(&mut self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get_mut(id.key())?;
        rustix::net::getpeername(&socket.descriptor).ok()??.try_into().ok()
    }

    pub(super) fn local_address(&mut self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get_mut(id.key())?;
        rustix::net::getsockname(&socket.descriptor).ok()?.try_into().ok()
    }

    pub(super) fn receive(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        if socket.ended {
            return;
        }
        assert!(
            socket.receiving.is_none() || socket.pooled || socket.cancelled,
            "a receive_into is in flight"
        );
        socket.pooled = true;
        if socket.receiving.is_none() {
            let operation = Operation::Receive { socket: Rc::clone(&socket.descriptor) };
            socket.cancelled = false;
            socket.receiving = Some(self.uring.start(Target::Socket(id), operation));
        }
    }

    pub(super) fn receive_into(&mut self, id: SocketId, buffer: BufferMut, from: usize) {
        assert!(from < buffer.len(), "no room to receive into");
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        assert!(socket.receiving.is_none() && !socket.pooled, "another receive is in flight");
        let operation =
            Operation::ReceiveInto { socket: Rc::clone(&socket.descriptor), buffer: Lent::new(buffer), from };
        socket.cancelled = false;
        socket.receiving = Some(self.uring.start(Target::Socket(id), operation));
    }

    pub(super) fn pause(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        if !socket.pooled {
            return;
        }
        socket.pooled = false;
        if let (Some(key), false) = (socket.receiving, socket.cancelled) {
            socket.cancelled = true;
            self.uring.cancel(key);
        }
    }

    pub(super) fn send(&mut self, id: SocketId, parts: Vec<Part>) {
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        assert!(socket.sending.is_none(), "a send is in flight");
        let message = Gathered::new(parts);
        if message.is_done() {
            self.events.push(Event::Sent { socket: id, parts: message.into_parts() });
            return;
        }
        let operation = Operation::Send { socket: Rc::clone(&socket.descriptor), message };
        socket.sending = Some(self.uring.start(Target::Socket(id), operation));
    }

    pub(super) fn close(&mut self, id: SocketId) {
        self.events.retain(|event| event.socket() != Some(id));
        let Some(socket) = self.sockets.remove(id.key()) else { return };
        for key in [socket.connecting, socket.sending, socket.receiving].into_iter().flatten() {
            self.uring.cancel(key);
        }
    }

    /// Lets sockets that found no pooled buffer receive again, as many as there are buffers.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let count = self.starved.len().min(self.uring.buffers_free());
        for id in self.starved.drain(..count).collect::<Vec<_>>() {
            if self.sockets.get_mut(id.key()).is_some_and(|socket| socket.pooled) {
                self.receive(id);
            }
        }
    }

    /// What is left of a completion for a socket that has been closed is dropped: descriptor, buffers, parts.
    pub(super) fn socket_completed(&mut self, id: SocketId, completion: Completion) {
        if self.sockets.get_mut(id.key()).is_none() {
            return;
        }
        match completion.ended {
            None | Some(Operation::Receive { .. }) => self.received(id, completion),
            Some(Operation::Connect { .. }) => self.connected(id, completion.result),
            Some(Operation::ReceiveInto { buffer, from, .. }) => {
                self.received_into(id, completion.result, buffer.take(), from);
            }
            Some(Operation::Send { socket, message }) => self.sent(id, completion.result, socket, message),
            Some(other) => unreachable!("not an operation of a socket: {other:?}"),
        }
    }

    fn connected(&mut self, id: SocketId, result: Result<u32, Errno>) {
        match result {
            Ok(_) => {
                if let Some(socket) = self.sockets.get_mut(id.key()) {
                    socket.connecting = None;
                }
                self.events.push(Event::Connected { socket: id });
            }
            Err(error) => {
                self.sockets.remove(id.key());
                self.events.push(Event::ConnectFailed { socket: id, error: error.into() });
            }
        }
    }

    fn received(&mut self, id: SocketId, completion: Completion) {
        if let Some(data) = completion.received
            && !data.is_empty()
        {
            self.events.push(Event::Received { socket: id, data });
        }
        if completion.ended.is_none() {
            return;
        }
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        socket.receiving = None;
        match completion.result {
            Ok(0) => self.ended(id, None),
            // Ended by a pause that has perhaps been taken back, or by itself after some bytes.
            Ok(_) | Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {
                if socket.pooled {
                    self.receive(id);
                }
            }
            Err(Errno::NOBUFS) => self.starved.push(id),
            Err(error) => self.ended(id, Some(error.into())),
        }
    }

    fn received_into(&mut self, id: SocketId, result: Result<u32, Errno>, buffer: BufferMut, from: usize) {
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        socket.receiving = None;
        match result {
            Ok(0) => self.ended(id, None),
            Ok(bytes) => {
                let filled = from + bytes as usize;
                self.events.push(Event::ReceivedInto { socket: id, buffer, filled });
            }
            Err(Errno::INTR | Errno::AGAIN) => self.receive_into(id, buffer, from),
            Err(error) => self.ended(id, Some(error.into())),
        }
    }

    fn ended(&mut self, id: SocketId, error: Option<io::Error>) {
        if let Some(socket) = self.sockets.get_mut(id.key()) {
            socket.ended = true;
            socket.pooled = false;
        }
        self.events.push(Event::Ended { socket: id, error });
    }

    fn sent(
        &mut self,
        id: SocketId,
        result: Result<u32, Errno>,
        descriptor: Rc<OwnedFd>,
        mut message: Gathered,
    ) {
        let Some(socket) = self.sockets.get_mut(id.key()) else { return };
        socket.sending = None;
        match result {
            Ok(bytes) => message.advance(bytes as usize),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                self.events.push(Event::SendFailed { socket: id, error: error.into() });
                return;
            }
        }
        if message.is_done() {
            self.events.push(Event::Sent { socket: id, parts: message.into_parts() });
        } else {
            let operation = Operation::Send { socket: descriptor, message };
            socket.sending = Some(self.uring.start(Target::Socket(id), operation));
        }
    }
}

/// Replies and frames leave at once: what belongs together is gathered by the sender. A socket that refuses is already
/// dead, and says so when it is used.
fn set_nodelay(descriptor: &OwnedFd) {
    if let Err(error) = sockopt::set_tcp_nodelay(descriptor, true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
}
