//! Results of commands: the signed links and the blob host that serves them.

pub mod host;
pub mod links;
pub mod ranges;
pub mod spooled_file;
pub mod store;
