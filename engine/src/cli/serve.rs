//! `ringraft serve`: runs one node through the library's public API.

use std::io::Read;
use std::sync::mpsc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::ready::Ready;
use crate::cli::settings::{Redirect, ServeArgs, Settings};
use crate::cli::{Exit, ExitContext, Failure, output};
use crate::{Engine, StartError};

/// Runs one node until SIGTERM or SIGINT.
///
/// # Errors
/// Usage errors before anything is touched; [`Exit::Unavailable`] when the machine lacks something;
/// [`Exit::Corruption`] when acknowledged data is damaged; else [`Exit::Failed`].
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    let (settings, layers) = Settings::load(args).exit(Exit::Usage)?;
    if args.print_config {
        return output::print(layers.to_string().trim_end());
    }
    // Signals are caught before the first thread starts, so that none of them ends the process half-way.
    let stop = stop_requests(args.until_stdin_closes)?;
    let engine = start(&settings)?;
    output::print(ready_line(&settings, &engine)?)?;
    let _reason = stop.recv();
    tracing::info!("stopping: handing leaderships over");
    engine.shutdown().map_err(Failure::failed)
}

fn start(settings: &Settings) -> Result<Engine, Failure> {
    let mut builder = Engine::builder(settings.node, &settings.data).deadline(settings.deadline);
    for member in &settings.cluster {
        let address = member.address.resolve().map_err(|error| Failure::usage(format!("cluster: {}: {error}", member.address)))?;
        builder = builder.peer(member.node, address);
    }
    let client = settings.client.resolve().map_err(|error| Failure::usage(format!("client: {}: {error}", settings.client)))?;
    builder = builder.client(client).redirect(match settings.redirect {
        Redirect::Proxy => crate::Redirect::Proxy,
        Redirect::Moved => crate::Redirect::Moved,
    });
    if let Some(host) = &settings.advertise {
        builder = builder.advertise(host);
    }
    if let Some(shards) = settings.shards {
        builder = builder.shards(u16::try_from(shards).map_err(|_| Failure::usage("shards: at most 65535"))?);
    }
    if let Some(groups) = settings.groups {
        builder = builder.groups(groups);
    }
    let builder = builder.on_fatal(|fatal| {
        eprintln!("ringraft: fatal: {fatal}");
        std::process::exit(fatal.exit_code());
    });
    builder.start_kv().map_err(|error| Failure::new(exit_code(&error), error))
}

fn exit_code(error: &StartError) -> Exit {
    match error {
        StartError::Settings(_) | StartError::DataDir(_) => Exit::Usage,
        StartError::Host(_) | StartError::Bind { .. } => Exit::Unavailable,
        StartError::Recovery { corrupt: true, .. } => Exit::Corruption,
        StartError::Recovery { .. } => Exit::Failed,
    }
}

fn ready_line(settings: &Settings, engine: &Engine) -> Result<String, Failure> {
    let ready = Ready {
        node: settings.node,
        client: engine.client_address().ok_or_else(|| Failure::failed("no client address"))?,
        peer: engine.peer_address(),
        shards: u32::from(engine.shards()),
        groups: engine.groups(),
        pid: std::process::id(),
    };
    Ok(ready.to_string())
}

/// A channel that says something once the process should end: at SIGTERM, SIGINT, or (for launchers, whose
/// children must not outlive them) at the end of standard input.
fn stop_requests(until_stdin_closes: bool) -> Result<mpsc::Receiver<&'static str>, Failure> {
    let (stop, stopped) = mpsc::channel();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Failure::failed)?;
    let by_signal = stop.clone();
    thread::spawn(move || {
        for _signal in signals.forever() {
            if by_signal.send("signal").is_err() {
                return;
            }
        }
    });
    if until_stdin_closes {
        thread::spawn(move || {
            let mut sink = [0; 256];
            let mut stdin = std::io::stdin();
            while matches!(stdin.read(&mut sink), Ok(count) if count > 0) {}
            // The launcher is gone: nobody is left to hand anything over to.
            std::process::exit(0);
        });
    }
    Ok(stopped)
}
