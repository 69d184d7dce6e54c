//! Signs the client assertion that replaces a client secret (page "certificate-credentials").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use uuid::Uuid;

use super::certificate::Certificate;
use crate::error::Result;
use crate::secret::Secret;

/// Form field of the assertion.
pub const FIELD: &str = "client_assertion";
pub const TYPE_FIELD: &str = "client_assertion_type";
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Seconds. The page recommends 5 to 10 minutes.
const LIFETIME: u64 = 600;

/// Returns a JWT that authenticates the application `client_id` to `audience`. `now` is the Unix
/// time.
pub fn build_signed_jwt(
    certificate: &Certificate,
    audience: &str,
    client_id: &str,
    now: f64,
) -> Result<Secret> {
    let now = now as u64;
    // The page recommends PS256 and the SHA-256 thumbprint; RS256 and SHA-1 are legacy.
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": certificate.thumbprint()});
    let claims = json!({
        "aud": audience, "iss": client_id, "sub": client_id, "jti": Uuid::new_v4().to_string(),
        "iat": now, "nbf": now, "exp": now + LIFETIME,
    });
    let signing_input =
        [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = URL_SAFE_NO_PAD.encode(certificate.sign(signing_input.as_bytes())?);
    Ok(Secret::new(format!("{signing_input}.{signature}")))
}
