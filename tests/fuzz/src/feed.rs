//! From the fuzzer's bytes to values: reads from the front, and gives zeros when nothing is left.

/// Bytes not used yet.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a>(pub &'a [u8]);

impl<'a> Feed<'a> {
    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes, or what is left of them.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number of N bytes, little-endian.
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number below `below`, which is not 0.
    pub fn below(&mut self, below: u8) -> u8 {
        self.byte() % below
    }

    /// A flag.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A number that is nearly always small, and else an edge or anything.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=239 => u64::from(small % 24),
            240..=243 => u64::MAX - u64::from(self.below(4)),
            244..=246 => (u64::MAX >> 1) + u64::from(self.below(4)),
            247..=249 => (1 << 52) - 2 + u64::from(self.below(4)),
            250..=252 => u64::from(u32::MAX) - 1 + u64::from(self.below(4)),
            253.. => self.u64(),
        }
    }

    /// Bytes behind a 16-bit length: a part that is a whole input of its own.
    pub fn part(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.bytes(usize::from(count))
    }
}

/// Puts parts together as [`Feed::part`] takes them apart.
///
/// # Panics
/// If a part is longer than 64 KiB.
#[must_use]
pub fn parts<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let part = part.as_ref();
        out.extend_from_slice(&u16::try_from(part.len()).expect("parts are short").to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Runs `next` over `input` in pieces, whose sizes `sizes` gives: it is handed all bytes so far, a piece more each time.
pub fn in_pieces(input: &[u8], sizes: &mut Feed<'_>, mut next: impl FnMut(&[u8])) {
    let mut end = 0;
    while end < input.len() {
        end = input.len().min(end + 1 + usize::from(sizes.byte()));
        next(&input[..end]);
    }
}
