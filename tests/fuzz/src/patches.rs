//! Damage to files that real encoders made: the fuzzer's bytes say what is overwritten, and whether checksums are made
//! right again, so that what lies behind them is reached and inputs stay short.

use crate::feed::Feed;

/// Overwrites bytes of `files` as `feed` says, until it is used up: which file, where, how many, with what.
pub fn apply(files: &mut [Vec<u8>], feed: &mut Feed<'_>) {
    while !feed.is_empty() && !files.is_empty() {
        let how = feed.byte();
        let count = files.len();
        let file = &mut files[usize::from(feed.byte()) % count];
        if file.is_empty() {
            continue;
        }
        let at = feed.u32() as usize % file.len();
        match how % 8 {
            0 => file.truncate(at),
            1 => {
                let from = feed.u32() as usize % file.len();
                let bytes = usize::from(feed.u16()).min(file.len() - from.max(at));
                file.copy_within(from..from + bytes, at);
            }
            2 => file[at] ^= 1 << feed.below(8),
            3 => add(file, at, feed),
            _ => {
                let bytes = feed.bytes(1 + usize::from(how / 8));
                let end = file.len().min(at + bytes.len());
                file[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
    }
}

/// Adds to, or takes from, an aligned number.
fn add(file: &mut [u8], at: usize, feed: &mut Feed<'_>) {
    let at = at & !7;
    let by = feed.number();
    let less = feed.flag();
    if let Some(place) = file.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
        let number = u64::from_le_bytes(*place);
        let changed = if less { number.wrapping_sub(by) } else { number.wrapping_add(by) };
        *place = changed.to_le_bytes();
    }
}

/// A patch that overwrites bytes of a file: for seeds.
///
/// # Panics
/// If there is nothing to write, or more than 32 bytes.
#[must_use]
pub fn overwrite(file: u8, at: u32, bytes: &[u8]) -> Vec<u8> {
    assert!((1..=32).contains(&bytes.len()), "a patch of {} bytes", bytes.len());
    let how = 4 + 8 * u8::try_from(bytes.len() - 1).expect("at most 32");
    let mut out = vec![how, file];
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(bytes);
    out
}
