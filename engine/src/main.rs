//! The ringraft binary.
fn main() {}
