//! What checksums do not prove: the shape of a file's items, their order, and that their counts are right.

use crate::block::Block;
use crate::error::{Damage, ensure};
use crate::format::IndexEntry;
use crate::hash::key_hash;
use crate::index::IndexView;
use crate::layout::Summary;

/// What `verify` proves beyond checksums: shape, order and counts of the items.
#[derive(Default)]
pub(crate) struct OrderCheck {
    previous: Option<Vec<u8>>,
    items: u64,
    keys_bytes: u64,
    values_bytes: u64,
}

impl OrderCheck {
    /// Takes the next block, which is `number` of the index and has this entry there.
    pub fn block(
        &mut self,
        summary: &Summary,
        entry: &IndexEntry,
        index: &IndexView<'_>,
        number: usize,
        filters: &[u8],
        block: &Block<'_>,
    ) -> Result<(), Damage> {
        let offset = entry.block_offset;
        if let Some(Ok(first)) = block.items().next()
            && first.key != index.key(number)
        {
            return Err(Damage::new(offset, "a block starts with another key than the index says"));
        }
        block.check_directory()?;
        for item in block.items() {
            let item = item?;
            let is_found = index.may_hold(filters, number, key_hash(item.key));
            ensure(is_found, offset, "the filter of a block lacks one of its keys")?;
            let in_order = match &self.previous {
                Some(previous) => previous.as_slice() <= item.key,
                None => summary.first_key.as_deref() == Some(item.key),
            };
            if !in_order {
                return Err(Damage::new(offset, "the keys of a block are not in order"));
            }
            let previous = self.previous.get_or_insert_default();
            previous.clear();
            previous.extend_from_slice(item.key);
            self.items += 1;
            self.keys_bytes += item.key.len() as u64;
            self.values_bytes += item.value.len() as u64;
        }
        Ok(())
    }

    /// After the last block.
    pub fn end(&self, summary: &Summary) -> Result<(), Damage> {
        let Summary { items, keys_bytes, values_bytes, last_key, file_bytes, .. } = summary;
        let counted = (self.items, self.keys_bytes, self.values_bytes, &self.previous);
        let agrees = counted == (*items, *keys_bytes, *values_bytes, last_key);
        if agrees {
            Ok(())
        } else {
            Err(Damage::new(*file_bytes, "the counts of the meta section are wrong"))
        }
    }
}
