//! Clouds, limits and time-outs: data with defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Where a cloud answers, who logs in to it and for which audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloud {
    pub name: &'static str,
    pub endpoint: &'static str,
    pub authority: &'static str,
    pub scope: &'static str,
}

const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";
const US_GOVERNMENT_AUTHORITY: &str = "https://login.microsoftonline.us";
/// The audience is not derived from the host: a token for another one is Forbidden (api-hello-world pages, "exposed-apis-create-app-webapp").
const PUBLIC_SCOPE: &str = "https://api.securitycenter.microsoft.com/.default";

const fn public_cloud(name: &'static str, endpoint: &'static str) -> Cloud {
    Cloud { name, endpoint, authority: PUBLIC_AUTHORITY, scope: PUBLIC_SCOPE }
}

/// Hosts of the pages "exposed-apis-list" and "gov".
pub const CLOUDS: [Cloud; 11] = [
    public_cloud("public", "https://api.security.microsoft.com"),
    public_cloud("us", "https://us.api.security.microsoft.com"),
    public_cloud("eu", "https://eu.api.security.microsoft.com"),
    public_cloud("uk", "https://uk.api.security.microsoft.com"),
    public_cloud("au", "https://au.api.security.microsoft.com"),
    public_cloud("swa", "https://swa.api.security.microsoft.com"),
    public_cloud("ina", "https://ina.api.security.microsoft.com"),
    public_cloud("aea", "https://aea.api.security.microsoft.com"),
    Cloud {
        name: "gcc",
        endpoint: "https://api-gcc.securitycenter.microsoft.us",
        authority: PUBLIC_AUTHORITY,
        scope: "https://api-gcc.securitycenter.microsoft.us/.default",
    },
    Cloud {
        name: "gcc-high",
        endpoint: "https://api-gov.securitycenter.microsoft.us",
        authority: US_GOVERNMENT_AUTHORITY,
        scope: "https://api-gov.securitycenter.microsoft.us/.default",
    },
    Cloud {
        name: "dod",
        endpoint: "https://api-gov.securitycenter.microsoft.us",
        authority: US_GOVERNMENT_AUTHORITY,
        scope: "https://api-gov.securitycenter.microsoft.us/.default",
    },
];

impl Cloud {
    pub fn from_name(name: &str) -> Result<Self> {
        CLOUDS.into_iter().find(|cloud| cloud.name == name).ok_or_else(|| {
            let known: Vec<_> = CLOUDS.iter().map(|cloud| cloud.name).collect();
            Error::invalid(format!("cloud {name:?} is not known"))
                .with_hint(format!("use one of {}", known.join(", ")))
        })
    }
}

impl Default for Cloud {
    fn default() -> Self {
        CLOUDS[0]
    }
}

/// At most `count` calls in any window of `per` seconds, wherever the window is laid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub count: u32,
    /// Seconds.
    pub per: f64,
}

impl Rate {
    pub fn new(count: u32, per: f64) -> Result<Self> {
        if count == 0 || !per.is_finite() || per <= 0.0 {
            return Err(Error::invalid(format!(
                "a rate of {count} in {per} s lets nothing through"
            ))
            .with_hint("give a count of at least 1 and a length in seconds above 0"));
        }
        Ok(Self { count, per })
    }
}

/// What the service allows one application in one tenant. Numbers of the page "run-live-response" and its siblings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Windows over submits. The default is 10 in 60 s.
    pub submit: Vec<Rate>,
    /// Windows over each other endpoint by itself. The default is 100 in 60 s and 1,500 in an hour.
    pub read: Vec<Rate>,
    /// Sessions open at once, Pending counted. The default is 50.
    pub sessions: u32,
    /// Seconds that the service keeps a session for a machine it cannot reach. The default is 7,200.
    pub queue_time: f64,
    /// Seconds that a script may run. The default is 600.
    pub script_time: f64,
    /// Seconds that an accepted submit may be missing from what the service lists. The default is 120.
    pub settle_time: f64,
    /// Bytes of a library file. The default is 20 MiB.
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
    /// Refuses what could never be kept.
    pub fn validated(self) -> Result<Self> {
        let times = [
            ("queue_time", self.queue_time),
            ("script_time", self.script_time),
            ("settle_time", self.settle_time),
        ];
        for (name, seconds) in times {
            if !seconds.is_finite() || seconds < 0.0 {
                return Err(Error::invalid(format!(
                    "limits: {name} is {seconds}; it takes seconds, 0 or more"
                )));
            }
        }
        if self.sessions == 0 {
            return Err(Error::invalid("limits: sessions is 0; nothing could ever be submitted"));
        }
        for rate in self.submit.iter().chain(&self.read) {
            Rate::new(rate.count, rate.per)?;
        }
        Ok(self)
    }
}

/// How a client reaches the service.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Scheme, host and port of the API. The default is the public cloud's.
    pub endpoint: Url,
    /// The default is the cloud's.
    pub scope: String,
    /// The login host. The default is the cloud's.
    pub authority: String,
    /// A token of another tenant is refused. The default is none: any token will do.
    pub tenant_id: Option<String>,
    pub limits: Limits,
    /// The state store's address, which may hold a password. The default is `memory:`.
    pub state: Secret,
    /// Seconds that a call other than a submit stands in line. The default is 180.
    pub max_wait: f64,
    /// Seconds of one HTTP request; of a download, between two reads. The default is 30.
    pub request_timeout: f64,
    /// Seconds. The default is 10.
    pub connect_timeout: f64,
    pub network: NetworkOptions,
}

/// Proxy, certificates and what the client calls itself.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// The default is HTTPS_PROXY and NO_PROXY; an empty one is none at all.
    pub proxy: Option<Secret>,
    /// PEM. The default is the system's roots, SSL_CERT_FILE or REQUESTS_CA_BUNDLE.
    pub ca_bundle: Option<PathBuf>,
    /// The default is to verify.
    pub insecure: bool,
    /// Put before ours. The default is none.
    pub user_agent: Option<String>,
}

impl ClientOptions {
    /// ClientOptions of `cloud`, its own endpoint replaced where one is given.
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
    let hint = "give scheme and host alone, as https://api.security.microsoft.com";
    // What stands before an @ may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let refused = || {
        Error::invalid(format!("endpoint {shown:?} is not the address of a service"))
            .with_hint(hint)
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => return Err(refused()),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        return Err(refused());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => {
            Err(Error::invalid(format!("endpoint {shown:?} would send the token unencrypted"))
                .with_hint("use https; http is for loopback only"))
        }
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_leaves_in_the_clear() {
        assert!(ClientOptions::new(Cloud::default(), Some("http://127.0.0.1:8080")).is_ok());
        assert!(ClientOptions::new(Cloud::default(), Some("http://[::1]:8080")).is_ok());
        for wrong in
            ["http://api.example.test", "ftp://x", "https://x/api", "nonsense", "https://u@x/"]
        {
            assert!(ClientOptions::new(Cloud::default(), Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_that_lets_nothing_through_is_refused() {
        assert!(
            Rate::new(0, 1.0).is_err()
                && Rate::new(1, 0.0).is_err()
                && Rate::new(1, f64::NAN).is_err()
        );
        assert!(Limits::default().validated().is_ok());
        assert!(Limits { sessions: 0, ..Limits::default() }.validated().is_err());
    }
}
