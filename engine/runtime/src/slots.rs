//! Tables whose keys are small, dense numbers.

/// Values under keys that are used again after removal.
pub(crate) struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { values: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(key) = self.free.pop() {
            self.values[key as usize] = Some(value);
            return key;
        }
        let key = u32::try_from(self.values.len()).expect("memory ends before 2^32 slots do");
        self.values.push(Some(value));
        key
    }

    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.values.get(key as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.values.get_mut(key as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.values.get_mut(key as usize)?.take()?;
        self.free.push(key);
        Some(value)
    }

    pub(crate) fn keys(&self) -> Vec<u32> {
        (0..).zip(&self.values).filter(|(_, value)| value.is_some()).map(|(key, _)| key).collect()
    }
}

/// Values under keys that never come back: each key carries the generation of its slot.
pub(crate) struct Generations<T> {
    slots: Slots<(u32, T)>,
    next: u32,
}

impl<T> Generations<T> {
    pub(crate) fn new() -> Generations<T> {
        Generations { slots: Slots::new(), next: 0 }
    }

    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        let generation = self.generation();
        (self.slots.insert((generation, value)), generation)
    }

    /// A key that finds nothing, now and later.
    pub(crate) fn stale(&mut self) -> (u32, u32) {
        (u32::MAX, self.generation())
    }

    fn generation(&mut self) -> u32 {
        // One counter for all slots: a key could come back only after 2^32 insertions, and only in the same slot.
        self.next = self.next.wrapping_add(1);
        self.next
    }

    pub(crate) fn get_mut(&mut self, (slot, generation): (u32, u32)) -> Option<&mut T> {
        let (own, value) = self.slots.get_mut(slot)?;
        (*own == generation).then_some(value)
    }

    pub(crate) fn remove(&mut self, (slot, generation): (u32, u32)) -> Option<T> {
        let (own, _) = self.slots.get(slot)?;
        if *own != generation {
            return None;
        }
        self.slots.remove(slot).map(|(_, value)| value)
    }

    pub(crate) fn keys(&self) -> Vec<(u32, u32)> {
        let key = |slot| self.slots.get(slot).map(|(generation, _)| (slot, *generation));
        self.slots.keys().into_iter().filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        assert_eq!((slots.len(), slots.insert('c')), (1, a));
        assert_eq!((slots.get(a), slots.get(b), slots.get(7)), (Some(&'c'), Some(&'b'), None));
        assert_eq!(slots.keys(), [a, b]);
    }

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = Generations::new();
        let old = table.insert('a');
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert('b');
        assert_eq!(old.0, new.0, "the slot is used again");
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get_mut(new), Some(&mut 'b'));
        assert_eq!(table.keys(), [new]);
    }
}
