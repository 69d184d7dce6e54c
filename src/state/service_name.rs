//! The name of a service: all host names of one service have the same one.

/// The service counts by application and tenant, under whichever of these hosts it is called
/// (docs/service.md, section 3.1).
const PUBLIC: &str = "api.security.microsoft.com";
const PUBLIC_DOMAINS: [&str; 3] =
    ["security.microsoft.com", "securitycenter.microsoft.com", "securitycenter.windows.com"];
const US_GOVERNMENT_DOMAIN: &str = "securitycenter.microsoft.us";
const LOOPBACK: &str = "127.0.0.1";
const LOOPBACK_NAMES: [&str; 5] =
    ["localhost", LOOPBACK, "[::1]", "[::ffff:7f00:1]", "[::ffff:127.0.0.1]"];

/// Returns the name of the service at `authority`, a host with an optional port.
///
/// The public cloud has one name, and each government host its own. Any other service is its host
/// and port, where all names of the loopback address are the same.
pub fn service_name(authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    // The colons in the brackets of an IPv6 address are not those of a port.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority.as_str(), None),
    };
    let host = host.trim_end_matches('.');
    if PUBLIC_DOMAINS.iter().any(|domain| is_in_domain(host, domain)) {
        return PUBLIC.to_owned();
    }
    if is_in_domain(host, US_GOVERNMENT_DOMAIN) {
        return host.to_owned();
    }
    let host = if LOOPBACK_NAMES.contains(&host) { LOOPBACK } else { host };
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_in_domain(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_hosts_of_a_service_have_one_name() {
        for host in [
            "api.security.microsoft.com",
            "EU.api.security.microsoft.com.",
            "swa.api.security.microsoft.com:443",
            "api.securitycenter.microsoft.com",
            "api-eu.securitycenter.microsoft.com",
            "api-uk.securitycenter.windows.com",
        ] {
            assert_eq!(service_name(host), PUBLIC, "{host}");
        }
        for host in ["localhost:81", "127.0.0.1:81", "[::1]:81", "LocalHost.:81"] {
            assert_eq!(service_name(host), "127.0.0.1:81", "{host}");
        }
        assert_eq!(service_name("[::1]"), "127.0.0.1");
    }

    #[test]
    fn different_services_have_different_names() {
        let gcc = "api-gcc.securitycenter.microsoft.us";
        assert_eq!(service_name(gcc), gcc);
        for (one, other) in [
            (gcc, "api-gov.securitycenter.microsoft.us"),
            (gcc, PUBLIC),
            ("localhost:81", "localhost:82"),
            ("localhost:81", "127.0.0.2:81"),
            ("evilsecurity.microsoft.com", PUBLIC),
            ("api.security.microsoft.com.evil.test", PUBLIC),
            ("[2001:db8::1]:81", "[2001:db8::2]:81"),
        ] {
            assert_ne!(service_name(one), service_name(other), "{one} {other}");
        }
    }
}
