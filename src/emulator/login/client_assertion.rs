//! Validates client assertions: JWTs signed with a certificate that replace the client secret
//! (docs/service.md, section 4.3; page "certificate-credentials").

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use serde_json::Value;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;
use webpki::ring::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256_LEGACY_KEY};

/// Why an assertion is rejected: the number of the AADSTS code and its message.
pub type AssertionError = (u32, &'static str);

/// What the claims and the signature of an assertion must match.
pub struct AssertionPolicy<'a> {
    pub tenant: &'a str,
    pub client_id: &'a str,
    /// The registered certificates in DER form. If there are none, the signature is not verified.
    pub certificates: &'a [Vec<u8>],
    /// The wall clock, in Unix seconds.
    pub wall_now: f64,
}

struct Jwt<'a> {
    header: Value,
    claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Checks an assertion: its algorithm, claims, validity period and, if possible, its signature.
pub fn check(assertion: &str, policy: &AssertionPolicy<'_>) -> Result<(), AssertionError> {
    let jwt = parse(assertion).ok_or((50_027, "JWT token is invalid or malformed."))?;
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let algorithm: &dyn SignatureVerificationAlgorithm = match text(&jwt.header, "alg").as_str() {
        "PS256" => RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        "RS256" => RSA_PKCS1_2048_8192_SHA256,
        _ => return Err((50_027, "JWT token is invalid or malformed.")),
    };
    let client_id = policy.client_id;
    if text(&jwt.claims, "iss") != client_id || text(&jwt.claims, "sub") != client_id {
        return Err((700_021, "The client assertion's issuer and subject must be the client id."));
    }
    let endpoint = format!("/{}/oauth2/v2.0/token", policy.tenant);
    if !text(&jwt.claims, "aud").to_ascii_lowercase().ends_with(&endpoint) {
        return Err((700_023, "The client assertion's audience is not this endpoint."));
    }
    let time = |name: &str| jwt.claims.get(name).and_then(Value::as_f64);
    // The client's clock may run ahead of this one, so `nbf` may lie up to 5 minutes in the future.
    if time("exp").unwrap_or(0.0) <= policy.wall_now
        || time("nbf").unwrap_or(0.0) > policy.wall_now + 300.0
    {
        return Err((700_024, "The client assertion is not within its valid time range."));
    }
    let thumbprint = text(&jwt.header, "x5t#S256");
    if thumbprint.is_empty() && jwt.header.get("x5t").is_none() {
        return Err((700_027, "The client assertion names no certificate."));
    }
    // Older clients name the certificate by its SHA-1 (`x5t`) alone. Then every registered one is
    // tried.
    let may_have_signed = |der: &&Vec<u8>| {
        thumbprint.is_empty() || thumbprint == URL_SAFE_NO_PAD.encode(Sha256::digest(der))
    };
    let mut candidates = policy.certificates.iter().filter(may_have_signed);
    if policy.certificates.is_empty() || candidates.any(|der| is_signed_by(&jwt, der, algorithm)) {
        return Ok(());
    }
    Err((
        700_027,
        "The certificate with identifier used to sign the client assertion is not registered on \
         application.",
    ))
}

/// Splits a JWT into its parts and decodes them.
fn parse(assertion: &str) -> Option<Jwt<'_>> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    Some(Jwt {
        header: json(header)?,
        claims: json(claims)?,
        signed,
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
    })
}

fn is_signed_by(
    jwt: &Jwt<'_>,
    certificate: &[u8],
    algorithm: &dyn SignatureVerificationAlgorithm,
) -> bool {
    let der = CertificateDer::from(certificate);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return false };
    certificate.verify_signature(algorithm, jwt.signed.as_bytes(), &jwt.signature).is_ok()
}
