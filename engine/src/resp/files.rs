//! RINGRAFT FILES, READ and SNAPSHOT: what a backup asks a shard for.

use super::plan::{Context, Plan, refuse, wrong_arity};
use super::spec::Verb;
use net::resp::parse_integer;
use raft::GroupId;
use snapshot::{SnapshotName, Stage};

/// The most that one RINGRAFT READ answers: large enough that a backup is as fast as the disk, small enough that the
/// answer is copied within a turn.
pub const READ_BYTES_MAX: u32 = 1 << 20;

/// What a shard is asked about its snapshot files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilesAsk {
    /// RINGRAFT SNAPSHOT GROUP: the group is to be saved soon; the reply, `OK`, does not wait for that.
    Save(GroupId),
    /// RINGRAFT FILES GROUP: which files are its state; they are kept for this connection.
    List(GroupId),
    /// RINGRAFT READ FILE OFFSET BYTES: bytes of a file that is kept for this connection, fewer at its end.
    Read {
        /// The file.
        name: SnapshotName,
        /// Where.
        offset: u64,
        /// How many, 1 to [`READ_BYTES_MAX`].
        bytes: u32,
    },
}

pub(super) fn plan<'a>(verb: Verb, context: Context<'a, '_>, out: &mut Vec<u8>) -> Plan<'a> {
    let groups = u32::from(context.view.slot_map().groups());
    let asked = match (verb, &context.args[2..]) {
        (Verb::RingraftSnapshot, []) => return Plan::TakeSnapshots,
        (Verb::RingraftSnapshot, [group]) => parse_group(group, groups).map(FilesAsk::Save),
        (Verb::RingraftFiles, [group]) => parse_group(group, groups).map(FilesAsk::List),
        (Verb::RingraftRead, [file, offset, bytes]) => parse_read(file, offset, bytes),
        _ => return wrong_arity(out, "ringraft|snapshot"),
    };
    match asked {
        Ok(asked) => Plan::Files(asked),
        Err(problem) => refuse(out, format_args!("ERR {problem}")),
    }
}

/// A group that holds keys: the node directory is made anew with every cluster.
fn parse_group(word: &[u8], groups: u32) -> Result<GroupId, String> {
    let group = parse_integer(word).and_then(|group| u32::try_from(group).ok());
    let group = group.filter(|group| (1..=groups).contains(group)).map(GroupId);
    group.ok_or_else(|| format!("a group that holds keys is a number from 1 to {groups}"))
}

fn parse_read(file: &[u8], offset: &[u8], bytes: &[u8]) -> Result<FilesAsk, String> {
    let name = std::str::from_utf8(file).ok().and_then(Stage::parse);
    let Some((name, Stage::Complete)) = name else {
        return Err("a file is named as RINGRAFT FILES names it".to_owned());
    };
    let offset = parse_integer(offset).and_then(|offset| u64::try_from(offset).ok());
    let offset = offset.ok_or("an offset is a number from 0")?;
    let bytes = parse_integer(bytes).and_then(|bytes| u32::try_from(bytes).ok());
    let bytes = bytes.filter(|bytes| (1..=READ_BYTES_MAX).contains(bytes));
    let bytes = bytes.ok_or_else(|| format!("1 to {READ_BYTES_MAX} bytes are read at a time"))?;
    Ok(FilesAsk::Read { name, offset, bytes })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{FakeCluster, FakeView};
    use super::super::view::Redirect;
    use super::*;

    fn planned(line: &str) -> Result<FilesAsk, String> {
        let (view, mut session) =
            (FakeView::new(4, Redirect::Proxy), FakeCluster::new(4, Redirect::Proxy).session);
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        match super::super::plan(&mut session, &args, &view, &mut out) {
            Plan::Files(asked) => Ok(asked),
            Plan::Done => Err(String::from_utf8(out).unwrap()),
            other => panic!("{line} is planned as {other:?}"),
        }
    }

    #[test]
    fn groups_and_files_are_asked_for() {
        assert_eq!(planned("RINGRAFT FILES 1"), Ok(FilesAsk::List(GroupId(1))));
        assert_eq!(planned("ringraft snapshot 4"), Ok(FilesAsk::Save(GroupId(4))));
        let name = "g3-i42-t7-b0".parse().unwrap();
        assert_eq!(
            planned("RINGRAFT READ g3-i42-t7-b0.run 4096 1048576"),
            Ok(FilesAsk::Read { name, offset: 4096, bytes: READ_BYTES_MAX })
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, reason) in [
            ("RINGRAFT FILES 0", "a number from 1 to 4"),
            ("RINGRAFT FILES 5", "a number from 1 to 4"),
            ("RINGRAFT SNAPSHOT x", "a number from 1 to 4"),
            ("RINGRAFT FILES", "wrong number of arguments"),
            ("RINGRAFT SNAPSHOT 1 2", "wrong number of arguments"),
            ("RINGRAFT READ ../node.toml 0 1", "named as RINGRAFT FILES names it"),
            ("RINGRAFT READ g3-i42-t7-b0.run.tmp 0 1", "named as RINGRAFT FILES names it"),
            ("RINGRAFT READ g3-i42-t7-b0.run -1 1", "a number from 0"),
            ("RINGRAFT READ g3-i42-t7-b0.run 99999999999999999999 1", "a number from 0"),
            ("RINGRAFT READ g3-i42-t7-b0.run 0 0", "1 to 1048576 bytes"),
            ("RINGRAFT READ g3-i42-t7-b0.run 0 1048577", "1 to 1048576 bytes"),
        ] {
            let refused = planned(line).expect_err(line);
            assert!(refused.starts_with("-ERR ") && refused.contains(reason), "{line}: {refused}");
        }
    }
}
