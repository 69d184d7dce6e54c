//! Maps network failures to errors with a hint. This is the only place that converts reqwest
//! errors.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;

use super::proxy::{Proxy, ProxyConfig};
use super::{Failure, SendCheckFailed};
use crate::error::{Error, Kind, without_os_number};
use crate::secret::SecretUrl;

/// The host of a request and the proxy to it, for error messages.
pub struct RequestRoute {
    url: SecretUrl,
    /// None if the request uses no proxy, whatever the settings say.
    proxies: Option<Arc<ProxyConfig>>,
}

const PROXY_UNREACHABLE_HINT: &str =
    "check the proxy's address (proxy=, HTTPS_PROXY), or bypass it: NO_PROXY, proxy=False";
const PROXY_AUTH_HINT: &str = "give them as http://user:password@host:port in proxy= or \
    HTTPS_PROXY, with special characters percent-encoded; a proxy without Basic authentication \
    (NTLM, Kerberos) needs a local relay";
const PROXY_DENIED_HINT: &str = "ask the administrators of the proxy to allow this host: the API, \
    the login host and the host of results (*.blob.core.windows.net) are all needed";
// Some proxies answer wrong credentials with a status other than 407.
const PROXY_DENIED_OR_AUTH_HINT: &str = "check the user and password for the proxy, or ask its \
    administrators to allow this host: the API, the login host and the host of results \
    (*.blob.core.windows.net) are all needed";
const TLS_INTERCEPTION_HINT: &str = "if a proxy or firewall inspects TLS here, give its CA as a \
    PEM file in ca_bundle, REQUESTS_CA_BUNDLE or SSL_CERT_FILE";

impl RequestRoute {
    /// Creates the route of a request to `url`, through the proxy that `proxies` have for it.
    pub fn new(url: SecretUrl, proxies: Option<Arc<ProxyConfig>>) -> Self {
        Self { url, proxies }
    }

    fn host(&self) -> &str {
        self.url.host()
    }

    // Determined when an error needs it: most requests succeed.
    fn proxy(&self) -> Option<Proxy> {
        self.proxies.as_ref()?.proxy_for(self.url.expose())
    }

    /// Returns the failure of a request that took longer than `after`. `what` says what failed.
    pub fn timed_out(&self, what: &str, after: Duration) -> Failure {
        let message =
            format!("{} {what} within {} s{}", self.host(), after.as_secs_f64(), self.via_proxy());
        Failure {
            sent: true,
            error: Error::new(Kind::ConnectionFailed, message).with_hint("see request_timeout"),
        }
    }

    /// Returns the failure of a 407, which comes from the proxy: it did not forward the request.
    pub fn proxy_auth_failure(&self) -> Option<Failure> {
        let proxy = self.proxy()?;
        let message = if proxy.has_credentials {
            format!("the proxy {} refused the user and password", proxy.address)
        } else {
            format!("the proxy {} requires a user and a password", proxy.address)
        };
        // Not retryable: repeated attempts may lock the account.
        let error = Error::new(
            Kind::ConnectionFailed,
            format!("{message}; {} was not reached", self.host()),
        );
        Some(Failure { sent: false, error: error.with_hint(PROXY_AUTH_HINT).not_retryable() })
    }

    /// Converts an error of reqwest.
    pub fn to_failure(&self, error: reqwest::Error) -> Failure {
        // The URL may be a result link, which is a secret.
        let error = error.without_url();
        if error_chain(&error).any(is_send_check) {
            return Failure::check_failed();
        }
        // Without a connection no byte was sent: the pipeline may repeat even a submit.
        if !error.is_connect() {
            return Failure { sent: true, error: self.exchange_error(&error) };
        }
        // A 407 to a CONNECT is an error of the connection, not a response.
        let tunnel = tunnel_error(&error);
        if tunnel.as_deref() == Some("proxy authorization required")
            && let Some(failure) = self.proxy_auth_failure()
        {
            return failure;
        }
        let error = match (tls_error(&error), &self.proxy()) {
            (Some(tls), _) => self.handshake_error(tls),
            (None, Some(proxy)) => self.proxy_error(proxy, tunnel.as_deref(), &error),
            (None, None) => self.connect_error(&error),
        };
        Failure { sent: false, error }
    }

    fn via_proxy(&self) -> String {
        self.proxy()
            .map(|proxy| format!(" (through the proxy {})", proxy.address))
            .unwrap_or_default()
    }

    fn connection_error(&self, what: &str, cause: &str, hint: &str) -> Error {
        let mut message = format!("{} {what}{}", self.host(), self.via_proxy());
        if !cause.is_empty() {
            message = format!("{message}: {cause}");
        }
        Error::new(Kind::ConnectionFailed, message).with_hint(hint)
    }

    /// Returns the error of a failure on an open connection.
    fn exchange_error(&self, error: &reqwest::Error) -> Error {
        let cause = root_cause(error);
        // reqwest calls every failure of a body a decode error, even a broken connection.
        if error.is_decode() && has_io_kind(error, io::ErrorKind::InvalidData) {
            let message = format!(
                "{} sent a body that cannot be decompressed{}: {cause}",
                self.host(),
                self.via_proxy()
            );
            let hint = "try again; a proxy may be damaging the responses";
            return Error::new(Kind::Service, message).with_hint(hint);
        }
        if error.is_timeout() {
            let hint = "see request_timeout; the service may still have executed the request";
            return self.connection_error("did not answer in time", &cause, hint);
        }
        let hint = "repeat the request if that is harmless";
        self.connection_error("closed the connection", &cause, hint)
    }

    fn connect_error(&self, error: &reqwest::Error) -> Error {
        let mut cause = root_cause(error);
        let (what, hint) = if error.is_timeout() {
            (
                "could not be connected to in time",
                "see connect_timeout; is a proxy needed (HTTPS_PROXY)?",
            )
        } else if error.is_dns() {
            (
                "could not be found in DNS",
                "check the endpoint's name and this machine's resolver, or set a proxy",
            )
        } else if has_io_kind(error, io::ErrorKind::ConnectionRefused) {
            cause.clear(); // It says the same.
            (
                "refused the connection",
                "check host and port, and that no firewall blocks the connection; or set a proxy",
            )
        } else {
            (
                "could not be connected to",
                "check that the host is reachable from here, or set a proxy (HTTPS_PROXY)",
            )
        };
        self.connection_error(what, &cause, hint)
    }

    /// Returns the error of a proxy that cannot be reached, or that cannot reach the host.
    fn proxy_error(&self, proxy: &Proxy, tunnel: Option<&str>, error: &reqwest::Error) -> Error {
        let (address, cause) = (&proxy.address, root_cause(error));
        let (message, hint) = if error.is_timeout() {
            (
                format!(
                    "{} could not be connected to in time through the proxy {address}",
                    self.host()
                ),
                PROXY_UNREACHABLE_HINT,
            )
        } else if tunnel == Some("unsuccessful") {
            let hint =
                if proxy.has_credentials { PROXY_DENIED_OR_AUTH_HINT } else { PROXY_DENIED_HINT };
            (format!("the proxy {address} refused to connect to {}", self.host()), hint)
        } else if error.is_dns() {
            (
                format!("the proxy {address} could not be found in DNS: {cause}"),
                PROXY_UNREACHABLE_HINT,
            )
        } else if has_io_kind(error, io::ErrorKind::ConnectionRefused) {
            (format!("the proxy {address} refused the connection"), PROXY_UNREACHABLE_HINT)
        } else {
            (
                format!(
                    "{} could not be connected to through the proxy {address}: {cause}",
                    self.host()
                ),
                PROXY_UNREACHABLE_HINT,
            )
        };
        Error::new(Kind::ConnectionFailed, message).with_hint(hint)
    }

    fn handshake_error(&self, tls: &rustls::Error) -> Error {
        let wrong_name = |error: &CertificateError| {
            matches!(
                error,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        };
        let hint = match tls {
            rustls::Error::InvalidCertificate(error) if wrong_name(error) => {
                "the certificate is for another host: check the address; a proxy's sign-in page \
                 may be answering"
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => {
                "check the clock of this machine; if it is right, the host or proxy has to renew \
                 its certificate"
            }
            rustls::Error::InvalidCertificate(_) => TLS_INTERCEPTION_HINT,
            rustls::Error::InvalidMessage(_) => {
                "check the port: the server there does not seem to use TLS"
            }
            _ => "check the host and any proxy: TLS 1.2 or 1.3 is required",
        };
        let error = self.connection_error("failed the TLS handshake", &tls.to_string(), hint);
        // The next attempt would get the same certificate.
        if matches!(tls, rustls::Error::InvalidCertificate(_)) {
            error.not_retryable()
        } else {
            error
        }
    }
}

fn error_chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| (*error).source())
}

/// Returns the innermost cause. It explains more than the message of reqwest.
pub fn root_cause(error: &reqwest::Error) -> String {
    let cause = error_chain(error).last().map(ToString::to_string).unwrap_or_default();
    without_os_number(&cause).to_owned()
}

fn is_send_check(error: &(dyn StdError + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<SendCheckFailed>() || inner.is_some_and(|inner| inner.is::<SendCheckFailed>())
}

/// Returns the reason why a CONNECT failed.
fn tunnel_error(error: &reqwest::Error) -> Option<String> {
    // By its text: the error type of hyper-util is private.
    error_chain(error)
        .find_map(|error| Some(error.to_string().strip_prefix("tunnel error: ")?.to_owned()))
}

fn has_io_kind(error: &reqwest::Error, kind: io::ErrorKind) -> bool {
    error_chain(error)
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
}

// The rustls error may be wrapped in several io errors, whose `source` skips the wrapped error.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    fn downcast_rustls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
        let wrapped = || downcast_rustls(error.downcast_ref::<io::Error>()?.get_ref()?);
        error.downcast_ref().or_else(wrapped)
    }
    error_chain(error).find_map(downcast_rustls)
}
