//! Error bodies, quotas and throttling (docs/service.md, section 10).

use std::time::Duration;

use http::Method;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{
    EmulatorClock, NewMachine, Settings, ThrottleResponse, WindowKind,
};
use mde_live_response::transport::Destination;
use serde_json::{Value, json};

use crate::emulator_support::{Service, new_service, run_script, with_settings};
use crate::emulator_tokens::token;

/// Section 10.1: an error has `code`, `message` and a `target` that is unique for each call.
#[tokio::test(start_paused = true)]
async fn the_body_of_an_error() {
    let service = new_service();
    let mut targets = Vec::new();
    for _ in 0..2 {
        let response = service.get("/api/machines/nobody").await;
        let body = response.json();
        assert_eq!(body.as_object().unwrap().len(), 1);
        assert_eq!(body["error"].as_object().unwrap().len(), 3);
        assert!(body["error"]["message"].is_string());
        targets.push(body["error"]["target"].as_str().unwrap().to_owned());
        assert_eq!(response.header("mise-correlation-id"), targets.last().unwrap());
    }
    assert_ne!(targets[0], targets[1]);
}

/// Section 10.2: every code that these calls return has the documented status.
#[tokio::test(start_paused = true)]
async fn each_code_has_its_status() {
    let service = new_service();
    let old = NewMachine { supported: false, ..NewMachine::named("old") };
    let group = NewMachine { remediation_level: false, ..NewMachine::named("group") };
    let (old, group) = (
        service.emulator.add_machine(old).unwrap().id,
        service.emulator.add_machine(group).unwrap().id,
    );
    let commands = json!([run_script("a.ps1")]);
    let submit = |machine: String, commands: Value| async {
        service.run(&{ machine }, &{ commands }, "c").await
    };
    let url = format!("{}/api/machines", service.emulator.url());
    let anonymous = service.send(Destination::Service, Method::GET, &url, &[], "");
    let mut seen = vec![
        ("BadRequest", 400, service.get("/api/machineactions/X").await),
        ("ODataError", 400, service.get("/api/machines?$top=x").await),
        (
            "InvalidInput",
            400,
            service
                .get("/api/machines/findbyip(ip='10.0.0.1',timestamp=2018-09-22T08:44:05Z)")
                .await,
        ),
        ("InvalidRequestBody", 400, submit(service.machine(0), json!([])).await),
        ("MissingRequiredParameter", 400, submit(service.machine(0), json!(null)).await),
        ("OsPlatformNotSupported", 400, submit(old, commands.clone()).await),
        ("Unauthorized", 401, anonymous.await.unwrap()),
        ("DisallowedOperation", 403, submit(group, commands.clone()).await),
        ("NotFound", 404, service.get("/api/nothing").await),
        ("ResourceNotFound", 404, service.get("/api/machines/nobody").await),
    ];
    service.emulator.set_switches(|s| s.live_response_disabled = true);
    seen.push(("DisabledFeature", 403, submit(service.machine(0), commands.clone()).await));
    service.emulator.set_switches(|s| {
        s.live_response_disabled = false;
        s.rate_answer = ThrottleResponse::Plain;
    });
    while service.emulator.counters()["runliveresponse"] < 10 {
        submit(service.machine(0), json!([])).await;
    }
    seen.push(("TooManyRequests", 429, submit(service.machine(0), commands).await));
    for (code, status, response) in seen {
        assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
        assert!(
            response.json()["error"]["message"].as_str().is_some_and(|message| !message.is_empty())
        );
    }
}

/// Section 10.2: a missing or unknown token is a 401, an unknown path a 404, a wrong method a 405.
#[tokio::test(start_paused = true)]
async fn tokens_and_paths_are_checked() {
    let service = new_service();
    let url = format!("{}/api/machines", service.emulator.url());
    let forged = format!("Bearer {}x", service.token);
    for authorization in ["", "Basic abc", "Bearer", "Bearer abc", &forged] {
        let headers: &[(&str, &str)] = &[("authorization", authorization)];
        let headers = if authorization.is_empty() { &[] } else { headers };
        let response =
            service.send(Destination::Service, Method::GET, &url, headers, "").await.unwrap();
        assert_eq!(
            (response.status, response.code().as_str()),
            (401, "Unauthorized"),
            "{authorization}"
        );
    }
    assert_eq!(service.get("/api/nothing").await.code(), "NotFound");
    assert_eq!(service.call(Method::PUT, "/api/machines", &[], "").await.status, 405);
}

fn two_a_minute(windows: WindowKind) -> Service {
    let limits = Limits { read: vec![Rate { count: 2, per: 60.0 }], ..Limits::default() };
    let clock = EmulatorClock { epoch: Some(1_600_000_020.0 + 50.0), ..EmulatorClock::default() };
    let service = with_settings(Settings { limits, clock, ..Settings::default() });
    service.emulator.set_switches(|s| s.windows = windows);
    service
}

/// Section 10.3: a 429 of a rate limit has the captured code, message, target and `Retry-After`.
#[tokio::test(start_paused = true)]
async fn a_429_of_a_rate_limit() {
    let service = two_a_minute(WindowKind::Sliding);
    for _ in 0..2 {
        service.get("/api/machines").await;
        tokio::time::sleep(Duration::from_secs(13)).await;
    }
    let response = service.get("/api/machines").await;
    assert_eq!((response.status, response.header("retry-after")), (429, "34"));
    let message = "API calls quota exceeded! Maximum allowed 2 per 00:01:00 for the key \
                   Destination+TenantID+AppID. You can send requests again in 34 seconds.";
    let error = &response.json()["error"];
    assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some("429"), Some(message)));
    assert_eq!(error["target"], service.emulator.tenant_id());
    tokio::time::sleep(Duration::from_secs(34)).await;
    assert_eq!(service.get("/api/machines").await.status, 200, "the Retry-After was exact");
}

/// Section 10.3: with a scaled clock, `Retry-After` is in wall time.
#[tokio::test(start_paused = true)]
async fn retry_after_is_in_wall_time() {
    let limits = Limits { read: vec![Rate { count: 1, per: 600.0 }], ..Limits::default() };
    let service = with_settings(Settings {
        limits,
        clock: EmulatorClock::scaled(60.0),
        ..Settings::default()
    });
    service.get("/api/machines").await;
    assert_eq!(service.get("/api/machines").await.header("retry-after"), "10");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(service.get("/api/machines").await.status, 200);
}

/// Section 10.3: each application has its own quota.
#[tokio::test(start_paused = true)]
async fn quotas_are_per_application() {
    let mut service = two_a_minute(WindowKind::Sliding);
    for status in [200, 200, 429] {
        assert_eq!(service.get("/api/machines").await.status, status);
    }
    let (id, secret) = service.emulator.add_application();
    let response = token(&service, &[("client_id", &id), ("client_secret", &secret)]).await;
    service.token = response.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.get("/api/machines").await.status, 200);
}

/// Section 15, rows 3, 5 and 6: the form of a 429, the kind of window, and whether rejected calls
/// count.
#[tokio::test(start_paused = true)]
async fn switches_of_throttling() {
    for (response, content_type, code) in [
        (ThrottleResponse::Full, "application/json; charset=utf-8", "429"),
        (ThrottleResponse::Plain, "application/json; charset=utf-8", "TooManyRequests"),
        (ThrottleResponse::Html, "text/html", ""),
        (ThrottleResponse::Empty, "", ""),
    ] {
        let service = two_a_minute(WindowKind::Sliding);
        service.emulator.set_switches(|s| {
            s.rate_answer = response;
            s.rate_retry_after = response != ThrottleResponse::Empty;
        });
        for _ in 0..2 {
            service.get("/api/machines").await;
        }
        let rejected = service.get("/api/machines").await;
        assert_eq!((rejected.status, rejected.header("content-type")), (429, content_type));
        assert_eq!(rejected.header("retry-after").is_empty(), response == ThrottleResponse::Empty);
        assert!(code.is_empty() || rejected.code() == code);
    }
    let fixed = two_a_minute(WindowKind::Fixed);
    fixed.get("/api/machines").await;
    fixed.get("/api/machines").await;
    assert_eq!(
        fixed.get("/api/machines").await.header("retry-after"),
        "10",
        "10 seconds of the minute are left"
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fixed.get("/api/machines").await.status, 200);
    assert_eq!(
        fixed.emulator.violations().rate,
        2,
        "violations count by strict windows even if the call is accepted"
    );
    for (counts, status) in [(false, 200), (true, 429)] {
        let service = two_a_minute(WindowKind::Sliding);
        service.emulator.set_switches(|s| s.refused_calls_count = counts);
        for _ in 0..4 {
            service.get("/api/machines").await;
            tokio::time::sleep(Duration::from_secs(14)).await;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(
            service.get("/api/machines").await.status,
            status,
            "rejected calls count: {counts}"
        );
    }
}

/// Section 15, row 2: the 429 of the session cap may resemble that of a rate, without
/// `Retry-After`.
#[tokio::test(start_paused = true)]
async fn a_full_cap_reported_as_a_rate() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let service = with_settings(Settings { limits, ..Settings::default() });
    service.emulator.set_switches(|s| s.cap_answer = ThrottleResponse::Full);
    service.submit(&service.machine(0), "a.ps1").await;
    let rejected = service.run(&service.machine(1), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!(
        (rejected.status, rejected.code().as_str(), rejected.header("retry-after")),
        (429, "429", "")
    );
    let message = rejected.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("API calls quota exceeded!")
            && message.ends_with("again in 60 seconds."),
        "{message}"
    );
}

/// Section 10.4: sessions of other applications count to the cap, but are not this client's
/// violation.
#[tokio::test(start_paused = true)]
async fn the_cap_is_the_tenants() {
    use mde_live_response::emulator::ForeignSessionResponse;
    let limits = Limits { sessions: 1, ..Limits::default() };
    let service = with_settings(Settings { limits, ..Settings::default() });
    service
        .emulator
        .add_foreign_session("ws-0001", 600.0, true, ForeignSessionResponse::Error)
        .unwrap();
    let rejected = service.run(&service.machine(1), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!((rejected.status, service.emulator.violations().sessions), (429, 0));
    let portal = with_settings(Settings {
        limits: Limits { sessions: 1, ..Limits::default() },
        ..Settings::default()
    });
    portal
        .emulator
        .add_foreign_session("ws-0001", 600.0, false, ForeignSessionResponse::Error)
        .unwrap();
    assert_eq!(
        portal.run(&portal.machine(1), &json!([run_script("a.ps1")]), "c").await.status,
        201
    );
}
