//! Executors, files, sockets, timers and wakes from outside: the only crate that names glommio or io_uring.
//!
//! A **shard** is one thread with a glommio executor and an io_uring of its own. [`spawn_shard`] starts one; its main
//! future is a loop of turns:
//!
//! ```no_run
//! # use runtime::{Context, ShardSpec, spawn_shard};
//! let shard = spawn_shard(ShardSpec { name: "shard-0".into(), cpu: None }, |context: Context| async move {
//!     let ring = context.ring();
//!     let mut events = Vec::new();
//!     loop {
//!         ring.wait().await; // submits what the last turn has queued, sleeps if there is nothing to do
//!         ring.events(&mut events); // everything that has happened: sockets, and files through their futures
//!         for event in events.drain(..) {
//!             println!("{event:?}");
//!         }
//!     }
//! })?;
//! # drop(shard);
//! # Ok::<(), runtime::StartError>(())
//! ```
//!
//! - [`Ring`]: sockets, one timer, and under [`RealDisk`] all reads, writes and syncs of files.
//! - [`Disk`] and [`File`]: the seam behind which a simulated disk can stand; [`Buffer`] is what crosses it. [`ReadDisk`]
//!   is for tools that look at what no node works on.
//! - [`Doorbell`] and [`mailbox()`]: how other threads reach a shard.
//! - [`check_host`], [`bind`], [`lock_dir`], [`allowed_cpus`]: what a process asks before it starts.
//!
//! # The executor's faults, and where they are dealt with
//!
//! glommio is pinned to 0.9.0. It can park with runnable tasks (`watchdog`); wakers dropped by other threads can corrupt
//! memory (none ever leaves its thread but one that is never dropped: `doorbell`, `watchdog`); executors leak at their end (they have none:
//! `shard::worker`); a panicking task takes its executor along (all code of a shard is polled under `catch_unwind`);
//! its direct files misread the end of a file and may take a disk for one with polled I/O (they are not used:
//! `real_disk`).

mod buffer;
mod claims;
mod clock;
mod disk;
mod doorbell;
mod host;
mod mailbox;
pub mod probe;
mod read_disk;
mod real_disk;
mod refusal;
mod ring;
mod shard;
mod slots;
mod sync_probe;
mod sys;
mod watchdog;

pub use buffer::{BLOCK_BYTES, Buffer, BufferMut};
pub use claims::{DirLock, LockError, bind, lock_dir, share_dir};
pub use clock::now;
pub use disk::{Disk, File};
pub use doorbell::Doorbell;
pub use host::{HostReport, StartError, allowed_cpus, check_host, memory_bytes, raise_descriptor_limit};
pub use mailbox::{Mailbox, MailboxSender, mailbox};
pub use read_disk::{ReadDisk, ReadFile};
pub use real_disk::{RealDisk, RealFile, SyncMode};
pub use ring::{Event, ListenerId, Part, Ring, SocketId};
pub use shard::{Context, REST, ShardPanicked, ShardSpec, ShardThread, spawn_shard};
pub use sys::{ReceivedBuffer, end_on_sigbus};
pub use watchdog::rescues;
