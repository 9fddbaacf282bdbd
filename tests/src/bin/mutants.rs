//! Injects known bugs into the core, one after another, and fails if the simulation misses one:
//! `cargo run --release -p ringraft-tests --bin mutants`.
//!
//! Built without the feature `mutants`, as everything else is, it builds itself again with it, in a
//! target directory of its own, so that no other build ever holds a bug.

use std::process::ExitCode;

/// Thousands of lives with aligned buffers: the C library's heap grows by megabytes with each of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "mutants")]
fn main() -> ExitCode {
    injected::main()
}

#[cfg(not(feature = "mutants"))]
fn main() -> ExitCode {
    use std::process::Command;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let own = std::env::current_exe().expect("a running program has a file");
    let target = own.parent().and_then(|release| release.parent()).expect("it stands in target/release");
    let status = Command::new(cargo)
        .args(["run", "--release", "--quiet", "-p", "ringraft-tests", "--features", "mutants"])
        .args(["--bin", "mutants", "--target-dir"])
        .arg(target.join("mutants"))
        .arg("--")
        .args(std::env::args_os().skip(1))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs where it ran this");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "mutants")]
mod injected {
    use std::process::ExitCode;
    use std::time::Instant;

    use clap::Parser;
    use raft::mutant::{self, Mutant};
    use ringraft_tests::core_sim::mutants::{BUGS, Fate};
    use ringraft_tests::core_sim::run::{self, Failure, Plan};
    use ringraft_tests::node_sim;

    /// Known bugs, injected into the core and into whole nodes: the simulations must catch each.
    #[derive(Parser)]
    struct Options {
        /// Only mutants whose names contain this.
        name: Option<String>,
        /// Seeds of the core's simulation to live at most for each.
        #[arg(long, default_value_t = 8000)]
        seeds: u64,
        /// Seeds of the nodes' simulation to live at most for each: some bite once in several hundred.
        #[arg(long, default_value_t = 3000)]
        node_seeds: u64,
        /// Only those of whole nodes.
        #[arg(long)]
        nodes: bool,
    }

    /// The first life of a cluster that this bug spoils.
    fn first_spoilt(mutant: Option<&'static str>, count: u64) -> Option<Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let prepare = || runtime::probe::set_mutant(mutant);
        node_sim::run::seeds(0, count, threads, 1, prepare).failures.into_iter().next()
    }

    /// The nodes' mutants: how many were caught, and which were not.
    fn nodes(options: &Options) -> (u32, Vec<&'static str>) {
        let (mut caught, mut survivors) = (0, Vec::new());
        for (name, what) in node_sim::mutants::MUTANTS {
            if options.name.as_ref().is_some_and(|part| !name.contains(part)) {
                continue;
            }
            let failure = first_spoilt(Some(name), options.node_seeds);
            println!("{name}: {what}\n     {}", told(failure.as_ref()));
            if failure.is_some() { caught += 1 } else { survivors.push(*name) }
        }
        (caught, survivors)
    }

    fn named(name: &str) -> Mutant {
        let found = mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
        *found.unwrap_or_else(|| panic!("the table names the mutant {name}, which is none"))
    }

    /// The first life that this bug spoils, with the specification beside the core or without.
    fn first_failure(mutant: Option<Mutant>, count: u64, spec: bool) -> Option<Failure> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let plan = Plan { from: 0, count, threads, failures_max: 1, spec };
        run::seeds(plan, || mutant::set(mutant)).failures.into_iter().next()
    }

    fn told(failure: Option<&Failure>) -> String {
        failure.map_or("survives".to_string(), |failure| {
            format!("{} after {} seeds", failure.violation.check, failure.seed + 1)
        })
    }

    pub fn main() -> ExitCode {
        std::panic::set_hook(Box::new(|_| {}));
        let options = Options::parse();
        let started = Instant::now();
        let (mut caught, mut survivors) = nodes(&options);
        if !options.nodes {
            let (of_core, survived) = core(&options);
            caught += of_core;
            survivors.extend(survived);
        }
        println!("in {:.1} s", started.elapsed().as_secs_f64());
        survivors.iter().for_each(|name| println!("survived: {name}"));
        println!("{caught} caught, {} survived", survivors.len());
        if survivors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The core's mutants.
    fn core(options: &Options) -> (u32, Vec<&'static str>) {
        // What spoils a life without any mutant is no catch.
        if let Some(failure) = first_failure(None, options.seeds, true) {
            panic!("seed {} fails without any mutant: {:?}", failure.seed, failure.violation);
        }
        let (mut caught, mut survivors) = (0, Vec::new());
        for bug in BUGS {
            let names = match bug.fate {
                Fate::Injected(names) => names,
                Fate::Impossible(why) if options.name.is_none() => {
                    println!("{:>2} {}\n     cannot exist: {why}", bug.number, bug.what);
                    continue;
                }
                Fate::Impossible(_) => continue,
            };
            let wanted = |name: &&&str| options.name.as_ref().is_none_or(|part| name.contains(part));
            for name in names.iter().filter(wanted) {
                let mutant = Some(named(name));
                let with = first_failure(mutant, options.seeds, true);
                let without = first_failure(mutant, options.seeds, false);
                println!("{:>2} {}", bug.number, bug.what);
                println!(
                    "     {name}: {}; by the checks alone: {}",
                    told(with.as_ref()),
                    told(without.as_ref())
                );
                if with.is_some() { caught += 1 } else { survivors.push(*name) }
            }
        }
        let listed = |mutant: &Mutant| {
            let name = format!("{mutant:?}");
            BUGS.iter().any(|bug| matches!(bug.fate, Fate::Injected(names) if names.contains(&name.as_str())))
        };
        let forgotten: Vec<_> = mutant::ALL.iter().filter(|mutant| !listed(mutant)).collect();
        assert!(forgotten.is_empty(), "mutants in no row of the table: {forgotten:?}");
        (caught, survivors)
    }
}
