//! Real nodes in network namespaces, and a network between them that does everything networks do.
//!
//! Each test ends with the same verdict: nothing acknowledged is lost, the histories of all clients, those on the wrong
//! side of a cut included, are linearizable, and all is served again within a stated time. `RINGRAFT_NET_SEED` repeats
//! the faults of a run.

mod cuts;
mod silence;
mod site;
mod weather;
