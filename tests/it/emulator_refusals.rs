//! Faults that answer otherwise than the service would: refusals of what was done, pages, and
//! entities that were not asked for.

use base64::Engine;
use http::Method;
use mde_live_response::emulator::{Fault, FaultKind, ScriptOutcome, Settings};
use serde_json::json;

use crate::emulator_support::{Service, new_service, run_script, with_settings};

async fn submit_with(service: &Service, fault: &str) -> crate::emulator_support::ServiceResponse {
    let fault = Fault::from_json(fault).unwrap();
    service.emulator.fault("POST", "runliveresponse", fault, 1, 1).unwrap();
    service.run(&service.machine(0), &json!([run_script("a.ps1")]), "why").await
}

/// Each refusal may hide an action that was created.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_acted() {
    for (details, retry_after) in [
        (r#""status": 302, "headers": {"Location": "https://login.example.test/"}"#, ""),
        (r#""status": 400, "code": "ActiveRequestAlreadyExists""#, ""),
        (r#""status": 404, "code": "ResourceNotFound""#, ""),
        (r#""status": 408"#, ""),
        (r#""status": 409, "body": "conflict""#, ""),
        (r#""status": 429"#, ""),
        (r#""status": 429, "headers": {"Retry-After": "7"}"#, "7"),
        (r#""status": 499"#, ""),
        (r#""status": 500"#, ""),
        (r#""status": 502, "body": "<html>""#, ""),
        (r#""status": 503, "code": "InternalServerError""#, ""),
        (r#""status": 504"#, ""),
    ] {
        for (acts, created) in [(true, 1), (false, 0)] {
            let service = new_service();
            let fault = format!(r#"{{"kind": "status", {details}, "acts": {acts}}}"#);
            let response = submit_with(&service, &fault).await;
            assert!(fault.contains(&format!(r#""status": {}"#, response.status)), "{fault}");
            assert_eq!(response.header("retry-after"), retry_after, "{fault}");
            if fault.contains("code") {
                assert!(fault.contains(&response.code()) && !response.code().is_empty());
                assert!(!response.json()["error"]["target"].as_str().unwrap().is_empty());
            }
            let actions = service.get("/api/machineactions").await;
            assert_eq!(actions.ids().len(), created, "{fault}");
        }
    }
    let service = new_service();
    let fault = r#"{"kind": "status", "status": 400, "code": "ActiveRequestAlreadyExists"}"#;
    let message = submit_with(&service, fault).await.json()["error"]["message"].clone();
    assert_eq!(message, "Action is already in progress");
}

/// A page is a 200 that no host of the service sent; it may be anything.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_no_result() {
    let service = new_service();
    let page = submit_with(&service, r#"{"kind": "page"}"#).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    assert!(String::from_utf8_lossy(&page.body).contains("Sign in"));
    assert!(page.headers.keys().all(|name| !name.as_str().starts_with("x-ms-")));
    assert!(service.get("/api/machineactions").await.ids().is_empty());
    let page = submit_with(&service, r#"{"kind": "page", "acts": true, "status": 407}"#).await;
    assert_eq!(page.status, 407);
    assert_eq!(service.get("/api/machineactions").await.ids().len(), 1);
    let empty = submit_with(&service, r#"{"kind": "page", "body": ""}"#).await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    let noise = base64::engine::general_purpose::STANDARD.encode([0_u8, 159, 146, 150]);
    let fault = format!(
        r#"{{"kind": "page", "body_base64": "{noise}", "content_type": "application/zip"}}"#
    );
    let noise = submit_with(&service, &fault).await;
    assert_eq!(
        (&noise.body[..], noise.header("content-type")),
        (&[0_u8, 159, 146, 150][..], "application/zip")
    );
}

/// The blob host's own responses have the headers of Azure Storage, which a page lacks.
#[tokio::test(start_paused = true)]
async fn responses_of_the_blob_host() {
    let service = new_service();
    service.emulator.on_script("a.ps1", ScriptOutcome::default());
    let id = service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let link = service.link(&id, 0).await.json()["value"].as_str().unwrap().to_owned();
    let whole = service.blob(&link, &[]).await;
    for name in ["x-ms-request-id", "x-ms-version", "x-ms-blob-type", "last-modified", "date"] {
        assert!(!whole.header(name).is_empty(), "{name}");
    }
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    let part = service.blob(&link, &[("range", "bytes=0-3")]).await;
    assert_eq!((part.status, part.header("content-length")), (206, "4"));
    let refused = service.blob(&link.replace("sig=", "sig=x"), &[]).await;
    assert_eq!((refused.status, refused.header("x-ms-error-code")), (403, "AuthenticationFailed"));
    assert_eq!(refused.header("content-length"), refused.body.len().to_string());
    let fault = r#"{"kind": "status", "status": 403, "x_ms_error_code": "AuthorizationFailure"}"#;
    service.emulator.fault("GET", "blob", Fault::from_json(fault).unwrap(), 1, 1).unwrap();
    let refused = service.blob(&link, &[]).await;
    assert_eq!((refused.status, refused.header("x-ms-error-code")), (403, "AuthorizationFailure"));
    assert!(String::from_utf8_lossy(&refused.body).contains("<Code>AuthorizationFailure</Code>"));
    assert!(!refused.header("x-ms-request-id").is_empty());
    service.emulator.fault("GET", "blob", Fault::new(FaultKind::Page), 1, 1).unwrap();
    let page = service.blob(&link, &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    assert!(page.headers.keys().all(|name| !name.as_str().starts_with("x-ms-")));
    assert_eq!(service.blob(&link, &[]).await.body, whole.body);
}

/// The answer is about another action or another machine; the call itself took effect.
#[tokio::test(start_paused = true)]
async fn an_answer_about_another_entity() {
    for machines in [1, 3] {
        let service = with_settings(Settings { machines, ..Settings::default() });
        let machine = service.machine(0);
        let other = submit_with(&service, r#"{"kind": "wrong_entity"}"#).await;
        assert_eq!(other.status, 201);
        let created = service.get("/api/machineactions").await.ids();
        assert_eq!(created.len(), 1);
        let other = other.json();
        assert!(other["id"] != created[0].as_str() && other["id"].as_str().unwrap().len() == 36);
        assert!(other["machineId"] != machine.as_str() && other["type"] == "LiveResponse");
        let fault = |method, route| {
            let fault = Fault::new(FaultKind::WrongEntity);
            service.emulator.fault(method, route, fault, 1, 1).unwrap();
        };
        fault("GET", "machineaction");
        assert_ne!(service.action(&created[0]).await["id"], created[0].as_str());
        assert_eq!(service.action(&created[0]).await["id"], created[0].as_str());
        fault("GET", "machine");
        let read = service.get(&format!("/api/machines/{machine}")).await;
        assert!(read.status == 200 && read.json()["id"] != machine.as_str());
        assert_eq!(read.json()["id"].as_str().unwrap().len(), 40);
        fault("POST", "cancel");
        let cancel = format!("/api/machineactions/{}/cancel", created[0]);
        let cancelled = service.post(&cancel, &json!({"Comment": "stop"})).await;
        assert!(cancelled.status == 200 && cancelled.json()["id"] != created[0].as_str());
        assert_eq!(service.action(&created[0]).await["status"], "Cancelled");
    }
}

/// A test may choose the other entity. An error has none, and stays as it is.
#[tokio::test(start_paused = true)]
async fn an_answer_about_a_chosen_entity() {
    let service = new_service();
    let first = service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let elsewhere = service.submit(&service.machine(1), "a.ps1").await;
    let chosen = format!(r#"{{"kind": "wrong_entity", "entity": "{first}"}}"#);
    assert_eq!(submit_with(&service, &chosen).await.json()["id"], first);
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let gzip = [("accept-encoding", "gzip, deflate")];
    service.emulator.fault("*", "machineaction", Fault::from_json(&chosen).unwrap(), 1, 1).unwrap();
    let path = format!("/api/machineactions/{elsewhere}");
    let packed = service.call(Method::GET, &path, &gzip, "").await;
    assert_eq!(packed.header("content-encoding"), "deflate");
    service.emulator.fault("*", "machineaction", Fault::from_json(&chosen).unwrap(), 1, 1).unwrap();
    let missing = "/api/machineactions/00000000-0000-4000-8000-000000000000";
    assert_eq!(service.get(missing).await.status, 404);
}
