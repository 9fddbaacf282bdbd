//! The targets.

mod client;
mod core;
mod directory;
mod files;
mod frames;
mod kv;
mod links;
mod log;
mod peer;
mod resp;
mod settings;
mod snapshots;
mod transfer;

use crate::Target;

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    memory_mib_max: u64,
) -> Target {
    Target { name, run, seeds, bytes_max: 4096, memory_mib_max }
}

/// All of them, each with the mebibytes that one input may take: some commands write values of 16 MiB, a frame may
/// announce 32, a shard is opened from a megabyte of files.
pub const TARGETS: &[Target] = &[
    target("resp_requests", resp::requests, resp::request_seeds, 2),
    target("resp_replies", resp::replies, resp::reply_seeds, 2),
    target("client_commands", client::commands, client::command_seeds, 640),
    target("gathered_replies", client::gathered, client::gathered_seeds, 2),
    target("frames", frames::stream, frames::stream_seeds, 80),
    target("handshake", frames::handshake, frames::handshake_seeds, 2),
    target("peer_link", links::link, links::link_seeds, 80),
    target("cluster_file", files::cluster, files::cluster_seeds, 2),
    target("node_files", files::node, files::node_seeds, 2),
    target("peer_frame", peer::frame, peer::frame_seeds, 8),
    target("entries", peer::entries, peer::entry_seeds, 2),
    target("raft_core", core::core, core::core_seeds, 4),
    target("kv_commands", kv::commands, kv::command_seeds, 640),
    target("kv_items", kv::items, kv::item_seeds, 2),
    target("directory", directory::directory, directory::directory_seeds, 2),
    target("log_batch", log::batch, log::batch_seeds, 2),
    target("log_recovery", log::recovery, log::recovery_seeds, 64),
    target("manifest", snapshots::manifest, snapshots::manifest_seeds, 2),
    target("snapshot_file", snapshots::file, snapshots::file_seeds, 32),
    target("snapshot_transfer", transfer::transfer, transfer::transfer_seeds, 64),
    target("settings", settings::settings, settings::settings_seeds, 4),
];
