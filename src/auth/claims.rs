//! Reads the claims of a token, without verifying it: the service does that. This crate uses the
//! claims to check the tenant, to know the expiry and to give hints.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

// Lenient, as the service is: some issuers pad the parts of a JWT or leave trailing bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The claims that this crate uses. All are unset if the token is not a JWT.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenClaims {
    /// Tenant id.
    pub tid: Option<String>,
    /// Application permissions.
    pub roles: Vec<String>,
    /// Delegated permissions.
    pub scp: Vec<String>,
    /// Expiry, as Unix time.
    pub exp: Option<f64>,
    /// Application id.
    pub appid: Option<String>,
    /// Audience: the API that accepts the token.
    pub aud: Option<String>,
}

impl TokenClaims {
    /// Reads the claims of a JWT, without verifying it.
    pub fn from_token(token: &str) -> Self {
        decode_payload(token).map(|payload| Self::from_payload(&payload)).unwrap_or_default()
    }

    fn from_payload(payload: &Value) -> Self {
        let text = |name: &str| match payload.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        Self {
            tid: text("tid"),
            roles: string_list(payload.get("roles")),
            scp: string_list(payload.get("scp")),
            exp: payload.get("exp").and_then(positive_number),
            // Version 2.0 tokens name the application `azp`.
            appid: text("appid").or_else(|| text("azp")),
            aud: string_list(payload.get("aud")).into_iter().next(),
        }
    }
}

fn decode_payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
}

/// Reads a list of strings, or one string of words separated by spaces.
fn string_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a positive number, also from a string: the login host and the platform send both.
pub(super) fn positive_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite() && *number > 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::tests::jwt;

    #[test]
    fn application_and_delegated_tokens_are_read() {
        let token = jwt(&json!({
            "tid": "t", "roles": ["Machine.LiveResponse", 7, "Library.Manage"], "exp": 1.8e9, "appid": "a", "aud": "https://x"
        }));
        let claims = TokenClaims::from_token(&token);
        assert_eq!(
            (claims.tid.as_deref(), claims.appid.as_deref(), claims.aud.as_deref()),
            (Some("t"), Some("a"), Some("https://x"))
        );
        assert_eq!(
            (claims.roles, claims.exp),
            (vec!["Machine.LiveResponse".to_owned(), "Library.Manage".to_owned()], Some(1.8e9))
        );
        let claims = TokenClaims::from_token(&jwt(
            &json!({"scp": "Machine.Read  user_impersonation", "exp": "1800000000", "azp": "b"}),
        ));
        assert_eq!(
            (claims.scp.len(), claims.exp, claims.appid.as_deref()),
            (2, Some(1.8e9), Some("b"))
        );
    }

    #[test]
    fn an_invalid_token_has_no_claims() {
        let odd = jwt(
            &json!({"tid": 1, "roles": {"a": 1}, "scp": null, "exp": -5, "appid": "", "aud": [1]}),
        );
        for junk in ["", "a", "a.b.c", "a.e30.c", "..", "a.bnVsbA.c", "a.W10.c", odd.as_str()] {
            assert_eq!(TokenClaims::from_token(junk), TokenClaims::default(), "{junk}");
        }
        let padded =
            format!("a.{}.c", base64::engine::general_purpose::URL_SAFE.encode(br#"{"tid":"t1"}"#));
        assert_eq!(TokenClaims::from_token(&padded).tid.as_deref(), Some("t1"));
    }

    proptest! {
        #[test]
        fn no_token_panics(token in r"[\PC.]{0,80}", payload in ".{0,80}") {
            TokenClaims::from_token(&token);
            TokenClaims::from_token(&format!("h.{}.s", BASE64.encode(payload)));
        }
    }
}
