//! Known bugs of nodes, to be injected on purpose (`runtime::mutant!`): the simulation is worth what it catches. The
//! binary `mutants` lives lives with each until one goes wrong.

/// One bug: its name where it bites, and what it does.
pub const MUTANTS: &[(&str, &str)] = &[
    ("log.acked_before_sync", "a batch counts as durable when its write begins"),
    ("log.durable_out_of_order", "a batch counts as durable before those in front of it"),
    ("log.failed_write_ignored", "a failed write or sync counts as done"),
    ("log.bodies_unverified", "a recovery does not look at checksums of bodies"),
    ("log.stale_batches_accepted", "a recovery takes batches of an earlier use of a segment, or after a gap"),
    ("log.seam_ignored", "entries that were replaced in batches that cannot be read count as the group's"),
    ("log.loss_forgotten", "a replica that lost entries votes as if it had them"),
    (
        "log.relocation_truncates",
        "a recovery takes relocated entries for new ones: what follows them is dropped",
    ),
    ("log.last_batch_dropped", "a recovery forgets the last batch"),
    ("log.damage_taken_for_torn", "a recovery drops what was acknowledged as if it were a torn tail"),
    ("log.torn_taken_for_damage", "a recovery takes a torn tail for damage"),
    ("log.hard_states_not_replayed", "a recovery forgets terms and votes since the checkpoint"),
    (
        "log.segment_reused_early",
        "a segment in which nothing lives is used again before a checkpoint without it is durable",
    ),
    ("log.header_not_read_back", "nobody looks whether a new segment's header is where it was written"),
    ("log.full_for_ever", "after a file could not be made the log stays full (seed 97, once)"),
    ("snapshot.file_not_synced", "a snapshot gets its name before its bytes are durable"),
    ("snapshot.directory_not_synced", "a snapshot is recorded before its name is durable"),
    ("snapshot.used_files_removed", "an old snapshot goes while it is sent to a peer"),
    ("save.published_before_record", "the old snapshot goes before the record of the new one is durable"),
    (
        "save.ahead_of_log",
        "a state is saved, and published at once, with entries that are not yet durable in the own log",
    ),
    ("save.compacts_beyond_snapshot", "the log lets go of more than the snapshot holds"),
    ("install.not_recorded", "an installed snapshot has no record in the log"),
    ("install.keeps_old_state", "an installed snapshot does not replace the state"),
    ("save.merge_forgets_deletes", "merging files drops the marks of keys that a file below still has"),
    ("restore.newest_file_only", "of a snapshot of several files only the newest is loaded"),
    (
        "save.replaced_machine_serves",
        "a machine that came from a peer's snapshot serves the files of an older save",
    ),
    (
        "kv.serves_oldest_file",
        "a key that was put out of memory is read from the oldest file, not the newest",
    ),
    ("kv.fill_ends_at_a_gap", "a table counts as complete where a block of the files was not in memory"),
    ("read.answers_what_it_missed", "a read is answered though a block it looked for was not in memory"),
    (
        "blocks.unreadable_is_empty",
        "keys in a block of a snapshot that the disk cannot read are answered as if they were not there",
    ),
    (
        "start.unreadable_is_empty",
        "a group whose snapshot cannot be read at a start begins empty, and votes as if it lacked nothing",
    ),
    ("kv.full_table_keeps_all", "a table counts as complete although keys were put out of it"),
    ("kv.merge_drops_writes", "what a save has written is lost to reads after it"),
    ("kv.deleted_after_save_stays", "what is deleted after a save comes back at once"),
    ("kv.delta_forgets_deletes", "what is deleted between two saves comes back at a restart"),
    ("write.wrong_entry_answers", "a writer whose entry was replaced is told that it was applied"),
    ("write.hard_state_forgotten", "terms and votes are not written"),
    ("snapshot.block_unverified", "a block of a snapshot is taken without a look at its checksum"),
    ("write.vote_forgotten", "terms are written without the votes in them"),
    (
        "read.behind_later_writes",
        "a read in front of writes is asked elsewhere when the leader steps down (seed 148, once)",
    ),
    ("read.without_round", "a read is answered without proof that its leader still leads"),
    ("request.write_repeated", "a write whose outcome is unknown is asked again"),
    ("request.keeps_its_place", "an answered request stays in the list of those that wait for answers"),
    ("request.return_forgotten", "a way to a leader never becomes free again"),
];
