//! Chooses the proxy of a request: from the argument, or else from the environment and the system.

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::error::{Error, Result};
use crate::secret::Secret;

const PROXY_URL_HINT: &str = "give it as http://host:port or http://user:password@host:port, with \
    special characters in user and password percent-encoded";

/// The proxy settings. They follow the rules of reqwest, so that an error can name the proxy.
pub struct ProxyConfig {
    matcher: Matcher,
    choice: ProxySource,
}

enum ProxySource {
    Environment,
    None,
    Explicit(Box<reqwest::Proxy>),
}

/// The proxy that a request uses.
pub struct Proxy {
    /// Host and port.
    pub address: String,
    /// Whether a user and a password are sent to it.
    pub has_credentials: bool,
}

impl ProxyConfig {
    /// Reads the settings. `argument` is the proxy's URL; an empty one disables proxies.
    /// `allow_http` checks HTTP_PROXY too.
    pub fn new(argument: Option<&Secret>, allow_http: bool) -> Result<Self> {
        match argument.map(Secret::expose) {
            // reqwest applies an asterisk to host names, but not to IP addresses.
            _ if no_proxy_list().split(',').any(|entry| entry.trim() == "*") => {
                Ok(Self::disabled())
            }
            Some("") => Ok(Self::disabled()),
            Some(text) => Self::explicit(text),
            None => {
                check_environment(allow_http)?;
                Ok(Self { matcher: Matcher::from_system(), choice: ProxySource::Environment })
            }
        }
    }

    fn disabled() -> Self {
        Self { matcher: Matcher::builder().build(), choice: ProxySource::None }
    }

    fn explicit(text: &str) -> Result<Self> {
        let refused =
            || Error::invalid("proxy is not the address of a proxy").with_hint(PROXY_URL_HINT);
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        let url = url.map_err(|_| refused())?;
        check_scheme("proxy", url.scheme())?;
        if !url.has_host()
            || !matches!(url.path(), "" | "/")
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(refused());
        }
        // The same URL goes to the matcher, which names the proxy, and to reqwest, which uses it.
        let matcher = Matcher::builder().all(String::from(url.clone())).no(no_proxy_list()).build();
        let proxy =
            reqwest::Proxy::all(url).map_err(|_| refused())?.no_proxy(reqwest::NoProxy::from_env());
        Ok(Self { matcher, choice: ProxySource::Explicit(Box::new(proxy)) })
    }

    /// Applies the settings to a client of reqwest.
    pub fn configure(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        match &self.choice {
            ProxySource::Environment => builder,
            ProxySource::None => builder.no_proxy(),
            ProxySource::Explicit(proxy) => builder.proxy(proxy.as_ref().clone()),
        }
    }

    /// Returns the proxy for a request to `url`.
    pub fn proxy_for(&self, url: &Url) -> Option<Proxy> {
        let origin = url[..url::Position::BeforePath].parse().ok()?;
        let found = self.matcher.intercept(&origin)?;
        let (host, scheme) = (found.uri().host()?, found.uri().scheme_str());
        let port = found.uri().port_u16().unwrap_or(if scheme == Some("https") { 443 } else { 80 });
        Some(Proxy {
            address: format!("{host}:{port}"),
            has_credentials: found.basic_auth().is_some(),
        })
    }
}

/// The variables that choose a proxy, with their values.
#[derive(Clone, PartialEq)]
pub struct ProxyEnvironment(Vec<Option<Secret>>);

impl ProxyEnvironment {
    pub fn read() -> Self {
        // REQUEST_METHOD means CGI, where HTTP_PROXY may come from the request.
        let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"];
        let lower = ["https_proxy", "http_proxy", "all_proxy", "no_proxy"];
        let names = names.iter().chain(&lower);
        Self(names.map(|name| std::env::var(name).ok().map(Secret::new)).collect())
    }
}

/// Returns the hosts that are reached without a proxy.
fn no_proxy_list() -> String {
    std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy")).unwrap_or_default()
}

/// Refuses a variable that reqwest would ignore: the request would bypass the proxy.
fn check_environment(allow_http: bool) -> Result<()> {
    let lists: &[&[&str]] = &[&["HTTPS_PROXY", "https_proxy"], &["HTTP_PROXY", "http_proxy"]];
    // HTTP_PROXY applies to http URLs only: without those, its value does not matter.
    for names in lists.iter().take(if allow_http { 2 } else { 1 }) {
        let set = |names: &[&'static str]| {
            names.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)))
        };
        let found = set(names)
            .filter(|(_, value)| !value.is_empty())
            .or_else(|| set(&["ALL_PROXY", "all_proxy"]));
        let Some((name, value)) = found.filter(|(_, value)| !value.is_empty()) else { continue };
        let probe = Matcher::builder()
            .all(value)
            .build()
            .intercept(&http::Uri::from_static("http://host/"));
        let proxy = probe.ok_or_else(|| {
            Error::invalid(format!("{name} is not the address of a proxy"))
                .with_hint(PROXY_URL_HINT)
        })?;
        check_scheme(name, proxy.uri().scheme_str().unwrap_or_default())?;
    }
    Ok(())
}

fn check_scheme(name: &str, scheme: &str) -> Result<()> {
    match scheme {
        "http" | "https" => Ok(()),
        _ => Err(Error::invalid(format!("{name} names a {scheme} proxy, which is not supported"))
            .with_hint("give an HTTP proxy, which tunnels https with CONNECT: http://host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(argument: &str, url: &str) -> Option<(String, bool)> {
        let proxies = ProxyConfig::new(Some(&Secret::new(argument)), true).unwrap();
        proxies
            .proxy_for(&Url::parse(url).unwrap())
            .map(|proxy| (proxy.address, proxy.has_credentials))
    }

    #[test]
    fn an_error_names_a_proxy_by_host_and_port() {
        let url = "https://api.example.test/api?sig=1";
        for (argument, expected) in [
            ("http://proxy.example.test:3128", ("proxy.example.test:3128", false)),
            ("proxy.example.test:3128", ("proxy.example.test:3128", false)),
            ("http://u:p%40ss@proxy.example.test", ("proxy.example.test:80", true)),
            ("http://u:p@ss@proxy.example.test:1", ("proxy.example.test:1", true)),
            ("https://proxy.example.test/", ("proxy.example.test:443", false)),
            ("http://[::1]:3128", ("[::1]:3128", false)),
        ] {
            assert_eq!(
                address(argument, url),
                Some((expected.0.to_owned(), expected.1)),
                "{argument}"
            );
        }
        assert_eq!(address("", url), None);
    }

    #[test]
    fn an_invalid_proxy_is_refused_and_not_printed() {
        for wrong in [
            "http://",
            "http://u:hush@p/path",
            "ftp://u:hush@p",
            "socks5://u:hush@p:1080",
            "http://u:hush@p:x",
        ] {
            let error = ProxyConfig::new(Some(&Secret::new(wrong)), true).map(drop).unwrap_err();
            assert!(!format!("{error:?}").contains("hush") && error.hint.is_some(), "{error:?}");
        }
    }
}
