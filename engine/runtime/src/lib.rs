//! Executors, files, sockets, timers and wakes from outside: the only crate that names glommio or io_uring.
#![allow(dead_code, clippy::unimplemented, reason = "skeleton: bodies follow")]
mod buffer;
mod clock;
mod disk;
mod doorbell;
mod host;
mod mailbox;
mod real_disk;
mod ring;
mod shard;
mod sys;

pub use buffer::{BLOCK_BYTES, Buffer, BufferMut};
pub use clock::now;
pub use disk::{Disk, File};
pub use doorbell::Doorbell;
pub use host::{DirLock, HostReport, LockError, StartError, allowed_cpus, bind, check_host, lock_dir};
pub use mailbox::{Mailbox, MailboxSender, mailbox};
pub use real_disk::{RealDisk, RealFile, SyncMode};
pub use ring::{Event, ListenerId, Part, Ring, SocketId};
pub use shard::{Context, ShardPanicked, ShardSpec, ShardThread, spawn_shard};
pub use sys::ReceivedBuffer;
