//! Long runs of real clusters under random faults, judged while they run.
//!
//! Clients use new keys every few seconds ([`crate::workload::Plan::window`]); what they recorded about the old ones is
//! completed by a last read of every key, judged and forgotten ([`judge`]), so a run of any length needs the memory of
//! a few windows. Meanwhile one fault follows the other ([`faults`]), with rests in between, and probes measure for
//! how long any group is silent. Some of the keys that are written once are kept for the whole run and read at its end
//! from every node.
//!
//! What it does not break: networks and disks.

pub mod faults;
pub mod judge;
