//! Addresses that consist of a scheme, a host and a port.

use url::{Host, Url};

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// Not a URL of http or https, or one with more than scheme, host and port.
    NotAnOrigin,
    /// http to a host other than this machine: a token or secret would travel unencrypted.
    Unencrypted,
}

/// Parses `https://host[:port]`; http is accepted for loopback addresses only.
pub fn parse_origin(text: &str) -> Result<Url, OriginError> {
    let url = Url::parse(text).map_err(|_| OriginError::NotAnOrigin)?;
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let is_loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(OriginError::NotAnOrigin),
    };
    match url.scheme() {
        "https" | "http" if !is_bare => Err(OriginError::NotAnOrigin),
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        "http" => Err(OriginError::Unencrypted),
        _ => Err(OriginError::NotAnOrigin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_origins_pass() {
        for good in ["https://api.example.test", "http://localhost:1", "http://[::1]:8080/"] {
            assert!(parse_origin(good).is_ok(), "{good}");
        }
        assert_eq!(parse_origin("http://api.example.test"), Err(OriginError::Unencrypted));
        for wrong in ["", "ftp://x", "https://x/y", "https://x?a", "https://x#a", "https://:p@x"] {
            assert_eq!(parse_origin(wrong), Err(OriginError::NotAnOrigin), "{wrong}");
        }
    }
}
