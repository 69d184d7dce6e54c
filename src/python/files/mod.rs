//! Files: the tenant's library, and the files that sessions collect.

pub mod arguments;
pub mod library;
pub mod sink;
pub mod stream;
