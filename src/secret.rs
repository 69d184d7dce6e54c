//! Types for tokens, client secrets and result links that are never printed.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A token, client secret or assertion. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// Returns the secret, to be sent and never to be printed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A URL that may have a signature in its query. It prints as scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses `text`. The error does not repeat it; `what` names it.
    pub fn parse(text: &str, what: &str) -> Result<Self> {
        Url::parse(text).map(Self).map_err(|_| Error::invalid(format!("{what} is not a URL")))
    }

    /// Returns the URL, to be requested and never to be printed.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Returns the host, or an empty string.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or("")
    }

    /// Returns the expiry of a signed link (its parameter `se`), in seconds since the Unix epoch.
    pub fn expiry(&self) -> Option<f64> {
        let (_, text) = self.0.query_pairs().find(|(name, _)| name == "se")?;
        Some(OffsetDateTime::parse(&text, &Rfc3339).ok()?.unix_timestamp() as f64)
    }
}

impl From<Url> for SecretUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({}://{}/***)", self.0.scheme(), self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_an_expiry() {
        let expiry = |query: &str| {
            SecretUrl::parse(&format!("https://a.example.test/x?{query}"), "a link")
                .unwrap()
                .expiry()
        };
        assert_eq!(expiry("sp=rt&se=2022-02-07T14%3A33%3A07Z&sig=x"), Some(1_644_244_387.0));
        assert_eq!((expiry("sig=x"), expiry("se=soon")), (None, None));
    }

    #[test]
    fn neither_prints_its_value() {
        let secret = Secret::new("hunter2");
        let link =
            SecretUrl::parse("https://store1.blob.example.test/c/x?sig=AbC%2B1", "a link").unwrap();
        let printed = format!("{secret:?} {link:?}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("sig") && !printed.contains("/c/x"),
            "{printed}"
        );
        assert!(
            !format!("{}", SecretUrl::parse("no sig=1", "the link").unwrap_err()).contains("sig")
        );
    }
}
