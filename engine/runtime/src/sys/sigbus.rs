//! A mapped file that cannot be read.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// What the process ends with.
static CODE: AtomicI32 = AtomicI32::new(0);

const SAYS: &[u8] =
    b"ringraft: fatal: a mapped file cannot be read, or was cut short (SIGBUS); the next start says which\n";

/// From now on a page of a mapped file that cannot be read, or is not there any more, ends the process with exit code `code`
/// and a line on standard error, where it would die of SIGBUS. For programs that own their process: it concerns all of it.
///
/// # Errors
/// The system refuses the handler.
pub fn end_on_sigbus(code: i32) -> io::Result<()> {
    CODE.store(code, Ordering::Relaxed);
    // SAFETY: all zeros is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // The standard library gives its threads a second stack, should the fault be on the first.
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: both structures live over the call, and `end` calls only what a signal handler may.
    let refused = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: write and _exit are async-signal-safe, and the bytes are static.
    unsafe {
        // Nothing could be done if nobody took the line.
        let _written = libc::write(libc::STDERR_FILENO, SAYS.as_ptr().cast(), SAYS.len());
        libc::_exit(CODE.load(Ordering::Relaxed));
    }
}
