//! What the tenant has: machines, library files, and the calls that list them.

pub mod library;
pub mod library_calls;
pub mod lists;
pub mod machine;
pub mod machine_entity;
pub mod machine_properties;
pub mod remote_files;
pub mod upload_form;
