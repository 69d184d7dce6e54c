//! Entra's login hosts.

/// What a path has in place of a tenant, for an application of many tenants.
pub const ANY_TENANT: [&str; 3] = ["common", "organizations", "consumers"];

pub const PUBLIC_LOGIN: &str = "login.microsoftonline.com";
pub const GOVERNMENT_LOGIN: &str = "login.microsoftonline.us";

/// The login hosts of the public cloud. Instance discovery returns them as names of one host.
pub const PUBLIC_LOGIN_NAMES: [&str; 4] =
    [PUBLIC_LOGIN, "login.windows.net", "login.microsoft.com", "sts.windows.net"];
/// The login hosts of the government clouds.
pub const GOVERNMENT_LOGIN_NAMES: [&str; 2] = [GOVERNMENT_LOGIN, "login.usgovcloudapi.net"];
const OTHER_LOGIN: &str = "login-us.microsoftonline.com";

/// Returns whether `host` is one of Entra's login hosts.
pub fn is_login(host: &str) -> bool {
    PUBLIC_LOGIN_NAMES.contains(&host)
        || GOVERNMENT_LOGIN_NAMES.contains(&host)
        || host == OTHER_LOGIN
        // Regional hosts, such as westus2.login.microsoft.com.
        || is_child(host, "login.microsoft.com")
}

/// Returns whether `host` is one label in front of `domain`.
pub fn is_child(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

/// Returns the issuing host of the cloud that a login host of Entra belongs to. `None` if it is no
/// host of Entra.
pub fn issuing_host(host: &str) -> Option<&'static str> {
    if GOVERNMENT_LOGIN_NAMES.contains(&host) {
        return Some(GOVERNMENT_LOGIN);
    }
    is_login(host).then_some(PUBLIC_LOGIN)
}
