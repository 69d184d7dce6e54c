//! facts.md, section 1: each of the twelve calls, its success, its failure, its permission and its quota.

use std::time::Duration;

use http::Method;
use mde_live_response::emulator::{NewMachine, Settings};
use serde_json::json;

use crate::emulator_support::{
    Service, ServiceResponse, new_service, run_script, with_settings, with_switches,
};

const GUID: &str = "6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10";
const READ: [&str; 2] = ["Machine.Read.All", "Machine.ReadWrite.All"];
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const JSON: (&str, &str) = ("content-type", "application/json");

fn upload_body(name: &str, content: &str, extra: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{content}\r\n{extra}--b--\r\n"
    )
}

/// Every call of the table: number, method, path, headers, body, what it answers, and the roles of which one is needed.
async fn calls(
    service: &Service,
) -> Vec<(u8, Method, String, Vec<(&'static str, &'static str)>, String, u16, Vec<&'static str>)> {
    service.emulator.on_script("a.ps1", mde_live_response::emulator::ScriptOutcome::default());
    service.emulator.add_library_file("old.ps1", b"x");
    let (first, second) = (service.machine(0), service.machine(1));
    let done = service.submit(&second, "a.ps1").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let busy = service.submit(&service.machine(2), "a.ps1").await;
    let commands = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
    let comment = json!({"Comment": "no longer needed"}).to_string();
    let cancel_roles = vec![
        "Machine.CollectForensics",
        "Machine.Isolate",
        "Machine.RestrictExecution",
        "Machine.Scan",
        "Machine.Offboard",
        "Machine.StopAndQuarantine",
        "Machine.LiveResponse",
    ];
    let (get, post, read, library) =
        (Method::GET, Method::POST, READ.to_vec(), vec!["Library.Manage"]);
    let link = format!("/api/machineactions/{done}/GetLiveResponseResultDownloadLink(index=0)");
    let run = format!("/api/machines/{first}/runliveresponse");
    let none = String::new;
    vec![
        (1, post.clone(), run, vec![JSON], commands, 201, vec!["Machine.LiveResponse"]),
        (2, get.clone(), format!("/api/machineactions/{done}"), vec![], none(), 200, read.clone()),
        (3, get.clone(), "/api/machineactions".into(), vec![], none(), 200, read.clone()),
        (4, get.clone(), link, vec![], none(), 200, read.clone()),
        (
            5,
            post.clone(),
            format!("/api/machineactions/{busy}/cancel"),
            vec![JSON],
            comment,
            200,
            cancel_roles,
        ),
        (6, get.clone(), "/api/libraryfiles".into(), vec![], none(), 200, library.clone()),
        (
            7,
            post,
            "/api/libraryfiles".into(),
            vec![FORM],
            upload_body("new.ps1", "x", ""),
            200,
            library.clone(),
        ),
        (8, Method::DELETE, "/api/libraryfiles/old.ps1".into(), vec![], none(), 204, library),
        (9, get.clone(), format!("/api/machines/{first}"), vec![], none(), 200, read.clone()),
        (10, get.clone(), "/api/machines".into(), vec![], none(), 200, read.clone()),
        (11, get.clone(), by_ip(), vec![], none(), 200, read.clone()),
        (
            12,
            get,
            "/api/machines/findbytag?tag=x&useStartsWithFilter=true".into(),
            vec![],
            none(),
            200,
            read,
        ),
    ]
}

fn by_ip() -> String {
    let now = mde_live_response::model::Timestamp::from_unix(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64(),
    );
    format!("/api/machines/findbyip(ip='10.248.240.38',timestamp={})", now.unwrap())
}

/// Section 1, column "success", rows 1 to 12.
#[tokio::test(start_paused = true)]
async fn each_call_succeeds_as_documented() {
    let service = new_service();
    for (row, method, path, headers, body, status, _) in calls(&service).await {
        let answer = service.call(method, &path, &headers, body).await;
        assert_eq!(answer.status, status, "row {row}: {answer:?}");
    }
}

/// Section 1, columns "app permission", rows 1 to 12: one of the roles is enough, all others are not.
#[tokio::test(start_paused = true)]
async fn each_call_needs_its_permission() {
    for at in 0..12 {
        let mut service = new_service();
        let call = calls(&service).await.remove(at);
        let (row, method, path, headers, body, status, roles) = call;
        let others =
            mde_live_response::emulator::ROLES.into_iter().filter(|role| !roles.contains(role));
        service.token = service.emulator.token_with(others);
        let refused = service.call(method.clone(), &path, &headers, body.clone()).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "Forbidden"), "row {row}");
        for role in roles {
            let mut service = new_service();
            let (.., path, headers, body, _, _) = calls(&service).await.remove(at);
            service.token = service.emulator.token_with([role]);
            let answer = service.call(method.clone(), &path, &headers, body).await;
            assert_eq!(answer.status, status, "row {row} with {role}: {answer:?}");
        }
    }
}

/// Section 1, row 2, newer page: Machine.Read.All alone is not enough.
#[tokio::test(start_paused = true)]
async fn the_newer_pages_want_read_write() {
    let mut service = with_switches(|s| {
        s.read_permission = mde_live_response::emulator::ReadPermission::ReadWrite
    });
    service.token = service.emulator.token_with(["Machine.Read.All"]);
    assert_eq!(service.get("/api/machines").await.status, 403);
}

/// Section 1, column "documented failure": rows 1, 2, 5, 8, 9 are 404; 7 is 400; 11 is 400.
#[tokio::test(start_paused = true)]
async fn each_call_fails_as_documented() {
    let service = new_service();
    let nobody = "0".repeat(40);
    let expect = |answer: ServiceResponse, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    };
    expect(service.run(&nobody, &json!([run_script("a.ps1")]), "c").await, 404, "ResourceNotFound");
    expect(service.get(&format!("/api/machineactions/{GUID}")).await, 404, "ResourceNotFound");
    let comment = json!({"Comment": "c"});
    expect(
        service.post(&format!("/api/machineactions/{GUID}/cancel"), &comment).await,
        404,
        "ResourceNotFound",
    );
    expect(
        service.call(Method::DELETE, "/api/libraryfiles/x", &[], "").await,
        404,
        "ResourceNotFound",
    );
    expect(service.get("/api/machines/nobody").await, 404, "ResourceNotFound");
    expect(
        service.call(Method::POST, "/api/libraryfiles", &[FORM], "nonsense").await,
        400,
        "InvalidRequestBody",
    );
    let old = "/api/machines/findbyip(ip='10.0.0.1',timestamp=2018-09-22T08:44:05Z)";
    expect(service.get(old).await, 400, "InvalidInput");
}

/// Section 1, row 10: 404 when there are no recent machines, as a switch.
#[tokio::test(start_paused = true)]
async fn no_machine_is_an_empty_list_or_404() {
    let filter = "/api/machines?$filter=computerDnsName+eq+'nobody'";
    let answer = new_service().get(filter).await;
    assert_eq!((answer.status, answer.json()["value"].clone()), (200, json!([])));
    assert_eq!(with_switches(|s| s.no_machines_is_404 = true).get(filter).await.status, 404);
}

/// Section 1, column "rate limit", rows 1 to 12: 10 a minute for row 1, 100 for each other, whatever the others did.
#[tokio::test(start_paused = true)]
async fn each_row_has_a_window_of_its_own() {
    let service = new_service();
    for (row, method, path, headers, body, ..) in calls(&service).await {
        // The submits of `calls` itself are out of the window by then.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let allowed = if row == 1 { 10 } else { 100 };
        for nth in 1..=allowed {
            let answer = service.call(method.clone(), &path, &headers, body.clone()).await;
            assert_ne!(answer.status, 429, "row {row}, call {nth}");
        }
        let refused = service.call(method, &path, &headers, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (429, "429"), "row {row}");
    }
}

/// Section 1, "10/min" and "100/min", and section 5.4, row 1: windows are served again when they have passed.
#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_window() {
    let service = with_settings(Settings { machines: 20, ..Settings::default() });
    service.emulator.on_script("a.ps1", mde_live_response::emulator::ScriptOutcome::default());
    for at in 0..10 {
        service.submit(&service.machine(at), "a.ps1").await;
    }
    let refused = service.run(&service.machine(10), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"));
    for path in ["/api/machines", "/api/machineactions", "/api/libraryfiles"] {
        for _ in 0..100 {
            assert_eq!(service.get(path).await.status, 200);
        }
        assert_eq!(service.get(path).await.status, 429);
    }
    assert_eq!(service.emulator.violations().rate, 4);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(service.get("/api/machines").await.status, 200);
    service.submit(&service.machine(10), "a.ps1").await;
}

/// Section 1, "1500/h": the hourly window binds a client that polls as fast as the minute allows.
#[tokio::test(start_paused = true)]
async fn the_hourly_window_binds() {
    let service = new_service();
    let mut served = 0;
    for _ in 0..20 {
        for _ in 0..100 {
            served += usize::from(service.get("/api/machines").await.status == 200);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(served, 1500);
    let refused = service.get("/api/machines").await;
    assert_eq!(
        refused.header("retry-after"),
        "2400",
        "the first calls leave the hour 3,600 s after they came"
    );
}

/// Section 1, rows 11 and 12: found by address and by tag.
#[tokio::test(start_paused = true)]
async fn machines_are_found_by_address_and_by_tag() {
    let service = new_service();
    let mut tagged = NewMachine::named("tagged.example.test");
    tagged.properties.insert("machineTags".into(), json!(["finance-eu"]));
    tagged.properties.insert("lastIpAddress".into(), json!("10.248.240.38"));
    let id = service.emulator.add_machine(tagged).unwrap().id;
    assert_eq!(service.get(&by_ip()).await.ids(), [id.as_str()]);
    assert_eq!(
        service.get("/api/machines/findbytag?tag=finance&useStartsWithFilter=true").await.ids(),
        [id.as_str()]
    );
    assert!(
        service
            .get("/api/machines/findbytag?tag=finance&useStartsWithFilter=false")
            .await
            .ids()
            .is_empty()
    );
    assert_eq!(service.get("/api/machines/findbytag").await.status, 400);
    assert_eq!(
        service.get(&by_ip().replace("10.248.240.38", "10.x")).await.code(),
        "InvalidIpAddress"
    );
}
