//! Which files a save merges with what it writes: few files to look into, few bytes written again.

use snapshot::RUNS_MAX;

/// The oldest file is written again once what lies above it is this part of it: so dead bytes are at most that part, and each
/// byte of a state is written again once per as much of change.
const OLDEST_PARTS: u64 = 4;

/// How many of a snapshot's files, from the newest on, `sizes` in bytes, are merged with `changes_bytes` of changes.
///
/// Each file between the newest and the oldest stays larger than all above it together, as the digits of a binary number: a byte
/// is written again at most as often as sizes double. There are never more than [`RUNS_MAX`] files.
pub(super) fn merged_files(changes_bytes: u64, sizes: &[u64]) -> usize {
    let mut bytes = changes_bytes;
    for (number, size) in sizes.iter().enumerate() {
        let is_oldest = number + 1 == sizes.len();
        let is_small = match is_oldest {
            true => *size / OLDEST_PARTS <= bytes,
            false => *size <= bytes,
        };
        let files_left = sizes.len() - number;
        if !is_small && files_left < RUNS_MAX {
            return number;
        }
        bytes += size;
    }
    sizes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_merged_and_large_ones_stay() {
        assert_eq!(merged_files(10, &[]), 0);
        assert_eq!(merged_files(10, &[100]), 0);
        assert_eq!(merged_files(25, &[100]), 1, "a quarter of the oldest");
        assert_eq!(merged_files(10, &[11, 1000]), 0);
        assert_eq!(merged_files(10, &[10, 1000]), 1);
        assert_eq!(merged_files(10, &[10, 20, 1000]), 2);
        assert_eq!(merged_files(10, &[10, 20, 40, 200]), 4, "80 bytes of changes are a part of 200");
    }

    #[test]
    fn there_are_never_too_many_files() {
        let doubling: Vec<u64> = (1..=8).map(|number| 100 << number).collect();
        assert_eq!(merged_files(1, &doubling), 1, "the newest, though it is larger");
        assert_eq!(merged_files(1, &doubling[1..]), 0);
    }

    /// Saves of equal size: how often each byte is written, and how many files there are.
    #[test]
    fn many_saves_write_each_byte_few_times() {
        let (mut sizes, mut written, saves) = (vec![1 << 20], 0_u64, 4000_u64);
        let each = 16 << 10;
        for _ in 0..saves {
            let merged = merged_files(each, &sizes);
            let mut bytes: u64 = each + sizes.drain(..merged).sum::<u64>();
            if sizes.is_empty() {
                bytes = 1 << 20; // all are overwrites of the same keys
            }
            written += bytes;
            sizes.insert(0, bytes);
            assert!(sizes.len() <= RUNS_MAX, "{sizes:?}");
        }
        let times = written / (saves * each);
        assert!((5..=10).contains(&times), "each byte of change is written {times} times");
    }
}
