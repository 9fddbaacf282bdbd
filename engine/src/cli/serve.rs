//! `ringraft serve`: runs one node through the library's public API.

use crate::cli::ready::Ready;
use crate::cli::settings::{Redirect, ServeArgs, Settings};
use crate::cli::signals::Ending;
use crate::cli::{Exit, ExitContext, Failure, logging, output};
use crate::{Builder, Engine, StartError};

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
    let ending = Ending::new(args.until_stdin_closes).map_err(Failure::failed)?;
    runtime::end_on_sigbus(Exit::FatalIo as i32).map_err(Failure::failed)?;
    runtime::raise_descriptor_limit();
    let engine = start(args, &settings)?;
    output::print(ready_line(&settings, &engine)?)?;
    ending.wait().map_err(Failure::failed)?;
    tracing::info!("stopping: handing leaderships over");
    engine.shutdown().map_err(Failure::failed)
}

fn start(args: &ServeArgs, settings: &Settings) -> Result<Engine, Failure> {
    let mut builder = Engine::builder(settings.node, &settings.data).deadline(settings.deadline);
    builder = sized(args, builder);
    builder = builder.lease_reads(settings.lease_reads).scrub_every(settings.scrub_every);
    builder = builder.snapshot_after_bytes(u64::from(settings.snapshot_after_mib) << 20);
    builder = builder.save_bytes_per_second(u64::from(settings.save_mib_per_second) << 20);
    builder = builder.state_bytes_max(u64::from(settings.state_memory_mib) << 20);
    builder = builder.checked_at_start_bytes(u64::from(settings.check_at_start_mib) << 20);
    if let Some(mib) = settings.mapped_memory_mib {
        builder = builder.mapped_bytes_max(u64::from(mib) << 20);
    }
    for member in &settings.cluster {
        let address = member
            .address
            .resolve()
            .map_err(|error| Failure::usage(format!("cluster: {}: {error}", member.address)))?;
        builder = builder.peer(member.node, address);
    }
    let client = settings
        .client
        .resolve()
        .map_err(|error| Failure::usage(format!("client: {}: {error}", settings.client)))?;
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
        logging::flush();
        std::process::exit(fatal.exit_code());
    });
    builder.start_kv().map_err(|error| Failure::new(exit_code(&error), error))
}

/// The sizes that tests choose.
fn sized(args: &ServeArgs, mut builder: Builder) -> Builder {
    if let Some(bytes) = args.segment_bytes {
        builder = builder.segment_bytes(bytes);
    }
    if let Some(bytes) = args.log_bytes_max {
        builder = builder.log_bytes_max(bytes);
    }
    builder
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
