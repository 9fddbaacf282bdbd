//! The rules of the house that a compiler does not enforce.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 400;
/// The only test file that may sleep.
const SLEEPS: &str = "tests/src/poll.rs";
/// Where `unsafe` may stand.
const UNSAFE: [&str; 2] = ["engine/runtime/src/sys", "snapshot/src/mmap.rs"];
const RUNTIME: &str = "engine/runtime";
/// Crates that touch the system, a clock or threads: none of them below the pure Raft core.
const IMPURE: [&str; 12] = [
    "libc",
    "glommio",
    "io-uring",
    "rustix",
    "nix",
    "mio",
    "socket2",
    "tokio",
    "smol",
    "async-std",
    "getrandom",
    "ringraft-runtime",
];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("this package is a folder of the workspace").to_path_buf()
}

/// A source file: its path below the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Its code, without comments and, unless `tests`, without its unit tests.
    fn code(&self, tests: bool) -> impl Iterator<Item = &str> {
        let wanted = move |line: &&str| tests || !line.starts_with("#[cfg(test)]");
        self.text.lines().take_while(wanted).map(|line| line.split("//").next().unwrap_or_default())
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }
}

fn collect(dir: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in std::fs::read_dir(dir).expect("a folder of the workspace") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "golden" && !name.starts_with('.') {
                collect(&path, root, sources);
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let relative = path.strip_prefix(root).expect("it is below the root").to_string_lossy();
            let text = std::fs::read_to_string(&path).expect("sources are text");
            sources.push(Source { path: relative.into_owned(), text });
        }
    }
}

fn all_files() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root(), &root(), &mut sources);
    sources
}

fn sources() -> Vec<Source> {
    let mut sources = all_files();
    sources.retain(|source| source.path.ends_with(".rs"));
    assert!(sources.len() > 20, "the walk found the workspace");
    sources
}

/// Asserts that no code line has any of `words`, naming those that do.
fn assert_absent<'a>(sources: impl Iterator<Item = &'a Source>, words: &[&str], tests: bool) {
    let mut found = Vec::new();
    for source in sources {
        for (line, code) in source.code(tests).enumerate() {
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, line + 1, code.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{words:?} must not stand here:\n{}", found.join("\n"));
}

/// All packages that `package` is built from.
fn built_from(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--package", package, "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{lib} {p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs where it runs the tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names of packages");
    text.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_string).collect()
}

#[test]
fn the_raft_core_is_built_from_no_runtime_and_no_libc() {
    let packages = built_from("ringraft-raft");
    assert!(packages.contains("ringraft-raft"), "{packages:?}");
    let impure: Vec<&str> = IMPURE.into_iter().filter(|name| packages.contains(*name)).collect();
    assert!(impure.is_empty(), "the raft core depends on {impure:?}");
}

#[test]
fn only_the_runtime_names_glommio_and_the_ring() {
    let outside: Vec<Source> = all_files()
        .into_iter()
        .filter(|file| !file.path.starts_with(RUNTIME) && file.path != "Cargo.toml")
        .collect();
    // Written in two parts, or this file would name them.
    let words = [concat!("glom", "mio::"), concat!("io_", "uring::"), concat!("glom", "mio.workspace")];
    assert_absent(outside.iter(), &words, true);
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source.text.lines().count(), &source.path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn every_test_runs_and_none_waits_by_sleeping() {
    let sources = sources();
    assert_absent(sources.iter(), &[concat!("#[ign", "ore")], true);
    let sleep = [concat!("thread::", "sleep"), concat!("sleep", "(Duration")];
    let tests = sources.iter().filter(|source| source.is_test() && source.path != SLEEPS);
    assert_absent(tests, &sleep, true);
    // In the other files everything after the first `#[cfg(test)]` is a test.
    for source in sources.iter().filter(|source| !source.is_test()) {
        let count =
            |tests| source.code(tests).filter(|code| sleep.iter().any(|word| code.contains(word))).count();
        assert_eq!(count(true), count(false), "a test in {} sleeps", source.path);
    }
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let sources = sources();
    let elsewhere =
        sources.iter().filter(|source| !UNSAFE.iter().any(|allowed| source.path.starts_with(allowed)));
    let words = [
        concat!("uns", "afe {"),
        concat!("uns", "afe fn"),
        concat!("uns", "afe impl"),
        concat!("uns", "afe trait"),
    ];
    assert_absent(elsewhere, &words, true);
}

/// `file.rs::function`, as the documentation names what checks something.
#[test]
fn what_the_documentation_says_to_check_something_exists() {
    let sources = sources();
    let text = std::fs::read_to_string(root().join("docs/TESTING.md")).expect("it is there");
    let named: Vec<(&str, &str)> = text.split('`').filter_map(|code| code.split_once(".rs::")).collect();
    assert!(named.len() > 30, "{} are named", named.len());
    for (file, item) in named {
        let file = format!("/{file}.rs");
        let name = item.rsplit("::").next().expect("at least one");
        let declared = format!("fn {name}(");
        let exists = |source: &Source| format!("/{}", source.path).ends_with(&file);
        let found =
            sources.iter().filter(|source| exists(source)).any(|source| source.text.contains(&declared));
        assert!(found, "{file} has no {name}");
    }
}
