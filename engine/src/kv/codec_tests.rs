use super::*;
use proptest::prelude::*;
use smallvec::smallvec;

/// Owned arguments from which every kind of command is made.
fn commands<'a>(a: &'a [u8], b: &'a [u8], list: &'a [&'a [u8]], n: u64, flag: bool) -> Vec<Command<'a>> {
    let condition = [Condition::Always, Condition::Absent, Condition::Present][(n % 3) as usize];
    let small = u32::try_from(n & 0xffff_ffff).unwrap();
    let slot = u16::try_from(n & 0xffff).unwrap();
    let even = &list[..list.len() / 2 * 2];
    let optional = flag.then_some(b);
    vec![
        Command::Set { key: a, value: b, condition, get: flag },
        Command::SetNx { key: a, value: b },
        Command::GetDel { key: a },
        Command::MSet { pairs: List::slice(even) },
        Command::Del { keys: List::slice(list) },
        Command::Append { key: a, value: b },
        Command::SetRange { key: a, offset: n, value: b },
        Command::IncrBy { key: a, by: n.cast_signed() },
        Command::Flush,
        Command::Get { key: a },
        Command::MGet { keys: List::slice(list) },
        Command::Exists { keys: List::slice(list) },
        Command::Type { key: a },
        Command::StrLen { key: a },
        Command::GetRange { key: a, start: n.cast_signed(), end: -1 },
        Command::Scan { cursor: n, then: n / 2, count: small, pattern: Some(a), kind: optional },
        Command::Scan { cursor: n, then: 0, count: small, pattern: None, kind: optional },
        Command::Keys { pattern: a },
        Command::RandomKey { seed: n },
        Command::DbSize,
        Command::SlotLen { slot },
        Command::SlotKeys { slot, count: small },
    ]
}

proptest! {
    #[test]
    fn every_command_comes_back_as_it_was(
        a: Vec<u8>, b: Vec<u8>, list: Vec<Vec<u8>>, n: u64, flag: bool,
    ) {
        let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        for command in commands(&a, &b, &list, n, flag) {
            let mut bytes = vec![0xee; command.encoded_bytes()];
            command.encode(&mut bytes);
            prop_assert_eq!(&bytes, &command.to_vec());
            let decoded = Command::decode(&bytes).unwrap();
            prop_assert_eq!(&decoded, &command);
            prop_assert_eq!(decoded.is_write(), bytes[0] < 64);
            prop_assert_eq!(decoded.to_vec(), bytes);
        }
    }

    #[test]
    fn cut_and_extended_commands_are_refused(a: Vec<u8>, b: Vec<u8>, n: u64) {
        let list: [&[u8]; 3] = [&a, &b, b"c"];
        for command in commands(&a, &b, &list, n, true) {
            let mut bytes = command.to_vec();
            for cut in 0..bytes.len() {
                prop_assert!(Command::decode(&bytes[..cut]).is_err(), "{:?} cut at {}", command, cut);
            }
            bytes.push(0);
            let end = bytes.len() - 1;
            prop_assert_eq!(Command::decode(&bytes), Err(DecodeError::Malformed { offset: end }));
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.to_vec(), bytes, "one form per command");
        }
    }
}

#[test]
fn long_strings_come_back() {
    for len in [0, 127, 128, 16_383, 16_384, 3_000_000] {
        let value = vec![7; len];
        let command = Command::Append { key: b"k", value: &value };
        assert_eq!(Command::decode(&command.to_vec()), Ok(command));
    }
}

#[test]
fn picked_arguments_encode_like_a_slice_of_them() {
    let args: [&[u8]; 4] = [b"del", b"a", b"b", b"c"];
    let picked = Command::Del { keys: List::picked(&args, smallvec![3, 1]) };
    let plain: [&[u8]; 2] = [b"c", b"a"];
    assert_eq!(picked, Command::Del { keys: List::slice(&plain) });
    assert_eq!(Command::decode(&picked.to_vec()), Ok(picked));
}

#[test]
fn the_form_of_commands_is_pinned() {
    let set = Command::Set { key: b"foo", value: b"ba", condition: Condition::Present, get: true };
    assert_eq!(set.to_vec(), b"\x01\x06\x03foo\x02ba");
    assert_eq!(Command::IncrBy { key: b"n", by: -2 }.to_vec(), b"\x08\x01n\xfe\xff\xff\xff\xff\xff\xff\xff");
    let pair: [&[u8]; 2] = [b"a", b""];
    assert_eq!(Command::MSet { pairs: List::slice(&pair) }.to_vec(), b"\x04\x02\x01a\x00");
    assert_eq!(
        Command::SetRange { key: b"k", offset: 1, value: b"v" }.to_vec(),
        b"\x07\x01k\x01v\x01\0\0\0\0\0\0\0"
    );
    assert_eq!(Command::Flush.to_vec(), b"\x09");
}

#[test]
fn unknown_operations_and_flags_are_told_from_damage() {
    assert_eq!(Command::decode(b"\x0a"), Err(DecodeError::Unknown(10)));
    assert_eq!(Command::decode(b"\xff123"), Err(DecodeError::Unknown(255)));
    assert_eq!(Command::decode(b""), Err(DecodeError::Malformed { offset: 0 }));
    assert_eq!(Command::decode(b"\x01\x03\x01a\x01b"), Err(DecodeError::Malformed { offset: 1 }));
    assert_eq!(Command::decode(b"\x01\x08\x01a\x01b"), Err(DecodeError::Malformed { offset: 1 }));
    assert_eq!(Command::decode(b"\x03\x81\x00a"), Err(DecodeError::Malformed { offset: 3 }));
    assert_eq!(Command::decode(b"\x03\xff\xff\xff\xff\x7f"), Err(DecodeError::Malformed { offset: 6 }));
    assert_eq!(Command::decode(b"\x05\xff\xff\xff\xff\x0f"), Err(DecodeError::Malformed { offset: 6 }));
    assert_eq!(Command::decode(b"\x04\x01\x01a"), Err(DecodeError::Malformed { offset: 4 }));
}
