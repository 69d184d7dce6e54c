//! The clouds in which Defender for Endpoint runs.

use crate::error::{Error, Result};

/// A cloud of the service: its API host, its login host and the scope of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloud {
    pub name: &'static str,
    pub endpoint: &'static str,
    pub authority: &'static str,
    pub scope: &'static str,
}

const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";
const US_GOVERNMENT_AUTHORITY: &str = "https://login.microsoftonline.us";
// The audience cannot be derived from the host: the service answers 403 to a token for another
// audience (pages "api-hello-world" and "exposed-apis-create-app-webapp").
const PUBLIC_SCOPE: &str = "https://api.securitycenter.microsoft.com/.default";

const fn public_cloud(name: &'static str, endpoint: &'static str) -> Cloud {
    Cloud { name, endpoint, authority: PUBLIC_AUTHORITY, scope: PUBLIC_SCOPE }
}

/// The clouds of the pages "exposed-apis-list" and "gov".
pub const CLOUDS: [Cloud; 11] = [
    public_cloud("public", "https://api.security.microsoft.com"),
    public_cloud("us", "https://us.api.security.microsoft.com"),
    public_cloud("eu", "https://eu.api.security.microsoft.com"),
    public_cloud("uk", "https://uk.api.security.microsoft.com"),
    public_cloud("au", "https://au.api.security.microsoft.com"),
    public_cloud("swa", "https://swa.api.security.microsoft.com"),
    public_cloud("ina", "https://ina.api.security.microsoft.com"),
    public_cloud("aea", "https://aea.api.security.microsoft.com"),
    // GCC has its own API host, but its users sign in at the public login host.
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
    /// Returns the cloud called `name`, such as `public` or `gcc-high`.
    pub fn from_name(name: &str) -> Result<Self> {
        CLOUDS.into_iter().find(|cloud| cloud.name == name).ok_or_else(|| {
            let known: Vec<_> = CLOUDS.iter().map(|cloud| cloud.name).collect();
            Error::invalid(format!("there is no cloud {name:?}"))
                .with_hint(format!("use one of {}", known.join(", ")))
        })
    }
}

impl Default for Cloud {
    fn default() -> Self {
        CLOUDS[0]
    }
}
