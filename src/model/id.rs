//! The formats of the service's ids.

use uuid::Uuid;

/// Returns whether `text` is a machine id: 40 hexadecimal digits.
pub fn is_machine_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether `text` is a GUID of 8-4-4-4-12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    // `Uuid` also parses braces, `urn:uuid:` and 32 digits without hyphens: the service does not.
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_a_guid() {
        assert!(is_guid("72f988bf-86f1-41af-91ab-2d7cd011db47"));
        assert!(is_guid("72F988BF-86F1-41AF-91AB-2D7CD011DB47"));
        for wrong in [
            "",
            "72f988bf86f141af91ab2d7cd011db47",
            "{72f988bf-86f1-41af-91ab-2d7cd011db47}",
            "urn:uuid:72f988bf-86f1-41af-91ab-2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011db4g",
            "72f988bf8-6f1-41af-91ab-2d7cd011db47",
        ] {
            assert!(!is_guid(wrong), "{wrong}");
        }
    }
}
