//! Reading one segment file from its front to where it stops making sense.

use std::io;

use runtime::File;

use crate::{
    format::{
        BLOCK, BLOCK_U64, BatchHeader, Expected, Invalid, RecordHeader, RecordKind, SegmentHeader,
        check_checkpoint_row, decode_batch_header, decode_directory, membership_entries, record_flags,
        usize_of, verify_bodies,
    },
    window::Window,
};

/// One sound batch.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) header: BatchHeader,
    pub(crate) records: Vec<RecordHeader>,
    /// Bodies by the record's place, ascending. Entries stay on disk; of those only configurations are here.
    bodies: Vec<(usize, Vec<u8>)>,
}

impl Scanned {
    /// The body of the record at `place`, or the configurations among its entries.
    pub(crate) fn body(&self, place: usize) -> &[u8] {
        self.bodies.binary_search_by_key(&place, |(at, _)| *at).map_or(&[], |found| &self.bodies[found].1)
    }
}

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The batches from the front on that follow each other.
    pub(crate) batches: Vec<Scanned>,
    /// What the next one would have to be.
    pub(crate) next: Expected,
    /// Why there is no next one; `None` at the end of the file.
    pub(crate) stop: Option<Invalid>,
    /// The greatest `durable_seq` in any header of this use of the file that is sound in itself.
    pub(crate) durable_max: u64,
    /// The greatest batch number in one.
    pub(crate) seq_max: u64,
    /// Blocks of sound batches behind the stop.
    pub(crate) stray_bytes: u64,
    pub(crate) read_bytes: u64,
    /// What lies behind the stop was looked at.
    pub(crate) deep: bool,
}

/// Where a segment ends if batches up to some number count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: u64,
    pub(crate) last_seq: u64,
    pub(crate) chain: u32,
}

impl Walk {
    /// Walks the segment that `header` opens. Bodies of batches up to `trusted` are not verified.
    pub(crate) async fn of<F: File>(file: &F, header: &SegmentHeader, trusted: u64) -> io::Result<Walk> {
        let mut walk = Walk {
            batches: Vec::new(),
            next: Expected {
                salt: header.salt,
                segment_seq: header.segment_seq,
                batch_seq: header.first_batch_seq,
                boot_epoch: header.boot_epoch,
                block: 1,
                chain: header.previous_chain,
            },
            stop: None,
            durable_max: header.durable_seq,
            seq_max: header.first_batch_seq - 1,
            stray_bytes: 0,
            read_bytes: 0,
            deep: false,
        };
        let mut window = Window::new(file, walk.end_offset());
        while walk.end_offset() < header.segment_bytes {
            match walk.step(&mut window, header.segment_bytes, trusted).await? {
                Ok(batch) => walk.push(batch),
                Err(invalid) => {
                    walk.stop = Some(invalid);
                    break;
                }
            }
        }
        walk.read_bytes += window.read_bytes;
        Ok(walk)
    }

    async fn step<F: File>(
        &self,
        window: &mut Window<F>,
        segment_bytes: u64,
        trusted: u64,
    ) -> io::Result<Result<Scanned, Invalid>> {
        let offset = self.end_offset();
        let block = window.get(offset, BLOCK).await?;
        let header = match decode_batch_header(&block) {
            Ok(header) => header,
            Err(invalid) => return Ok(Err(invalid)),
        };
        if let Err(invalid) = self.next.accepts(&header)
            && !runtime::mutant!("log.stale_batches_accepted")
        {
            return Ok(Err(invalid));
        }
        if u64::from(header.blocks) * BLOCK_U64 > segment_bytes - offset {
            return Ok(Err(Invalid::new("a batch larger than the rest of its segment")));
        }
        let batch = window.get(offset, usize_of(header.blocks) * BLOCK).await?;
        let verify = header.batch_seq > trusted && !runtime::mutant!("log.bodies_unverified");
        Ok(read_batch(header, &batch, verify))
    }

    fn push(&mut self, batch: Scanned) {
        let header = &batch.header;
        self.durable_max = self.durable_max.max(header.durable_seq);
        self.seq_max = self.seq_max.max(header.batch_seq);
        self.next.batch_seq += 1;
        self.next.block += header.blocks;
        self.next.chain = header.header_crc;
        self.batches.push(batch);
    }

    /// Looks at every block behind the stop for headers of this use of the file that are sound in themselves.
    pub(crate) async fn look_behind<F: File>(&mut self, file: &F, file_bytes: u64) -> io::Result<()> {
        if self.deep {
            return Ok(());
        }
        self.deep = true;
        let mut window = Window::new(file, self.end_offset());
        let mut place = self.next;
        let mut offset = self.end_offset();
        while offset < file_bytes {
            let block = window.get(offset, BLOCK).await?;
            if let Ok(header) = decode_batch_header(&block)
                && place.is_in_place(&header)
            {
                self.durable_max = self.durable_max.max(header.durable_seq);
                self.seq_max = self.seq_max.max(header.batch_seq);
                self.stray_bytes += u64::from(header.blocks) * BLOCK_U64;
            }
            offset += BLOCK_U64;
            place.block += 1;
        }
        self.read_bytes += window.read_bytes;
        Ok(())
    }

    /// What can be said of a segment whose block 0 is unreadable: the headers in it that agree with the first one.
    pub(crate) async fn without_header<F: File>(
        file: &F,
        first: &BatchHeader,
        file_bytes: u64,
    ) -> io::Result<Walk> {
        let mut walk = Walk {
            batches: Vec::new(),
            next: Expected {
                salt: first.salt,
                segment_seq: first.segment_seq,
                batch_seq: first.batch_seq,
                boot_epoch: first.boot_epoch,
                block: 1,
                chain: first.previous_chain,
            },
            stop: None,
            durable_max: 0,
            seq_max: 0,
            stray_bytes: 0,
            read_bytes: 0,
            deep: false,
        };
        walk.look_behind(file, file_bytes).await?;
        Ok(walk)
    }

    /// Where the next batch would stand.
    pub(crate) fn end_offset(&self) -> u64 {
        u64::from(self.next.block) * BLOCK_U64
    }

    /// The batches up to number `limit`.
    pub(crate) fn up_to(&self, limit: u64) -> &[Scanned] {
        let mut count = self.batches.partition_point(|batch| batch.header.batch_seq <= limit);
        if runtime::mutant!("log.last_batch_dropped") && limit == u64::MAX {
            count = count.saturating_sub(1);
        }
        &self.batches[..count]
    }

    /// Where the segment ends if only batches up to `limit` count; `header` is its own.
    pub(crate) fn end_at(&self, header: &SegmentHeader, limit: u64) -> End {
        match self.up_to(limit).last() {
            Some(batch) => End {
                offset: u64::from(batch.header.block + batch.header.blocks) * BLOCK_U64,
                last_seq: batch.header.batch_seq,
                chain: batch.header.header_crc,
            },
            None => {
                let (last_seq, chain) = (header.previous_last_seq, header.previous_chain);
                End { offset: BLOCK_U64, last_seq, chain }
            }
        }
    }
}

fn read_batch(header: BatchHeader, batch: &[u8], verify: bool) -> Result<Scanned, Invalid> {
    let records = decode_directory(&header, batch)?;
    if verify {
        verify_bodies(batch, &records)?;
    }
    let mut bodies = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let is_entries = record.kind == RecordKind::Entries.byte();
        if is_entries && record.flags & record_flags::MEMBERSHIP == 0 || record.body_bytes == 0 {
            continue;
        }
        let start = usize_of(record.body_offset);
        let body = batch.get(start..start + usize_of(record.body_bytes));
        let body = body.ok_or(Invalid::new("a record's body is cut short"))?;
        if record.kind == RecordKind::CheckpointRow.byte() {
            check_checkpoint_row(body)?;
        }
        bodies.push((place, if is_entries { membership_entries(record, body)? } else { body.to_vec() }));
    }
    Ok(Scanned { header, records, bodies })
}
