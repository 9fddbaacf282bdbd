//! What a client's command means: everything between a parsed request and the groups it touches, without I/O.
//!
//! [`plan`] looks at one request and either answers it on the spot (the connection, the cluster's shape) or says
//! which groups must do what ([`Plan`]). Replies of groups are RESP2; [`to_proto`] turns them into what the
//! connection speaks, [`Gather`] makes one reply of many.

mod client;
mod cluster;
mod command;
mod config;
mod connection;
mod files;
mod gather;
mod info;
mod keyspace;
mod members;
mod plan;
mod proto;
mod session;
mod spec;
mod spec_subcommands;
mod spec_table;
mod strings;
mod view;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use cluster::{moved, node_id};
pub use files::{FilesAsk, READ_BYTES_MAX};
pub use gather::Gather;
pub use plan::{Asked, Plan, Request, Way, plan};
pub use proto::to_proto;
pub use session::Session;
pub use view::{ClusterView, Leader, Node, Place, Redirect, Statistics};

/// The version of Redis whose commands and answers these are.
pub const REDIS_VERSION: &str = "7.0.15";
