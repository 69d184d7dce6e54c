//! Translates errors of the Redis client.

use std::error::Error as _;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::Error;
use crate::state::store_error::{unavailable_error, unusable_error};

const PERMISSIONS_HINT: &str = "allow the user EVALSHA, EVAL, SCRIPT LOAD, INFO and TIME, \
                                and to read and write the keys mlr:*";
const CERTIFICATE_HINT: &str = "set ca_bundle, REQUESTS_CA_BUNDLE or SSL_CERT_FILE to a PEM file \
                                with the CA of the server; the certificate must name the host of \
                                the address";

/// Translates an error of Redis. The messages of the client never contain the password.
pub fn to_error(address: &str, error: &RedisError) -> Error {
    if let Some(error) = handshake_error(address, error) {
        return error;
    }
    let is_transient = matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Server(
                // These pass: a server that loads its data, or a failover that is not complete.
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
            )
    );
    if is_transient || error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        let message = format!("the state store {address} can't be reached: {error}");
        return unavailable_error(
            message,
            "check that Redis runs and is reachable from here, and that the port speaks TLS if the \
             address starts with rediss://; nothing was sent to the service",
        );
    }
    let message = format!("the state store {address} returned an error: {error}");
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => unusable_error(
            message,
            "put user and password into the address: redis://user:password@host:6379/0",
        ),
        (_, Some("OOM")) => {
            unavailable_error(message, "give Redis more memory, or prune the store")
        }
        (_, Some("NOPERM")) => unusable_error(message, PERMISSIONS_HINT),
        // Redis 7.0 has no error code for a command that a script may not call.
        _ if message.contains("The user executing the script") => {
            unusable_error(message, PERMISSIONS_HINT)
        }
        _ => unusable_error(
            message,
            "use a separate Redis 7 or Valkey server for the state store, or a separate database",
        ),
    }
}

/// Returns the error of a failed TLS handshake. It is not retryable.
pub fn handshake_error(address: &str, error: &RedisError) -> Option<Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let io = shared.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    let hint = match tls {
        rustls::Error::InvalidCertificate(_) => CERTIFICATE_HINT,
        _ => "check that the port speaks TLS; without TLS the address starts with redis://",
    };
    Some(unusable_error(
        format!(
            "the TLS handshake with the state store {address} failed: \
                                 {tls}"
        ),
        hint,
    ))
}
