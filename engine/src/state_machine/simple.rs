//! The short way to a [`StateMachine`].

use raft::EntryId;

use super::{Applied, Frozen, Progress, RestoreError, SaveSink, StateMachine};

/// A state machine whose whole state fits in one buffer: made a [`StateMachine`] by [`Simple`].
pub trait SimpleMachine: 'static {
    /// As [`StateMachine::apply`], for machines that know every command.
    fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>);
    /// As [`StateMachine::query`].
    fn query(&self, query: &[u8], reply: &mut Vec<u8>);
    /// Appends the whole state. Runs on the shard at the moment of the freeze: keep the state small (a few
    /// hundred KiB) or implement [`StateMachine`].
    fn save(&self, out: &mut Vec<u8>);
    /// Replaces the state by a saved one; `bytes` is what `save` wrote.
    ///
    /// # Errors
    /// The bytes are not what `save` writes.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}

/// A [`SimpleMachine`] as a [`StateMachine`].
#[derive(Default, Debug)]
pub struct Simple<M> {
    machine: M,
    loading: Vec<u8>,
}

impl<M> Simple<M> {
    /// The machine inside.
    pub fn get(&self) -> &M {
        &self.machine
    }
}

impl<M: SimpleMachine> From<M> for Simple<M> {
    fn from(machine: M) -> Self {
        Self { machine, loading: Vec::new() }
    }
}

impl<M: SimpleMachine> StateMachine for Simple<M> {
    fn apply(&mut self, _entry: EntryId, command: &[u8], reply: &mut Vec<u8>) -> Applied {
        self.machine.apply(command, reply);
        Applied::Done
    }

    fn query(&self, query: &[u8], reply: &mut Vec<u8>) {
        self.machine.query(query, reply);
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let mut bytes = Vec::new();
        self.machine.save(&mut bytes);
        Box::new(FrozenBytes { bytes, written: 0, pieces: 0 })
    }

    fn restore_entry(&mut self, _key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.loading.extend_from_slice(value);
        Ok(())
    }

    fn restore_end(&mut self) -> Result<(), RestoreError> {
        self.machine.restore(&std::mem::take(&mut self.loading))
    }
}

/// Bytes of a state, saved as numbered pieces.
struct FrozenBytes {
    bytes: Vec<u8>,
    written: usize,
    pieces: u32,
}

impl Frozen for FrozenBytes {
    fn write(&mut self, sink: &mut dyn SaveSink, budget_bytes: usize) -> Progress {
        const PIECE_BYTES_MAX: usize = 64 * 1024;
        let end = (self.written + budget_bytes.clamp(1, PIECE_BYTES_MAX)).min(self.bytes.len());
        #[expect(clippy::big_endian_bytes, reason = "keys of a save are compared as bytes")]
        let key = self.pieces.to_be_bytes();
        sink.entry(&key, &self.bytes[self.written..end]);
        self.written = end;
        self.pieces += 1;
        if end == self.bytes.len() { Progress::Done } else { Progress::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::Replies;

    /// Keeps every command; answers how many there are.
    #[derive(Default)]
    struct Journal(Vec<u8>);

    impl SimpleMachine for Journal {
        fn apply(&mut self, command: &[u8], reply: &mut Vec<u8>) {
            self.0.extend_from_slice(command);
            reply.extend_from_slice(self.0.len().to_string().as_bytes());
        }
        fn query(&self, _query: &[u8], reply: &mut Vec<u8>) {
            reply.extend_from_slice(&self.0);
        }
        fn save(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.0);
        }
        fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
            if bytes.contains(&b'!') {
                return Err(RestoreError::new("bad letter"));
            }
            self.0 = bytes.to_vec();
            Ok(())
        }
    }

    fn save(machine: &mut impl StateMachine, budget_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut frozen = machine.freeze();
        let mut saved = Vec::new();
        while frozen.write(&mut saved, budget_bytes) == Progress::More {}
        saved
    }

    #[test]
    fn simple_machine_survives_save_and_restore_in_any_slicing() {
        for budget_bytes in [0, 1, 3, 7, 1 << 20] {
            let mut machine = Simple::from(Journal::default());
            let mut replies = Replies::default();
            let batch: [(EntryId, &[u8]); 3] =
                [(EntryId::default(), b"abc"), (EntryId::default(), b""), (EntryId::default(), b"defg")];
            assert_eq!(machine.apply_batch(&batch, &mut replies), Applied::Done);
            assert_eq!(
                (replies.get(0), replies.get(1), replies.get(2)),
                (Some(&b"3"[..]), Some(&b"3"[..]), Some(&b"7"[..]))
            );
            assert_eq!(replies.get(3), None);

            let saved = save(&mut machine, budget_bytes);
            assert!(saved.is_sorted_by(|a, b| a.0 < b.0));
            let mut other = Simple::from(Journal::default());
            for (key, value) in &saved {
                other.restore_entry(key, value).unwrap();
            }
            other.restore_end().unwrap();
            assert_eq!(other.get().0, b"abcdefg");
        }
    }

    #[test]
    fn empty_state_saves_and_bad_bytes_are_refused() {
        let mut machine = Simple::from(Journal::default());
        let saved = save(&mut machine, 10);
        assert_eq!(saved.len(), 1);
        let mut other = Simple::from(Journal::default());
        other.restore_entry(&saved[0].0, b"!").unwrap();
        assert_eq!(other.restore_end(), Err(RestoreError::new("bad letter")));
    }
}
