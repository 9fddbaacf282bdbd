//! `ringraft serve`: runs one node.

use crate::cli::settings::{ServeArgs, Settings};
use crate::cli::{Exit, ExitContext, Failure, output};

/// Resolves the settings and runs the node until it is told to end.
///
/// # Errors
/// [`Exit::Usage`] before anything is touched; later whatever ended the node.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let (settings, layers) = Settings::load(args).exit(Exit::Usage)?;
    if args.print_config {
        return output::print(layers.to_string().trim_end());
    }
    start(&settings, args.until_stdin_closes)
}

/// Runs the engine; prints the [`Ready`](crate::cli::ready::Ready) line once bound and recovered.
fn start(settings: &Settings, _until_stdin_closes: bool) -> Result<(), Failure> {
    Err(Failure::failed(format!("node {} cannot start: this build has no engine", settings.node)))
}
