//! Paths, headers, casing, times and nulls of the API (docs/service.md, section 3).

use std::io::Read;
use std::time::Duration;

use http::Method;
use mde_live_response::emulator::{Compression, EmulatorClock, ScriptOutcome, Settings};
use mde_live_response::model::Timestamp;
use serde_json::{Value, json};

use crate::emulator_support::{new_service, run_script, with_settings, with_switches};

/// Section 3.1: paths are case-insensitive and may contain a version.
#[tokio::test(start_paused = true)]
async fn paths_in_any_case_and_with_a_version() {
    let service = new_service();
    for path in ["/api/machines", "/API/Machines", "/api/v1.0/machines", "/api/V1.0/machines"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    assert_eq!(service.get("/machines").await.status, 404);
}

/// Section 3.1: a new action may be a 404 for a while.
#[tokio::test(start_paused = true)]
async fn a_new_action_may_be_404() {
    let service = with_switches(|s| s.fresh_404 = 120.0);
    service.emulator.on_script("a.ps1", ScriptOutcome::default());
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let path = format!("/api/machineactions/{id}");
    assert_eq!(service.get(&path).await.status, 404);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(service.get(&path).await.status, 200);
}

/// Section 3.2: a success and an error have the captured headers.
#[tokio::test(start_paused = true)]
async fn headers_as_captured() {
    let service = new_service();
    let fine = service.get("/api/machines").await;
    let entity = "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8";
    assert_eq!((fine.header("content-type"), fine.header("odata-version")), (entity, "4.0"));
    assert!(!fine.header("strict-transport-security").is_empty());
    assert_eq!(fine.header("mise-correlation-id").len(), 36);
    let wrong = service.get("/api/machines/nobody").await;
    assert_eq!(
        (wrong.header("content-type"), wrong.header("odata-version")),
        ("application/json; charset=utf-8", "")
    );
}

/// Section 3.2: a response is compressed if the client accepts it; deflate has a zlib header, or
/// with a switch none.
#[tokio::test(start_paused = true)]
async fn responses_are_compressed_if_accepted() {
    let plain = new_service().get("/api/machines").await;
    assert_eq!(plain.header("content-encoding"), "");
    for (setting, accepts, coding) in [
        (Compression::Deflate, "gzip, deflate", "deflate"),
        (Compression::RawDeflate, "gzip, deflate", "deflate"),
        (Compression::Deflate, "gzip", "gzip"),
        (Compression::Gzip, "gzip, deflate", "gzip"),
        (Compression::Deflate, "identity", ""),
        (Compression::Deflate, "deflate;q=0", ""),
        (Compression::None, "gzip, deflate", ""),
    ] {
        let service = with_switches(|s| s.compression = setting);
        let response =
            service.call(Method::GET, "/api/machines", &[("accept-encoding", accepts)], "").await;
        assert_eq!(response.header("content-encoding"), coding, "{setting:?} {accepts}");
        let (body, mut text) = (&response.body[..], String::new());
        match (setting, coding) {
            (_, "") => text = String::from_utf8(body.to_vec()).unwrap(),
            (_, "gzip") => {
                _ = flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap()
            }
            (Compression::RawDeflate, _) => {
                _ = flate2::read::DeflateDecoder::new(body).read_to_string(&mut text).unwrap()
            }
            _ => _ = flate2::read::ZlibDecoder::new(body).read_to_string(&mut text).unwrap(),
        }
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["value"].as_array().unwrap().len(),
            3
        );
    }
}

/// Section 3.3: request bodies are case-sensitive unless a switch says otherwise.
#[tokio::test(start_paused = true)]
async fn request_bodies_are_case_sensitive() {
    let right = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
    for wrong in ["commands", "comment", "Type", "Params", "Key", "Value"] {
        let body =
            right.replacen(&format!("\"{}\"", other_case(wrong)), &format!("\"{wrong}\""), 1);
        assert_ne!(body, right);
        for sensitive in [true, false] {
            let service = with_switches(|s| s.case_sensitive_bodies = sensitive);
            let path = format!("/api/machines/{}/runliveresponse", service.machine(0));
            let response = service
                .call(Method::POST, &path, &[("content-type", "application/json")], body.clone())
                .await;
            if sensitive {
                assert_eq!(
                    (response.status, response.code().as_str()),
                    (400, "InvalidRequestBody"),
                    "{body}"
                );
            } else {
                assert_eq!(response.status, 201, "{body}");
            }
        }
    }
}

fn other_case(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    if first.chars().all(char::is_uppercase) {
        first.to_lowercase() + rest
    } else {
        first.to_uppercase() + rest
    }
}

/// Sections 3.2 and 3.3: parameter keys are PascalCase, and the content type is required.
#[tokio::test(start_paused = true)]
async fn param_keys_and_content_type_are_enforced() {
    let service = new_service();
    let odd = json!([{"type": "RunScript", "params": [{"key": "scriptName", "value": "a.ps1"}]}]);
    assert_eq!(service.run(&service.machine(0), &odd, "c").await.code(), "InvalidRequestBody");
    let body = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
    let path = format!("/api/machines/{}/runliveresponse", service.machine(0));
    let response = service.call(Method::POST, &path, &[("content-type", "text/plain")], body).await;
    assert_eq!((response.status, response.code().as_str()), (400, "InvalidRequestBody"));
}

/// Section 3.3: machine ids are 40 lower-case hex digits; an action id that is not a GUID gets the
/// captured 400.
#[tokio::test(start_paused = true)]
async fn formats_of_ids() {
    let service = new_service();
    let hex = |id: &String| {
        id.len() == 40 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    assert!(service.emulator.machine_ids().iter().all(hex));
    let response = service.get("/api/machineactions/X").await;
    let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!((response.status, response.code().as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "The key value (X) from request is not valid. The key value should be format of \
         type 'Edm.Guid'."
    );
}

/// Section 3.3: the file name of a DELETE is percent-decoded.
#[tokio::test(start_paused = true)]
async fn a_deleted_name_is_decoded() {
    let service = new_service();
    service.emulator.add_library_file("a.ps1", b"x");
    assert_eq!(
        service.call(Method::DELETE, "/api/libraryfiles/%61%2Eps1", &[], "").await.status,
        204
    );
}

/// Section 3.3: times are UTC with suffix `Z` and at most seven digits, without trailing zeros.
#[tokio::test(start_paused = true)]
async fn times_have_up_to_seven_digits() {
    for (epoch, shown) in [(1.6e9, "2020-09-13T12:26:40Z"), (1.6e9 + 0.5, "2020-09-13T12:26:40.5Z")]
    {
        let clock = EmulatorClock { epoch: Some(epoch), ..EmulatorClock::default() };
        let service = with_settings(Settings { clock, ..Settings::default() });
        let time = service.get("/api/machines").await.json()["value"][0]["lastSeen"].clone();
        assert_eq!(time, shown);
        assert!(Timestamp::parse(shown).is_some());
    }
}

/// Section 3.3: unset properties are null, lists are empty, and `errorHResult` is 0.
#[tokio::test(start_paused = true)]
async fn unset_properties_are_null() {
    let service = new_service();
    let response =
        service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await.json();
    for name in [
        "title",
        "scope",
        "externalId",
        "relatedFileInfo",
        "cancellationRequestor",
        "troubleshootInfo",
    ] {
        assert_eq!(response.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(
        (&response["errorHResult"], &response["commands"][0]["errors"]),
        (&json!(0), &json!([]))
    );
}

/// Section 3.3: `@odata.context` may name a different host than the request.
#[tokio::test(start_paused = true)]
async fn the_context_may_name_another_host() {
    let service = with_switches(|s| s.context_host = Some("https://api-us3.emulator.test".into()));
    let context = service.get("/api/machines").await.json()["@odata.context"].clone();
    assert_eq!(context, "https://api-us3.emulator.test/api/$metadata#Machines");
}
