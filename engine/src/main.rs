//! The `ringraft` binary: a global allocator and the command line of [`ringraft::cli`].

use std::process::ExitCode;

/// Replies and requests are freed on other threads than they were made on; mimalloc is good at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringraft::cli::main()
}
