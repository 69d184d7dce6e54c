//! How requests arrive and responses leave: routes, bodies, compression, TCP and the
//! in-process transport.

pub mod addresses;
pub mod body;
pub mod compress;
pub mod cors;
pub mod dispatch;
pub mod exchange;
pub mod http_connection;
pub mod in_process;
pub mod injection;
pub mod not_emulated;
pub mod reply;
pub mod request;
pub mod routes;
pub mod serve;
pub mod server;
pub mod server_settings;
pub mod wrong_entity;
