//! Paths that are not emulated, unknown machines, the health check, CORS and HEAD.

use http::Method;
use mde_live_response::emulator::{Content, FaultKind, NewMachine, ScriptOutcome};
use mde_live_response::transport::Destination;
use serde_json::json;

use crate::emulator_support::{get_file, new_service, run_script, with_switches};

/// The answer says that the path is not emulated, and which paths are.
#[tokio::test(start_paused = true)]
async fn what_is_not_emulated_says_so() {
    let service = new_service();
    let machine = service.machine(0);
    for (method, path) in [
        (Method::GET, "/api/alerts".to_owned()),
        (Method::GET, "/api".to_owned()),
        (Method::POST, format!("/api/machines/{machine}/isolate")),
        (Method::GET, format!("/api/machines/{machine}/logonusers")),
        (Method::GET, "/api/machineactions/x/GetPackageUri".to_owned()),
    ] {
        let response = service.call(method.clone(), &path, &[], "").await;
        assert_eq!((response.status, response.code().as_str()), (404, "NotFound"), "{path}");
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("{method} {path} is not emulated.")), "{message}");
        for known in ["POST /api/machines/{id}/runliveresponse", "GET /api/libraryfiles"] {
            assert!(message.contains(known), "{message}");
        }
        assert!(message.len() < 2000);
    }
    let long = service.get(&format!("/api/{}", "x".repeat(5000))).await;
    assert!(long.body.len() < 2000 && long.code() == "NotFound");
}

/// Outside of the API, no token is asked for. In the API, the token comes first.
#[tokio::test(start_paused = true)]
async fn a_person_who_opens_the_address_is_told() {
    let service = new_service();
    for (path, status) in [("/", 404), ("/favicon.ico", 404), ("/api/alerts", 401), ("/api", 401)] {
        let url = format!("{}{path}", service.emulator.url());
        let response =
            service.send(Destination::Service, Method::GET, &url, &[], "").await.unwrap();
        assert_eq!(response.status, status, "{path}");
        assert_eq!(String::from_utf8_lossy(&response.body).contains("not emulated"), status == 404);
    }
}

/// Section 5.5: every route of an unknown machine is a 404 `ResourceNotFound`.
#[tokio::test(start_paused = true)]
async fn an_unknown_machine() {
    let service = new_service();
    let mut merged = NewMachine::named("old.example.test");
    merged.properties.insert("mergedIntoMachineId".to_owned(), json!(service.machine(0)));
    service.emulator.add_machine(merged).unwrap();
    for key in ["0".repeat(40), "nobody.example.test".to_owned()] {
        let submit = service.run(&key, &json!([run_script("a.ps1")]), "why").await;
        let read = service.get(&format!("/api/machines/{key}")).await;
        let other = service.get(&format!("/api/machines/{key}/logonusers")).await;
        let isolate = service.post(&format!("/api/v1.0/machines/{key}/isolate"), &json!({})).await;
        for response in [submit, read, other, isolate] {
            assert_eq!((response.status, response.code().as_str()), (404, "ResourceNotFound"));
            let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
            assert_eq!(message, format!("Machine {key} was not found"));
        }
    }
}

/// A health check needs no token, and is neither logged nor faulty.
#[tokio::test(start_paused = true)]
async fn the_health_check() {
    let service = with_switches(|s| {
        s.fault_rate = 1.0;
        s.fault_kinds = vec![FaultKind::DropBefore];
    });
    let url = format!("{}/healthz", service.emulator.url());
    for method in [Method::GET, Method::HEAD] {
        let response =
            service.send(Destination::Service, method.clone(), &url, &[], "").await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"ok\n"[..]), "{method}");
    }
    assert!(service.emulator.requests().is_empty());
}

/// Only with the switch may a web page call the emulator.
#[tokio::test(start_paused = true)]
async fn a_web_page_may_call_with_the_switch() {
    let page = "http://localhost:3000";
    let asks = [
        ("origin", page),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    for (allowed, expected) in [
        (None, ""),
        (Some("*"), "*"),
        (Some(page), page),
        (Some("http://localhost:3001"), ""),
        (Some("http://localhost"), ""),
    ] {
        let service = with_switches(|s| s.cors_origin = allowed.map(str::to_owned));
        let path = format!("/api/machines/{}/runliveresponse", service.machine(0));
        let preflight = service.call(Method::OPTIONS, &path, &asks, "").await;
        assert_eq!(preflight.header("access-control-allow-origin"), expected, "{allowed:?}");
        assert_eq!(preflight.status, if expected.is_empty() { 405 } else { 204 });
        if !expected.is_empty() {
            assert!(preflight.header("access-control-allow-methods").contains("POST"));
            assert_eq!(preflight.header("access-control-allow-headers"), asks[2].1);
        }
        let read = service.call(Method::GET, "/api/machines", &asks[..1], "").await;
        assert_eq!((read.status, read.header("access-control-allow-origin")), (200, expected));
        assert_eq!(read.header("access-control-expose-headers").contains("Retry-After"), {
            !expected.is_empty()
        });
        let refused = service.call(Method::GET, "/api/machines/x", &asks[..1], "").await;
        assert_eq!(
            (refused.status, refused.header("access-control-allow-origin")),
            (404, expected)
        );
        assert_eq!(service.get("/api/machines").await.header("access-control-allow-origin"), "");
    }
}

/// HEAD of a result has its length, also with a range, and its Last-Modified is the command's end.
#[tokio::test(start_paused = true)]
async fn the_properties_of_a_result() {
    let service = new_service();
    service.emulator.put_remote_file("*", "/x", Content::Bytes("0123456789".into())).unwrap();
    service.emulator.on_script("a.ps1", ScriptOutcome { duration: 60.0, ..Default::default() });
    let commands = json!([run_script("a.ps1"), get_file("/x")]);
    let id = service.run(&service.machine(0), &commands, "c").await.json()["id"].clone();
    let id = id.as_str().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    let ended: Vec<String> = service.action(id).await["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|command| command["endTime"].as_str().unwrap()[11..19].to_owned())
        .collect();
    for index in [0, 1] {
        let link = service.link(id, index).await.json()["value"].as_str().unwrap().to_owned();
        let head = async |headers: &[(&str, &str)]| {
            service.send(Destination::Blob, Method::HEAD, &link, headers, "").await.unwrap()
        };
        let whole = service.blob(&link, &[]).await;
        let properties = head(&[]).await;
        assert_eq!((properties.status, properties.body.len()), (200, 0));
        for name in ["content-length", "etag", "last-modified", "content-type", "x-ms-blob-type"] {
            assert_eq!(properties.header(name), whole.header(name), "{name}");
        }
        assert_eq!(whole.header("content-length"), whole.body.len().to_string());
        let modified = whole.header("last-modified");
        assert!(modified.contains(&ended[index]), "{modified} {ended:?}");
        assert_ne!(modified, whole.header("date"));
        let ranged = head(&[("range", "bytes=0-2")]).await;
        assert_eq!(
            (ranged.status, ranged.header("content-length")),
            (200, whole.header("content-length"))
        );
        for (version, status) in [(modified, 206), (whole.header("etag"), 206), ("x", 200)] {
            let part = service.blob(&link, &[("range", "bytes=0-2"), ("if-range", version)]).await;
            assert_eq!(part.status, status, "{version}");
        }
    }
}
