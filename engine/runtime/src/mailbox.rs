//! Bounded queues into a shard, from any thread.

use std::{fmt, sync::Arc};

use crossbeam_queue::ArrayQueue;

use crate::Doorbell;

/// A queue of at most `capacity` values into the shard of `doorbell`. The capacity is at least one.
pub fn mailbox<T: Send>(capacity: usize, doorbell: Doorbell) -> (MailboxSender<T>, Mailbox<T>) {
    let queue = Arc::new(ArrayQueue::new(capacity.max(1)));
    (MailboxSender { queue: Arc::clone(&queue), doorbell }, Mailbox { queue })
}

/// The end that any thread puts values into. Clones are the same queue.
pub struct MailboxSender<T> {
    queue: Arc<ArrayQueue<T>>,
    doorbell: Doorbell,
}

impl<T: Send> MailboxSender<T> {
    /// Puts a value in and wakes the shard. Values of one thread come out in the order they went in.
    ///
    /// # Errors
    ///
    /// Gives the value back when the mailbox is full: the shard has more to do than it can, so the caller must wait or
    /// refuse in turn.
    pub fn try_send(&self, value: T) -> Result<(), T> {
        self.queue.push(value)?;
        self.doorbell.ring();
        Ok(())
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        MailboxSender { queue: Arc::clone(&self.queue), doorbell: self.doorbell.clone() }
    }
}

impl<T> fmt::Debug for MailboxSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxSender({} of {})", self.queue.len(), self.queue.capacity())
    }
}

/// The end that the shard takes values out of.
pub struct Mailbox<T> {
    queue: Arc<ArrayQueue<T>>,
}

impl<T: Send> Mailbox<T> {
    /// Hands up to `max` values to `each`, oldest first. If some are left the shard must come back by itself: it is not
    /// woken again for them.
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) {
        for _ in 0..max {
            let Some(value) = self.queue.pop() else { return };
            each(value);
        }
    }

    /// Whether there was nothing in it just now.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({} of {})", self.queue.len(), self.queue.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Bell;

    #[test]
    fn values_come_out_in_order_and_a_full_box_refuses() {
        let doorbell = Doorbell::new(Arc::new(Bell::new().unwrap()));
        let (sender, mut mailbox) = mailbox(2, doorbell);
        assert!(mailbox.is_empty());
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.clone().try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(3));
        let mut out = Vec::new();
        mailbox.drain(1, |value| out.push(value));
        assert_eq!(sender.try_send(4), Ok(()));
        mailbox.drain(usize::MAX, |value| out.push(value));
        assert_eq!(out, [1, 2, 4]);
        assert!(mailbox.is_empty());
    }
}
