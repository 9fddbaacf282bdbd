//! The core stays pure: what it links against can do no I/O and read no clock, and its own code asks
//! for neither.

use std::path::Path;
use std::process::Command;

/// All packages the core is built from, itself included.
fn packages() -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["tree", "--offline", "--locked", "-p", "ringraft-raft", "-e", "normal,no-proc-macro"];
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_core_depends_on_no_runtime_and_no_system() {
    let packages = packages();
    assert!(packages.iter().any(|package| package == "ringraft-raft"), "{packages:?}");
    let impure =
        ["glommio", "io-uring", "libc", "rustix", "tokio", "mio", "rand", "getrandom", "fastrand", "log"];
    for package in &packages {
        assert!(!impure.contains(&package.as_str()), "the core depends on {package}");
        assert!(
            package == "ringraft-raft" || !package.starts_with("ringraft"),
            "{package} lies above the core"
        );
    }
}

#[test]
fn the_core_asks_for_no_clock_and_no_hash_map() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let banned = ["Instant", "SystemTime", "HashMap", "HashSet", "std::fs", "std::net", "std::thread"];
    let mut files = 0;
    for file in std::fs::read_dir(source).expect("sources") {
        let path = file.expect("a file").path();
        let is_test = path.file_stem().is_some_and(|name| name == "quorum_corpus");
        let text = std::fs::read_to_string(&path).expect("text");
        files += 1;
        for word in banned.iter().filter(|_| !is_test) {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
    assert!(files > 10);
}
