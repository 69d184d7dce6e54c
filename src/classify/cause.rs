//! What an error is about, by its code or by the words of its message (docs/service.md, section 19).

use super::error_body::ErrorBody;

/// A cause with a cure of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Live response is turned off in the tenant.
    Disabled,
    /// The machine's device group has no remediation level.
    NoRemediationLevel,
    NoLicence,
    AccountSuspended,
    AccountInactive,
    /// The message names the permissions that the token lacks.
    MissingRoles,
}

impl Cause {
    pub fn of(error_body: &ErrorBody) -> Option<Self> {
        match error_body.code.as_deref().unwrap_or_default() {
            "DisabledFeature" => return Some(Self::Disabled),
            "DisallowedOperation" => return Some(Self::NoRemediationLevel),
            _ => {}
        }
        let message = error_body.message.as_deref()?.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().all(|word| message.contains(word));
        let says_any = |words: &[&str]| words.iter().any(|word| message.contains(word));
        // The API says that a licence is missing in the words of the account mode too.
        let is_licence = says_any(&["no tvm license", "no tvm licence"])
            || (says_any(&["license", "licence"])
                && says_any(&["no ", "missing", "not have", "expired", "without"]));
        let is_off = says_any(&["disabled", "not enabled", "turned off", "not turned on"]);
        if says(&["suspended"]) && says_any(&["account", "tenant", "subscription"]) {
            Some(Self::AccountSuspended)
        } else if is_licence {
            Some(Self::NoLicence)
        } else if says(&["account mode"]) || says(&["tenant", "inactive"]) {
            Some(Self::AccountInactive)
        } else if says_any(&["missing application roles", "missing user scopes", "required roles:"])
        {
            Some(Self::MissingRoles)
        } else if says_any(&["remediation level", "automation level"]) {
            Some(Self::NoRemediationLevel)
        } else if is_off && says_any(&["live response", "liveresponse"]) {
            Some(Self::Disabled)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_a_message_decide_under_any_code() {
        let table = [
            ("reason of failure: Account mode is inactive", Some(Cause::AccountInactive)),
            ("Reason of failure: Suspended account mode", Some(Cause::AccountSuspended)),
            ("reason of failure: No Tvm license", Some(Cause::NoLicence)),
            (
                "Missing application roles. API required roles: A, B, application roles: .",
                Some(Cause::MissingRoles),
            ),
            ("The device group has no Remediation Level set", Some(Cause::NoRemediationLevel)),
            ("Live Response is disabled for the tenant", Some(Cause::Disabled)),
            ("Machine is inactive", None),
            ("The request is invalid", None),
        ];
        for (message, expected) in table {
            for code in ["Unauthorized", "Forbidden", "BadRequest", "SomethingNew"] {
                let body = json!({"error": {"code": code, "message": message}}).to_string();
                let cause = Cause::of(&ErrorBody::parse(body.as_bytes()));
                assert_eq!(cause, expected, "{code} {message}");
            }
        }
    }
}
