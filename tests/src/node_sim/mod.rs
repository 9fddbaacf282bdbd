//! A whole cluster in one thread: production shards, logs, snapshots and state machines in a simulated world of machines,
//! disks, links, clients and an operator. One seed makes one life; the same seed makes the same life.
//!
//! `world` holds everything and lets the next thing happen; `net`, `machine`, `weather` are what there is;
//! `sockets`, `process`, `chaos`, `clients`, `operator` are what happens; `checks` is what must never be, `calm` what must be
//! in the end.

mod answers;
mod backups;
mod by_index;
mod caller;
mod calm;
mod chaos;
mod checks;
mod clients;
mod disks;
pub mod founding;
mod home;
mod machine;
pub mod marks;
pub mod mutants;
mod net;
mod operator;
mod process;
pub mod profile;
mod restored;
pub mod run;
pub mod script;
mod sockets;
mod told;
mod watching;
mod weather;
mod witnessed;
mod world;

use crate::core_sim::violation::violated;

fn violated_if(is_wrong: bool, check: &'static str, text: impl FnOnce() -> String) {
    if is_wrong {
        violated(check, text());
    }
}
