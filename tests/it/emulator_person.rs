//! Tokens of a person who signed in (docs/service.md, sections 4.4 and 19).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::emulator_support::{Service, ServiceResponse, new_service, run_script};

const API: &str = "https://api.securitycenter.microsoft.com";

async fn sign_in(service: &Service, changes: &[(&str, &str)]) -> ServiceResponse {
    let id = service.emulator.client_id();
    let scope = format!("{API}/.default openid profile offline_access");
    let mut form: Vec<(&str, &str)> = vec![
        ("client_id", &id),
        ("scope", &scope),
        ("grant_type", "password"),
        ("username", "ann@example.test"),
        ("password", "any"),
    ];
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        form.push((name, value));
    }
    service.token_request("/organizations/oauth2/v2.0/token", &form).await
}

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A person submits and reads results, and is the requestor.
#[tokio::test(start_paused = true)]
async fn a_person_runs_a_session() {
    let mut service = new_service();
    let response = sign_in(&service, &[]).await;
    assert_eq!(response.status, 200, "{response:?}");
    let body = response.json();
    let token = claims(&body["access_token"]);
    assert!(token["scp"].as_str().unwrap().split(' ').any(|it| it == "Machine.LiveResponse"));
    assert!(token.get("roles").is_none());
    assert_eq!((&token["upn"], &token["aud"]), (&json!("ann@example.test"), &json!(API)));
    assert_eq!(claims(&body["id_token"])["preferred_username"], "ann@example.test");
    assert!(body["scope"].as_str().unwrap().contains(&format!("{API}/Machine.Read ")));
    service.token = body["access_token"].as_str().unwrap().to_owned();
    service.emulator.add_library_file("a.ps1", b"x");
    let id = service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let action = service.action(&id).await;
    assert_eq!((&action["status"], &action["requestor"]), (&json!("Succeeded"), &token["upn"]));
    assert_eq!(service.link(&id, 0).await.status, 200);
    assert_eq!(service.get("/api/libraryfiles").await.status, 200);
    // The application's own calls are not the person's.
    service.token = service.emulator.token();
    let own = service.submit(&service.machine(0), "a.ps1").await;
    assert_eq!(service.action(&own).await["requestor"], service.emulator.client_id());
}

/// Section 1: each call needs a permission that the person granted.
#[tokio::test(start_paused = true)]
async fn a_person_has_only_what_was_asked_for() {
    for (scope, submits, reads, links) in [
        ("Machine.LiveResponse", 201, 403, 200),
        ("Machine.Read", 403, 200, 403),
        ("Machine.ReadWrite", 403, 200, 403),
    ] {
        let mut service = new_service();
        service.emulator.add_library_file("a.ps1", b"x");
        let known = service.submit(&service.machine(1), "a.ps1").await;
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        let body = sign_in(&service, &[("scope", &format!("{API}/{scope}"))]).await.json();
        assert_eq!(claims(&body["access_token"])["scp"], scope);
        service.token = body["access_token"].as_str().unwrap().to_owned();
        let submit = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
        assert_eq!(submit.status, submits, "{scope}");
        assert_eq!(service.get("/api/machines").await.status, reads, "{scope}");
        assert_eq!(service.link(&known, 0).await.status, links, "{scope}");
        assert_eq!(service.get("/api/libraryfiles").await.code(), "Forbidden", "{scope}");
    }
}

/// A device code signs in once. A refresh token gives further tokens.
#[tokio::test(start_paused = true)]
async fn device_codes_and_refresh_tokens() {
    for (version, token_path, grant) in [
        ("v2.0/", "v2.0/", "urn:ietf:params:oauth:grant-type:device_code"),
        ("", "", "device_code"),
    ] {
        let service = new_service();
        let id = service.emulator.client_id();
        let tenant = service.emulator.tenant_id();
        let scope = format!("{API}/.default");
        let form = [("client_id", id.as_str()), ("scope", &scope), ("resource", API)];
        let path = format!("/{tenant}/oauth2/{version}devicecode");
        let started = service.token_request(&path, &form).await.json();
        assert!(started["user_code"].is_string() && started["interval"].is_u64(), "{started}");
        let code = started["device_code"].as_str().unwrap();
        let path = format!("/{tenant}/oauth2/{token_path}token");
        let name = if version.is_empty() { "code" } else { "device_code" };
        let form = [("client_id", id.as_str()), ("grant_type", grant), (name, code)];
        let body = service.token_request(&path, &form).await.json();
        assert_eq!(claims(&body["access_token"])["upn"], "analyst@example.test");
        assert_eq!(body["expires_in"].is_string(), version.is_empty());
        let again = service.token_request(&path, &form).await;
        assert_eq!((again.status, &again.json()["error"]), (400, &json!("expired_token")));
        let refresh = body["refresh_token"].as_str().unwrap();
        let form = [
            ("client_id", id.as_str()),
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
        ];
        let fresh = service.token_request(&path, &form).await.json();
        assert_ne!(fresh["access_token"], body["access_token"]);
        assert_eq!(claims(&fresh["access_token"])["scp"], claims(&body["access_token"])["scp"]);
        let (other, _) = service.emulator.add_application();
        let form = [("client_id", other.as_str()), form[1], form[2]];
        assert_eq!(service.token_request(&path, &form).await.json()["error"], "invalid_grant");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_device_code_is_refused() {
    let service = new_service();
    let (id, scope) = (service.emulator.client_id(), format!("{API}/.default"));
    let form = [("client_id", id.as_str()), ("scope", &scope)];
    let path = "/organizations/oauth2/v2.0";
    let started = service.token_request(&format!("{path}/devicecode"), &form).await.json();
    tokio::time::sleep(std::time::Duration::from_secs(901)).await;
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let code = started["device_code"].as_str().unwrap();
    let form = [("client_id", id.as_str()), ("grant_type", grant), ("device_code", code)];
    let late = service.token_request(&format!("{path}/token"), &form).await;
    assert_eq!(late.json()["error"], "expired_token");
}

#[tokio::test(start_paused = true)]
async fn invalid_sign_ins() {
    let service = new_service();
    let both = format!("{API}/Machine.Read https://graph.microsoft.com/User.Read");
    for (changes, error) in [
        (&[("username", "")][..], "invalid_request"),
        (&[("password", "")], "invalid_request"),
        (&[("scope", "openid")], "invalid_scope"),
        (&[("scope", &both)], "invalid_scope"),
        (&[("scope", "https://api.securitycenter.microsoft.com/Nothing")], "invalid_scope"),
        (&[("client_id", "nobody")], "unauthorized_client"),
        (&[("grant_type", "refresh_token"), ("refresh_token", "x")], "invalid_grant"),
        // Other grants need the tenant's own path.
        (&[("grant_type", "authorization_code")], "invalid_request"),
        (&[("grant_type", "client_credentials")], "invalid_request"),
    ] {
        let response = sign_in(&service, changes).await;
        assert!(matches!(response.status, 400 | 401), "{changes:?}");
        assert_eq!(response.json()["error"], error, "{changes:?}");
    }
    let response = service
        .token_request("/11111111-2222-3333-4444-555555555555/oauth2/v2.0/devicecode", &[])
        .await;
    assert_eq!(response.status, 400);
}
