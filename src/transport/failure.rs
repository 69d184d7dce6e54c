//! Why an exchange failed, in words that say what to do; and the one place where a reqwest error is converted.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

use super::Failure;
use super::proxy::Proxy;
use crate::error::{Error, Kind};
use crate::secret::SecretUrl;

/// Whom a request was for, and the proxy that it went through.
pub struct Route {
    /// As an error names it.
    host: String,
    proxy: Option<Proxy>,
}

const PROXY_UNREACHABLE_HINT: &str =
    "check the proxy's address (proxy=, HTTPS_PROXY), or go around it: NO_PROXY, proxy=False";
const PROXY_AUTH_HINT: &str = "give them as http://user:password@host:port in proxy= or HTTPS_PROXY, with % codes for what is \
                           special in them; a proxy that takes no Basic login (NTLM, Kerberos) needs a local relay";
const PROXY_DENIED_HINT: &str = "ask those who run the proxy to let this host through: the API's, the login's and the results' \
                           (*.blob.core.windows.net) are all needed";
/// Some answer another status than 407 to a login that they do not accept.
const PROXY_DENIED_OR_AUTH_HINT: &str = "check the user and password that the proxy is given; else ask those who run it to \
                                    let this host through: the API's, the login's and the results' \
                                    (*.blob.core.windows.net) are all needed";
const TLS_INTERCEPTION_HINT: &str = "if a proxy or firewall breaks TLS open here, give its CA as a PEM file by ca_bundle, \
                           REQUESTS_CA_BUNDLE or SSL_CERT_FILE";

impl Route {
    pub fn new(url: &SecretUrl, proxy: Option<Proxy>) -> Self {
        Self { host: url.host().to_owned(), proxy }
    }

    pub fn timed_out(&self, what: &str, after: Duration) -> Failure {
        let message =
            format!("{} {what} within {} s{}", self.host, after.as_secs_f64(), self.via_proxy());
        Failure {
            sent: true,
            error: Error::new(Kind::ConnectionFailed, message).with_hint("see request_timeout"),
        }
    }

    /// The proxy answered 407 in the host's place; nothing was passed on.
    pub fn proxy_auth_failure(&self) -> Option<Failure> {
        let proxy = self.proxy.as_ref()?;
        let message = if proxy.has_credentials {
            format!(
                "the proxy {} does not accept the user and password that it was given",
                proxy.address
            )
        } else {
            format!("the proxy {} wants a user and a password", proxy.address)
        };
        // Not tried again: an account may be locked for it.
        let error =
            Error::new(Kind::ConnectionFailed, format!("{message}; {} was not reached", self.host));
        Some(Failure { sent: false, error: error.with_hint(PROXY_AUTH_HINT).not_retryable() })
    }

    /// The error loses its URL, which may be a result link.
    pub fn to_failure(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        if !error.is_connect() {
            return Failure { sent: true, error: self.exchange_error(&error) };
        }
        let tunnel = tunnel_error(&error);
        if tunnel.as_deref() == Some("proxy authorization required")
            && let Some(failure) = self.proxy_auth_failure()
        {
            return failure;
        }
        let error = match (tls_error(&error), &self.proxy) {
            (Some(tls), _) => self.handshake_error(tls),
            (None, Some(proxy)) => self.proxy_error(proxy, tunnel.as_deref(), &error),
            (None, None) => self.connect_error(&error),
        };
        Failure { sent: false, error }
    }

    fn via_proxy(&self) -> String {
        self.proxy
            .as_ref()
            .map(|proxy| format!(" (through the proxy {})", proxy.address))
            .unwrap_or_default()
    }

    fn connection_error(&self, what: &str, cause: &str, hint: &str) -> Error {
        let message = format!("{} {what}{}: {cause}", self.host, self.via_proxy());
        Error::new(Kind::ConnectionFailed, message).with_hint(hint)
    }

    /// After the connection was there.
    fn exchange_error(&self, error: &reqwest::Error) -> Error {
        let cause = root_cause(error);
        // Any trouble with a body is called so, a cut as well.
        if error.is_decode() && has_io_kind(error, io::ErrorKind::InvalidData) {
            let message = format!(
                "{} sent a body that does not unpack{}: {cause}",
                self.host,
                self.via_proxy()
            );
            let hint = "try again; a proxy on the way may be damaging what it passes on";
            return Error::new(Kind::Service, message).with_hint(hint);
        }
        if error.is_timeout() {
            let hint =
                "see request_timeout; the service may have acted on the request all the same";
            return self.connection_error("did not answer in time", &cause, hint);
        }
        let hint = "the request may be tried again where that does no harm";
        self.connection_error("broke the connection off", &cause, hint)
    }

    fn connect_error(&self, error: &reqwest::Error) -> Error {
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
            (
                "refused the connection",
                "check host and port, and that nothing on the way forbids it; or set a proxy",
            )
        } else {
            (
                "could not be connected to",
                "check that the host is reachable from here, or set a proxy (HTTPS_PROXY)",
            )
        };
        self.connection_error(what, &root_cause(error), hint)
    }

    /// The proxy itself could not be reached, or did not reach the host.
    fn proxy_error(&self, proxy: &Proxy, tunnel: Option<&str>, error: &reqwest::Error) -> Error {
        let (address, cause) = (&proxy.address, root_cause(error));
        let (message, hint) = if error.is_timeout() {
            (
                format!(
                    "{} could not be connected to in time through the proxy {address}",
                    self.host
                ),
                PROXY_UNREACHABLE_HINT,
            )
        } else if tunnel == Some("unsuccessful") {
            let hint =
                if proxy.has_credentials { PROXY_DENIED_OR_AUTH_HINT } else { PROXY_DENIED_HINT };
            (format!("the proxy {address} refused to connect to {}", self.host), hint)
        } else if error.is_dns() {
            (
                format!("the proxy {address} could not be found in DNS: {cause}"),
                PROXY_UNREACHABLE_HINT,
            )
        } else if has_io_kind(error, io::ErrorKind::ConnectionRefused) {
            (format!("the proxy {address} refused the connection: {cause}"), PROXY_UNREACHABLE_HINT)
        } else {
            (
                format!(
                    "{} could not be connected to through the proxy {address}: {cause}",
                    self.host
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
                "the certificate is another host's: check the address; a proxy's sign-in page may be answering"
            }
            rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => {
                "check this machine's clock; else the certificate has to be renewed by those who run the host or proxy"
            }
            rustls::Error::InvalidCertificate(_) => TLS_INTERCEPTION_HINT,
            rustls::Error::InvalidMessage(_) => {
                "check the port: what answers there does not seem to speak TLS"
            }
            _ => "check what is on the way: TLS 1.2 or 1.3 is needed",
        };
        let error = self.connection_error("failed the TLS handshake", &tls.to_string(), hint);
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

/// The innermost cause, which says more than reqwest's own words.
pub fn root_cause(error: &reqwest::Error) -> String {
    error_chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// What hyper-util says of a CONNECT; its type is its own.
fn tunnel_error(error: &reqwest::Error) -> Option<String> {
    error_chain(error)
        .find_map(|error| Some(error.to_string().strip_prefix("tunnel error: ")?.to_owned()))
}

fn has_io_kind(error: &reqwest::Error, kind: io::ErrorKind) -> bool {
    error_chain(error)
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
}

/// It may be packed into several io errors, whose own sources leave out what they hold.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    fn downcast_rustls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
        let packed = || downcast_rustls(error.downcast_ref::<io::Error>()?.get_ref()?);
        error.downcast_ref().or_else(packed)
    }
    error_chain(error).find_map(downcast_rustls)
}
