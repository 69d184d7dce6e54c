//! What a token says of itself. Nothing is verified here: the service does that; this is for guards and hints.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The claims of a JWT that matter here; all of them absent from a token that is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// The tenant.
    pub tid: Option<String>,
    /// Application permissions.
    pub roles: Vec<String>,
    /// Delegated permissions.
    pub scp: Vec<String>,
    /// Unix time.
    pub exp: Option<f64>,
    /// The application.
    pub appid: Option<String>,
    /// Whom the token is for.
    pub aud: Option<String>,
}

impl Claims {
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
            // A token of version 2.0 calls it azp.
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

/// A list of words, or words in one string with blanks between them.
fn string_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// A number, or one in a string, that could be a time or a length of time.
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
    fn reads_application_and_delegated_tokens() {
        let token = jwt(&json!({
            "tid": "t", "roles": ["Machine.LiveResponse", 7, "Library.Manage"], "exp": 1.8e9, "appid": "a", "aud": "https://x"
        }));
        let claims = Claims::from_token(&token);
        assert_eq!(
            (claims.tid.as_deref(), claims.appid.as_deref(), claims.aud.as_deref()),
            (Some("t"), Some("a"), Some("https://x"))
        );
        assert_eq!(
            (claims.roles, claims.exp),
            (vec!["Machine.LiveResponse".to_owned(), "Library.Manage".to_owned()], Some(1.8e9))
        );
        let claims = Claims::from_token(&jwt(
            &json!({"scp": "Machine.Read  user_impersonation", "exp": "1800000000", "azp": "b"}),
        ));
        assert_eq!(
            (claims.scp.len(), claims.exp, claims.appid.as_deref()),
            (2, Some(1.8e9), Some("b"))
        );
    }

    #[test]
    fn junk_has_no_claims() {
        let odd = jwt(
            &json!({"tid": 1, "roles": {"a": 1}, "scp": null, "exp": -5, "appid": "", "aud": [1]}),
        );
        for junk in ["", "a", "a.b.c", "a.e30.c", "..", "a.bnVsbA.c", "a.W10.c", odd.as_str()] {
            assert_eq!(Claims::from_token(junk), Claims::default(), "{junk}");
        }
        let padded =
            format!("a.{}.c", base64::engine::general_purpose::URL_SAFE.encode(br#"{"tid":"t1"}"#));
        assert_eq!(Claims::from_token(&padded).tid.as_deref(), Some("t1"));
    }

    proptest! {
        #[test]
        fn no_token_makes_it_fall(token in r"[\PC.]{0,80}", payload in ".{0,80}") {
            Claims::from_token(&token);
            Claims::from_token(&format!("h.{}.s", BASE64.encode(payload)));
        }
    }
}
