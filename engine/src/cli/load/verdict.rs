//! The judgement over a server: what was compared, what was wrong.

/// What checking found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Values compared.
    pub checked: u64,
    /// Values that were not what they must be.
    pub wrong: u64,
    /// The first few of them.
    pub examples: Vec<Wrong>,
}

/// One value that was not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Wrong {
    /// The key's number.
    pub key: u64,
    /// The sequence found; none: the value is not one of this run's for this key. 0: there was no value.
    pub found: Option<u32>,
    /// The smallest sequence allowed: the last acknowledged.
    pub at_least: u32,
    /// The largest sequence allowed: the last attempted.
    pub at_most: u32,
}

const EXAMPLES_MAX: usize = 10;

impl Finding {
    pub(super) fn add(&mut self, wrong: Option<Wrong>) {
        self.checked += 1;
        if let Some(wrong) = wrong {
            self.wrong += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(wrong);
            }
        }
    }

    fn merge(&mut self, other: &Finding) {
        self.checked += other.checked;
        self.wrong += other.wrong;
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples.extend(other.examples.iter().take(room).cloned());
    }
}

/// The judgement over all threads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Keys there are.
    pub keys: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Keys with a write of unknown outcome.
    pub in_doubt: u64,
    /// Reads while the load ran.
    pub reads: Finding,
    /// The final reading of every key.
    pub read_back: Finding,
}

impl Verdict {
    /// Whether every key was read back, and no value was ever wrong.
    pub fn is_clean(&self) -> bool {
        self.read_back.checked == self.keys && self.read_back.wrong == 0 && self.reads.wrong == 0
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Verdict) {
        self.keys += other.keys;
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.reads.merge(&other.reads);
        self.read_back.merge(&other.read_back);
    }
}
