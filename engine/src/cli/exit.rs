//! How a command ends: the exit codes scripts may rely on, and the error that carries one.

use std::fmt::Display;
use std::process::ExitCode;

/// The exit codes other than 0. They are part of the command line's promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did not work, for a reason none of the others names.
    Failed = 1,
    /// The command line, the environment or a settings file is wrong. Nothing was touched.
    Usage = 2,
    /// Nobody answered, or the cluster cannot serve now.
    Unavailable = 3,
    /// Time ran out, or it is not known whether the operation took effect.
    Timeout = 4,
    /// Stored bytes are damaged.
    Corruption = 5,
    /// A disk failed in a way that must not be survived.
    FatalIo = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What standard error shows.
    pub error: anyhow::Error,
}

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }

    /// [`Exit::Failed`] with a message.
    pub fn failed(message: impl Display) -> Failure {
        Failure { exit: Exit::Failed, error: anyhow::anyhow!("{message}") }
    }

    /// [`Exit::Usage`] with a message.
    pub fn usage(message: impl Display) -> Failure {
        Failure { exit: Exit::Usage, error: anyhow::anyhow!("{message}") }
    }

    /// [`Exit::Unavailable`] with a message.
    pub fn unavailable(message: impl Display) -> Failure {
        Failure { exit: Exit::Unavailable, error: anyhow::anyhow!("{message}") }
    }

    /// [`Exit::Timeout`] with a message.
    pub fn timeout(message: impl Display) -> Failure {
        Failure { exit: Exit::Timeout, error: anyhow::anyhow!("{message}") }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure { exit: Exit::Failed, error }
    }
}

/// Gives any error an exit code.
pub trait ExitContext<T> {
    /// `Err(e)` becomes a [`Failure`] with this exit code.
    fn exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> ExitContext<T> for Result<T, E> {
    fn exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error))
    }
}
