//! The start of a node while its shards recover: all at once, and a long one says how far it is.

use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use raftlog::Progress;
use runtime::MailboxSender;

use crate::error::StartError;
use crate::shard::ShardMessage;

/// A start that takes longer says so, and again after as long.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What a shard says when it has recovered or could not.
pub(crate) type Recovered = Result<(u16, MailboxSender<ShardMessage>), StartError>;

/// Waits until every shard has recovered or could not; the first failure is the answer, and stops the others. `logs` are the
/// shards' log directories, and how far each is.
pub(crate) fn gather(
    recovered: &mpsc::Receiver<Recovered>,
    logs: &[(PathBuf, Progress)],
) -> Result<Vec<Arc<MailboxSender<ShardMessage>>>, StartError> {
    let (mut mailboxes, mut failure, mut answers) = (Vec::new(), None, 0);
    while answers < logs.len() {
        match recovered.recv_timeout(TELL_EVERY) {
            Ok(Ok(mailbox)) => mailboxes.push(mailbox),
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(RecvTimeoutError::Timeout) => {
                tell(logs, answers);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                let reason = "its thread ended while it recovered".to_owned();
                let ended = StartError::Recovery { shard: 0, reason, corrupt: false };
                failure = failure.or(Some(ended));
                break;
            }
        }
        answers += 1;
    }
    if let Some(failure) = failure {
        for (_, mailbox) in &mailboxes {
            let _full = mailbox.try_send(ShardMessage::Shutdown); // the first message of an empty mailbox
        }
        return Err(failure);
    }
    mailboxes.sort_by_key(|(shard, _)| *shard);
    Ok(mailboxes.into_iter().map(|(_, mailbox)| Arc::new(mailbox)).collect())
}

fn tell(logs: &[(PathBuf, Progress)], shards_ready: usize) {
    let log_bytes_read: u64 = logs.iter().map(|(_, progress)| progress.read_bytes()).sum();
    let log_bytes_max: u64 = logs.iter().map(|(dir, _)| file_bytes(dir)).sum();
    tracing::info!(shards_ready, shards = logs.len(), log_bytes_read, log_bytes_max, "recovering");
}

/// What the files in `dir` take: more than a start reads, since not all of them are in use.
fn file_bytes(dir: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(dir) else { return 0 };
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_all_have_answered() {
        let (sender, receiver) = mpsc::channel();
        let failed = |shard| StartError::Recovery { shard, reason: "rot".to_owned(), corrupt: true };
        let answers = [Err(failed(1)), Err(failed(0))];
        answers.into_iter().for_each(|answer| sender.send(answer).unwrap());
        let logs = vec![(PathBuf::new(), Progress::default()); 2];
        assert!(matches!(gather(&receiver, &logs), Err(StartError::Recovery { shard: 1, .. })));
        drop(sender);
        assert!(matches!(gather(&receiver, &logs), Err(StartError::Recovery { corrupt: false, .. })));
    }

    #[test]
    fn the_bytes_of_a_directory_are_those_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("slot-000001.log"), [0; 100]).unwrap();
        std::fs::write(dir.path().join("slot-000002.log"), [0; 11]).unwrap();
        assert_eq!((file_bytes(dir.path()), file_bytes(&dir.path().join("none"))), (111, 0));
    }
}
