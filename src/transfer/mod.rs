//! Bytes to and from the service: collected files to disk, library files up.

mod batch_reader;
mod blob;
mod download;
pub mod file_name;
mod payload;
mod target;
#[cfg(test)]
mod tests;
mod upload;

pub use blob::{Blob, BlobRange};
pub use download::{Download, save};
pub use payload::{DecompressLimits, sniff};
pub use target::{Sink, Target};
pub use upload::{LibraryUpload, check_size, encode_multipart, sha256_hex, sha256_of};

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
