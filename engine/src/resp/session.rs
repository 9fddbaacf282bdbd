//! What a connection has told about itself.

use net::resp::Proto;
use std::net::SocketAddr;
use std::time::Duration;

/// The state of one client connection that commands read and change.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its number: unique in the process, never 0.
    pub id: u64,
    /// The protocol it speaks.
    pub proto: Proto,
    /// The name it gave itself; empty for none.
    pub name: Vec<u8>,
    /// Set by READONLY. Nothing depends on it yet: reads are linearizable.
    pub readonly: bool,
    /// Set by ASKING, for the one command that follows.
    pub asking: bool,
    /// What its library says it is.
    pub lib_name: Vec<u8>,
    /// The library's version.
    pub lib_version: Vec<u8>,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it arrived.
    pub local_address: SocketAddr,
    /// The wall clock when it was accepted.
    pub since: Duration,
    /// The command that runs, such as `client|info`.
    pub last_command: &'static str,
    /// Seeds what RANDOMKEY picks.
    pub(super) random: u64,
}

impl Session {
    /// A connection just accepted, at the wall-clock time `now`.
    pub fn new(id: u64, address: SocketAddr, local_address: SocketAddr, now: Duration) -> Self {
        Self {
            id,
            proto: Proto::Resp2,
            name: Vec::new(),
            readonly: false,
            asking: false,
            lib_name: Vec::new(),
            lib_version: Vec::new(),
            address,
            local_address,
            since: now,
            last_command: "",
            random: id ^ u64::from(now.subsec_nanos()) << 32,
        }
    }

    /// RESET: as the connection was when accepted, but for what its library is.
    pub(super) fn reset(&mut self) {
        self.proto = Proto::Resp2;
        self.name.clear();
        self.readonly = false;
        self.asking = false;
    }

    /// A number that differs from call to call.
    pub(super) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.random
    }
}
