//! Who may use the control: programs on this machine, and the page that the emulator itself serves.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Response, Uri};

use crate::emulator::http_control::answers::Refusal;
use crate::emulator::http_control::is_page;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The names by which a server's control may be addressed, beside those of loopback.
#[derive(Clone, Debug, Default)]
pub struct ControlAccess {
    names: Vec<String>,
}

impl ControlAccess {
    /// Returns the access to a server with these names. The first label of a name may be `*`.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Returns the response to a request that is refused, or `None` if it is allowed.
    pub fn refuse(
        &self,
        peer: Option<IpAddr>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Option<Response<Bytes>> {
        self.check(peer, uri, headers).err().map(Refusal::into_response)
    }

    fn check(&self, peer: Option<IpAddr>, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if !peer.is_some_and(|peer| peer.to_canonical().is_loopback()) {
            return Err(Refusal::forbidden(
                "the control is only for programs on the emulator's own machine, by loopback",
            ));
        }
        // A web page whose name an attacker points at loopback sends the attacker's name here.
        let host = single(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
        let Some(host) = host.filter(|host| !host.as_str().contains('@')) else {
            return Err(Refusal::forbidden("the control needs one Host header"));
        };
        let named = uri.authority().into_iter().chain([&host]);
        for authority in named {
            if !self.is_own_name(authority.host()) {
                return Err(Refusal::forbidden(
                    "the Host header names neither loopback nor a name in tls_names",
                ));
            }
        }
        // A link on any page may lead to the emulator's own, which shows nothing to that page.
        let is_link = is_page(uri.path()) && single(headers, &SEC_FETCH_DEST) == Some("document");
        if is_link { Ok(()) } else { check_site(headers, &host) }
    }

    fn is_own_name(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let ip = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
        if let Ok(ip) = ip.parse::<IpAddr>() {
            return ip.to_canonical().is_loopback();
        }
        host == "localhost"
            || self.names.iter().any(|name| match name.strip_prefix("*.") {
                None => *name == host,
                Some(domain) => host
                    .split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
            })
    }
}

/// Refuses what a browser sends for a page of another site.
fn check_site(headers: &HeaderMap, host: &Authority) -> Result<(), Refusal> {
    let cross_site =
        || Refusal::forbidden("a web page of another site may not use the emulator's control");
    for site in headers.get_all(SEC_FETCH_SITE) {
        if site != "same-origin" && site != "none" {
            return Err(cross_site());
        }
    }
    for origin in headers.get_all(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host.as_str()));
        if !own {
            return Err(cross_site());
        }
    }
    Ok(())
}

/// Returns the text of a header that is there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}
