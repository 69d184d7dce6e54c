//! What the tenant has: machines, library files, and the calls that list them.

pub mod library;
pub mod lists;
pub mod machine;
pub mod machine_properties;
pub mod remote_files;
pub mod upload;
