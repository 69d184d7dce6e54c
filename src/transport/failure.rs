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
pub struct Way {
    /// As an error names it.
    host: String,
    proxy: Option<Proxy>,
}

const PROXY_REACH: &str = "check the proxy's address (proxy=, HTTPS_PROXY), or go around it: NO_PROXY, proxy=\"\"";
const PROXY_LOGIN: &str = "give them as http://user:password@host:port in proxy= or HTTPS_PROXY, with % codes for what is \
                           special in them; a proxy that takes no Basic login (NTLM, Kerberos) needs a local relay";
const PROXY_RULES: &str = "ask those who run the proxy to let this host through: the API's, the login's and the results' \
                           (*.blob.core.windows.net) are all needed";
/// Some answer another status than 407 to a login that they do not accept.
const PROXY_RULES_OR_LOGIN: &str = "check the user and password that the proxy is given; else ask those who run it to \
                                    let this host through: the API's, the login's and the results' \
                                    (*.blob.core.windows.net) are all needed";
const INTERCEPTED: &str = "if a proxy or firewall breaks TLS open here, give its CA as a PEM file by ca_bundle, \
                           REQUESTS_CA_BUNDLE or SSL_CERT_FILE";

impl Way {
    pub fn new(url: &SecretUrl, proxy: Option<Proxy>) -> Self {
        Self { host: url.host().to_owned(), proxy }
    }

    pub fn timed_out(&self, what: &str, after: Duration) -> Failure {
        let message = format!("{} {what} within {} s{}", self.host, after.as_secs_f64(), self.through());
        Failure { sent: true, error: Error::new(Kind::ConnectionFailed, message).with_hint("see request_timeout") }
    }

    /// The proxy answered 407 in the host's place; nothing was passed on.
    pub fn wants_login(&self) -> Option<Failure> {
        let proxy = self.proxy.as_ref()?;
        let message = if proxy.has_login {
            format!("the proxy {} does not accept the user and password that it was given", proxy.address)
        } else {
            format!("the proxy {} wants a user and a password", proxy.address)
        };
        // Not tried again: an account may be locked for it.
        let error = Error::new(Kind::ConnectionFailed, format!("{message}; {} was not reached", self.host));
        Some(Failure { sent: false, error: error.with_hint(PROXY_LOGIN).not_retryable() })
    }

    /// The error loses its URL, which may be a result link.
    pub fn failed(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        if !error.is_connect() {
            return Failure { sent: true, error: self.broken(&error) };
        }
        let tunnel = tunnel_trouble(&error);
        if tunnel.as_deref() == Some("proxy authorization required")
            && let Some(failure) = self.wants_login()
        {
            return failure;
        }
        let error = match (tls_error(&error), &self.proxy) {
            (Some(tls), _) => self.handshake(tls),
            (None, Some(proxy)) => self.not_through(proxy, tunnel.as_deref(), &error),
            (None, None) => self.not_connected(&error),
        };
        Failure { sent: false, error }
    }

    fn through(&self) -> String {
        self.proxy.as_ref().map(|proxy| format!(" (through the proxy {})", proxy.address)).unwrap_or_default()
    }

    fn told(&self, what: &str, cause: &str, hint: &str) -> Error {
        let message = format!("{} {what}{}: {cause}", self.host, self.through());
        Error::new(Kind::ConnectionFailed, message).with_hint(hint)
    }

    /// After the connection was there.
    fn broken(&self, error: &reqwest::Error) -> Error {
        let cause = innermost(error);
        // Any trouble with a body is called so, a cut as well.
        if error.is_decode() && has_io_kind(error, io::ErrorKind::InvalidData) {
            let message = format!("{} sent a body that does not unpack{}: {cause}", self.host, self.through());
            let hint = "try again; a proxy on the way may be damaging what it passes on";
            return Error::new(Kind::Service, message).with_hint(hint);
        }
        if error.is_timeout() {
            let hint = "see request_timeout; the service may have acted on the request all the same";
            return self.told("did not answer in time", &cause, hint);
        }
        let hint = "the request may be tried again where that does no harm";
        self.told("broke the connection off", &cause, hint)
    }

    fn not_connected(&self, error: &reqwest::Error) -> Error {
        let (what, hint) = if error.is_timeout() {
            ("could not be connected to in time", "see connect_timeout; is a proxy needed (HTTPS_PROXY)?")
        } else if error.is_dns() {
            ("could not be found in DNS", "check the endpoint's name and this machine's resolver, or set a proxy")
        } else if has_io_kind(error, io::ErrorKind::ConnectionRefused) {
            ("refused the connection", "check host and port, and that nothing on the way forbids it; or set a proxy")
        } else {
            ("could not be connected to", "check that the host is reachable from here, or set a proxy (HTTPS_PROXY)")
        };
        self.told(what, &innermost(error), hint)
    }

    /// The proxy itself could not be reached, or did not reach the host.
    fn not_through(&self, proxy: &Proxy, tunnel: Option<&str>, error: &reqwest::Error) -> Error {
        let (address, cause) = (&proxy.address, innermost(error));
        let (message, hint) = if error.is_timeout() {
            (format!("{} could not be connected to in time through the proxy {address}", self.host), PROXY_REACH)
        } else if tunnel == Some("unsuccessful") {
            let hint = if proxy.has_login { PROXY_RULES_OR_LOGIN } else { PROXY_RULES };
            (format!("the proxy {address} refused to connect to {}", self.host), hint)
        } else if error.is_dns() {
            (format!("the proxy {address} could not be found in DNS: {cause}"), PROXY_REACH)
        } else if has_io_kind(error, io::ErrorKind::ConnectionRefused) {
            (format!("the proxy {address} refused the connection: {cause}"), PROXY_REACH)
        } else {
            (format!("{} could not be connected to through the proxy {address}: {cause}", self.host), PROXY_REACH)
        };
        Error::new(Kind::ConnectionFailed, message).with_hint(hint)
    }

    fn handshake(&self, tls: &rustls::Error) -> Error {
        let wrong_name = |error: &CertificateError| {
            matches!(error, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
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
            rustls::Error::InvalidCertificate(_) => INTERCEPTED,
            rustls::Error::InvalidMessage(_) => "check the port: what answers there does not seem to speak TLS",
            _ => "check what is on the way: TLS 1.2 or 1.3 is needed",
        };
        let error = self.told("failed the TLS handshake", &tls.to_string(), hint);
        if matches!(tls, rustls::Error::InvalidCertificate(_)) { error.not_retryable() } else { error }
    }
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |error: &&(dyn StdError + 'static)| (*error).source())
}

/// The innermost cause, which says more than reqwest's own words.
pub fn innermost(error: &reqwest::Error) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// What hyper-util says of a CONNECT; its type is its own.
fn tunnel_trouble(error: &reqwest::Error) -> Option<String> {
    chain(error).find_map(|error| Some(error.to_string().strip_prefix("tunnel error: ")?.to_owned()))
}

fn has_io_kind(error: &reqwest::Error, kind: io::ErrorKind) -> bool {
    chain(error).any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == kind))
}

/// It may be packed into several io errors, whose own sources leave out what they hold.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    fn unpacked<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
        let packed = || unpacked(error.downcast_ref::<io::Error>()?.get_ref()?);
        error.downcast_ref().or_else(packed)
    }
    chain(error).find_map(unpacked)
}
