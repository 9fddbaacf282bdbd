//! The key-value machine: strings of Redis 7.0, one [`Kv`] per group.
//!
//! A client's arguments become a [`Command`]; writes go through the group's log encoded and come back to
//! [`Kv::apply`](crate::state_machine::StateMachine::apply), reads run by [`Kv::read`]. Replies are RESP2 bytes.
//!
//! The keys stand in layers, each a [table](table::Table): what changed since the last save, above what is saved. A save
//! reads the upper one as a frozen image, which afterwards is merged down in slices. Order everywhere is (slot, 32-bit
//! hash, key).

pub mod codec;
pub mod command;
pub mod entry;
mod frozen;
pub mod glob;
pub mod hash;
mod layers;
mod machine;
mod read;
pub mod slot;
pub mod table;
mod write;

pub use codec::DecodeError;
pub use command::{Command, Condition, KEY_BYTES_MAX, List, VALUE_BYTES_MAX};
pub use hash::Position;
pub use machine::Kv;
pub use slot::{SLOT_COUNT, SlotMap, key_slot};
pub(crate) use write::{NOT_AN_INTEGER, TOO_LONG};
