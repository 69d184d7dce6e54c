//! facts.md, section 3: hosts and paths, headers, casing, times, nulls, OData.

use std::io::Read;
use std::time::Duration;

use http::Method;
use mde_live_response::emulator::{Compression, EmulatorClock, NewMachine, ScriptOutcome, Settings};
use mde_live_response::model::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::emulator_support::{Service, new, run_script, switched, with};

/// Section 3.1: paths are not case-sensitive, and a version may be named.
#[tokio::test(start_paused = true)]
async fn paths_in_any_case_and_with_a_version() {
    let service = new();
    for path in ["/api/machines", "/API/Machines", "/api/v1.0/machines", "/api/V1.0/machines"] {
        assert_eq!(service.get(path).await.status, 200, "{path}");
    }
    assert_eq!(service.get("/machines").await.status, 404);
}

/// Section 3.1: a fresh action may be a 404 for a while.
#[tokio::test(start_paused = true)]
async fn a_fresh_action_may_be_404() {
    let service = switched(|s| s.fresh_404 = 120.0);
    service.emulator.on_script("a.ps1", ScriptOutcome::default());
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let path = format!("/api/machineactions/{id}");
    assert_eq!(service.get(&path).await.status, 404);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(service.get(&path).await.status, 200);
}

/// Section 3.2: headers of a success and of an error.
#[tokio::test(start_paused = true)]
async fn headers_as_captured() {
    let service = new();
    let fine = service.get("/api/machines").await;
    let entity = "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8";
    assert_eq!((fine.header("content-type"), fine.header("odata-version")), (entity, "4.0"));
    assert!(!fine.header("strict-transport-security").is_empty());
    assert_eq!(fine.header("mise-correlation-id").len(), 36);
    let wrong = service.get("/api/machines/nobody").await;
    assert_eq!((wrong.header("content-type"), wrong.header("odata-version")), ("application/json; charset=utf-8", ""));
}

/// Section 3.2: content codings where they are accepted; deflate zlib-wrapped, or raw by a switch.
#[tokio::test(start_paused = true)]
async fn answers_are_compressed_where_accepted() {
    let plain = new().get("/api/machines").await;
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
        let service = switched(|s| s.compression = setting);
        let answer = service.call(Method::GET, "/api/machines", &[("accept-encoding", accepts)], "").await;
        assert_eq!(answer.header("content-encoding"), coding, "{setting:?} {accepts}");
        let (body, mut text) = (&answer.body[..], String::new());
        match (setting, coding) {
            (_, "") => text = String::from_utf8(body.to_vec()).unwrap(),
            (_, "gzip") => _ = flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap(),
            (Compression::RawDeflate, _) => {
                _ = flate2::read::DeflateDecoder::new(body).read_to_string(&mut text).unwrap()
            }
            _ => _ = flate2::read::ZlibDecoder::new(body).read_to_string(&mut text).unwrap(),
        }
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["value"].as_array().unwrap().len(), 3);
    }
}

/// Section 3.3: request bodies are case-sensitive; a switch makes them not so.
#[tokio::test(start_paused = true)]
async fn capitals_of_request_bodies_count() {
    let right = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
    for wrong in ["commands", "comment", "Type", "Params", "Key", "Value"] {
        let body = right.replacen(&format!("\"{}\"", other_case(wrong)), &format!("\"{wrong}\""), 1);
        assert_ne!(body, right);
        for sensitive in [true, false] {
            let service = switched(|s| s.case_sensitive_bodies = sensitive);
            let path = format!("/api/machines/{}/runliveresponse", service.machine(0));
            let answer = service.call(Method::POST, &path, &[("content-type", "application/json")], body.clone()).await;
            if sensitive {
                assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidRequestBody"), "{body}");
            } else {
                assert_eq!(answer.status, 201, "{body}");
            }
        }
    }
}

fn other_case(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    if first.chars().all(char::is_uppercase) { first.to_lowercase() + rest } else { first.to_uppercase() + rest }
}

/// Section 3.3: param keys are PascalCase, and the content type is required (section 3.2).
#[tokio::test(start_paused = true)]
async fn param_keys_and_content_type_are_enforced() {
    let service = new();
    let odd = json!([{"type": "RunScript", "params": [{"key": "scriptName", "value": "a.ps1"}]}]);
    assert_eq!(service.run(&service.machine(0), &odd, "c").await.code(), "InvalidRequestBody");
    let body = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
    let path = format!("/api/machines/{}/runliveresponse", service.machine(0));
    let answer = service.call(Method::POST, &path, &[("content-type", "text/plain")], body).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidRequestBody"));
}

/// Section 3.3: machine ids are 40 lower-case hex digits, action ids GUIDs; another key is 400 in the captured words.
#[tokio::test(start_paused = true)]
async fn ids_have_their_shapes() {
    let service = new();
    let hex = |id: &String| id.len() == 40 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    assert!(service.emulator.machine_ids().iter().all(hex));
    let answer = service.get("/api/machineactions/X").await;
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!((answer.status, answer.code().as_str()), (400, "BadRequest"));
    assert_eq!(
        message,
        "The key value (X) from request is not valid. The key value should be format of type 'Edm.Guid'."
    );
}

/// Section 3.3: `{fileName}` in DELETE is percent-encoded.
#[tokio::test(start_paused = true)]
async fn a_deleted_name_is_decoded() {
    let service = new();
    service.emulator.add_library_file("a.ps1", b"x");
    assert_eq!(service.call(Method::DELETE, "/api/libraryfiles/%61%2Eps1", &[], "").await.status, 204);
}

/// Section 3.3: times are UTC, suffix Z, at most seven digits, trailing zeros dropped.
#[tokio::test(start_paused = true)]
async fn times_have_up_to_seven_digits() {
    for (epoch, shown) in [(1.6e9, "2020-09-13T12:26:40Z"), (1.6e9 + 0.5, "2020-09-13T12:26:40.5Z")] {
        let clock = EmulatorClock { epoch: Some(epoch), ..EmulatorClock::default() };
        let service = with(Settings { clock, ..Settings::default() });
        let time = service.get("/api/machines").await.json()["value"][0]["lastSeen"].clone();
        assert_eq!(time, shown);
        assert!(Timestamp::parse(shown).is_some());
    }
}

/// Section 3.3: what is not set is null, lists are empty, `errorHResult` is 0.
#[tokio::test(start_paused = true)]
async fn what_is_not_set_is_null() {
    let service = new();
    let answer = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await.json();
    for name in ["title", "scope", "externalId", "relatedFileInfo", "cancellationRequestor", "troubleshootInfo"] {
        assert_eq!(answer.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!((&answer["errorHResult"], &answer["commands"][0]["errors"]), (&json!(0), &json!([])));
}

/// Section 3.3: `@odata.context` may name another host than was called.
#[tokio::test(start_paused = true)]
async fn the_context_may_name_another_host() {
    let service = switched(|s| s.context_host = Some("https://api-us3.emulator.test".into()));
    let context = service.get("/api/machines").await.json()["@odata.context"].clone();
    assert_eq!(context, "https://api-us3.emulator.test/api/$metadata#Machines");
}

async fn ten_actions() -> (Service, Vec<String>) {
    let service = with(Settings { machines: 10, ..Settings::default() });
    service.emulator.on_script("a.ps1", ScriptOutcome { duration: 300.0, ..ScriptOutcome::default() });
    let mut ids = Vec::new();
    for at in 0..10 {
        ids.push(service.submit(&service.machine(at), "a.ps1").await);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    (service, ids)
}

fn listed(path: &str, filter: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("$filter", filter).finish();
    format!("{path}?{query}")
}

/// Section 3.4: the options of a list, the envelope, the number alone.
#[tokio::test(start_paused = true)]
async fn options_of_a_list() {
    let (service, ids) = ten_actions().await;
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    let all = service.get("/api/machineactions").await;
    assert_eq!(all.ids(), newest, "newest first (section 6.4)");
    assert!(all.json()["@odata.context"].as_str().unwrap().ends_with("/api/$metadata#MachineActions"));
    assert!(all.json().get("@odata.count").is_none());
    let two = service.get("/api/machineactions?$top=2&$skip=1&$count=true").await;
    assert_eq!((two.ids(), two.json()["@odata.count"].clone()), (newest[1..3].to_vec(), json!(10)));
    assert!(two.json().get("@odata.nextLink").is_none(), "what was asked for was given");
    let by_time = service.get("/api/machineactions?$orderby=creationDateTimeUtc+asc").await;
    assert_eq!(by_time.ids(), ids);
    let by_status = service.get("/api/machineactions?$orderby=status%20desc,creationDateTimeUtc").await.json();
    assert_eq!(by_status["value"][0]["status"], "Succeeded");
    let count = service.get("/api/machineactions/$count?$filter=status+eq+'InProgress'").await;
    assert_eq!(&count.body[..], b"5");
    let selected = service.get("/api/machineactions?$select=id,status&$top=1").await.json();
    assert_eq!(selected["value"][0], json!({"id": newest[0], "status": "InProgress"}));
}

/// Section 3.4: pages, and the link to the next as an opaque absolute URL.
#[tokio::test(start_paused = true)]
async fn pages_follow_one_another() {
    let (service, ids) = ten_actions().await;
    service.emulator.set_switches(|s| s.page_size = 4);
    let mut path = listed("/api/machineactions", "type eq 'LiveResponse'") + "&$top=9";
    let mut seen = Vec::new();
    loop {
        let page = service.get(&path).await;
        seen.extend(page.ids());
        let Some(next) = page.json()["@odata.nextLink"].as_str().map(str::to_owned) else { break };
        path = next.strip_prefix(&service.emulator.url()).unwrap().to_owned();
    }
    assert_eq!(seen, ids.iter().rev().take(9).cloned().collect::<Vec<_>>());
}

/// Section 3.4: operators and functions, property names in any case, doubled quotes.
#[tokio::test(start_paused = true)]
async fn filters() {
    let (service, ids) = ten_actions().await;
    let machine = service.machine(9);
    for (filter, count) in [
        ("status eq 'Succeeded'".to_owned(), 5),
        ("Status ne 'Succeeded' AND type eq 'LiveResponse'".to_owned(), 5),
        (format!("machineId eq '{machine}' and (status eq 'Pending' or status eq 'InProgress')"), 1),
        (format!("id in ('{}','{}')", ids[0], ids[9]), 2),
        (format!("not (id in ('{}'))", ids[0]), 9),
        (format!("id eq '{}' or machineId eq '{machine}'", ids[0]), 2),
        ("status in ('Succeeded', 'InProgress')".to_owned(), 10),
        ("creationDateTimeUtc gt 2019-09-22T08:44:05Z".to_owned(), 10),
        ("creationDateTimeUtc lt 2018-08-01Z".to_owned(), 0),
        ("startswith(status,'Succ')".to_owned(), 5),
        ("contains(status, 'Prog')".to_owned(), 5),
        ("requestor eq 'it''s'".to_owned(), 0),
    ] {
        let answer = service.get(&listed("/api/machineactions", &filter)).await;
        assert_eq!(answer.status, 200, "{filter}: {answer:?}");
        assert_eq!(answer.ids().len(), count, "{filter}");
    }
    let middle = service.action(&ids[4]).await["creationDateTimeUtc"].as_str().unwrap().to_owned();
    for (operator, count) in [("lt", 4), ("le", 5), ("eq", 1), ("ge", 6), ("gt", 5), ("ne", 9)] {
        let filter = format!("creationDateTimeUtc {operator} {middle}");
        assert_eq!(service.get(&listed("/api/machineactions", &filter)).await.ids().len(), count, "{filter}");
    }
}

/// Section 3.4: what is no filter is a 400 ODataError; `$top` is at most 10,000.
#[tokio::test(start_paused = true)]
async fn wrong_options_are_refused() {
    let service = new();
    for wrong in [
        "$filter=status+eq+Pending",
        "$filter=nothing+eq+'x'",
        "$filter=status+eq+'x",
        "$filter=status",
        "$filter=(status+eq+'x'",
        "$filter=status+like+'x'",
        "$filter=length(status)+eq+3",
        "$filter=commands+eq+null",
        "$filter=",
        "$top=10001",
        "$top=-1",
        "$skip=x",
        "$orderby=nothing",
        "$orderby=status+up",
        "$stop=2",
    ] {
        let answer = service.get(&format!("/api/machineactions?{wrong}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "ODataError"), "{wrong}");
    }
    let deep = "(".repeat(5000) + "status eq 'x'" + &")".repeat(5000);
    assert_eq!(service.get(&listed("/api/machineactions", &deep)).await.code(), "ODataError");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No text takes it down.
    #[test]
    fn any_filter_is_answered(text in "\\PC{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async { new().get(&listed("/api/machines", &text)).await.status });
        prop_assert!(status == 200 || status == 400);
    }

    /// A machine is found by its name, whatever the name.
    #[test]
    fn a_name_is_found_by_a_filter(name in "[a-z][a-z0-9']{0,12}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = new();
            let id = service.emulator.add_machine(NewMachine::named(format!("{name}.example.test"))).unwrap().id;
            let quoted = name.replace('\'', "''");
            let filter = format!("startswith(computerDnsName,'{quoted}.') and healthStatus eq 'Active'");
            assert_eq!(service.get(&listed("/api/machines", &filter)).await.ids(), [id]);
        });
    }
}
