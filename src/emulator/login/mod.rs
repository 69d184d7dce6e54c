//! The token endpoint, issued tokens and their roles.

pub mod client_assertion;
pub mod token_endpoint;
pub mod tokens;
