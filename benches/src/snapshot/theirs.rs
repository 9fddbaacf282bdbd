//! The same keys in redb and in fjall.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, KeyspaceCreateOptions};
use redb::{ReadableDatabase, TableDefinition};

use super::data::{key, value};

/// Caches that hold everything.
const CACHE_BYTES: usize = 4 << 30;
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("keys");

/// redb, read within one transaction.
pub(super) struct Redb {
    table: redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    _database: redb::Database,
}

impl Redb {
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Redb> {
        let path = dir.join("redb");
        let database = redb::Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for number in sorted(keys) {
                table.insert(&key(number)[..], &value(number)[..])?;
            }
        }
        write.commit()?;
        let table = database.begin_read()?.open_table(TABLE)?;
        Ok(Redb { table, _database: database })
    }

    /// Hands the value of a key to `look`.
    pub(super) fn get<R>(&self, key: &[u8], look: impl Fn(&[u8]) -> R) -> anyhow::Result<Option<R>> {
        Ok(self.table.get(key)?.map(|value| look(value.value())))
    }
}

/// fjall, without compression, compacted.
pub(super) struct Fjall {
    keyspace: fjall::Keyspace,
    _database: fjall::Database,
}

impl Fjall {
    pub(super) fn build(dir: &Path, keys: u32) -> anyhow::Result<Fjall> {
        let database = fjall::Database::builder(dir.join("fjall")).cache_size(CACHE_BYTES as u64).open()?;
        let plain = || {
            let none = CompressionPolicy::all(CompressionType::None);
            KeyspaceCreateOptions::default().data_block_compression_policy(none)
        };
        let keyspace = database.keyspace("keys", plain)?;
        for number in sorted(keys) {
            keyspace.insert(key(number), value(number))?;
        }
        keyspace.rotate_memtable_and_wait()?;
        keyspace.major_compact()?;
        Ok(Fjall { keyspace, _database: database })
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> anyhow::Result<Option<fjall::Slice>> {
        Ok(self.keyspace.get(key)?)
    }
}

/// All numbers, in the order of their keys.
fn sorted(keys: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..keys).collect();
    numbers.sort_unstable_by_key(|number| key(*number));
    numbers
}
