//! A connection that carries messages of a transfer in frames, with a chunk's data behind them.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use net::frame::{FrameReader, FrameSpec, frame_parts};
use runtime::{Buffer, Context, Event, Part, Ring, SocketId};
use snapshot::transfer::Message;

/// One end of it.
pub(super) struct Line {
    ring: Ring,
    socket: SocketId,
    reader: FrameReader,
    /// Frames sent so far.
    sequence: u64,
    sending: bool,
    receiving: bool,
}

/// Waits until something has happened at the ring's sockets, or anything else.
async fn next_events(ring: &Ring) -> Vec<Event> {
    let mut events = Vec::new();
    ring.submit();
    ring.wait().await;
    ring.events(&mut events);
    events
}

impl Line {
    pub(super) async fn connect(context: &Context, address: SocketAddr) -> anyhow::Result<Line> {
        let ring = context.ring();
        let socket = ring.connect(address);
        loop {
            for event in next_events(&ring).await {
                match event {
                    Event::Connected { .. } => return Ok(Line::of(ring, socket)),
                    Event::ConnectFailed { error, .. } => return Err(error).context("connecting"),
                    _ => {}
                }
            }
        }
    }

    pub(super) async fn accept(context: &Context, listener: TcpListener) -> anyhow::Result<Line> {
        let ring = context.ring();
        let listening = ring.listen(listener);
        loop {
            for event in next_events(&ring).await {
                match event {
                    Event::Accepted { socket, .. } => {
                        ring.close_listener(listening);
                        return Ok(Line::of(ring, socket));
                    }
                    Event::AcceptFailed { error, .. } => return Err(error).context("accepting"),
                    _ => {}
                }
            }
        }
    }

    fn of(ring: Ring, socket: SocketId) -> Line {
        Line { ring, socket, reader: FrameReader::default(), sequence: 0, sending: false, receiving: false }
    }

    /// Sends a message with what belongs behind it, once the one before it is with the kernel.
    pub(super) async fn say(&mut self, message: &Message, data: Option<Buffer>) -> anyhow::Result<()> {
        self.flush().await?;
        let mut body = Vec::new();
        message.encode(&mut body);
        let spec = FrameSpec { sequence: self.sequence, ..FrameSpec::default() };
        self.sequence += 1;
        self.sending = true;
        let tail = data.map(Part::Buffer).into_iter().collect();
        self.ring.send(self.socket, frame_parts(spec, body, tail));
        Ok(())
    }

    /// Waits until what was said is with the kernel.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        while self.sending {
            self.turn().await?;
        }
        Ok(())
    }

    /// The next message, and what stands behind it.
    pub(super) async fn hear(&mut self) -> anyhow::Result<(Message, Vec<u8>)> {
        loop {
            if let Some(heard) = self.heard()? {
                return Ok(heard);
            }
            self.turn().await?;
        }
    }

    /// The next message if it is here; otherwise it is waited for.
    pub(super) fn heard(&mut self) -> anyhow::Result<Option<(Message, Vec<u8>)>> {
        if self.receiving {
            return Ok(None);
        }
        if let Some(frame) = self.reader.next_frame() {
            let frame = frame?;
            return Ok(Some((Message::decode(frame.body)?.0, frame.tail.to_vec())));
        }
        let (buffer, from) = self.reader.prepare();
        self.receiving = true;
        self.ring.receive_into(self.socket, buffer, from);
        Ok(None)
    }

    /// Waits until something has happened, also to a file.
    pub(super) async fn turn(&mut self) -> anyhow::Result<()> {
        for event in next_events(&self.ring).await {
            match event {
                Event::Sent { .. } => self.sending = false,
                Event::ReceivedInto { buffer, filled, .. } => {
                    self.receiving = false;
                    self.reader.filled(buffer, filled);
                }
                Event::SendFailed { error, .. } => return Err(error).context("sending"),
                Event::Ended { error: Some(error), .. } => return Err(error).context("receiving"),
                Event::Ended { .. } => bail!("the other end closed the connection"),
                _ => {}
            }
        }
        Ok(())
    }
}
