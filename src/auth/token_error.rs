//! Maps a refusal of the login host to an error with a hint.

use http::StatusCode;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::error::{Error, Kind};
use crate::secret::Secret;
use crate::text::sanitize;

/// The parts of a token request that errors need.
pub(super) struct TokenRequest<'a> {
    pub client_id: &'a str,
    pub tenant: &'a str,
    pub secrets: &'a [&'a Secret],
}

impl TokenRequest<'_> {
    pub fn failure_prefix(&self) -> String {
        format!(
            "could not get a token for application {} of tenant {}",
            sanitize(self.client_id, 80),
            self.tenant
        )
    }

    /// Makes `text` safe to show and masks the secrets of the request.
    fn redact(&self, text: &str, limit: usize) -> String {
        // A login host or a proxy may repeat the form that it received.
        let mut text = text.to_owned();
        for secret in
            self.secrets.iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty())
        {
            let as_sent: String = byte_serialize(secret.as_bytes()).collect();
            text = text.replace(secret, "***").replace(&as_sent, "***");
        }
        sanitize(&text, limit)
    }
}

/// Returns the error of a response other than 200. Its body is
/// `{"error": "...", "error_description": "AADSTS...", "error_codes": [...]}`.
pub(super) fn error_from_response(
    token_request: &TokenRequest<'_>,
    status: StatusCode,
    body: &[u8],
) -> Error {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str, limit: usize| {
        let text = token_request.redact(answer.get(name)?.as_str()?, limit);
        (!text.is_empty()).then_some(text)
    };
    let (code, description) = (field("error", 100), field("error_description", 600));
    let number = aadsts_number(&answer, description.as_deref().unwrap_or_default());
    let reason = match (&description, &code) {
        (Some(description), _) => description.clone(),
        (None, Some(code)) => code.clone(),
        (None, None) => quote_body(token_request, body),
    };
    let message = format!(
        "{}: the login host answered {}: {reason}",
        token_request.failure_prefix(),
        status.as_u16()
    );
    let mut error = Error::new(Kind::Authentication, message);
    error.hint = hint_for_error(number, status, code.is_some()).map(str::to_owned);
    error.code = number.map(|number| format!("AADSTS{number}")).or(code);
    error.status = Some(status.as_u16());
    error.request_id = field("correlation_id", 100).or_else(|| field("trace_id", 100));
    error.tenant_id = Some(token_request.tenant.to_owned());
    error.retryable = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    error
}

fn quote_body(token_request: &TokenRequest<'_>, body: &[u8]) -> String {
    match token_request.redact(&String::from_utf8_lossy(body), 200) {
        text if text.is_empty() => "the body is empty".to_owned(),
        text => text,
    }
}

fn aadsts_number(answer: &Value, description: &str) -> Option<u64> {
    let listed = answer.get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64);
    listed.or_else(|| {
        let (_, after) = description.split_once("AADSTS")?;
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after.get(..end)?.parse().ok()
    })
}

fn hint_for_error(number: Option<u64>, status: StatusCode, has_code: bool) -> Option<&'static str> {
    Some(match number {
        Some(7_000_215) => {
            "the client secret is wrong: give its value, not its id, of an application in this \
             tenant (Entra ID > App registrations > Certificates & secrets)"
        }
        Some(7_000_222) => {
            "the client secret has expired: create a new one (Entra ID > App registrations > \
             Certificates & secrets)"
        }
        Some(700_016) => {
            "there is no such application in this tenant: check client_id, tenant_id and the cloud"
        }
        Some(700_027) => {
            "the certificate is not registered for this application: upload it (Entra ID > App \
             registrations > Certificates & secrets), or give a registered one"
        }
        Some(700_024) => "the time of the assertion is wrong: correct the clock of this machine",
        Some(1_000_502) => {
            "the certificate has expired or is not valid yet: give a current one and upload it"
        }
        Some(70_021 | 700_211..=700_213) => {
            "no federated credential of the application matches the token: compare issuer, \
             subject and audience (Entra ID > App registrations > Certificates & secrets > \
             Federated credentials)"
        }
        Some(7_000_112) => {
            "the application is disabled: an administrator of the tenant can enable it"
        }
        Some(90_002 | 900_023) => {
            "there is no such tenant in this cloud: check tenant_id and the cloud"
        }
        Some(70_011 | 1_002_012) => {
            "the scope is wrong: it must end in /.default, as \
             https://api.securitycenter.microsoft.com/.default"
        }
        Some(500_011) => {
            "the service of the scope does not exist in this tenant: check scope and cloud, and that the tenant has Defender"
        }
        Some(53_003) => "a conditional access policy of the tenant blocks this login",
        _ if status.is_server_error() => "the login host failed: try again later",
        _ if status == StatusCode::TOO_MANY_REQUESTS => {
            "the login host received too many requests: try again later"
        }
        _ if !has_code => {
            "the response does not come from the login host: check the authority; a sign-in page \
             or proxy may be answering"
        }
        _ => return None,
    })
}
