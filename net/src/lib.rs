//! The transport: RESP for clients, checksummed frames for peers.
//!
//! Everything here is sans-io: bytes and times go in, bytes and decisions come out, and whoever owns the
//! sockets (the engine, through `runtime::Ring`; the simulator, through a table of virtual cables) moves
//! them. So the code that runs in production is the code that runs in simulation.
//!
//! - [`resp`]: the clients' protocol: an incremental zero-copy parser that answers like Redis 7.0, writers
//!   for RESP2 and RESP3, and a reader of replies for tests and tools.
//! - [`frame`]: what peers exchange once they know each other: a checksummed header, an archived body, and
//!   log entries exactly as they stand on disk, parsed in place.
//! - [`handshake`]: what a connection starts with: who calls, who answers, and why not.
//! - [`forming`]: how a cluster comes to be, exactly once.
//! - [`link`]: one connection to one shard of a peer: dialling, back-off, greeting, silence.
//!
//! The bytes of frames and handshakes are written down in `net/FORMAT.md`.

pub mod forming;
pub mod frame;
pub mod handshake;
pub mod link;
pub mod resp;

// The formats are little-endian and read in place.
const _: () = assert!(cfg!(target_endian = "little"), "ringraft runs on little-endian machines");
