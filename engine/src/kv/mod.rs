//! The key-value machine: strings of Redis 7.0, one [`Kv`] per group.
//!
//! A client's arguments become a [`Command`]; writes go through the group's log encoded and come back to
//! [`Kv::apply`](crate::state_machine::StateMachine::apply), reads run by [`Kv::read`]. Replies are RESP2 bytes.
//!
//! The keys stand in layers: a [table](table::Table) of what changed since the last save, above what is saved. A save reads
//! the upper one as a frozen image, which afterwards is merged down in slices. Of what is saved as much as memory is for
//! is held in a table; the rest is read where it lies in the snapshot's files. Order everywhere is (slot, 32-bit hash, key).

mod base;
pub mod codec;
pub mod command;
mod counts;
pub mod entry;
mod frozen;
pub mod glob;
pub mod hash;
mod layers;
mod machine;
mod read;
pub mod slot;
pub mod table;
#[cfg(test)]
mod test_files;
mod write;

pub use codec::DecodeError;
pub use command::{Command, Condition, KEY_BYTES_MAX, List, VALUE_BYTES_MAX};
#[cfg(feature = "cli")]
pub(crate) use counts::is_counts;
pub use hash::Position;
pub use machine::Kv;
pub use slot::{SLOT_COUNT, SlotMap, key_slot};
pub(crate) use write::{NOT_AN_INTEGER, TOO_LONG};
