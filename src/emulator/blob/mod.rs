//! Results: links that expire and the blob host that serves them.

pub mod ranges;
pub mod results;
pub mod spooled_file;
