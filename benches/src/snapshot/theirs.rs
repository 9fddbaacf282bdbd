//! The same keys in redb and in fjall.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, KeyspaceCreateOptions};
use redb::{ReadableDatabase, TableDefinition};

use super::data::{key, overwritten, value};

/// Caches that hold everything.
const CACHE_BYTES: usize = 4 << 30;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// redb, and a transaction that reads the newest state.
pub(super) struct Redb {
    table: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    database: redb::Database,
}

impl Redb {
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Redb> {
        let database = redb::Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("redb"))?;
        put_all(&database, sorted(0..keys), 0)?;
        Ok(Redb { table: database.begin_read()?.open_table(TABLE)?, database })
    }

    /// Overwrites half of the keys.
    pub(super) fn overwrite_half(&mut self, keys: u32) -> anyhow::Result<()> {
        put_all(&self.database, sorted(overwritten(keys)), 1)?;
        self.table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(())
    }

    /// The same in a transaction of its own: of a key's value whatever was written before the call, as a linearizable read does.
    pub(super) fn get_newest<R>(&self, key: &[u8], look: impl Fn(&[u8]) -> R) -> anyhow::Result<Option<R>> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| look(value.value())))
    }

    /// Hands the value of a key to `look`.
    pub(super) fn get<R>(&self, key: &[u8], look: impl Fn(&[u8]) -> R) -> anyhow::Result<Option<R>> {
        Ok(self.table.get(key)?.map(|value| look(value.value())))
    }
}

/// Puts these keys, in one transaction.
fn put_all(database: &redb::Database, numbers: Vec<u32>, overwrites: u8) -> anyhow::Result<()> {
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(TABLE)?;
        for number in numbers {
            table.insert(&key(number)[..], &value(number, overwrites)[..])?;
        }
    }
    Ok(write.commit()?)
}

/// fjall, without compression.
pub(super) struct Fjall {
    keyspace: fjall::Keyspace,
    _database: fjall::Database,
}

impl Fjall {
    /// All keys, compacted.
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Fjall> {
        let database = fjall::Database::builder(dir.join("fjall")).cache_size(CACHE_BYTES as u64).open()?;
        let plain = || {
            let none = CompressionPolicy::all(CompressionType::None);
            KeyspaceCreateOptions::default().data_block_compression_policy(none)
        };
        let keyspace = database.keyspace("keys", plain)?;
        let fjall = Fjall { keyspace, _database: database };
        fjall.put_all(sorted(0..keys), 0)?;
        fjall.keyspace.major_compact()?;
        Ok(fjall)
    }

    /// Overwrites half of the keys, which are above the others in files of their own, as ours are.
    pub(super) fn overwrite_half(&self, keys: u32) -> anyhow::Result<()> {
        self.put_all(sorted(overwritten(keys)), 1)
    }

    fn put_all(&self, numbers: Vec<u32>, overwrites: u8) -> anyhow::Result<()> {
        for number in numbers {
            self.keyspace.insert(key(number), value(number, overwrites))?;
        }
        Ok(self.keyspace.rotate_memtable_and_wait()?)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> anyhow::Result<Option<fjall::Slice>> {
        Ok(self.keyspace.get(key)?)
    }
}

/// The numbers in the order of their keys.
fn sorted(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable_by_key(|number| key(*number));
    numbers
}
