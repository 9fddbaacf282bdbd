//! Damage that TCP does not see: a bit of the payload flips, and the checksum is made to fit.
//!
//! Networks do that: memory of a router rots, and the router computes the checksum anew.

use fastrand::Rng;

const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [8, 0];
const TCP: u8 = 6;
/// Where the checksum stands in a TCP header.
const CHECKSUM: usize = 16;

/// Flips a bit of what a frame carries over TCP. False, and nothing is changed, if it carries nothing.
pub(super) fn flip(frame: &mut [u8], rng: &mut Rng) -> bool {
    let Some(segment) = segment(frame) else { return false };
    let header = usize::from(segment[12] >> 4) * 4;
    if header < CHECKSUM + 4 || segment.len() <= header {
        return false;
    }
    let at = rng.usize(header..segment.len());
    let before = word(segment, at);
    segment[at] ^= 1 << rng.u8(..8);
    let after = word(segment, at);
    let sum = word(segment, CHECKSUM);
    let sum = updated(sum, before, after);
    (segment[CHECKSUM], segment[CHECKSUM + 1]) = (byte(sum >> 8), byte(sum & 255));
    true
}

/// The TCP segment of a frame, without what pads a short frame.
fn segment(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (ethernet, packet) = frame.split_at_mut_checked(ETHERNET_BYTES)?;
    if ethernet[12..] != IPV4 || packet.len() < 20 || packet[9] != TCP {
        return None;
    }
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(joined(packet[2], packet[3]));
    packet.get_mut(header..total).filter(|segment| segment.len() >= CHECKSUM + 4)
}

/// The network's order: the high byte comes first.
fn joined(high: u8, low: u8) -> u16 {
    u16::from(high) << 8 | u16::from(low)
}

fn byte(value: u16) -> u8 {
    u8::try_from(value).expect("masked or shifted to a byte")
}

/// The word of the checksum's sum that the byte at `at` is in.
fn word(segment: &[u8], at: usize) -> u16 {
    let at = at & !1;
    joined(segment[at], segment.get(at + 1).copied().unwrap_or_default())
}

/// RFC 1624: the checksum after one word has changed.
fn updated(sum: u16, before: u16, after: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!before) + u32::from(after);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).expect("it was folded into 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_updated_checksum_is_the_one_that_is_computed_anew() {
        let computed = |words: &[u16]| {
            let mut total: u32 = words.iter().map(|word| u32::from(*word)).sum();
            while total > 0xffff {
                total = (total & 0xffff) + (total >> 16);
            }
            !u16::try_from(total).unwrap()
        };
        let mut rng = Rng::with_seed(3);
        for _ in 0..1000 {
            let mut words: Vec<u16> = (0..8).map(|_| rng.u16(1..)).collect();
            let sum = computed(&words);
            let before = words[3];
            words[3] ^= 1 << rng.u8(..16);
            assert_eq!(updated(sum, before, words[3]), computed(&words));
        }
    }

    #[test]
    fn what_carries_nothing_over_tcp_is_left_alone() {
        let mut rng = Rng::with_seed(3);
        for size in [0, 10, 14, 33, 34, 53, 60] {
            let mut frame = vec![0; size];
            assert!(!flip(&mut frame, &mut rng) && frame.iter().all(|byte| *byte == 0));
        }
    }
}
