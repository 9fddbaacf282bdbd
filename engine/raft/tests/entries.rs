//! The bytes of entries: pinned, checked, and refused when they are not what was written.

use proptest::prelude::*;
use raft::{
    Check, ENTRY_HEADER_BYTES, EntryError, EntryId, EntryKind, EntrySpec, GroupId, Index, Term, decode_entry,
    encode_entry, entries, entry_bytes,
};

fn spec(index: u64, term: u64) -> EntrySpec {
    EntrySpec {
        group: GroupId(0x0102_0304),
        incarnation: 9,
        id: EntryId::new(Term(term), Index(index)),
        kind: EntryKind::Command,
    }
}

fn encoded(spec: EntrySpec, command: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xEE; entry_bytes(command.len())];
    encode_entry(&mut bytes, spec, command.len(), |place| place.copy_from_slice(command));
    bytes
}

#[test]
fn the_layout_is_pinned() {
    let bytes = encoded(spec(0x11, 0x22), b"hello");
    let mut expected = vec![0; 64];
    expected[4] = 5;
    expected[8..12].copy_from_slice(&[4, 3, 2, 1]);
    expected[12] = 9;
    expected[16] = 0x11;
    expected[24] = 0x22;
    expected[32] = 2;
    expected[48..53].copy_from_slice(b"hello");
    let checksum = crc32fast::hash(&expected[4..53]);
    expected[..4].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(bytes, expected);
    assert_eq!(checksum, 0x1C29_AACE, "a new checksum is a new format");
}

#[test]
fn every_single_bit_flip_is_noticed() {
    let bytes = encoded(spec(7, 3), b"a command of some length");
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_entry(&bad, Check::Checksum).is_err(), "bit {bit}");
    }
}

#[test]
fn shape_alone_finds_impossible_fields() {
    let good = encoded(spec(7, 3), b"x");
    let field = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        match decode_entry(&bytes, Check::Shape) {
            Err(EntryError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(7, 0xFF), "command_bytes");
    assert_eq!(field(16, 0), "index");
    assert_eq!(field(24, 0), "term");
    assert_eq!(field(32, 0), "kind");
    assert_eq!(field(32, 4), "kind");
    assert_eq!(field(35, 1), "zero");
    assert_eq!(field(47, 1), "reserved");
    assert_eq!(field(63, 1), "padding");
}

#[test]
fn a_cut_entry_tells_what_it_needs() {
    let bytes = encoded(spec(7, 3), &[5; 100]);
    for have_bytes in 0..bytes.len() {
        let needed_bytes = if have_bytes < ENTRY_HEADER_BYTES { ENTRY_HEADER_BYTES } else { bytes.len() };
        let expected = EntryError::Truncated { offset: 0, needed_bytes, have_bytes };
        assert_eq!(decode_entry(&bytes[..have_bytes], Check::Checksum), Err(expected));
    }
}

#[test]
fn iteration_ends_at_the_first_error_and_names_its_offset() {
    let mut bytes = encoded(spec(1, 1), b"one");
    let second = bytes.len();
    bytes.extend(encoded(spec(2, 1), b"two"));
    bytes.extend(encoded(spec(3, 1), b"three"));
    bytes[second + ENTRY_HEADER_BYTES] ^= 1;
    let mut found = entries(&bytes, Check::Checksum);
    assert_eq!(found.next().unwrap().unwrap().command, b"one");
    assert!(matches!(found.next(), Some(Err(EntryError::Checksum { offset, .. })) if offset == second));
    assert!(found.next().is_none());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        commands in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 1..8),
        index in 1_u64.., term in 1_u64..,
    ) {
        let mut bytes = Vec::new();
        for command in &commands {
            bytes.extend(encoded(spec(index, term), command));
        }
        prop_assert_eq!(bytes.len() % 16, 0);
        let mut rest = &bytes[..];
        for (entry, command) in entries(&bytes, Check::Checksum).zip(&commands) {
            let entry = entry.unwrap();
            prop_assert_eq!(entry.command, &command[..]);
            prop_assert_eq!(entry.id, EntryId::new(Term(term), Index(index)));
            prop_assert_eq!((entry.group, entry.incarnation, entry.kind), (GroupId(0x0102_0304), 9, EntryKind::Command));
            prop_assert_eq!(decode_entry(rest, Check::Shape).unwrap(), entry);
            rest = &rest[entry.bytes.len()..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for found in entries(&bytes, Check::Shape) {
            prop_assert!(found.is_err() || bytes.len() >= ENTRY_HEADER_BYTES);
        }
        prop_assert!(decode_entry(&bytes, Check::Checksum).is_err());
    }
}
