//! Group 0: who belongs to the cluster. The directory of nodes is a state machine like any other, replicated to every
//! node, and holds no keys; a change of membership is an entry in it (design 4).
//!
//! What happens after `member add 4=HOST:PORT`:
//!
//! 1. [`Command::Add`]: node 4 is `joining`. The members with lower ids call it.
//! 2. Whoever hears its greeting has group 0 take down which disk it is ([`Command::Identify`]). From then on the
//!    members tell it that it belongs to them, and it starts its replicas.
//! 3. The leader of each group compares the group's configuration with the directory ([`reconcile`]): the new node
//!    becomes a learner, and a voter once it has caught up. Group 0 changes its own voters last.
//! 4. The leader of group 0, which has a replica of every group, sees when all configurations are committed and as they
//!    should be, and says so: [`Command::Joined`].
//!
//! A removal goes the same way: [`Command::Remove`], out of every group, [`Command::Left`]. No step needs memory beside
//! what is replicated, so whoever leads after a crash goes on; each command may be applied twice without harm.

mod command;
mod encoding;
mod machine;
mod reconcile;
mod state;

#[cfg(feature = "fuzzing")]
pub use command::command_again;
pub(crate) use command::{Ask, Command, Verdict};
pub(crate) use reconcile::{Follower, Situation, is_as_wanted, is_done_with, reconcile};
pub use state::{Member, MemberState};
pub(crate) use state::{Members, Node};
