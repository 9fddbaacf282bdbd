//! The cluster test of the founding notes (TinyKV's GenericTest and its scripted tests) on real processes.
//!
//! Five nodes, clients with keys of their own that write and read back, and rows of a table that say what happens
//! meanwhile: messages are lost, the network is cut at random, all nodes are killed, members come and go, the log is kept
//! short. The simulator runs all rows on many seeds; here is a selection. What the original leaves open is closed:
//!
//! - loss is a tenth from the start to the end of a round, not more with every look at it;
//! - a crash is `kill -9`, and the data directory is what is left;
//! - members change in every round, and each change is waited for;
//! - values carry their round; deletes are verified, on every node;
//! - beside the clients of the table, recorded ones share keys, and their histories are judged;
//! - rows about snapshots assert that snapshots were made;
//! - clients go through the network's disturbed part too: to nodes of either side of a cut.

mod clients;
mod generic;
mod scripted;
