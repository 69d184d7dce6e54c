//! Secrets that cannot be printed: tokens, client secrets, result links.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A token, a client secret, an assertion. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The secret itself, for the wire alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// An address that may bear a signature in its query: it prints as scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses `text`, which an error never repeats.
    pub fn parse(text: &str, what: &str) -> Result<Self> {
        Url::parse(text).map(Self).map_err(|_| Error::invalid(format!("{what} is not a URL")))
    }

    pub fn expose(&self) -> &Url {
        &self.0
    }

    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or("")
    }

    /// When a signed link says that it expires (`se`), in seconds since the Unix epoch.
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
    fn a_link_tells_its_expiry() {
        let expiry = |query: &str| {
            SecretUrl::parse(&format!("https://a.example.test/x?{query}"), "a link")
                .unwrap()
                .expiry()
        };
        assert_eq!(expiry("sp=rt&se=2022-02-07T14%3A33%3A07Z&sig=x"), Some(1_644_244_387.0));
        assert_eq!((expiry("sig=x"), expiry("se=soon")), (None, None));
    }

    #[test]
    fn neither_prints_what_it_holds() {
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
