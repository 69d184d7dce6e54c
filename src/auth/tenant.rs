//! Checks tenant ids and domains.

use crate::error::{Error, Result};
use crate::model::is_guid;

const TENANT_HINT: &str = "give the tenant id, as 72f988bf-86f1-41af-91ab-2d7cd011db47, or a \
    domain of the tenant, as contoso.com";

/// Refuses a tenant that is neither a GUID nor a domain name.
pub fn validate_tenant(tenant: &str) -> Result<()> {
    // The tenant becomes a part of the login URL's path: `../` in it would reach another endpoint.
    if is_guid(tenant) || is_domain(tenant) {
        return Ok(());
    }
    Err(Error::invalid(format!("tenant {tenant:?} is neither a tenant id nor a domain"))
        .with_hint(TENANT_HINT))
}

/// Refuses a tenant that is not a GUID: a token names its tenant by GUID, so no other name can be
/// compared with it.
pub(super) fn validate_tenant_guid(tenant: &str) -> Result<()> {
    if is_guid(tenant) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tenant_id {tenant:?} is not a GUID, so it cannot be compared with the tenant of a token"
    ))
    .with_hint("give the tenant id, as 72f988bf-86f1-41af-91ab-2d7cd011db47"))
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        allowed
            && (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guid_or_a_domain_passes() {
        for good in [
            "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "72F988BF-86F1-41AF-91AB-2D7CD011DB47",
            "contoso.onmicrosoft.com",
            "a.b",
        ] {
            assert!(validate_tenant(good).is_ok(), "{good}");
        }
        let long = format!("{}.com", "a".repeat(64));
        for wrong in [
            "",
            "common",
            "..",
            "a/b.c",
            "a.b/",
            "a.b?x",
            "a..b",
            ".a",
            "-a.b",
            "a b.c",
            "ä.com",
            "a.b\n",
            "../../x",
            long.as_str(),
        ] {
            assert!(validate_tenant(wrong).is_err(), "{wrong}");
        }
        assert!(validate_tenant_guid("contoso.com").is_err());
    }
}
