//! Frames under arbitrary splits, sizes and damage.

use proptest::prelude::*;
use runtime::{Buffer, Part};

use super::*;

fn frame_bytes(spec: FrameSpec, body: &[u8], tail: &[u8]) -> Vec<u8> {
    let half = tail.len() / 2;
    let tail = vec![Buffer::copy_from(&tail[..half]), Buffer::copy_from(&tail[half..])];
    frame_parts(spec, body.to_vec(), tail.into_iter().map(Part::Buffer).collect())
        .iter()
        .flat_map(Part::bytes)
        .copied()
        .collect()
}

/// Receives `bytes` into the reader, at most `most` of them: what a socket does.
fn receive(reader: &mut FrameReader, bytes: &[u8], most: usize) -> usize {
    let (mut buffer, from) = reader.prepare();
    let taken = bytes.len().min(most).min(buffer.len() - from);
    buffer[from..from + taken].copy_from_slice(&bytes[..taken]);
    reader.filled(buffer, from + taken);
    taken
}

type Content = (FrameSpec, Vec<u8>, Vec<u8>);

/// Feeds all bytes in pieces and collects the frames up to the first error.
fn read_all(
    reader: &mut FrameReader,
    mut bytes: &[u8],
    pieces: &[usize],
) -> (Vec<Content>, Option<FrameError>) {
    let mut pieces = pieces.iter().copied().cycle();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let taken = receive(reader, bytes, pieces.next().unwrap_or(usize::MAX));
        bytes = &bytes[taken..];
        while let Some(frame) = reader.next_frame() {
            match frame {
                Err(error) => return (found, Some(error)),
                Ok(Frame { header, body, tail }) => {
                    for place in [body, tail] {
                        assert!(place.is_empty() || place.as_ptr().addr() % FRAME_ALIGN == 0);
                    }
                    let FrameHeader { from_shard, to_shard, sequence, durable_batch, .. } = header;
                    let spec = FrameSpec { from_shard, to_shard, sequence, durable_batch };
                    found.push((spec, body.to_vec(), tail.to_vec()));
                }
            }
        }
    }
    (found, None)
}

fn sample(sequence: u64, body_bytes: usize, tail_bytes: usize) -> Content {
    let spec = FrameSpec { from_shard: 1, to_shard: 2, sequence, durable_batch: 77 };
    let fill = |bytes: usize, salt: u8| (0..=250).cycle().take(bytes).map(|byte: u8| byte ^ salt).collect();
    (spec, fill(body_bytes, 3), fill(tail_bytes, 9))
}

fn encode(contents: &[Content]) -> Vec<u8> {
    contents.iter().flat_map(|(spec, body, tail)| frame_bytes(*spec, body, tail)).collect()
}

#[test]
fn the_layout_is_as_written_down() {
    let (spec, body, tail) = (
        FrameSpec { from_shard: 0x0102, to_shard: 0x0304, sequence: 5, durable_batch: 6 },
        b"body".to_vec(),
        b"tail-tail-tail-tail".to_vec(),
    );
    let bytes = frame_bytes(spec, &body, &tail);
    assert_eq!(bytes.len(), 64 + 16 + 32);
    assert_eq!(bytes[0..4], crc32fast::hash(&bytes[4..64]).to_le_bytes());
    assert_eq!(&bytes[4..8], b"rrfr");
    assert_eq!(bytes[8..12], [0, 0, 0, 0]);
    assert_eq!(bytes[12..16], 112_u32.to_le_bytes());
    assert_eq!(bytes[16..20], 4_u32.to_le_bytes());
    assert_eq!(bytes[20..24], 19_u32.to_le_bytes());
    assert_eq!(bytes[24..28], crc32fast::hash(&bytes[64..]).to_le_bytes());
    assert_eq!(bytes[28..32], [2, 1, 4, 3]);
    assert_eq!(bytes[32..40], 5_u64.to_le_bytes());
    assert_eq!(bytes[40..48], 6_u64.to_le_bytes());
    assert_eq!(bytes[48..64], [0; 16]);
    assert_eq!(&bytes[64..80], b"body\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(&bytes[80..99], b"tail-tail-tail-tail");
    assert_eq!(bytes[99..112], [0; 13]);
}

#[test]
fn an_empty_frame_is_a_header() {
    let bytes = frame_bytes(FrameSpec::default(), &[], &[]);
    assert_eq!(bytes.len(), FRAME_HEADER_BYTES);
    let (frames, error) = read_all(&mut FrameReader::default(), &bytes, &[]);
    assert_eq!((frames.len(), error), (1, None));
}

#[test]
fn the_tail_is_sent_without_a_copy() {
    let tail = Buffer::copy_from(&[7; 48]);
    let place = tail.as_ptr();
    let parts = frame_parts(FrameSpec::default(), vec![1; 16], vec![Part::Buffer(tail)]);
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[2].bytes().as_ptr(), place);
}

#[test]
fn every_split_gives_the_same_frames() {
    let contents = [sample(0, 10, 100), sample(1, 0, 48), sample(2, 33, 0)];
    let bytes = encode(&contents);
    for split in 0..=bytes.len() {
        let mut reader = FrameReader::new(4096);
        let (mut frames, error) = read_all(&mut reader, &bytes[..split], &[]);
        assert_eq!(error, None);
        let (rest, error) = read_all(&mut reader, &bytes[split..], &[]);
        frames.extend(rest);
        assert_eq!((frames.as_slice(), error), (contents.as_slice(), None), "split at {split}");
        assert_eq!(reader.position(), bytes.len() as u64);
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = encode(&[sample(0, 40, 100)]);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let (frames, error) = read_all(&mut FrameReader::new(4096), &damaged, &[]);
        let error = error.unwrap_or_else(|| panic!("bit {bit} passed: {frames:?}"));
        let in_header = bit < FRAME_HEADER_BYTES * 8;
        match error.fault {
            FrameFault::HeaderChecksum { .. } => assert!(in_header, "bit {bit}"),
            FrameFault::PayloadChecksum { .. } => assert!(!in_header, "bit {bit}"),
            other => panic!("bit {bit}: {other}"),
        }
    }
}

/// Changes bytes of a header and makes its checksum right again: what a faulty sender could do.
fn forged(change: impl FnOnce(&mut FrameHeader)) -> FrameFault {
    let mut bytes = encode(&[sample(0, 40, 100)]);
    let mut header: FrameHeader = bytemuck::pod_read_unaligned(&bytes[..FRAME_HEADER_BYTES]);
    change(&mut header);
    header.payload_checksum = crc32fast::hash(&bytes[FRAME_HEADER_BYTES..]);
    header.header_checksum = crc32fast::hash(&bytemuck::bytes_of(&header)[4..]);
    bytes[..FRAME_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    let (_, error) = read_all(&mut FrameReader::new(4096), &bytes, &[]);
    error.expect("a forged header is refused").fault
}

#[test]
fn a_sound_checksum_does_not_excuse_the_rest() {
    assert_eq!(forged(|header| header.magic = *b"HTTP"), FrameFault::Magic(*b"HTTP"));
    assert_eq!(forged(|header| header.version = 9), FrameFault::Version(9));
    assert_eq!(forged(|header| header.flags = 1), FrameFault::Reserved);
    assert_eq!(forged(|header| header.reserved[1] = 1), FrameFault::Reserved);
    assert!(matches!(forged(|header| header.body_bytes = u32::MAX), FrameFault::TooLong { .. }));
    assert!(matches!(forged(|header| header.tail_bytes = u32::MAX), FrameFault::TooLong { .. }));
    assert!(matches!(forged(|header| header.frame_bytes += 16), FrameFault::Lengths { .. }));
    assert!(matches!(forged(|header| header.frame_bytes = 0), FrameFault::Lengths { .. }));
    assert_eq!(forged(|header| header.tail_bytes -= 1), FrameFault::Padding);
    assert_eq!(forged(|header| header.body_bytes -= 1), FrameFault::Padding);
}

#[test]
fn errors_say_where_and_nothing_follows() {
    let good = encode(&[sample(0, 16, 16)]);
    let mut bytes = good.clone();
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n and more than one header's bytes");
    bytes.extend_from_slice(&good);
    let mut reader = FrameReader::default();
    let (frames, error) = read_all(&mut reader, &bytes, &[]);
    let error = error.expect("no frame");
    assert_eq!((frames.len(), error.at), (1, good.len() as u64));
    assert!(error.to_string().starts_with("byte 96 of the connection: the frame header's checksum"));
    assert!(reader.next_frame().is_none());
}

#[test]
fn memory_grows_for_a_checked_header_only_and_shrinks_again() {
    let mut reader = FrameReader::new(4096);
    let large = encode(&[sample(0, 100, 3 << 20)]);
    // A header that lies about its length does not check, so it takes no memory.
    let mut lying = large[..FRAME_HEADER_BYTES].to_vec();
    lying[20] ^= 1;
    let (_, error) = read_all(&mut FrameReader::new(4096), &lying, &[]);
    assert!(matches!(error, Some(FrameError { fault: FrameFault::HeaderChecksum { .. }, .. })));

    let (frames, error) = read_all(&mut reader, &large, &[1 << 16]);
    assert_eq!((frames.len(), error), (1, None));
    let (buffer, from) = reader.prepare();
    assert_eq!((buffer.len(), from), (4096, 0), "beyond the soft limit a buffer goes at once");
    reader.filled(buffer, 0);

    let middle = encode(&[sample(1, 100, 100_000)]);
    let (frames, _) = read_all(&mut reader, &middle, &[]);
    assert_eq!(frames.len(), 1);
    let (buffer, from) = reader.prepare();
    assert_eq!((buffer.len(), from), (128 << 10, 0), "within it, it is kept for a while");
    reader.filled(buffer, 0);
    for sequence in 0..64 {
        read_all(&mut reader, &encode(&[sample(sequence, 16, 16)]), &[]);
    }
    assert_eq!(reader.prepare().0.len(), 4096);
}

#[test]
fn a_frame_that_fits_is_not_moved() {
    let mut reader = FrameReader::new(4096);
    let bytes = encode(&[sample(0, 16, 1000), sample(1, 16, 1000)]);
    receive(&mut reader, &bytes[..bytes.len() - 1], usize::MAX);
    assert!(reader.next_frame().is_some_and(|frame| frame.is_ok()));
    assert!(reader.next_frame().is_none());
    let (buffer, from) = reader.prepare();
    assert_eq!(from, bytes.len() - 1, "the second frame stays where it is");
    reader.filled(buffer, from);
}

#[test]
fn handshake_bytes_pass_before_frames() {
    let mut reader = FrameReader::default();
    let mut bytes = vec![9; 32];
    bytes.extend(encode(&[sample(0, 5, 5)]));
    receive(&mut reader, &bytes, usize::MAX);
    assert_eq!(reader.unread()[..32], [9; 32]);
    reader.consume(32);
    let frame = reader.next_frame().expect("whole").expect("sound");
    assert_eq!((frame.body.len(), frame.tail.len()), (5, 5));
}

fn content() -> impl Strategy<Value = Content> {
    (any::<u64>(), any::<u64>(), 0..300_usize, 0..6000_usize).prop_map(|(sequence, durable, body, tail)| {
        let (mut spec, body, tail) = sample(sequence, body, tail);
        spec.durable_batch = durable;
        (spec, body, tail)
    })
}

proptest! {
    #[test]
    fn arbitrary_splits_and_sizes(
        contents in prop::collection::vec(content(), 1..8),
        pieces in prop::collection::vec(1..5000_usize, 1..8),
    ) {
        let bytes = encode(&contents);
        let (frames, error) = read_all(&mut FrameReader::new(4096), &bytes, &pieces);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames, contents);
    }

    #[test]
    fn garbage_never_panics_and_never_passes(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        pieces in prop::collection::vec(1..300_usize, 1..4),
    ) {
        let (frames, error) = read_all(&mut FrameReader::new(4096), &bytes, &pieces);
        prop_assert!(frames.is_empty());
        prop_assert_eq!(error.is_some(), bytes.len() >= FRAME_HEADER_BYTES);
    }

    #[test]
    fn damage_ends_the_connection_at_the_damaged_frame(
        contents in prop::collection::vec(content(), 1..4),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = encode(&contents);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let (frames, error) = read_all(&mut FrameReader::new(4096), &bytes, &[1000]);
        let error = error.expect("damage is found");
        prop_assert!(error.at <= place as u64);
        prop_assert_eq!(frames.as_slice(), &contents[..frames.len()]);
        prop_assert_eq!(error.at, encode(&contents[..frames.len()]).len() as u64);
    }
}
