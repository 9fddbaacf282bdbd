//! Reading one segment file from its front to where it stops making sense.

use std::{collections::BTreeSet, io};

use runtime::File;

use crate::{
    format::{
        BLOCK, BLOCK_U64, BatchHeader, Expected, Invalid, RecordHeader, RecordKind, SegmentHeader,
        batch_flags, decode_batch_header, decode_directory, membership_entries, record_flags, usize_of,
        verify_body,
    },
    window::Window,
};

/// One batch whose header and directory are sound.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) header: BatchHeader,
    pub(crate) records: Vec<RecordHeader>,
    /// Bodies by the record's place, ascending. Entries stay on disk; of those only configurations are here.
    bodies: Vec<(usize, Vec<u8>)>,
    /// Records, by their place, whose bodies are not what was written, of those that were looked at; ascending.
    damaged: Vec<(usize, Invalid)>,
}

impl Scanned {
    /// The body of the record at `place`, or the configurations among its entries.
    pub(crate) fn body(&self, place: usize) -> &[u8] {
        self.bodies.binary_search_by_key(&place, |(at, _)| *at).map_or(&[], |found| &self.bodies[found].1)
    }

    /// Whether the body of the record at `place` was found damaged.
    pub(crate) fn is_damaged(&self, place: usize) -> bool {
        self.damaged.iter().any(|(at, _)| *at == place)
    }

    /// The records whose bodies were found damaged, and how.
    pub(crate) fn damaged(&self) -> impl Iterator<Item = (&RecordHeader, &Invalid)> {
        self.damaged.iter().map(|(at, invalid)| (&self.records[*at], invalid))
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
    /// Where batches were passed over: the number of the first that cannot be read, and the next one that can.
    pub(crate) holes: Vec<(u64, BatchHeader)>,
    /// Blocks that the disk refused, for which zeros were taken.
    pub(crate) refused: BTreeSet<u64>,
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
            holes: Vec::new(),
            refused: BTreeSet::new(),
        };
        walk.go_on(file, header.segment_bytes, trusted).await?;
        Ok(walk)
    }

    /// Takes in what the disk said to the reads of `window`.
    fn count<F: File>(&mut self, window: Window<F>) {
        self.read_bytes += window.read_bytes;
        self.refused.extend(window.refused);
    }

    /// Whether some of what lies behind the stop could not be read: then that may be no end.
    pub(crate) fn is_end_refused(&self) -> bool {
        !self.is_closed() && self.refused.range(self.end_offset()..).next().is_some()
    }

    /// Walks on from where the walk is, to where the batches stop.
    async fn go_on<F: File>(&mut self, file: &F, segment_bytes: u64, trusted: u64) -> io::Result<()> {
        let mut window = Window::new(file, self.end_offset());
        self.stop = None;
        while self.end_offset() < segment_bytes {
            match self.step(&mut window, segment_bytes, trusted).await? {
                Ok(batch) => self.push(batch),
                Err(invalid) => {
                    self.stop = Some(invalid);
                    break;
                }
            }
        }
        self.count(window);
        Ok(())
    }

    /// Goes on behind the stop, and behind any further ones, with the batches up to number `limit` that can be read: for
    /// segments whose batches were all durable. Those between are lost.
    pub(crate) async fn resume<F: File>(
        &mut self,
        file: &F,
        segment_bytes: u64,
        limit: u64,
    ) -> io::Result<()> {
        while self.next.batch_seq <= limit {
            let Some(header) = self.find_next(file, segment_bytes, limit).await? else { return Ok(()) };
            match self.holes.last_mut() {
                Some((_, next)) if next.batch_seq == self.next.batch_seq => *next = header, // nor could that one be
                _ => self.holes.push((self.next.batch_seq, header)),
            }
            (self.deep, self.stray_bytes) = (false, 0);
            self.next = Expected {
                batch_seq: header.batch_seq,
                block: header.block,
                chain: header.previous_chain,
                ..self.next
            };
            self.go_on(file, segment_bytes, limit).await?;
        }
        Ok(())
    }

    /// The first header behind the next block that is one of this use of the file, and of a batch that is still to come.
    async fn find_next<F: File>(
        &mut self,
        file: &F,
        segment_bytes: u64,
        limit: u64,
    ) -> io::Result<Option<BatchHeader>> {
        let mut place = self.next;
        let mut window = Window::new(file, self.end_offset());
        let mut found = None;
        while found.is_none() {
            place.block += 1;
            let offset = u64::from(place.block) * BLOCK_U64;
            if offset >= segment_bytes {
                break;
            }
            let block = window.get(offset, BLOCK).await?;
            let header = decode_batch_header(&block).ok().filter(|header| place.is_in_place(header));
            let (next, epoch) = (self.next.batch_seq, self.next.boot_epoch);
            // Each batch between took a block at least.
            let limit = limit.min(next + u64::from(place.block - self.next.block));
            found = header
                .filter(|header| (next..=limit).contains(&header.batch_seq) && header.boot_epoch == epoch);
        }
        self.count(window);
        Ok(found)
    }

    /// A batch with a damaged body that is newer than `durable` was torn in flight: the walk stops before it.
    pub(crate) fn tear(&mut self, durable: u64) {
        let is_torn = |batch: &Scanned| !batch.damaged.is_empty() && batch.header.batch_seq > durable;
        let Some(at) = self.batches.iter().position(is_torn) else { return };
        let dropped = self.batches.split_off(at);
        let torn = &dropped[0];
        self.next = Expected {
            batch_seq: torn.header.batch_seq,
            block: torn.header.block,
            chain: torn.header.previous_chain,
            ..self.next
        };
        self.stop = torn.damaged.first().map(|(_, invalid)| invalid.clone());
        if self.deep {
            let sound = dropped[1..].iter().map(|batch| u64::from(batch.header.blocks) * BLOCK_U64);
            self.stray_bytes += sound.sum::<u64>();
        }
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
        self.count(window);
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
            holes: Vec::new(),
            refused: BTreeSet::new(),
        };
        walk.look_behind(file, file_bytes).await?;
        Ok(walk)
    }

    /// Whether the batches end with that of a clean end: then there is nothing behind it.
    pub(crate) fn is_closed(&self) -> bool {
        let is_last = |batch: &Scanned| batch.header.flags & batch_flags::LAST != 0;
        self.batches.last().is_some_and(is_last)
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

/// Checks header and directory, and the bodies that are kept: all of them if `verify`.
pub(crate) fn read_batch(header: BatchHeader, batch: &[u8], verify: bool) -> Result<Scanned, Invalid> {
    let records = decode_directory(&header, batch)?;
    let (mut bodies, mut damaged) = (Vec::new(), Vec::new());
    for (place, record) in records.iter().enumerate() {
        let is_entries = record.kind == RecordKind::Entries.byte();
        // What recovery builds on is checked whatever else is known of the batch: a configuration that was not the group's
        // could make two leaders of one.
        let is_kept = record.body_bytes > 0 && (!is_entries || record.flags & record_flags::MEMBERSHIP != 0);
        if !verify && !is_kept {
            continue;
        }
        match verify_body(batch, record) {
            Err(invalid) => damaged.push((place, invalid)),
            Ok(body) if is_kept && is_entries => bodies.push((place, membership_entries(body))),
            Ok(body) if is_kept => bodies.push((place, body.to_vec())),
            Ok(_) => {}
        }
    }
    Ok(Scanned { header, records, bodies, damaged })
}
