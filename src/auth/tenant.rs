//! A tenant's name, before it becomes part of an address.

use crate::error::{Error, Result};

const TENANT_HINT: &str = "give the tenant's id, as 72f988bf-86f1-41af-91ab-2d7cd011db47, or a domain of it, as contoso.com";

/// Whether `text` is written as a GUID: 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Refuses what is neither a GUID nor a domain name: it would end up in the path of the login's address.
pub fn validate_tenant(tenant: &str) -> Result<()> {
    if is_guid(tenant) || is_domain(tenant) {
        return Ok(());
    }
    Err(Error::invalid(format!("tenant {tenant:?} is neither a tenant's id nor a domain"))
        .with_hint(TENANT_HINT))
}

/// Refuses a tenant that a token could not be compared with: a token names its tenant by GUID alone.
pub(super) fn validate_tenant_guid(tenant: &str) -> Result<()> {
    if is_guid(tenant) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tenant_id {tenant:?} is not a tenant's id, and a token can be compared with no other name"
    ))
    .with_hint("give the tenant's id, as 72f988bf-86f1-41af-91ab-2d7cd011db47"))
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
    fn a_guid_or_a_domain_and_nothing_else() {
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
