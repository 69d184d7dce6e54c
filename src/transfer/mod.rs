//! File transfers: collected files from the service to disk, and library files to the service.

mod batch_reader;
mod blob;
mod download;
pub mod file_name;
mod origin;
mod payload;
mod target;
#[cfg(test)]
mod tests;
mod upload;

pub use blob::{Blob, BlobRange};
pub use download::{Download, save, save_bytes};
pub use origin::{Origin, is_markup};
pub use payload::DecompressLimits;
pub use target::{Sink, Target};
pub use upload::{LibraryUpload, check_size, encode_multipart, sha256_of};
