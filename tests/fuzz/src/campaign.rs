//! Builds the fuzzer and runs it: each target for some time, from copies of its corpus.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

use crate::Target;

/// What the compiler is told, so that libFuzzer sees which code an input reaches. Needs no nightly compiler.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Set for the compiler of the fuzzer's build; see [`compile_if_asked`].
const COMPILING: &str = "RINGRAFT_FUZZ_COMPILING";
/// An input that takes longer is a finding.
const SECONDS_PER_INPUT_MAX: u32 = 10;
/// The fuzzer's own memory.
const RESIDENT_MIB_MAX: u32 = 3072;
/// Bounds of one kept corpus.
pub const KEPT_FILES_MAX: usize = 50;
/// All of its files together.
pub const KEPT_BYTES_MAX: usize = 48 << 10;

/// What came of a target.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub target: &'static str,
    /// Inputs tried.
    pub executions: u64,
    /// Edges reached.
    pub coverage: u64,
    /// The input that shows what is wrong, if something is, and what the fuzzer said.
    pub finding: Option<Finding>,
}

/// Something is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The input, in a file that stays.
    pub input: PathBuf,
    /// The end of what the fuzzer said.
    pub said: String,
}

/// A built fuzzer.
#[derive(Clone, Debug)]
pub struct Fuzzer {
    binary: PathBuf,
    findings: PathBuf,
}

impl Fuzzer {
    /// Builds it in the folder `fuzz` of the target directory.
    ///
    /// # Errors
    /// It cannot be built: no C++ compiler, perhaps.
    pub fn build() -> Result<Fuzzer> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let target_dir =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target_dir = std::path::absolute(target_dir)?.join("fuzz");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--locked", "--quiet", "--profile", "fuzz"])
            .args(["--package", "ringraft-fuzz", "--features", "engine", "--bin", "fuzz-engine"])
            .env("CARGO_TARGET_DIR", &target_dir)
            .env("RUSTC_WORKSPACE_WRAPPER", std::env::current_exe()?)
            .env(COMPILING, "1")
            .current_dir(&root)
            .status()
            .context("cargo builds the fuzzer")?;
        ensure!(status.success(), "the fuzzer was not built");
        let findings = target_dir.join("findings");
        fs::create_dir_all(&findings)?;
        Ok(Fuzzer { binary: target_dir.join("fuzz/fuzz-engine"), findings })
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("RINGRAFT_FUZZ_TARGET", target.name)
            .env("RUST_BACKTRACE", "1")
            .arg(format!("-max_len={}", target.bytes_max))
            .arg(format!("-timeout={SECONDS_PER_INPUT_MAX}"))
            .arg(format!("-rss_limit_mb={RESIDENT_MIB_MAX}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Runs `target` for so many seconds, from the seeds and what is kept. With `keep`, what is kept afterwards is what
    /// reaches most.
    ///
    /// # Errors
    /// The fuzzer cannot be run. A finding is no error.
    pub fn run(&self, target: &'static Target, seconds: u32, keep: bool) -> Result<Outcome> {
        let scratch = tempfile::tempdir()?;
        let corpus = scratch.path().join("corpus");
        copy_corpus(target, &corpus)?;
        let said_path = scratch.path().join("said");
        let status = self
            .command(target)
            .arg(format!("-max_total_time={seconds}"))
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/{}-", self.findings.display(), target.name))
            .arg(&corpus)
            .stderr(fs::File::create(&said_path)?)
            .status()
            .context("the fuzzer runs")?;
        let said = String::from_utf8_lossy(&fs::read(&said_path)?).into_owned();
        let finding = if status.success() { None } else { Some(finding(&said)?) };
        if keep && finding.is_none() {
            self.keep(target, &corpus, scratch.path())?;
        }
        let executions = number_behind(&said, "stat::number_of_executed_units:");
        Ok(Outcome { target: target.name, executions, coverage: number_behind(&said, " cov: "), finding })
    }

    /// Replaces what is kept of `target` by as few inputs of `corpus` as reach the same.
    fn keep(&self, target: &Target, corpus: &Path, scratch: &Path) -> Result<()> {
        let merged = scratch.join("merged");
        fs::create_dir(&merged)?;
        let mut command = self.command(target);
        command.arg("-set_cover_merge=1").arg(&merged).arg(corpus).stderr(Stdio::null());
        ensure!(command.status()?.success(), "{}: its corpus cannot be made small", target.name);
        let mut files = Vec::new();
        for entry in fs::read_dir(&merged)? {
            let entry = entry?;
            files.push((entry.metadata()?.len(), entry.path()));
        }
        // If not all of them may stay, those do that reach most each.
        files.sort();
        files.reverse();
        let kept = target.corpus();
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        fs::create_dir_all(&kept)?;
        let mut bytes_left = KEPT_BYTES_MAX as u64;
        let mut files_left = KEPT_FILES_MAX;
        for (bytes, path) in files {
            if files_left == 0 || bytes > bytes_left {
                continue;
            }
            (files_left, bytes_left) = (files_left - 1, bytes_left - bytes);
            fs::copy(&path, kept.join(path.file_name().context("a file has a name")?))?;
        }
        Ok(())
    }

    /// Runs all of `targets`, as many at a time as `jobs`; `tell` hears of each when it is done.
    ///
    /// # Errors
    /// The fuzzer cannot be run, or `tell` wants no more.
    pub fn run_all(
        &self,
        targets: &[&'static Target],
        seconds: u32,
        keep: bool,
        jobs: usize,
        tell: &(impl Fn(&Outcome) + Sync),
    ) -> Result<Vec<Outcome>> {
        let (left, done) =
            (Mutex::new(targets.iter().rev().copied().collect::<Vec<_>>()), Mutex::new(Vec::new()));
        let next = || left.lock().ok()?.pop();
        let work = || -> Result<()> {
            while let Some(target) = next() {
                let outcome = self.run(target, seconds, keep)?;
                tell(&outcome);
                match done.lock() {
                    Ok(mut done) => done.push(outcome),
                    Err(_) => bail!("another job panicked"),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let jobs: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| bail!("a job panicked")))
        })?;
        done.into_inner().map_err(|_| anyhow::anyhow!("a job panicked"))
    }
}

/// This program is also the wrapper through which cargo calls the compiler for the packages of the workspace, and only
/// for them: so the fuzzer follows our code, and not that of dependencies, which it would only be slowed by. What the
/// compiler ended with, if that is what this process is for.
///
/// # Errors
/// The compiler cannot be called.
pub fn compile_if_asked() -> Result<Option<u8>> {
    if std::env::var_os(COMPILING).is_none() {
        return Ok(None);
    }
    let mut arguments = std::env::args_os().skip(1);
    let compiler = arguments.next().context("cargo names the compiler")?;
    let status =
        Command::new(compiler).args(arguments).args(COVERAGE).status().context("the compiler runs")?;
    Ok(Some(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn copy_corpus(target: &Target, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(to.join(format!("seed-{number}")), seed)?;
    }
    for (name, input) in target.kept()? {
        fs::write(to.join(name), input)?;
    }
    Ok(())
}

/// What libFuzzer says at its end: where it wrote the input, and what came before.
fn finding(said: &str) -> Result<Finding> {
    let lines: Vec<&str> = said.lines().collect();
    let path = said.lines().filter_map(|line| line.split_once("Test unit written to ")).next_back();
    let Some((_, path)) = path else { bail!("the fuzzer failed without a finding:\n{said}") };
    let start = lines.iter().position(|line| line.contains("panicked at") || line.contains("ERROR:"));
    let start = start.unwrap_or_else(|| lines.len().saturating_sub(20));
    let said = lines[start..].iter().take(60).fold(String::new(), |mut said, line| {
        let _infallible = writeln!(said, "{line}");
        said
    });
    Ok(Finding { input: PathBuf::from(path.trim()), said })
}

/// The number behind the last `words`; 0 if there is none.
fn number_behind(said: &str, words: &str) -> u64 {
    let behind = said.rsplit_once(words).map_or("", |(_, behind)| behind.trim_start());
    let digits = behind.find(|c: char| !c.is_ascii_digit()).map_or(behind, |end| &behind[..end]);
    digits.parse().unwrap_or(0)
}
