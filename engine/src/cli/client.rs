//! A plain blocking RESP client: one question, one answer, or many of each. For `status`, for finding out who owns what, and
//! for backups.

use crate::cli::resp::{self, Reply};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke, or the time ran out. Whether the command took effect is not known.
    #[error("{address}: {error}")]
    Link {
        /// Who was asked.
        address: SocketAddr,
        /// What the socket said.
        error: io::Error,
    },
    /// The server answered with an error; the text is the server's.
    #[error("{0}")]
    Refused(String),
    /// The server's answer makes no sense.
    #[error("{address}: {what}")]
    Nonsense {
        /// Who was asked.
        address: SocketAddr,
        /// What is wrong with the answer.
        what: String,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: TcpStream,
    timeout: Duration,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects within `timeout`, which is also the limit of every later question.
    ///
    /// # Errors
    /// [`ClientError::Link`]
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Client, ClientError> {
        let link = |error| ClientError::Link { address, error };
        let stream = TcpStream::connect_timeout(&address, timeout).map_err(link)?;
        stream.set_nodelay(true).map_err(link)?;
        stream.set_write_timeout(Some(timeout)).map_err(link)?;
        Ok(Client { address, stream, timeout, buffer: Vec::new() })
    }

    /// From now on a question may take `timeout`: for one who would rather know soon that nobody is there.
    ///
    /// # Errors
    /// [`ClientError::Link`]
    pub fn be_patient(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let address = self.address;
        self.timeout = timeout;
        self.stream.set_write_timeout(Some(timeout)).map_err(|error| ClientError::Link { address, error })
    }

    /// Sends one command and hands its reply to `read`. After an error other than [`ClientError::Refused`]
    /// the connection is of no more use.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn ask<T>(
        &mut self,
        command: &[&[u8]],
        read: impl FnOnce(Reply<'_>) -> Result<T, String>,
    ) -> Result<T, ClientError> {
        let address = self.address;
        let link = |error| ClientError::Link { address, error };
        let mut request = Vec::new();
        resp::encode(&mut request, command);
        self.stream.write_all(&request).map_err(link)?;
        self.buffer.clear();
        let deadline = Instant::now() + self.timeout;
        loop {
            match resp::decode(&self.buffer) {
                Ok(Some((Reply::Error(text), _))) => {
                    return Err(ClientError::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                Ok(Some((reply, _))) => {
                    return read(reply).map_err(|what| ClientError::Nonsense { address, what });
                }
                Err(bad) => return Err(ClientError::Nonsense { address, what: bad.to_string() }),
                Ok(None) => self.receive(deadline).map_err(link)?,
            }
        }
    }

    /// Sends commands that are encoded already. Their replies are to be taken with [`Client::replies`] before anything else
    /// is asked.
    ///
    /// # Errors
    /// [`ClientError::Link`]: how many of them arrived is not known.
    pub fn send(&mut self, requests: &[u8]) -> Result<(), ClientError> {
        let address = self.address;
        self.buffer.clear();
        self.stream.write_all(requests).map_err(|error| ClientError::Link { address, error })
    }

    /// Hands the next `count` replies to `take`, in order, errors of the server too, each with its place among them.
    ///
    /// # Errors
    /// [`ClientError::Link`] and [`ClientError::Nonsense`]: nothing is known of those that were not handed out.
    pub fn replies(
        &mut self,
        count: usize,
        mut take: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), ClientError> {
        let address = self.address;
        let deadline = Instant::now() + self.timeout;
        let (mut taken, mut used) = (0, 0);
        while taken < count {
            match resp::decode(&self.buffer[used..]) {
                Ok(Some((reply, consumed))) => {
                    take(taken, reply);
                    (taken, used) = (taken + 1, used + consumed);
                }
                Err(bad) => return Err(ClientError::Nonsense { address, what: bad.to_string() }),
                Ok(None) => {
                    self.buffer.drain(..used);
                    used = 0;
                    self.receive(deadline).map_err(|error| ClientError::Link { address, error })?;
                }
            }
        }
        self.buffer.drain(..used);
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(received) => {
                self.buffer.extend_from_slice(&chunk[..received]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            }
            Err(error) => Err(error),
        }
    }
}
