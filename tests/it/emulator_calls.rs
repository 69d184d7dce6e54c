//! The twelve calls: success, documented failure, permission and quota of each (docs/service.md,
//! section 1).

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
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n\
         {content}\r\n{extra}--b--\r\n"
    )
}

/// Returns every call of the table: row, method, path, headers, body, expected status, and the
/// roles that each suffice.
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

/// Section 1, column "success": every call returns its documented status.
#[tokio::test(start_paused = true)]
async fn each_call_succeeds_as_documented() {
    let service = new_service();
    for (row, method, path, headers, body, status, _) in calls(&service).await {
        let response = service.call(method, &path, &headers, body).await;
        assert_eq!(response.status, status, "row {row}: {response:?}");
    }
}

/// Section 1, column "app permission": one of the call's roles is enough, and all other roles
/// together are not.
#[tokio::test(start_paused = true)]
async fn each_call_needs_its_permission() {
    for at in 0..12 {
        let mut service = new_service();
        let call = calls(&service).await.remove(at);
        let (row, method, path, headers, body, status, roles) = call;
        let others =
            mde_live_response::emulator::ROLES.into_iter().filter(|role| !roles.contains(role));
        service.token = service.emulator.token_with(others);
        let rejected = service.call(method.clone(), &path, &headers, body.clone()).await;
        assert_eq!((rejected.status, rejected.code().as_str()), (403, "Forbidden"), "row {row}");
        for role in roles {
            let mut service = new_service();
            let (.., path, headers, body, _, _) = calls(&service).await.remove(at);
            service.token = service.emulator.token_with([role]);
            let response = service.call(method.clone(), &path, &headers, body).await;
            assert_eq!(response.status, status, "row {row} with {role}: {response:?}");
        }
    }
}

/// Section 1, row 2: on the newer page, `Machine.Read.All` alone is not enough.
#[tokio::test(start_paused = true)]
async fn reading_may_require_read_write() {
    let mut service = with_switches(|s| {
        s.read_permission = mde_live_response::emulator::ReadPermission::ReadWrite
    });
    service.token = service.emulator.token_with(["Machine.Read.All"]);
    assert_eq!(service.get("/api/machines").await.status, 403);
}

/// Section 1, column "documented failure": rows 1, 2, 5, 8 and 9 are 404, rows 7 and 11 are 400.
#[tokio::test(start_paused = true)]
async fn each_call_fails_as_documented() {
    let service = new_service();
    let unknown = "0".repeat(40);
    let expect = |response: ServiceResponse, status: u16, code: &str| {
        assert_eq!((response.status, response.code().as_str()), (status, code), "{response:?}");
    };
    expect(
        service.run(&unknown, &json!([run_script("a.ps1")]), "c").await,
        404,
        "ResourceNotFound",
    );
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

/// Section 1, row 10: a list without machines is empty, or with a switch a 404.
#[tokio::test(start_paused = true)]
async fn a_list_without_machines_is_empty_or_404() {
    let filter = "/api/machines?$filter=computerDnsName+eq+'nobody'";
    let response = new_service().get(filter).await;
    assert_eq!((response.status, response.json()["value"].clone()), (200, json!([])));
    assert_eq!(with_switches(|s| s.no_machines_is_404 = true).get(filter).await.status, 404);
}

/// Section 1, column "rate limit": 10 calls a minute for row 1 and 100 for each other row, counted
/// separately.
#[tokio::test(start_paused = true)]
async fn each_call_has_its_own_quota() {
    let service = new_service();
    for (row, method, path, headers, body, ..) in calls(&service).await {
        // After a minute, the submits of `calls` no longer count.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let allowed = if row == 1 { 10 } else { 100 };
        for nth in 1..=allowed {
            let response = service.call(method.clone(), &path, &headers, body.clone()).await;
            assert_ne!(response.status, 429, "row {row}, call {nth}");
        }
        let rejected = service.call(method, &path, &headers, body).await;
        assert_eq!((rejected.status, rejected.code().as_str()), (429, "429"), "row {row}");
    }
}

/// Sections 1 and 5.4: a call is accepted again when its window has passed.
#[tokio::test(start_paused = true)]
async fn a_quota_is_available_again_after_its_window() {
    let service = with_settings(Settings { machines: 20, ..Settings::default() });
    service.emulator.on_script("a.ps1", mde_live_response::emulator::ScriptOutcome::default());
    for at in 0..10 {
        service.submit(&service.machine(at), "a.ps1").await;
    }
    let rejected = service.run(&service.machine(10), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!((rejected.status, rejected.header("retry-after")), (429, "60"));
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

/// Section 1: 1,500 calls an hour limit a client that polls at 100 calls a minute.
#[tokio::test(start_paused = true)]
async fn the_hourly_quota_applies() {
    let service = new_service();
    let mut accepted = 0;
    for _ in 0..20 {
        for _ in 0..100 {
            accepted += usize::from(service.get("/api/machines").await.status == 200);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(accepted, 1500);
    let rejected = service.get("/api/machines").await;
    assert_eq!(
        rejected.header("retry-after"),
        "2400",
        "the first calls stop counting after 3,600 seconds"
    );
}

/// Section 1, rows 11 and 12: machines by IP address and by tag.
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
