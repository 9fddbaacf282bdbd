//! Being told to end: SIGINT, SIGTERM, and a standard input that closes.

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const ENDING: [i32; 2] = [SIGINT, SIGTERM];

/// A flag that the first SIGINT or SIGTERM raises. A second one ends the process as if nothing were registered.
///
/// # Errors
/// The system refuses signal handlers.
pub fn interrupted() -> io::Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        // In this order: the first signal finds the flag down, the second finds it raised.
        signal_hook::flag::register_conditional_default(signal, raised.clone())?;
        signal_hook::flag::register(signal, raised.clone())?;
    }
    Ok(raised)
}

/// What a server's main thread waits for.
#[derive(Debug)]
pub struct Ending {
    signals: Signals,
}

impl Ending {
    /// From now on SIGINT and SIGTERM are kept for [`Ending::wait`], and a file that reaches the limit of `ulimit -f` fails
    /// its write instead of killing the process without a word. With `until_stdin_closes` the end of
    /// standard input counts as SIGTERM: that is how a child dies with its parent, however the parent died.
    ///
    /// # Errors
    /// The system refuses signal handlers or a thread.
    pub fn new(until_stdin_closes: bool) -> io::Result<Ending> {
        let signals = Signals::new(ENDING)?;
        // Any handler will do: the write then fails with EFBIG, which names the file.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        if until_stdin_closes {
            std::thread::Builder::new().name("stdin".into()).spawn(|| {
                drain(io::stdin().lock());
                // Cannot fail: it is a signal this process handles, sent to itself.
                let _ = signal_hook::low_level::raise(SIGTERM);
            })?;
        }
        Ok(Ending { signals })
    }

    /// Blocks until the process is told to end. A second signal then ends it at once.
    ///
    /// # Errors
    /// The system refuses to restore the signals' defaults.
    pub fn wait(mut self) -> io::Result<()> {
        let signal = self.signals.forever().next();
        tracing::debug!("told to end by signal {signal:?}");
        for signal in ENDING {
            signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
        }
        Ok(())
    }
}

/// Reads to the end or to an error, which is an end too.
fn drain(mut input: impl Read) {
    let mut bytes = [0; 256];
    loop {
        match input.read(&mut bytes) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}
