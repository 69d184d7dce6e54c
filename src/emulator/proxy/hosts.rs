//! The service's hosts that the proxy serves (docs/service.md, section 3.1), and the URLs that fit
//! them.

use std::sync::Arc;

use crate::emulator::login::hosts::{GOVERNMENT_LOGIN, PUBLIC_LOGIN, is_child, is_login};
use crate::emulator::wire::addresses::Addresses;
use crate::emulator::wire::exchange::VirtualHost;
use crate::emulator::wire::http_connection::ServedHost;

/// The hosts in words, for the answer to a request for another host.
pub const SERVED: &str = "Defender's API (api.security.microsoft.com, \
    api.securitycenter.microsoft.com, api.securitycenter.windows.com, \
    api-gcc.securitycenter.microsoft.us, api-gov.securitycenter.microsoft.us and the regional \
    ones), Entra's login hosts (login.microsoftonline.com, login.microsoftonline.us, \
    login.windows.net and the others) and the results' hosts (*.blob.core.windows.net, \
    *.blob.core.usgovcloudapi.net)";

const BLOB_DOMAINS: [&str; 2] = ["blob.core.windows.net", "blob.core.usgovcloudapi.net"];
/// The storage account of result links. No real account has this name, because names of accounts
/// have neither a hyphen nor more than 24 characters. So a link that is opened without the proxy
/// fails, and does not reach the account of a stranger.
const ACCOUNT: &str = "mde-live-response-emulator";

/// Returns what the proxy serves under a host name in lower case, or `None` if nothing. `more` are
/// further names, under which it serves the API and the login host.
pub fn find(host: &str, more: &[String]) -> Option<ServedHost> {
    let is_named = || more.iter().any(|name| matches_name(&name.to_ascii_lowercase(), host));
    let vhost = if is_api(host) {
        VirtualHost::ApiOnly
    } else if is_login(host) {
        VirtualHost::LoginOnly
    } else if BLOB_DOMAINS.iter().any(|domain| is_child(host, domain)) {
        VirtualHost::Blob
    } else if is_named() {
        VirtualHost::Api
    } else {
        return None;
    };
    let is_government = host.ends_with(".us") || host.ends_with(".usgovcloudapi.net");
    let (login, blob) = if is_government {
        (GOVERNMENT_LOGIN, BLOB_DOMAINS[1])
    } else {
        (PUBLIC_LOGIN, BLOB_DOMAINS[0])
    };
    let has_login = matches!(vhost, VirtualHost::LoginOnly | VirtualHost::Api);
    let login = if has_login { host } else { login };
    let addresses = Addresses {
        api: format!("https://{host}"),
        login: format!("https://{login}"),
        blob: format!("https://{ACCOUNT}.{blob}"),
        wildcard_bind: None,
    };
    Some(ServedHost { vhost, addresses: Some(Arc::new(addresses)), control: None })
}

/// Returns whether `host` is one of the API's.
fn is_api(host: &str) -> bool {
    const DOMAINS: [&str; 3] = [
        "securitycenter.microsoft.com",
        "securitycenter.windows.com",
        "securitycenter.microsoft.us",
    ];
    let is_newer = host == "api.security.microsoft.com";
    let is_older = host.split_once('.').is_some_and(|(label, domain)| {
        (label == "api" || label.strip_prefix("api-").is_some_and(|region| !region.is_empty()))
            && DOMAINS.contains(&domain)
    });
    is_newer || is_older || is_child(host, "api.security.microsoft.com")
}

/// Returns whether `host` is `name`, whose first label may be `*`.
fn matches_name(name: &str, host: &str) -> bool {
    name.strip_prefix("*.").map_or(name == host, |domain| is_child(host, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let more = ["mde.example.test".to_owned(), "*.Lab.Example.Test".to_owned()];
        for (host, expected) in [
            ("api.security.microsoft.com", Some(VirtualHost::ApiOnly)),
            ("eu.api.security.microsoft.com", Some(VirtualHost::ApiOnly)),
            ("api-us3.securitycenter.microsoft.com", Some(VirtualHost::ApiOnly)),
            ("api.securitycenter.windows.com", Some(VirtualHost::ApiOnly)),
            ("api-gov.securitycenter.microsoft.us", Some(VirtualHost::ApiOnly)),
            ("login.microsoftonline.com", Some(VirtualHost::LoginOnly)),
            ("westus2.login.microsoft.com", Some(VirtualHost::LoginOnly)),
            ("login.microsoftonline.us", Some(VirtualHost::LoginOnly)),
            ("automatedirstrprdeus.blob.core.windows.net", Some(VirtualHost::Blob)),
            ("a.blob.core.usgovcloudapi.net", Some(VirtualHost::Blob)),
            ("mde.example.test", Some(VirtualHost::Api)),
            ("x.lab.example.test", Some(VirtualHost::Api)),
            ("lab.example.test", None),
            ("a.b.lab.example.test", None),
            ("security.microsoft.com", None),
            ("graph.microsoft.com", None),
            ("blob.core.windows.net", None),
            (".blob.core.windows.net", None),
            ("a.b.blob.core.windows.net", None),
            ("xblob.core.windows.net", None),
            ("api-.securitycenter.microsoft.com", None),
            ("apix.securitycenter.microsoft.com", None),
            ("a.b.api.security.microsoft.com", None),
            ("api.security.microsoft.com.example.test", None),
            ("login.microsoftonline.com.example.test", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(find(host, &more).map(|found| found.vhost), expected, "{host}");
        }
    }

    #[test]
    fn the_urls_of_a_cloud_fit_together() {
        for (host, login, blob) in [
            ("api.security.microsoft.com", PUBLIC_LOGIN, "blob.core.windows.net"),
            (
                "api-gov.securitycenter.microsoft.us",
                GOVERNMENT_LOGIN,
                "blob.core.usgovcloudapi.net",
            ),
        ] {
            let addresses = find(host, &[]).unwrap().addresses.unwrap();
            assert_eq!(addresses.api, format!("https://{host}"));
            assert_eq!(addresses.login, format!("https://{login}"));
            let account = addresses.blob.strip_prefix("https://").unwrap();
            assert_eq!(find(account, &[]).unwrap().vhost, VirtualHost::Blob);
            assert!(account.ends_with(blob));
        }
    }
}
