//! Reads claims challenges: with continuous access evaluation, the service may ask for a token with
//! other claims.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Map, Value};

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// Bytes of base64, far more than any challenge has.
const MAX_CLAIMS_LEN: usize = 16 << 10;

/// Returns the claims that a 401 asks for, as JSON. The header is
/// `WWW-Authenticate: Bearer error="insufficient_claims", claims="<base64>"`.
pub fn parse_claims_challenge(headers: &HeaderMap) -> Option<String> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(
        |challenge| {
            let parameters = parse_auth_params(challenge.trim_start());
            let value =
                |name: &str| parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let (_, error) = value("error")?;
            let (_, claims) = value("claims").filter(|_| *error == "insufficient_claims")?;
            decode_claims(claims)
        },
    )
}

// The scheme is not checked: only Bearer challenges have claims.
fn parse_auth_params(challenge: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = challenge;
    while let Some((before, after)) = rest.split_once("=\"") {
        let Some((value, next)) = after.split_once('"') else { break };
        found.push((before.rsplit([' ', ',']).next().unwrap_or_default(), value));
        rest = next;
    }
    found
}

fn decode_claims(text: &str) -> Option<String> {
    // Both alphabets occur, with and without padding.
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, ANY_PADDING)
        .decode(text.get(..text.len().min(MAX_CLAIMS_LEN))?)
        .ok()?;
    let claims = String::from_utf8(bytes).ok()?;
    serde_json::from_str::<Map<String, Value>>(&claims).ok()?;
    Some(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}"#;

    fn parse(challenges: &[&str]) -> Option<String> {
        parse_claims_challenge(
            &challenges
                .iter()
                .map(|challenge| (WWW_AUTHENTICATE, challenge.parse().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn claims_are_read_from_their_challenge() {
        for engine in [
            base64::engine::general_purpose::STANDARD,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ] {
            let claims = engine.encode(CLAIMS);
            let challenge = format!(
                r#"Bearer realm="", authorization_uri="https://login.example.test/common", error="insufficient_claims", claims="{claims}""#
            );
            assert_eq!(parse(&[&challenge]).as_deref(), Some(CLAIMS));
            assert_eq!(
                parse(&[r#"Bearer error="invalid_token""#, &challenge]).as_deref(),
                Some(CLAIMS)
            );
            let other = challenge.replace("insufficient_claims", "invalid_token");
            assert_eq!(parse(&[&other]), None);
        }
        for none in ["", "Bearer", r#"Bearer error="insufficient_claims""#, "Bearer claims=x"] {
            assert_eq!(parse(&[none]), None, "{none}");
        }
        for junk in ["!", "bnVsbA==", "e30", "_w"] {
            let found =
                parse(&[&format!(r#"Bearer error="insufficient_claims", claims="{junk}""#)]);
            assert_eq!(found.as_deref(), (junk == "e30").then_some("{}"), "{junk}");
        }
    }

    proptest! {
        #[test]
        fn no_challenge_panics(challenge in r#"(Bearer )?([a-z]{0,9}="?[ -~]{0,30}"?,? ?){0,5}"#) {
            parse(&[&challenge]);
        }
    }
}
