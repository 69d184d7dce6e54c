//! Clouds, limits, time-outs and network options, with their defaults.

mod cloud;
mod origin;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};
use crate::secret::Secret;

pub use cloud::{CLOUDS, Cloud};
pub use origin::{OriginError, parse_origin};

/// A rate limit: at most `count` calls in any window of `per` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub count: u32,
    /// Length of the window, in seconds.
    pub per: f64,
}

impl Rate {
    /// Creates a rate; both numbers must be above 0.
    pub fn new(count: u32, per: f64) -> Result<Self> {
        if count == 0 || !per.is_finite() || per <= 0.0 {
            return Err(Error::invalid(format!(
                "a rate of {count} calls in {per} s allows no call"
            ))
            .with_hint("give a count of at least 1 and a length in seconds above 0"));
        }
        Ok(Self { count, per })
    }
}

/// What the service allows one application in one tenant. The defaults are the numbers of the page
/// "run-live-response" and the pages of the other calls (docs/service.md, section 11).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Rate limits of submits. The default is 10 in 60 s.
    pub submit: Vec<Rate>,
    /// Rate limits of every other endpoint, each counted separately. The default is 100 in 60 s and
    /// 1,500 in an hour.
    pub read: Vec<Rate>,
    /// The most open sessions, including those in status Pending. The default is 50.
    pub sessions: u32,
    /// Seconds for which the service queues a session for a machine that it cannot reach. The
    /// default is 7,200.
    pub queue_time: f64,
    /// Seconds that a script may run. The default is 600.
    pub script_time: f64,
    /// Seconds until the service lists an accepted submit, at the latest. The default is 120.
    pub settle_time: f64,
    /// Largest library file, in bytes. The default is 20 MiB.
    pub upload_size: u64,
}

/// The default of `Limits.settle_time`, in seconds.
pub const SETTLE_TIME: f64 = 120.0;

impl Default for Limits {
    fn default() -> Self {
        Self {
            submit: vec![Rate { count: 10, per: 60.0 }],
            read: vec![Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }],
            sessions: 50,
            queue_time: 7200.0,
            script_time: 600.0,
            settle_time: SETTLE_TIME,
            upload_size: 20 << 20,
        }
    }
}

impl Limits {
    /// Returns the limits, or an error if a value is out of range.
    pub fn validated(self) -> Result<Self> {
        let times = [
            ("queue_time", self.queue_time),
            ("script_time", self.script_time),
            ("settle_time", self.settle_time),
        ];
        for (name, seconds) in times {
            if !seconds.is_finite() || seconds < 0.0 {
                return Err(Error::invalid(format!(
                    "limits: {name} is {seconds}; give a number of seconds, 0 or more"
                )));
            }
        }
        if self.sessions == 0 {
            return Err(Error::invalid(
                "limits: sessions is 0, which allows no submit; give 1 or more",
            ));
        }
        if self.upload_size == 0 {
            return Err(Error::invalid(
                "limits: upload_size is 0, which allows no upload; give 1 or more",
            ));
        }
        for rate in self.submit.iter().chain(&self.read) {
            Rate::new(rate.count, rate.per)?;
        }
        Ok(self)
    }
}

/// How a client connects to the service and what limits it keeps.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Scheme, host and port of the API. The default is that of the public cloud.
    pub endpoint: Url,
    /// Scope of the tokens. The default is that of the cloud.
    pub scope: String,
    /// The login host. The default is that of the cloud.
    pub authority: String,
    /// Tokens of another tenant are refused. The default is to accept every tenant.
    pub tenant_id: Option<String>,
    pub limits: Limits,
    /// The state store's address, which may hold a password. The default is `memory:`.
    pub state: Secret,
    /// Seconds for which a call other than a submit may wait for a rate limit. The default is 180.
    pub max_wait: f64,
    /// Seconds for one HTTP request, or for one read of a download. The default is 30.
    pub request_timeout: f64,
    /// Seconds for connecting to a host. The default is 10.
    pub connect_timeout: f64,
    pub network: NetworkOptions,
}

/// Proxy, certificate authorities and user agent.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// The proxy's URL; an empty one means no proxy. The default is HTTPS_PROXY and NO_PROXY.
    pub proxy: Option<Secret>,
    /// PEM file of extra certificate authorities. The default is REQUESTS_CA_BUNDLE. The system's
    /// authorities, or those of SSL_CERT_FILE, are trusted as well.
    pub ca_bundle: Option<PathBuf>,
    /// Accepts any certificate. The default is to verify.
    pub insecure: bool,
    /// Sent before the user agent of this library. The default is none.
    pub user_agent: Option<String>,
}

impl ClientOptions {
    /// Returns the defaults for `cloud`; `endpoint` replaces the cloud's API host.
    pub fn new(cloud: Cloud, endpoint: Option<&str>) -> Result<Self> {
        let text = endpoint.unwrap_or(cloud.endpoint);
        Ok(Self {
            endpoint: parse_endpoint(text)?,
            scope: cloud.scope.to_owned(),
            authority: cloud.authority.to_owned(),
            tenant_id: None,
            limits: Limits::default(),
            state: Secret::new("memory:"),
            max_wait: 180.0,
            request_timeout: 30.0,
            connect_timeout: 10.0,
            network: NetworkOptions::default(),
        })
    }
}

fn parse_endpoint(text: &str) -> Result<Url> {
    // An error never repeats the text before an @: it may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    parse_origin(text).map_err(|error| match error {
        OriginError::NotAnOrigin => {
            Error::invalid(format!("endpoint {shown:?} is not the address of a service"))
                .with_hint("give scheme and host alone, as https://api.security.microsoft.com")
        }
        OriginError::Unencrypted => {
            Error::invalid(format!("endpoint {shown:?} would send the token unencrypted"))
                .with_hint("use https; http is for loopback only")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_would_leak_the_token_is_refused() {
        assert!(ClientOptions::new(Cloud::default(), Some("http://127.0.0.1:8080")).is_ok());
        assert!(ClientOptions::new(Cloud::default(), Some("http://[::1]:8080")).is_ok());
        for wrong in
            ["http://api.example.test", "ftp://x", "https://x/api", "nonsense", "https://u@x/"]
        {
            assert!(ClientOptions::new(Cloud::default(), Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_that_allows_no_call_is_refused() {
        assert!(
            Rate::new(0, 1.0).is_err()
                && Rate::new(1, 0.0).is_err()
                && Rate::new(1, f64::NAN).is_err()
        );
        assert!(Limits::default().validated().is_ok());
        assert!(Limits { sessions: 0, ..Limits::default() }.validated().is_err());
    }
}
