//! Checks.
/// All checks.
#[derive(Default)]
pub struct Checks;
