//! Files: the tenant's library, and what commands collect.

pub mod library;
pub mod sink;
pub mod stream;
