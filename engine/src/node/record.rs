//! The small files beside `node.toml`: the forming record and the boot number.

use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::durable;
use super::error::DataDirError;
use super::identity::ClusterId;

/// The forming record's file.
pub(super) const RECORD_FILE_NAME: &str = "cluster";
/// Says that the cluster has removed the node, and why.
pub(super) const REMOVED_FILE_NAME: &str = "removed";
pub(super) const REMOVED_BYTES_MAX: u64 = 4096;
/// The boot number's file.
pub(super) const BOOT_FILE_NAME: &str = "boot";
/// The longest forming record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"RINGFORM";
const VERSION: u32 = 0;
const BOOT_BYTES_MAX: u64 = 64;

/// In front of the record, little-endian; the checksum covers all that follows it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    checksum: u32,
    version: u32,
    cluster: [u8; 16],
    record_bytes: u64,
}

const HEADER_BYTES: usize = size_of::<Header>();
const CHECKSUM_END: usize = std::mem::offset_of!(Header, version);
const _: () = assert!(HEADER_BYTES == 40 && CHECKSUM_END == 12);

pub(super) fn write_record(dir: &Path, cluster: ClusterId, record: &[u8]) -> Result<(), DataDirError> {
    durable::replace(dir, RECORD_FILE_NAME, &encode_record(cluster, record))
}

pub(super) fn encode_record(cluster: ClusterId, record: &[u8]) -> Vec<u8> {
    let record_bytes = record.len() as u64;
    let header = Header { magic: MAGIC, version: VERSION, checksum: 0, cluster: cluster.0, record_bytes };
    let mut content = [bytemuck::bytes_of(&header), record].concat();
    let checksum = crc32fast::hash(&content[CHECKSUM_END..]);
    content[CHECKSUM_END - 4..CHECKSUM_END].copy_from_slice(&checksum.to_le_bytes());
    content
}

pub(super) fn read_record(dir: &Path) -> Result<Option<(ClusterId, Vec<u8>)>, DataDirError> {
    let bytes_max = (HEADER_BYTES + RECORD_BYTES_MAX) as u64;
    let Some(bytes) = durable::read(dir, RECORD_FILE_NAME, bytes_max)? else { return Ok(None) };
    decode_record(&bytes, &dir.join(RECORD_FILE_NAME)).map(Some)
}

/// The record in its file's bytes; `path` is for the errors.
pub(super) fn decode_record(bytes: &[u8], path: &Path) -> Result<(ClusterId, Vec<u8>), DataDirError> {
    let damaged = |problem| DataDirError::damaged(path, problem);
    let (head, record) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(|| damaged("it is cut off"))?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    if header.magic != MAGIC {
        return Err(damaged("its magic is wrong: not a forming record"));
    }
    if header.checksum != crc32fast::hash(&bytes[CHECKSUM_END..])
        || header.record_bytes != record.len() as u64
    {
        return Err(damaged("its checksum does not match"));
    }
    if header.version > VERSION {
        let path = path.to_path_buf();
        return Err(DataDirError::NewerFormat { path, found: header.version, known: VERSION });
    }
    Ok((ClusterId(header.cluster), record.to_vec()))
}

/// The number of the newest start: `17 5a3bc0de`, the checksum of the digits behind them.
pub(super) fn write_boot(dir: &Path, boot: u64) -> Result<(), DataDirError> {
    durable::replace(dir, BOOT_FILE_NAME, encode_boot(boot).as_bytes())
}

pub(super) fn encode_boot(boot: u64) -> String {
    let checksum = crc32fast::hash(boot.to_string().as_bytes());
    format!("{boot} {checksum:08x}\n")
}

pub(super) fn read_boot(dir: &Path) -> Result<u64, DataDirError> {
    let path = dir.join(BOOT_FILE_NAME);
    let Some(bytes) = durable::read(dir, BOOT_FILE_NAME, BOOT_BYTES_MAX)? else {
        return Err(DataDirError::Missing { path });
    };
    decode_boot(&bytes, &path)
}

/// The number in its file's bytes; `path` is for the errors.
pub(super) fn decode_boot(bytes: &[u8], path: &Path) -> Result<u64, DataDirError> {
    let damaged = || DataDirError::damaged(path, "it is not a boot number with its checksum");
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let (digits, checksum) =
        text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or_else(damaged)?;
    if checksum != format!("{:08x}", crc32fast::hash(digits.as_bytes())) {
        return Err(damaged());
    }
    digits.parse().map_err(|_| damaged())
}
