//! Which audiences of tokens the API accepts (docs/service.md, sections 4.1 and 19).

/// The audience of tokens for the public cloud. The API host does not change it
/// (page "exposed-apis-create-app-webapp").
pub const AUDIENCE: &str = "https://api.securitycenter.microsoft.com";

/// The audiences that pages and clients in production use, regional ones aside.
///
/// `https://api.security.microsoft.com` is a host of the API but no audience: it gets a 403.
const KNOWN: [&str; 8] = [
    AUDIENCE,
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://api.securitycenter.windows.com",
    "https://securitycenter.onmicrosoft.com",
    "https://securitycenter.onmicrosoft.us",
    "https://api.securitycenter.microsoft.us",
    "https://api-gcc.securitycenter.microsoft.us",
    "https://api-gov.securitycenter.microsoft.us",
];

/// Returns whether the API accepts `audience`. With `only`, it accepts nothing else.
pub fn is_accepted(audience: &str, only: Option<&[String]>) -> bool {
    let is = |known: &str| same(audience, known);
    match only {
        Some(only) => only.iter().any(|known| is(known)),
        None => KNOWN.iter().any(|known| is(known)) || is_regional(audience),
    }
}

/// Compares two audiences. A resource may end in a slash, and the case of a host does not matter.
fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/').eq_ignore_ascii_case(b.trim_end_matches('/'))
}

/// Returns whether `audience` is a regional host, such as `api-eu.securitycenter.microsoft.com`.
fn is_regional(audience: &str) -> bool {
    let audience = audience.trim_end_matches('/').to_ascii_lowercase();
    audience
        .strip_prefix("https://api-")
        .and_then(|rest| rest.strip_suffix(".securitycenter.microsoft.com"))
        .is_some_and(|region| {
            (2..=4).contains(&region.len()) && region.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}
