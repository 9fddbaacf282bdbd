//! Doors to the decoders of the data directory's small files, for the fuzzer.

use std::path::Path;

use super::identity::Identity;
use super::record;

/// `node.toml` as it is written again after it was read; `None`: it was refused.
pub fn identity_again(text: &str) -> Option<String> {
    Identity::parse(text, Path::new("node.toml")).ok().map(|identity| identity.to_text())
}

/// The file of the forming record as it is written again after it was read; `None`: it was refused.
pub fn record_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let (cluster, record) = record::decode_record(bytes, Path::new("cluster")).ok()?;
    Some(record::encode_record(cluster, &record))
}

/// The file of the boot number as it is written again after it was read; `None`: it was refused.
pub fn boot_again(bytes: &[u8]) -> Option<String> {
    record::decode_boot(bytes, Path::new("boot")).ok().map(record::encode_boot)
}
