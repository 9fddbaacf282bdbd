//! Where an image's entries go: into the new file, or into memory until it is known what comes before them.

use std::ops::Range;

use runtime::Disk;
use snapshot::{Builder, ItemError};

use super::SaveError;
use crate::state_machine::SaveSink;

/// Hands entries to the builder and keeps the first thing that is wrong with them.
pub(super) struct Sink<'a, D: Disk> {
    builder: &'a mut Builder<D>,
    /// What is missing of the value that was begun.
    value_left: usize,
    error: Option<SaveError>,
}

impl<'a, D: Disk> Sink<'a, D> {
    /// Goes on where so much is missing of the value that was begun.
    pub(super) fn new(builder: &'a mut Builder<D>, value_left: usize) -> Sink<'a, D> {
        Sink { builder, value_left, error: None }
    }

    /// What is missing of the value that was begun last.
    pub(super) fn end(self) -> Result<usize, SaveError> {
        self.error.map_or(Ok(self.value_left), Err)
    }

    /// Hands over what was gathered.
    pub(super) fn take(
        builder: &'a mut Builder<D>,
        value_left: usize,
        step: Step<'_>,
    ) -> Result<usize, SaveError> {
        let mut sink = Sink::new(builder, value_left);
        match step {
            Step::Entry { key, value } => sink.entry(key, value),
            Step::Begin { key, value_bytes } => sink.begin(key, value_bytes),
            Step::Part(bytes) => sink.part(bytes),
        }
        sink.end()
    }

    fn add(&mut self, what: impl FnOnce(&mut Builder<D>) -> Result<(), ItemError>) {
        if self.error.is_none() && self.value_left > 0 {
            self.error = Some(SaveError::ValueBytes);
        }
        if self.error.is_none() {
            self.error = what(self.builder).err().map(SaveError::Image);
        }
    }
}

impl<D: Disk> SaveSink for Sink<'_, D> {
    fn entry(&mut self, key: &[u8], value: &[u8]) {
        // Flushed after every slice, which is far smaller than what the builder may hold.
        self.add(|builder| builder.push(key, value).map(|_room| ()));
    }

    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        self.add(|builder| builder.push_value(key, value_bytes));
        self.value_left = value_bytes;
    }

    fn part(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        match self.value_left.checked_sub(bytes.len()) {
            Some(left) => {
                self.value_left = left;
                let _flushed_after_the_slice = self.builder.extend_value(bytes);
            }
            None => self.error = Some(SaveError::ValueBytes),
        }
    }
}

/// What one slice of an image hands out, in memory: a slice's bytes, so little.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

enum Place {
    Entry { key: Range<usize>, value: Range<usize> },
    Begin { key: Range<usize>, value_bytes: usize },
    Part(Range<usize>),
}

/// One thing that an image hands out.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// As [`SaveSink::entry`].
    Entry { key: &'a [u8], value: &'a [u8] },
    /// As [`SaveSink::begin`].
    Begin { key: &'a [u8], value_bytes: usize },
    /// As [`SaveSink::part`].
    Part(&'a [u8]),
}

impl Gathered {
    /// All of it, in order.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let at = |range: &Range<usize>| &self.bytes[range.clone()];
        self.places.iter().map(move |place| match place {
            Place::Entry { key, value } => Step::Entry { key: at(key), value: at(value) },
            Place::Begin { key, value_bytes } => Step::Begin { key: at(key), value_bytes: *value_bytes },
            Place::Part(bytes) => Step::Part(at(bytes)),
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}

impl SaveSink for Gathered {
    fn entry(&mut self, key: &[u8], value: &[u8]) {
        let place = Place::Entry { key: self.keep(key), value: self.keep(value) };
        self.places.push(place);
    }

    fn begin(&mut self, key: &[u8], value_bytes: usize) {
        let place = Place::Begin { key: self.keep(key), value_bytes };
        self.places.push(place);
    }

    fn part(&mut self, bytes: &[u8]) {
        let place = Place::Part(self.keep(bytes));
        self.places.push(place);
    }
}
