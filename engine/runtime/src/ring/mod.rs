//! The shard's ring.
mod event;
use crate::{BufferMut, doorbell::Doorbell};
pub use event::{Event, ListenerId, Part, SocketId};
use std::{net::SocketAddr, time::Duration};

/// The shard's ring: sockets, file I/O, one timer. Clones are the same ring; it stays on its thread.
#[derive(Clone)]
pub struct Ring {
    core: std::rc::Rc<()>,
}

#[allow(
    clippy::unimplemented,
    unused_variables,
    missing_docs,
    clippy::missing_panics_doc,
    reason = "bodies follow"
)]
impl Ring {
    pub fn listen(&self, listener: std::net::TcpListener) -> ListenerId {
        unimplemented!()
    }
    pub fn connect(&self, address: SocketAddr) -> SocketId {
        unimplemented!()
    }
    pub fn receive(&self, socket: SocketId) {
        unimplemented!()
    }
    pub fn receive_into(&self, socket: SocketId, buffer: BufferMut, from: usize) {
        unimplemented!()
    }
    pub fn pause(&self, socket: SocketId) {
        unimplemented!()
    }
    pub fn send(&self, socket: SocketId, parts: Vec<Part>) {
        unimplemented!()
    }
    pub fn close(&self, socket: SocketId) {
        unimplemented!()
    }
    pub fn close_listener(&self, listener: ListenerId) {
        unimplemented!()
    }
    pub fn set_timer(&self, at: Duration) {
        unimplemented!()
    }
    pub fn events(&self, out: &mut Vec<Event>) {
        unimplemented!()
    }
    pub fn submit(&self) {
        unimplemented!()
    }
    pub async fn wait(&self) {
        unimplemented!()
    }
    pub fn doorbell(&self) -> Doorbell {
        unimplemented!()
    }
}
