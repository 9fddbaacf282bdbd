//! A replicated storage engine: many Raft groups over io_uring, one executor per core, nothing shared.
//!
//! An [`Engine`] is one node of a cluster. It runs its shards on threads of its own and needs no runtime of
//! the caller's. Each group replicates one [`StateMachine`]; a [`Group`] is the handle to one, usable from any
//! thread and any executor, on every node:
//!
//! ```no_run
//! use ringraft::Engine;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::builder(1, "./data")
//!     .peer(1, "127.0.0.1:7101".parse()?)
//!     .peer(2, "127.0.0.1:7201".parse()?)
//!     .peer(3, "127.0.0.1:7301".parse()?)
//!     .client("127.0.0.1:6101".parse()?)
//!     .start_kv()?;
//! # drop(engine);
//! # Ok(()) }
//! ```

mod block_facts;
mod builder;
#[cfg(feature = "cli")]
pub mod cli;
mod completion;
mod directory;
mod engine;
mod error;
mod fatal;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
pub mod kv;
mod local;
mod log_facts;
mod members;
mod membership;
pub mod node;
mod placement;
mod recovering;
pub mod resp;
mod shard;
#[cfg(feature = "simulation")]
pub mod simulation;
mod snapshot_life;
pub mod state_machine;
mod status;
mod transfer_facts;
mod view;
mod wire;

pub use builder::{Builder, Redirect};
pub use engine::Engine;
pub use error::{
    AddMemberError, MembersError, ProposeError, QueryError, RemoveMemberError, StartError, TransferError,
};
pub use fatal::{Fatal, FatalHook};
pub use group::{COMMAND_BYTES_MAX, Group};
pub use local::LocalCluster;
pub use members::{Member, MemberState};
pub use raft::{
    Config, EntryId, FollowerState, FollowerStatus, GroupId, Index, NodeId, Role, Standing, Term,
};
pub use state_machine::{
    Applied, CheckEntry, Frozen, IsDeleted, Progress, RestoreError, SaveSink, Saved, Simple, SimpleMachine,
    StateMachine,
};
pub use status::{EngineStatus, GroupStatus};
pub use transfer_facts::{Direction, TransferStatus};
