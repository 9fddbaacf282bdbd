//! Runs the fuzzer: `ringraft-fuzz run --seconds 10`, or one target, or one input again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use ringraft_fuzz::campaign::{Finding, Fuzzer, Outcome, compile_if_asked};
use ringraft_fuzz::{TARGETS, Target};

/// Fuzzes every decoder of ringraft.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs targets for some time each; ends with exit code 1 when something is wrong
    Run {
        /// How long each
        #[arg(long, default_value_t = 10)]
        seconds: u32,
        /// How many at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Makes what was found the kept corpora
        #[arg(long)]
        keep: bool,
        /// Which; all if none is named
        targets: Vec<String>,
    },
    /// Runs one input again
    Replay {
        /// Which target
        target: String,
        /// The input's file
        input: PathBuf,
    },
    /// Names all targets
    List,
}

fn main() -> Result<ExitCode> {
    if let Some(code) = compile_if_asked()? {
        return Ok(ExitCode::from(code));
    }
    match Arguments::parse().what {
        What::Run { seconds, jobs, keep, targets } => run(seconds, jobs, keep, &targets),
        What::Replay { target, input } => {
            let input = std::fs::read(&input).with_context(|| input.display().to_string())?;
            named(&target)?.check(&input);
            println!("nothing is wrong with it");
            Ok(ExitCode::SUCCESS)
        }
        What::List => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn named(name: &str) -> Result<&'static Target> {
    Target::named(name).with_context(|| format!("there is no target {name}: see `ringraft-fuzz list`"))
}

fn run(seconds: u32, jobs: usize, keep: bool, names: &[String]) -> Result<ExitCode> {
    let mut targets: Vec<&'static Target> = names.iter().map(|name| named(name)).collect::<Result<_>>()?;
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    let fuzzer = Fuzzer::build()?;
    let outcomes = fuzzer.run_all(&targets, seconds, keep, jobs, &tell)?;
    let wrong = outcomes.iter().filter(|outcome| outcome.finding.is_some()).count();
    let executions: u64 = outcomes.iter().map(|outcome| outcome.executions).sum();
    println!("{} targets, {executions} executions, {wrong} with findings", outcomes.len());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(outcome: &Outcome) {
    let Outcome { target, executions, coverage, finding } = outcome;
    println!("{target:<20} {executions:>12} executions {coverage:>6} edges");
    if let Some(Finding { input, said }) = finding {
        let bytes = std::fs::read(input).unwrap_or_default();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{target} FAILED:\n{said}\ninput: {hex}");
        println!("again: cargo run -p ringraft-fuzz -- replay {target} {}", input.display());
    }
}
