//! One file on its way to a follower: what was read of it, sent, and answered.

use runtime::{Buffer, File};
use snapshot::transfer::{CHUNKS_UNDER_WAY_MAX, Message, Sender, Step, TransferId, Window};

/// What a receiver may say while a chunk is read: ours sends back once, or ends it.
const INBOX_MAX: usize = CHUNKS_UNDER_WAY_MAX;

/// A chunk's message and its data.
pub(super) type Chunk = (Message, Buffer);

/// A file, and its chunks that are under way.
pub(super) struct UnderWay<F> {
    /// Away while the file is opened or a chunk is read.
    sender: Option<Sender<F>>,
    /// What came while it was away.
    inbox: Vec<Message>,
    /// The connection broke while it was away.
    broke: bool,
    /// The next chunk, read and not yet sent.
    chunk: Option<Chunk>,
    /// Those that were sent and not answered.
    window: Window,
}

impl<F: File> UnderWay<F> {
    /// A file whose sender is still away, opening it.
    pub(super) fn new(transfer: TransferId) -> UnderWay<F> {
        let window = Window::new(transfer);
        UnderWay { sender: None, inbox: Vec::new(), broke: false, chunk: None, window }
    }

    /// Takes a message of the receiver. False: it makes no sense.
    pub(super) fn take(&mut self, message: Message) -> bool {
        self.window.heard(message).is_none_or(|news| self.tell_sender(news))
    }

    /// Tells the sender where to go on, or that it is over: a chunk that was read meanwhile is not to be sent then. False: it makes
    /// no sense.
    fn tell_sender(&mut self, news: Message) -> bool {
        match &mut self.sender {
            Some(sender) => {
                if news.transfer() == sender.transfer() {
                    self.chunk = None;
                }
                sender.receive(news).is_ok()
            }
            None => {
                self.inbox.push(news);
                self.inbox.len() <= INBOX_MAX
            }
        }
    }

    /// The next connection begins anew, where the receiver says.
    pub(super) fn disconnected(&mut self) {
        self.chunk = None;
        self.window.disconnected();
        self.inbox.clear();
        match &mut self.sender {
            Some(sender) => sender.disconnected(),
            None => self.broke = true,
        }
    }

    /// The sender is back, with the chunk it read. False: what came meanwhile makes no sense.
    pub(super) fn back(&mut self, sender: Sender<F>, chunk: Option<Chunk>) -> bool {
        (self.sender, self.chunk) = (Some(sender), chunk);
        if std::mem::take(&mut self.broke) {
            self.disconnected();
        }
        std::mem::take(&mut self.inbox).into_iter().all(|news| self.tell_sender(news))
    }

    /// The chunk that is to be sent, if one is here: it counts as sent.
    pub(super) fn send_chunk(&mut self) -> Option<Chunk> {
        let chunk = self.chunk.take()?;
        self.window.sent(&chunk.0);
        if self.window.under_way() > 1 {
            runtime::mark!("snapshot.send.several_under_way");
        }
        Some(chunk)
    }

    /// How large the chunk is that is to be read now; 0 if none is. One is read while the one before it is being sent, but no
    /// further ahead: so two are in memory at most.
    pub(super) fn bytes_to_read(&self) -> u64 {
        match &self.sender {
            Some(sender) if self.chunk.is_none() && !self.window.is_full() => {
                u64::from(sender.next_chunk_bytes())
            }
            _ => 0,
        }
    }

    /// Lends the sender to whoever reads the next chunk.
    pub(super) fn lend(&mut self) -> Option<Sender<F>> {
        self.sender.take()
    }

    /// What is to be done besides sending chunks.
    pub(super) fn step(&mut self) -> Step {
        self.sender.as_mut().map_or(Step::Wait, Sender::step)
    }
}
