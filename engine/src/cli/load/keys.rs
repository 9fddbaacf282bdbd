//! Keys: their names, their hash slots, and how often each is used.

use super::encode;

/// Keys are a prefix and twelve digits.
pub const COUNT_MAX: u64 = 1_000_000_000_000;
/// Hash slots of a Redis Cluster.
pub const SLOTS: u16 = 16384;

/// Digits of a key's number.
pub const DIGITS: usize = 12;

/// Writes the name of key number `key` over `out`.
pub fn name(out: &mut Vec<u8>, prefix: &str, key: u64) {
    out.clear();
    out.extend_from_slice(prefix.as_bytes());
    out.resize(prefix.len() + DIGITS, b'0');
    encode::digits(&mut out[prefix.len()..], key);
}

/// The hash slot of a key: CRC16 (XMODEM) of the part in the first `{}` if there is one, else of all of it.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let [high, low] = [crc >> 8, crc << 8];
        low ^ CRC16[usize::from((high ^ u16::from(*byte)) & 0xff)]
    })
}

const CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut crc = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

/// How often each key is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The k-th most popular key is used in proportion to `k^-exponent`; popular keys lie scattered.
    Zipf {
        /// Above 0 and not 1; YCSB uses 0.99.
        exponent: f64,
    },
}

/// Draws keys.
#[derive(Debug, Clone)]
pub struct Picker {
    count: u64,
    zipf: Option<Zipf>,
}

impl Picker {
    /// Draws from `0..count`.
    pub fn new(distribution: Distribution, count: u64) -> Picker {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf { exponent } => Some(Zipf::new(count, exponent)),
        };
        Picker { count, zipf }
    }

    /// The next key.
    pub fn pick(&self, rng: &mut fastrand::Rng) -> u64 {
        match &self.zipf {
            None => rng.u64(0..self.count),
            Some(zipf) => scatter(zipf.rank(rng) - 1, self.count),
        }
    }
}

/// A one-to-one map of `0..count` that puts neighbours far apart: multiplication by a prime modulo `count`.
fn scatter(rank: u64, count: u64) -> u64 {
    const PRIME: u128 = (1 << 61) - 1;
    let scattered = u128::from(rank) * PRIME % u128::from(count);
    u64::try_from(scattered).expect("a remainder is smaller than its divisor")
}

/// Zipf by rejection-inversion (W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates from
/// monotone discrete distributions", 1996): constant time and memory for any number of keys.
#[derive(Debug, Clone)]
struct Zipf {
    count: f64,
    exponent: f64,
    integral_first: f64,
    integral_last: f64,
    sure: f64,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "keys are fewer than 2^53")]
    fn new(count: u64, exponent: f64) -> Zipf {
        let mut zipf =
            Zipf { count: count as f64, exponent, integral_first: 0.0, integral_last: 0.0, sure: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.count + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// The integral of the density up to `x`, but for a constant.
    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        (x.powf(power) - 1.0) / power
    }

    fn inverse(&self, integral: f64) -> f64 {
        let power = 1.0 - self.exponent;
        (1.0 + integral * power).powf(1.0 / power)
    }

    /// A rank from 1, the most popular, to `count`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 1..=count, which is far below 2^53"
    )]
    fn rank(&self, rng: &mut fastrand::Rng) -> u64 {
        loop {
            let drawn = self.integral_last + rng.f64() * (self.integral_first - self.integral_last);
            let x = self.inverse(drawn);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.sure || drawn >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn slots_are_those_of_redis() {
        // From the Redis Cluster specification, and CLUSTER KEYSLOT of Redis 7.0.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is no tag");
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn names_have_one_length() {
        let mut out = vec![1, 2, 3];
        name(&mut out, "key:", 42);
        assert_eq!(out, b"key:000000000042");
        name(&mut out, "", COUNT_MAX - 1);
        assert_eq!(out, b"999999999999");
    }

    #[test]
    fn scattering_loses_no_key() {
        for count in [1, 2, 7, 1000, 4096] {
            let scattered: HashSet<u64> = (0..count).map(|rank| scatter(rank, count)).collect();
            assert_eq!(scattered.len() as u64, count);
            assert!(scattered.iter().all(|key| *key < count));
        }
    }

    #[test]
    fn zipf_follows_its_law() {
        let (count, draws) = (1000u64, 400_000u32);
        let zipf = Zipf::new(count, 0.99);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut drawn = vec![0u32; 1001];
        for _ in 0..draws {
            drawn[usize::try_from(zipf.rank(&mut rng)).unwrap()] += 1;
        }
        let total: f64 = (1..=count).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [1usize, 2, 3, 10, 100] {
            let expected = f64::from(draws) * (rank as f64).powf(-0.99) / total;
            let seen = f64::from(drawn[rank]);
            assert!((seen - expected).abs() < 6.0 * expected.sqrt(), "rank {rank}: {seen} for {expected}");
        }
        assert_eq!(drawn[0], 0);
    }

    #[test]
    fn uniform_reaches_every_key() {
        let picker = Picker::new(Distribution::Uniform, 50);
        let mut rng = fastrand::Rng::with_seed(1);
        let seen: HashSet<u64> = (0..2000).map(|_| picker.pick(&mut rng)).collect();
        assert_eq!(seen.len(), 50);
    }
}
