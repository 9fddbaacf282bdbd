//! The transport: RESP for clients, checksummed frames for peers.
