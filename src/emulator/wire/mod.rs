//! How calls arrive and leave: routes, bodies, compression, TCP, TLS and the in-process transport.

pub mod body;
pub mod compress;
pub mod exchange;
pub mod in_process;
pub mod multipart;
pub mod reply;
pub mod routes;
pub mod server;
pub mod tls;
