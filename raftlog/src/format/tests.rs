//! The format is what `FORMAT.md` says, and no bytes make a decoder panic.

use bytemuck::Zeroable;
use proptest::prelude::*;
use raft::{EntryId, EntryKind, EntrySpec, GroupId, Index, Term, encode_entry, entry_bytes};

use super::*;

fn identity() -> Identity {
    Identity { store_uuid: *b"0123456789abcdef", shard: 1, shard_count: 4 }
}

fn segment_header() -> SegmentHeader {
    SegmentHeader {
        segment_seq: 9,
        salt: 0x1122_3344_5566_7788,
        segment_bytes: 64 << 20,
        boot_epoch: 3,
        slot: 5,
        first_batch_seq: 78,
        previous_segment_seq: 8,
        previous_end_offset: 0x7000,
        previous_last_seq: 77,
        previous_chain: 0xdead_beef,
        durable_seq: 75,
        created_us: 1_000_000,
        ..SegmentHeader::new(identity())
    }
}

/// One batch with a hard state and two entries.
fn batch() -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let body_start = BATCH_HEADER_BYTES + 2 * RECORD_HEADER_BYTES;
    let body_end = body_start + entry_bytes(5) + entry_bytes(0);
    let spec = |index, kind| EntrySpec {
        group: GroupId(7),
        incarnation: 2,
        id: EntryId::new(Term(4), Index(index)),
        kind,
    };
    let (first, second) = bytes[body_start..body_end].split_at_mut(entry_bytes(5));
    encode_entry(first, spec(10, EntryKind::Command), 5, |out| out.copy_from_slice(b"hello"));
    encode_entry(second, spec(11, EntryKind::Noop), 0, |_| {});
    let hard_state = RecordHeader {
        group: 7,
        term: 4,
        commit: 9,
        incarnation: 2,
        kind: RecordKind::HardState.byte(),
        flags: record_flags::HAS_VOTE,
        aux: 3,
        body_offset: u32_of(body_start),
        ..RecordHeader::zeroed()
    };
    let entries = RecordHeader {
        group: 7,
        first_index: 10,
        term: 4,
        incarnation: 2,
        count: 2,
        body_offset: u32_of(body_start),
        body_bytes: u32_of(body_end - body_start),
        kind: RecordKind::Entries.byte(),
        ..RecordHeader::zeroed()
    };
    seal_batch(&mut bytes, batch_header(), &[hard_state, entries], body_end);
    bytes
}

fn batch_header() -> BatchHeader {
    BatchHeader {
        salt: 0x1122_3344_5566_7788,
        segment_seq: 9,
        batch_seq: 78,
        durable_seq: 75,
        boot_epoch: 3,
        block: 1,
        previous_chain: 0xdead_beef,
        time_us: 1_000_000,
        ..BatchHeader::zeroed()
    }
}

fn encoded_segment_header() -> Vec<u8> {
    let mut block = vec![0xaa; BLOCK];
    encode_segment_header(&segment_header(), &mut block);
    block
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(16).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// The bytes up to the zeros, as they were when the version was made.
#[test]
fn golden_bytes_of_a_segment_header() {
    let block = encoded_segment_header();
    assert!(block[184..4092].iter().all(|byte| *byte == 0));
    let golden = include_str!("../../golden/segment-header.v0.hex");
    assert_eq!(format!("{}\n{}\n", hex(&block[..184]), hex(&block[4092..])), golden);
    assert_eq!(decode_segment_header(&block), Ok(segment_header()));
}

#[test]
fn golden_bytes_of_a_batch() {
    let bytes = batch();
    let end = BATCH_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + entry_bytes(5) + entry_bytes(0);
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
    assert_eq!(format!("{}\n", hex(&bytes[..end])), include_str!("../../golden/batch.v0.hex"));
}

/// A batch with a hard state of a replica that heals and an entry that is a configuration.
fn batch_of_membership() -> (Vec<u8>, usize) {
    let mut bytes = vec![0; BLOCK];
    let body_start = BATCH_HEADER_BYTES + 2 * RECORD_HEADER_BYTES;
    let body_end = body_start + entry_bytes(6);
    let id = EntryId::new(Term(4), Index(10));
    let spec = EntrySpec { group: GroupId(7), incarnation: 2, id, kind: EntryKind::Membership };
    encode_entry(&mut bytes[body_start..body_end], spec, 6, |out| out.copy_from_slice(b"config"));
    let hard_state = HardState { term: Term(4), standing: Standing::Recovering, ..HardState::default() };
    let hard_state = RecordHeader {
        group: 7,
        term: 4,
        incarnation: 2,
        kind: RecordKind::HardState.byte(),
        flags: hard_state_flags(&hard_state),
        body_offset: u32_of(body_start),
        ..RecordHeader::zeroed()
    };
    let entries = RecordHeader {
        group: 7,
        first_index: 10,
        term: 4,
        incarnation: 2,
        count: 1,
        body_offset: u32_of(body_start),
        body_bytes: u32_of(body_end - body_start),
        kind: RecordKind::Entries.byte(),
        ..RecordHeader::zeroed()
    };
    seal_batch(&mut bytes, batch_header(), &[hard_state, entries], body_end);
    (bytes, body_end)
}

#[test]
fn golden_bytes_of_standing_and_configurations() {
    let (bytes, end) = batch_of_membership();
    assert_eq!(format!("{}\n", hex(&bytes[..end])), include_str!("../../golden/membership.v0.hex"));
    let (_, records) = decode(&bytes).expect("sound");
    assert_eq!((records[0].flags, records[1].flags), (record_flags::RECOVERING, record_flags::MEMBERSHIP));
    assert_eq!(standing(records[0].flags), Standing::Recovering);
    let body = &bytes[end - entry_bytes(6)..end];
    assert_eq!(verify_body(&bytes, &records[1]).map(membership_entries).expect("sound"), body);
    assert!(verify_body(&bytes, &RecordHeader { first_index: 11, ..records[1] }).is_err());
    let none = &batch()[BATCH_HEADER_BYTES + 2 * RECORD_HEADER_BYTES..][..entry_bytes(5)];
    assert!(membership_entries(none).is_empty());
}

fn decode(bytes: &[u8]) -> Result<(BatchHeader, Vec<RecordHeader>), Invalid> {
    let header = decode_batch_header(bytes)?;
    let records = decode_directory(&header, bytes)?;
    verify_bodies(bytes, &records)?;
    Ok((header, records))
}

#[test]
fn a_batch_reads_as_it_was_written() {
    let (header, records) = decode(&batch()).expect("sound");
    assert_eq!((header.records, header.blocks, header.batch_seq), (2, 1, 78));
    assert_eq!(records[0].lsn, 78 << 12);
    assert_eq!((records[1].lsn, records[1].count, records[1].first_index), ((78 << 12) + 1, 2, 10));
    let next = Expected {
        salt: 0x1122_3344_5566_7788,
        segment_seq: 9,
        batch_seq: 78,
        boot_epoch: 3,
        block: 1,
        chain: 0xdead_beef,
    };
    assert_eq!(next.accepts(&header), Ok(()));
    for other in [
        Expected { salt: 1, ..next },
        Expected { segment_seq: 8, ..next },
        Expected { batch_seq: 77, ..next },
        Expected { boot_epoch: 2, ..next },
        Expected { block: 2, ..next },
        Expected { chain: 1, ..next },
    ] {
        assert!(other.accepts(&header).is_err(), "{other:?}");
    }
}

/// Every bit of header, directory and bodies counts.
#[test]
fn a_flipped_bit_is_seen() {
    let sound = batch();
    let end = BATCH_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + entry_bytes(5) + entry_bytes(0);
    for at in 0..end {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
    }
    let sound = encoded_segment_header();
    for at in 0..BLOCK {
        let mut block = sound.clone();
        block[at] ^= 0x10;
        assert!(decode_segment_header(&block).is_err(), "byte {at}");
    }
}

/// Makes the checksums of a header and its directory right.
fn reseal(header: &mut BatchHeader, directory: &[u8]) {
    let mut seeded = crc32fast::Hasher::new();
    seeded.update(&(header.salt ^ header.batch_seq).to_le_bytes());
    seeded.update(directory);
    header.directory_crc = seeded.finalize();
    header.header_crc = crc32fast::hash(&bytemuck::bytes_of(header)[..124]);
}

/// A caller that announces other entries than it encodes is stopped before the disk believes it.
#[test]
#[should_panic(expected = "the encoded entries are not those announced")]
fn entries_that_were_not_announced_are_not_written() {
    let mut bytes = batch();
    let mut entries: RecordHeader = bytemuck::pod_read_unaligned(&bytes[192..256]);
    entries.first_index += 1;
    seal_batch(&mut bytes, batch_header(), &[entries], 368);
}

/// What is sealed right but says nonsense is refused, not believed: no count or offset leads out of the batch.
#[test]
fn sealed_nonsense_is_refused() {
    let seal = |record: RecordHeader| {
        let mut batch = vec![0; BLOCK];
        let sound = RecordHeader { kind: 2, body_offset: 192, ..RecordHeader::zeroed() };
        seal_batch(&mut batch, batch_header(), &[sound], 192);
        let record = RecordHeader { lsn: 78 << 12, ..record };
        batch[128..192].copy_from_slice(bytemuck::bytes_of(&record));
        let mut header: BatchHeader = bytemuck::pod_read_unaligned(&batch[..128]);
        reseal(&mut header, &batch[128..192]);
        batch[..128].copy_from_slice(bytemuck::bytes_of(&header));
        decode(&batch)
    };
    let entries = RecordHeader {
        group: 7,
        first_index: 10,
        term: 4,
        count: 1,
        kind: RecordKind::Entries.byte(),
        body_offset: 192,
        ..RecordHeader::zeroed()
    };
    let hard_state = RecordHeader { kind: 2, term: 1, body_offset: 192, ..RecordHeader::zeroed() };
    assert!(seal(hard_state).is_ok());
    let joining = record_flags::RECOVERING | record_flags::FAULTED;
    assert!(seal(RecordHeader { flags: joining, ..hard_state }).is_ok(), "both bits have a meaning");
    for record in [
        entries,
        RecordHeader { count: 0, ..entries },
        RecordHeader { first_index: u64::MAX, ..entries },
        RecordHeader { kind: 77, ..hard_state },
        RecordHeader { flags: 0x80, ..hard_state },
        RecordHeader { aux: 1, ..hard_state },
        RecordHeader { flags: record_flags::MEMBERSHIP, ..hard_state },
        RecordHeader { group: 1 << 40, ..hard_state },
        RecordHeader { count: 1, ..hard_state },
        RecordHeader { kind: 8, ..hard_state },
        RecordHeader { kind: 9, term: 0, count: 1, ..hard_state },
        RecordHeader { body_offset: 128, ..hard_state },
        RecordHeader { body_offset: 200, ..hard_state },
    ] {
        assert!(seal(record).is_err(), "{record:?}");
    }
}

/// Counting on from a number in a header overflows nowhere: what no log reaches is no number.
#[test]
fn numbers_that_no_log_reaches_are_refused() {
    let mut block = vec![0; BLOCK];
    let mut said = |header: SegmentHeader| {
        encode_segment_header(&header, &mut block);
        decode_segment_header(&block).is_ok()
    };
    let header = segment_header();
    assert!(said(SegmentHeader { boot_epoch: NUMBER_MAX, slot: NUMBER_MAX, ..header }));
    for value in [NUMBER_MAX + 1, u64::MAX] {
        assert!(!said(SegmentHeader { boot_epoch: value, ..header }));
        assert!(!said(SegmentHeader { slot: value, ..header }));
        assert!(!said(SegmentHeader { segment_seq: value, ..header }));
        assert!(!said(SegmentHeader { first_batch_seq: value, ..header }));
        for header in [
            BatchHeader { boot_epoch: value, ..batch_header() },
            BatchHeader { segment_seq: value, ..batch_header() },
            BatchHeader { batch_seq: value, ..batch_header() },
        ] {
            let mut batch = vec![0; BLOCK];
            let header = BatchHeader { blocks: 1, magic: BATCH_MAGIC, version: FORMAT_VERSION, ..header };
            batch[..128].copy_from_slice(bytemuck::bytes_of(&header));
            let mut header: BatchHeader = bytemuck::pod_read_unaligned(&batch[..128]);
            reseal(&mut header, &[]);
            assert!(decode_batch_header(bytemuck::bytes_of(&header)).is_err(), "{header:?}");
        }
    }
    let row = |compacted_index, last_index, snapshot_index| {
        let term = |index| u64::from(index > 0);
        let row = CheckpointRow {
            compacted_index,
            compacted_term: term(compacted_index),
            last_index,
            last_term: term(last_index),
            snapshot_index,
            snapshot_term: term(snapshot_index),
        };
        let without = CheckpointRow { last_term: 0, ..row };
        let is_sound = |row: &CheckpointRow| batch::check_checkpoint_row(bytemuck::bytes_of(row)).is_ok();
        assert!(!is_sound(&without) || last_index == 0, "an entry without a term");
        is_sound(&row)
    };
    assert!(row(3, 3, 3) && row(0, INDEX_MAX, INDEX_MAX));
    assert!(!row(4, 3, 3) && !row(0, INDEX_MAX + 1, 0) && !row(0, 0, u64::MAX));
}

#[test]
fn a_header_of_another_version_is_told_from_damage() {
    let mut block = vec![0; BLOCK];
    encode_segment_header(&SegmentHeader { version: 1, ..segment_header() }, &mut block);
    assert!(decode_segment_header(&block).expect_err("unknown version").intact);
    block[7] ^= 1;
    assert!(!decode_segment_header(&block).expect_err("damage").intact);
}

#[test]
fn identity_names_the_difference() {
    let header = segment_header();
    assert_eq!(identity().difference(&header), None);
    let other = Identity { shard: 2, ..identity() }.difference(&header).expect("another shard");
    assert_eq!(other, "it belongs to shard 1 of 4, this is shard 2 of 4");
    let other = Identity { store_uuid: [0; 16], ..identity() }.difference(&header).expect("another store");
    assert!(other.contains("30313233343536373839616263646566"), "{other}");
}

proptest! {
    #[test]
    fn decoders_are_total(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
        let _ = decode_segment_header(&bytes);
        let _ = decode(&bytes);
    }

    /// Nonsense with right checksums gets past the first gate: still no panic, and memory bounded by the batch.
    #[test]
    fn decoders_are_total_behind_their_checksums(
        header in proptest::array::uniform32(any::<u8>()),
        directory in proptest::collection::vec(any::<u8>(), 64 * 3),
        records in 0_u32..5,
        body_bytes in 0_u32..9000,
    ) {
        let mut bytes = vec![0; 2 * BLOCK];
        bytes[128..128 + directory.len()].copy_from_slice(&directory);
        let mut head: BatchHeader = bytemuck::pod_read_unaligned(&header.repeat(4));
        head.magic = BATCH_MAGIC;
        head.version = FORMAT_VERSION;
        head.records = records;
        head.directory_bytes = 64 * records;
        head.body_bytes = body_bytes;
        head.flags &= batch_flags::ALL;
        reseal(&mut head, &bytes[128..128 + 64 * usize_of(records)]);
        bytes[..128].copy_from_slice(bytemuck::bytes_of(&head));
        let _ = decode(&bytes);
        if let Ok(records) = decode_directory(&head, &bytes) {
            let _ = verify_bodies(&bytes, &records);
        }
    }

    #[test]
    fn any_damage_to_a_sound_batch_is_an_answer(at in 0_usize..600, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
        let mut batch = batch();
        batch[at..at + bytes.len()].copy_from_slice(&bytes);
        let _ = decode(&batch);
    }
}
