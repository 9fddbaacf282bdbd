//! libFuzzer with all targets; the variable `RINGRAFT_FUZZ_TARGET` says which one it runs. Its arguments are libFuzzer's.
#![no_main]

use std::sync::OnceLock;

use ringraft_fuzz::Target;

/// Names the target.
const VARIABLE: &str = "RINGRAFT_FUZZ_TARGET";

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| panic!("{VARIABLE}={name} names no target"))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.get_or_init(target).check(data));
