//! The login host: the token endpoint, client assertions, issued tokens and their permissions.

pub mod audiences;
pub mod client_assertion;
pub mod endpoints;
pub mod hosts;
pub mod person;
pub mod sign_ins;
pub mod token_endpoint;
pub mod tokens;
