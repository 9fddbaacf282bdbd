//! Moving a file to a peer.
