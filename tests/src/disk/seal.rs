//! Whether what a disk did in silence can be told from a torn end. Nothing tells a last batch that was lost from one that was
//! never written; once the log knows of a batch as durable, and says so in a later one that is durable itself, it can be told.

/// Durable writes that follow one another: one that may have been on its way before, and one that was not.
const ROUNDS: u8 = 2;

/// Watches a disk after a silent fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seal {
    /// Durable writes that are still to come.
    left: u8,
    /// Operations count from this one on.
    since: u64,
    /// A write that counts and is not durable yet: its file, and it.
    written: Option<(u64, u64)>,
}

impl Seal {
    /// A silent fault came about; the next operation is `next`.
    pub(super) fn breaks(&mut self, next: u64) {
        *self = Seal { left: ROUNDS, since: next, written: None };
    }

    /// Whether a fault could still pass for a torn end.
    pub(super) fn is_broken(&self) -> bool {
        self.left > 0
    }

    /// Write `id` to a log's file `inode` is done.
    pub(super) fn wrote(&mut self, id: u64, inode: u64, durable: bool, next: u64) {
        if id < self.since {
            return;
        }
        if durable { self.round(next) } else { self.written = Some((inode, id)) }
    }

    /// Sync `id` of file `inode` is done.
    pub(super) fn synced(&mut self, id: u64, inode: u64, next: u64) {
        if self.written.is_some_and(|(file, write)| file == inode && id > write) {
            self.round(next);
        }
    }

    fn round(&mut self, next: u64) {
        *self = Seal { left: self.left.saturating_sub(1), since: next, written: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_sealed_by_two_durable_writes_after_it_one_after_the_other() {
        let mut seal = Seal::default();
        assert!(!seal.is_broken());
        seal.breaks(10);
        seal.wrote(9, 1, true, 11);
        assert!(seal.is_broken(), "it was on its way before");
        seal.wrote(10, 1, false, 13);
        seal.synced(11, 2, 13);
        seal.wrote(12, 1, true, 15);
        seal.wrote(14, 1, true, 16);
        assert!(seal.is_broken(), "both were on their way together");
        seal.wrote(15, 1, false, 17);
        seal.synced(16, 2, 17);
        assert!(seal.is_broken(), "another file's");
        seal.synced(17, 1, 18);
        assert!(!seal.is_broken());
    }
}
