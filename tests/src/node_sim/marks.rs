//! The branches of the recovery tables of log, snapshots and groups, and whether the simulation must reach them.

/// Who reaches a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Some seed of a CI run of the node simulator.
    BySeeds,
    /// Not by it, and why not; by which test instead.
    Elsewhere(&'static str),
}

use Reached::{BySeeds, Elsewhere};

/// Needs several segments in flight at one crash.
const CRASHES: &str = "tests/it/raftlog/marks.rs: crashes of logs alone reach it";
/// Needs rot that nothing newer replaced: a few seeds in thousands have that.
const HEADERS: &str = "tests/it/raftlog/marks.rs: blocks that are gone reach it";

/// Needs rot in entries that are read after it: a few seeds in thousands have that.
const ENTRIES: &str = "tests/it/rotten.rs: clusters of real processes do that";

/// Needs a leader that leads again before it is known which of its entries count.
const WAITERS: &str = "engine/src/shard/waiters.rs has tests: one seed in thousands reaches it";

/// Every mark, where it stands, and who reaches it.
pub const MARKS: &[(&str, Reached)] = &[
    ("log.case1.end", BySeeds),
    ("log.case1.closed", BySeeds),
    ("log.close.listed", BySeeds),
    ("log.close.short", BySeeds),
    ("log.case2.torn", Elsewhere(CRASHES)),
    ("log.case3.torn", Elsewhere(CRASHES)),
    ("log.case3.hole", Elsewhere(HEADERS)),
    ("log.late_hole", BySeeds),
    ("log.case4.torn", Elsewhere(CRASHES)),
    ("log.case4.rot", Elsewhere(HEADERS)),
    ("log.case5.new", BySeeds),
    ("log.case5.rot", Elsewhere(HEADERS)),
    ("log.case6.torn", Elsewhere(CRASHES)),
    ("log.case6.hole", Elsewhere(HEADERS)),
    ("log.case8.loss", Elsewhere(HEADERS)),
    ("log.group_lost", BySeeds),
    ("log.indexed", BySeeds),
    ("log.group_whole", Elsewhere(HEADERS)),
    ("log.put_back", BySeeds),
    ("log.relocated", BySeeds),
    ("log.seam", Elsewhere(HEADERS)),
    ("log.relocated.early", BySeeds),
    ("log.stop.rot", BySeeds),
    ("log.torn.again", Elsewhere(CRASHES)),
    ("snapshot.open.live", BySeeds),
    ("snapshot.open.partial", BySeeds),
    ("snapshot.open.unnamed", BySeeds),
    ("backup.reads_superseded", BySeeds),
    ("backup.let_go", BySeeds),
    ("backup.cannot_read", BySeeds),
    ("snapshot.receive.resumed", BySeeds),
    ("snapshot.send.several_under_way", BySeeds),
    (
        "snapshot.send.sent_back",
        Elsewhere("snapshot/src/tests/window.rs: frames have checksums, so no link damages a chunk unseen"),
    ),
    ("save.below_lost", BySeeds),
    ("save.overtaken", BySeeds),
    ("save.merges", BySeeds),
    ("save.waits_for_followers", BySeeds),
    ("install.one_of_several_files", BySeeds),
    ("restore.served", BySeeds),
    ("kv.reads_files", BySeeds),
    ("kv.block_away", BySeeds),
    ("read.cold", BySeeds),
    ("apply.cold", BySeeds),
    ("residence.given_back", BySeeds),
    ("residence.only_looked_at", BySeeds),
    ("blocks.damaged", BySeeds),
    ("blocks.unreadable", BySeeds),
    ("kv.table_is_full", BySeeds),
    ("kv.table_is_complete", BySeeds),
    ("install.log_restarts", BySeeds),
    ("install.log_kept", BySeeds),
    (
        "install.overtaken",
        Elsewhere("needs an install and the log to meet within a turn: a few seeds in thousands do"),
    ),
    ("read.left_behind", BySeeds),
    ("write.waits_among_older", Elsewhere(WAITERS)),
    ("stop.cut_short", BySeeds),
    ("stop.log_left", BySeeds),
    ("start.from_snapshot", BySeeds),
    ("start.newcomer", BySeeds),
    ("start.joining", BySeeds),
    ("start.recovering", BySeeds),
    ("start.snapshot_lost", BySeeds),
    ("start.snapshot_unreadable", BySeeds),
    ("heal.by_peers", Elsewhere(ENTRIES)),
    ("heal.by_snapshot", Elsewhere(ENTRIES)),
    ("heal.scrub_finds", Elsewhere(ENTRIES)),
    ("heal.relocation_finds", Elsewhere("tests/it/raftlog/found.rs: a log moves entries that went bad")),
    ("start.faulted", Elsewhere("no replica of a sound node is faulted: tests of the core")),
];
