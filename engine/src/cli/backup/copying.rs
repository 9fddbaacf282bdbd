//! One group's files as questions to its leader and what its answers come to, without connection, disk and clock: whoever
//! carries the questions may be the command line or a simulated operator.

use super::catalog::{File, Group};
use crate::cli::resp::Reply;

/// How a backup goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next question may follow at once.
    Now,
    /// The state is not saved yet: the next question follows a little later.
    Saving,
    /// What was refused is about the moment: the same question follows a little later.
    Busy,
}

/// How far it is.
enum Stage {
    /// The files are to be named; they are kept from then on.
    List,
    /// They were not new enough: the state is to be saved.
    Save,
    /// They are read one after the other, each from its front.
    Read { file: usize, offset: u64 },
}

/// The backup of one group.
pub(in crate::cli) struct GroupCopy {
    /// Its files are empty until they were named.
    group: Group,
    /// What was acknowledged before the leader was looked at is up to this entry of its log.
    last: u64,
    /// What is read at a time.
    piece_bytes: u32,
    stage: Stage,
}

impl GroupCopy {
    /// Of a group that has these slots and whose leader's log ended at `last`; nothing was asked yet.
    pub(in crate::cli) fn new(id: u32, slots: Vec<(u16, u16)>, last: u64, piece_bytes: u32) -> GroupCopy {
        let group = Group { id, slots, index: 0, term: 0, files: Vec::new() };
        GroupCopy { group, last, piece_bytes, stage: Stage::List }
    }

    /// The files, once they were named.
    pub(in crate::cli) fn named(&self) -> Option<&Group> {
        matches!(self.stage, Stage::Read { .. }).then_some(&self.group)
    }

    /// The files and what they are of, when all was read.
    pub(in crate::cli) fn into_group(self) -> Group {
        self.group
    }

    /// The words of the next question; none when all is here.
    pub(in crate::cli) fn question(&self) -> Option<Vec<String>> {
        let id = self.group.id.to_string();
        let words = match self.stage {
            Stage::List => vec!["FILES".to_owned(), id],
            Stage::Save => vec!["SNAPSHOT".to_owned(), id],
            Stage::Read { file, offset } => {
                let name = self.group.files.get(file)?.name.clone();
                vec!["READ".to_owned(), name, offset.to_string(), self.wanted(file, offset).to_string()]
            }
        };
        Some(["RINGRAFT".to_owned()].into_iter().chain(words).collect())
    }

    fn wanted(&self, file: usize, offset: u64) -> u64 {
        let left = self.group.files.get(file).map_or(0, |file| file.bytes.saturating_sub(offset));
        left.min(u64::from(self.piece_bytes))
    }

    /// Takes the answer to the last question; `write` gets the bytes of a file, by its place among those of the group.
    ///
    /// # Errors
    /// What is odd about it: the group is to be begun again.
    pub(in crate::cli) fn take(
        &mut self,
        reply: Reply<'_>,
        write: impl FnOnce(usize, &[u8]),
    ) -> Result<Next, String> {
        match (&self.stage, reply) {
            (Stage::List, reply) => {
                let (index, term, files) = files(reply).ok_or_else(|| format!("odd: {reply:?}"))?;
                if index < self.last && !runtime::mutant!("backup.before_its_begin") {
                    self.stage = Stage::Save;
                    return Ok(Next::Now);
                }
                (self.group.index, self.group.term, self.group.files) = (index, term, files);
                self.stage = Stage::Read { file: 0, offset: 0 };
                self.pass_empty_files();
                Ok(Next::Now)
            }
            (Stage::Save, Reply::Simple(b"OK")) => {
                self.stage = Stage::List;
                Ok(Next::Saving)
            }
            (Stage::Save, other) => Err(format!("OK was expected, not {other:?}")),
            (Stage::Read { file, offset }, reply) => {
                let (file, offset) = (*file, *offset);
                let piece = self.piece(file, offset, reply)?;
                write(file, piece);
                self.stage = Stage::Read { file, offset: offset + piece.len() as u64 };
                self.pass_empty_files();
                Ok(Next::Now)
            }
        }
    }

    fn piece<'a>(&self, file: usize, offset: u64, reply: Reply<'a>) -> Result<&'a [u8], String> {
        let name = self.group.files.get(file).map_or("", |file| &*file.name);
        match reply {
            Reply::Bulk(piece) if piece.len() as u64 == self.wanted(file, offset) => Ok(piece),
            Reply::Bulk(piece) => Err(format!("{name} ends after {} bytes", offset + piece.len() as u64)),
            other => Err(format!("bytes of {name} were expected, not {other:?}")),
        }
    }

    /// Goes on to the next file behind the end of one.
    fn pass_empty_files(&mut self) {
        while let Stage::Read { file, offset } = self.stage
            && file < self.group.files.len()
            && self.wanted(file, offset) == 0
        {
            self.stage = Stage::Read { file: file + 1, offset: 0 };
        }
    }

    /// The answer was an error. None: it is not about the moment, and the group is to be begun again.
    pub(in crate::cli) fn refused(&mut self, text: &str) -> Option<Next> {
        if !text.starts_with("TRYAGAIN") {
            return None;
        }
        match self.stage {
            // No snapshot yet, or as many backups as may be.
            Stage::List => {
                self.stage = Stage::Save;
                Some(Next::Now)
            }
            Stage::Save => None,
            Stage::Read { .. } => Some(Next::Busy),
        }
    }
}

/// Reads the answer to RINGRAFT FILES.
fn files(reply: Reply<'_>) -> Option<(u64, u64, Vec<File>)> {
    let Reply::Array(mut parts) = reply else { return None };
    let (index, term) = (number(parts.next()?)?, number(parts.next()?)?);
    let Reply::Array(files) = parts.next()? else { return None };
    let file = |reply| {
        let Reply::Array(mut parts) = reply else { return None };
        let Reply::Bulk(name) = parts.next()? else { return None };
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let (bytes, checksum) = (number(parts.next()?)?, number(parts.next()?)?);
        Some(File { name, bytes, checksum: u32::try_from(checksum).ok()? })
    };
    Some((index, term, files.map(file).collect::<Option<_>>()?))
}

fn number(reply: Reply<'_>) -> Option<u64> {
    let Reply::Integer(number) = reply else { return None };
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::resp::decode;

    fn reply(text: &[u8]) -> Reply<'_> {
        decode(text).unwrap().unwrap().0
    }

    #[test]
    fn the_answer_to_files_is_read() {
        let read = |text: &str| files(reply(text.replace(' ', "\r\n").as_bytes()));
        let file = File { name: "g1-i2-t3-b0.run".into(), bytes: 8192, checksum: 77 };
        assert_eq!(read("*3 :2 :3 *1 *3 $15 g1-i2-t3-b0.run :8192 :77 "), Some((2, 3, vec![file])));
        for odd in [
            "+OK ",
            "*3 :2 :3 :4 ",
            "*3 :-2 :3 *0 ",
            "*3 :2 :3 *1 *3 $1 x :-1 :77 ",
            "*3 :2 :3 *1 *3 $1 x :1 :4294967296 ",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_state_is_saved_until_it_is_new_enough_and_read_piece_by_piece() {
        let mut copy = GroupCopy::new(1, vec![(0, 16383)], 5, 4);
        let asks = |copy: &GroupCopy| copy.question().map(|words| words.join(" "));
        let none = |_: usize, _: &[u8]| panic!("nothing is read");
        assert_eq!(asks(&copy).unwrap(), "RINGRAFT FILES 1");
        assert_eq!(copy.refused("TRYAGAIN no snapshot yet"), Some(Next::Now));
        assert_eq!(asks(&copy).unwrap(), "RINGRAFT SNAPSHOT 1");
        assert_eq!(copy.take(reply(b"+OK\r\n"), none), Ok(Next::Saving));
        let listed = |index| {
            format!(
                "*3\r\n:{index}\r\n:3\r\n*2\r\n*3\r\n$1\r\na\r\n:6\r\n:7\r\n*3\r\n$1\r\nb\r\n:1\r\n:7\r\n"
            )
        };
        assert_eq!(copy.take(reply(listed(4).as_bytes()), none), Ok(Next::Now));
        assert_eq!(asks(&copy).unwrap(), "RINGRAFT SNAPSHOT 1", "its entry is before the last");
        assert_eq!(copy.take(reply(b"+OK\r\n"), none), Ok(Next::Saving));
        assert!(copy.named().is_none());
        assert_eq!(copy.take(reply(listed(5).as_bytes()), none), Ok(Next::Now));
        assert_eq!(copy.named().map(|group| (group.index, group.term)), Some((5, 3)));
        let mut got = Vec::new();
        for (ask, answer) in
            [("a 0 4", "$4\r\nabcd\r\n"), ("a 4 2", "$2\r\nef\r\n"), ("b 0 1", "$1\r\nx\r\n")]
        {
            assert_eq!(asks(&copy).unwrap(), format!("RINGRAFT READ {ask}"));
            assert_eq!(copy.refused("TRYAGAIN too many"), Some(Next::Busy));
            let taken = copy.take(reply(answer.as_bytes()), |file, piece| got.push((file, piece.to_vec())));
            assert_eq!(taken, Ok(Next::Now));
        }
        assert_eq!(asks(&copy), None);
        assert_eq!(got, [(0, b"abcd".to_vec()), (0, b"ef".to_vec()), (1, b"x".to_vec())]);
    }

    #[test]
    fn what_is_not_what_was_asked_for_ends_it() {
        let mut copy = GroupCopy::new(1, Vec::new(), 0, 4);
        assert!(copy.take(reply(b"+OK\r\n"), |_, _| ()).is_err());
        let listed = b"*3\r\n:1\r\n:3\r\n*1\r\n*3\r\n$1\r\na\r\n:6\r\n:7\r\n";
        assert_eq!(copy.take(reply(listed), |_, _| ()), Ok(Next::Now));
        assert!(
            copy.take(reply(b"$3\r\nabc\r\n"), |_, _| ()).is_err_and(|what| what.contains("ends after 3"))
        );
        assert_eq!(copy.refused("ERR a is kept no longer"), None);
    }
}
