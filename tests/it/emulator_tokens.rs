//! Tokens, audiences and permissions (docs/service.md, section 4).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::emulator_support::{Service, ServiceResponse, new_service, with_switches};

const SCOPE: &str = "https://api.securitycenter.microsoft.com/.default";

pub async fn token(service: &Service, changes: &[(&str, &str)]) -> ServiceResponse {
    let (id, secret) = (service.emulator.client_id(), service.emulator.client_secret());
    let mut form: Vec<(&str, &str)> = vec![
        ("client_id", &id),
        ("client_secret", &secret),
        ("scope", SCOPE),
        ("grant_type", "client_credentials"),
    ];
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    let path = format!("/{}/oauth2/v2.0/token", service.emulator.tenant_id());
    service.token_request(&path, &form).await
}

/// Section 4.2: a token for a client secret has the documented claims and is valid for an hour.
#[tokio::test(start_paused = true)]
async fn a_token_for_a_secret() {
    let mut service = new_service();
    let response = token(&service, &[]).await;
    assert_eq!((response.status, &response.json()["token_type"]), (200, &json!("Bearer")));
    assert_eq!(response.json()["expires_in"], 3599);
    let token = response.json()["access_token"].as_str().unwrap().to_owned();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["tid"], service.emulator.tenant_id());
    assert_eq!(claims["aud"], "https://api.securitycenter.microsoft.com");
    assert!(claims["roles"].as_array().unwrap().contains(&json!("Machine.LiveResponse")));
    service.token = token;
    assert_eq!(service.get("/api/machines").await.status, 200);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let late = service.get("/api/machines").await;
    assert_eq!((late.status, late.code().as_str()), (401, "Unauthorized"));
}

/// Section 4.2: the v1 endpoint takes `resource` in place of `scope`.
#[tokio::test(start_paused = true)]
async fn a_token_from_the_v1_endpoint() {
    let service = new_service();
    let (id, secret) = (service.emulator.client_id(), service.emulator.client_secret());
    let form = [
        ("client_id", id.as_str()),
        ("client_secret", &secret),
        ("resource", "https://api.securitycenter.microsoft.com"),
        ("grant_type", "client_credentials"),
    ];
    let response = service
        .token_request(&format!("/{}/oauth2/token", service.emulator.tenant_id()), &form)
        .await;
    assert_eq!((response.status, &response.json()["expires_in"]), (200, &json!("3599")));
}

/// Section 4.2: an error has a string as `error`, and an AADSTS code.
#[tokio::test(start_paused = true)]
async fn invalid_token_requests_are_rejected() {
    let service = new_service();
    for (changes, status, error, code) in [
        (vec![("client_secret", "wrong")], 401, "invalid_client", 7_000_215),
        (vec![("client_secret", "")], 401, "invalid_client", 7_000_218),
        (vec![("client_id", "nobody")], 400, "unauthorized_client", 700_016),
        (
            vec![("scope", "https://api.securitycenter.microsoft.com")],
            400,
            "invalid_scope",
            1_002_012,
        ),
        (vec![("scope", "")], 400, "invalid_request", 900_144),
        (vec![("grant_type", "authorization_code")], 400, "unsupported_grant_type", 70_003),
    ] {
        let response = token(&service, &changes).await;
        let body = response.json();
        assert_eq!(
            (response.status, body["error"].as_str().unwrap()),
            (status, error),
            "{changes:?}"
        );
        assert_eq!(body["error_codes"], json!([code]));
        assert!(
            body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: "))
        );
        assert!(
            body["trace_id"].is_string()
                && body["correlation_id"].is_string()
                && body["timestamp"].is_string()
        );
    }
    let elsewhere = service.token_request("/another-tenant/oauth2/v2.0/token", &[]).await;
    assert_eq!(elsewhere.json()["error_codes"], json!([90_002]));
}

/// Section 4.1: the audiences that the API accepts, and two that get a 403.
#[tokio::test(start_paused = true)]
async fn audiences() {
    for (audience, status) in [
        ("https://api.securitycenter.microsoft.com", 200),
        ("https://securitycenter.onmicrosoft.com/windowsatpservice", 200),
        ("https://api.securitycenter.windows.com", 200),
        ("https://api.securitycenter.microsoft.com/", 200),
        ("HTTPS://API.securitycenter.microsoft.com", 200),
        ("https://api-eu.securitycenter.microsoft.com", 200),
        ("https://api-us3.securitycenter.microsoft.com", 200),
        ("https://securitycenter.onmicrosoft.com", 200),
        ("https://securitycenter.onmicrosoft.us", 200),
        ("https://api.securitycenter.microsoft.us", 200),
        ("https://api-gcc.securitycenter.microsoft.us", 200),
        ("https://api-gov.securitycenter.microsoft.us", 200),
        ("https://api.security.microsoft.com", 403),
        ("https://api-x.y.securitycenter.microsoft.com", 403),
        ("https://api.securitycenter.windows.com.example.test", 403),
        ("https://graph.microsoft.com", 403),
    ] {
        let mut service = new_service();
        let response = token(&service, &[("scope", &format!("{audience}/.default"))]).await;
        service.token = response.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(service.get("/api/machines").await.status, status, "{audience}");
    }
}

/// Section 15, row 29: a switch narrows the audiences.
#[tokio::test(start_paused = true)]
async fn only_the_audiences_of_the_switch() {
    let only = "https://securitycenter.onmicrosoft.com/windowsatpservice";
    for (audience, status) in [(only, 200), ("https://api.securitycenter.microsoft.com", 403)] {
        let mut service = with_switches(|s| s.audiences = Some(vec![only.to_owned()]));
        let response = token(&service, &[("scope", &format!("{audience}/.default"))]).await;
        service.token = response.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(service.get("/api/machines").await.status, status, "{audience}");
    }
}

/// Section 4.3: the claims of a client assertion are checked.
#[tokio::test(start_paused = true)]
async fn a_token_for_a_client_assertion() {
    let service = new_service();
    let id = service.emulator.client_id();
    let audience = format!(
        "{}/{}/oauth2/v2.0/token",
        service.emulator.login_url(),
        service.emulator.tenant_id()
    );
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let jwt = |header: Value, claims: Value| format!("{}.{}.c2ln", part(header), part(claims));
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": "abc"});
    let claims = json!({"aud": audience, "iss": id, "sub": id, "jti": "1", "nbf": 0, "exp": 4_000_000_000_u64});
    let with = |change: Value| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    };
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for (assertion, status) in [
        (jwt(header.clone(), claims.clone()), 200),
        (jwt(json!({"alg": "none", "x5t": "abc"}), claims.clone()), 401),
        (jwt(json!({"alg": "PS256"}), claims.clone()), 401),
        (jwt(header.clone(), with(json!({"iss": "other"}))), 401),
        (jwt(header.clone(), with(json!({"aud": "https://elsewhere/token"}))), 401),
        (jwt(header.clone(), with(json!({"exp": 1}))), 401),
        ("nonsense".to_owned(), 401),
    ] {
        let changes = [
            ("client_secret", ""),
            ("client_assertion_type", kind),
            ("client_assertion", &assertion),
        ];
        assert_eq!(token(&service, &changes).await.status, status, "{assertion}");
    }
}

/// Section 4.5: with `Machine.LiveResponse` alone a session runs, but its result is a 403 with the
/// captured message.
#[tokio::test(start_paused = true)]
async fn a_token_without_the_role() {
    let mut service = new_service();
    service.emulator.add_library_file("a.ps1", b"x");
    service.token = service.emulator.token_with(["Machine.LiveResponse"]);
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let response = service.link(&id, 0).await;
    assert_eq!((response.status, response.code().as_str()), (403, "Forbidden"));
    assert_eq!(
        response.json()["error"]["message"],
        "The application does not have any of the required application permissions \
         (Machine.Read.All, Machine.ReadWrite.All) to access the resource."
    );
}

/// Section 15, row 29: the status for a wrong audience is a switch.
#[tokio::test(start_paused = true)]
async fn a_wrong_audience_may_be_401() {
    let mut service = with_switches(|s| s.wrong_audience_status = 401);
    let response = token(&service, &[("scope", "https://graph.microsoft.com/.default")]).await;
    service.token = response.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.get("/api/machines").await.code(), "Unauthorized");
}

/// Section 4.2: the lifetime of a token is a switch.
#[tokio::test(start_paused = true)]
async fn the_lifetime_of_a_token() {
    let service = with_switches(|switches| switches.token_life = 60.0);
    assert_eq!(token(&service, &[]).await.json()["expires_in"], 60);
}
