//! What of the mapped snapshot files is in memory, over all groups of a shard, and which blocks are given back when that is too
//! much: those that were not used since a hand last came by (the clock algorithm).

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::{Rc, Weak};

use snapshot::{BlockPlace, RunReference, Served};

use crate::state_machine::{CheckEntry, Lookups, Wanted};

/// One round brings about so much, or one block: two of the largest values. Who needs more asks again.
const ROUND_BYTES_MAX: u64 = 32 << 20;

/// The files that machines of a shard answer from. Of the next snapshot of a group they may be part as well.
pub(crate) struct Residence {
    files: RefCell<Vec<KnownFile>>,
    /// So much of them is held at most, and what one round brings besides.
    bytes_max: u64,
    /// Where the hand is: a file's place, and a block of it.
    hand: Cell<(usize, usize)>,
    /// All blocks of all files were looked at since the start.
    is_looked_at: Cell<bool>,
    /// What was forgotten and is still in the address space.
    given_back: RefCell<Vec<GivenBack>>,
    lookups: Lookups,
}

struct KnownFile {
    served: Weak<Served>,
    check: CheckEntry,
    /// The blocks before this one were looked at since the start.
    looked_to: Cell<usize>,
}

/// Ranges of a file that are not needed for now.
pub(crate) struct GivenBack {
    pub(crate) served: Weak<Served>,
    pub(crate) ranges: Vec<Range<usize>>,
}

/// Blocks of one file that are to be brought, ascending.
pub(crate) struct Piece {
    pub(crate) served: Rc<Served>,
    pub(crate) check: CheckEntry,
    pub(crate) blocks: Vec<(usize, BlockPlace)>,
    /// What is not kept was only to be looked at: nobody asked for it.
    is_kept: bool,
}

impl Piece {
    /// Whether somebody may read it then.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|(_, place)| place.range().len() as u64).sum()
    }
}

impl Residence {
    pub(crate) fn new(bytes_max: u64, lookups: Lookups) -> Residence {
        let (files, given_back) = (RefCell::default(), RefCell::default());
        Residence {
            files,
            bytes_max,
            hand: Cell::default(),
            is_looked_at: Cell::new(true),
            given_back,
            lookups,
        }
    }

    /// How machines look into the files.
    pub(crate) fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// A file that is served from already.
    pub(super) fn known(&self, reference: &RunReference) -> Option<Rc<Served>> {
        self.files.borrow_mut().retain(|file| file.served.strong_count() > 0);
        let files = self.files.borrow();
        let mut served = files.iter().filter_map(|file| file.served.upgrade());
        served.find(|served| served.reference() == reference)
    }

    /// Another file is served from.
    pub(super) fn add(&self, served: &Rc<Served>, check: CheckEntry) {
        // One that was opened whole was looked at whole.
        let looked_to = Cell::new(if served.is_at_hand() { usize::MAX } else { 0 });
        self.files.borrow_mut().push(KnownFile { served: Rc::downgrade(served), check, looked_to });
        self.make_room(0);
        if !served.is_at_hand() {
            self.lookups.set_some_are_away(true);
            self.is_looked_at.set(false);
        }
    }

    fn all(&self) -> Vec<Rc<Served>> {
        self.files.borrow().iter().filter_map(|file| file.served.upgrade()).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        let files = self.files.borrow();
        files.iter().filter_map(|file| file.served.upgrade()).map(|served| served.bytes_at_hand()).sum()
    }

    /// Forgets blocks until `bytes` more have room, or nothing is left to forget.
    fn make_room(&self, bytes: u64) {
        if self.bytes_max == u64::MAX {
            return;
        }
        let held = self.bytes();
        let mut surplus = held.saturating_add(bytes).saturating_sub(self.bytes_max).min(held);
        if surplus == 0 {
            return;
        }
        let files = self.all();
        let (mut file, mut block) = self.hand.get();
        // Each block is passed twice at most, and those behind the hand in a third round: once to take its mark off.
        for _ in 0..3 * files.len() + 1 {
            let Some(served) = files.get(file) else {
                (file, block) = (0, 0);
                continue;
            };
            let mut ranges = Vec::new();
            let (forgotten, next) = served.run().forget_blocks(block, surplus, &mut ranges);
            surplus = surplus.saturating_sub(forgotten);
            if forgotten > 0 {
                runtime::mark!("residence.given_back");
                self.lookups.set_some_are_away(true);
                self.given_back.borrow_mut().push(GivenBack { served: Rc::downgrade(served), ranges });
            }
            (file, block) = next.map_or((file + 1, 0), |block| (file, block));
            if surplus == 0 {
                break;
            }
        }
        self.hand.set((file, block));
    }

    /// What was forgotten since this was called last.
    pub(crate) fn take_given_back(&self) -> Vec<GivenBack> {
        self.given_back.take()
    }

    /// Blocks that machines asked for, without those that are there by now, as many as fit one round.
    pub(crate) fn pieces(&self, wanted: Vec<Wanted>) -> Vec<Piece> {
        let (mut pieces, mut bytes): (Vec<Piece>, u64) = (Vec::new(), 0);
        let files = self.files.borrow();
        for Wanted { served, block } in wanted {
            let Some(served) = served.upgrade() else { continue };
            let Ok(Some(place)) = served.run().place(block) else { continue };
            if served.has_block(block) {
                continue;
            }
            let piece = pieces.iter_mut().find(|piece| Rc::ptr_eq(&piece.served, &served));
            if piece.as_ref().is_some_and(|piece| piece.blocks.iter().any(|(known, _)| *known == block)) {
                continue;
            }
            bytes += place.range().len() as u64;
            if bytes > ROUND_BYTES_MAX && bytes > place.range().len() as u64 {
                break;
            }
            if let Some(piece) = piece {
                piece.blocks.push((block, place));
            } else if let Some(file) = files.iter().find(|file| file.served.as_ptr() == Rc::as_ptr(&served)) {
                pieces.push(Piece { served, check: file.check, blocks: vec![(block, place)], is_kept: true });
            }
        }
        for piece in &mut pieces {
            piece.blocks.sort_unstable_by_key(|(block, _)| *block);
        }
        pieces
    }

    /// Whether every block was looked at since the start, as far as files lasted until then.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.is_looked_at.get()
    }

    /// The next blocks, of about `bytes`, that nobody has looked at since the start: to be brought while nobody waits. Without
    /// `beyond_room` only those that there is room for; the others are not kept.
    pub(super) fn next_unseen(&self, bytes: u64, beyond_room: bool) -> Option<Piece> {
        // The last eighth is left to what is asked for.
        let room = (self.bytes_max - self.bytes_max / 8).saturating_sub(self.bytes());
        for file in &*self.files.borrow() {
            let Some(served) = file.served.upgrade() else { continue };
            let Some(mut block) = served.next_away(file.looked_to.get()) else {
                file.looked_to.set(usize::MAX);
                continue;
            };
            let (mut blocks, mut blocks_bytes) = (Vec::new(), 0);
            while let Ok(Some(place)) = served.run().place(block) {
                let block_bytes = place.range().len() as u64;
                if blocks_bytes + block_bytes > bytes && !blocks.is_empty() {
                    break;
                }
                blocks_bytes += block_bytes;
                blocks.push((block, place));
                let Some(next) = served.next_away(block + 1) else { break };
                block = next;
            }
            let is_kept = blocks_bytes <= room;
            let piece = Piece { served, check: file.check, blocks, is_kept };
            return (is_kept || beyond_room).then_some(piece);
        }
        self.is_looked_at.set(true);
        self.lookups.set_some_are_away(self.all().iter().any(|served| !served.is_at_hand()));
        None
    }

    /// Blocks were in memory, and sound. Those that are kept are at hand now.
    pub(crate) fn brought(&self, pieces: &[Piece]) {
        // Before they are marked: of one round nothing is forgotten, or two that need much would wait for each other for ever.
        self.make_room(pieces.iter().filter(|piece| piece.is_kept).map(Piece::bytes).sum());
        for piece in pieces {
            let run = piece.served.run();
            if piece.is_kept {
                piece.blocks.iter().for_each(|(block, place)| run.is_brought(*block, place));
                continue;
            }
            runtime::mark!("residence.only_looked_at");
            let ranges = piece.blocks.iter().map(|(_, place)| place.range()).collect();
            self.given_back.borrow_mut().push(GivenBack { served: Rc::downgrade(&piece.served), ranges });
            let files = self.files.borrow();
            let file = files.iter().find(|file| file.served.as_ptr() == Rc::as_ptr(&piece.served));
            let looked_to = piece.blocks.last().map_or(0, |(block, _)| block + 1);
            file.into_iter().for_each(|file| file.looked_to.set(looked_to));
        }
    }
}
