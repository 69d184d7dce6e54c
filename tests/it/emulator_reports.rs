//! Switches for what was reported of the service later (docs/service.md, sections 15 and 19).

use std::time::Duration;

use mde_live_response::emulator::{
    MissingRoleText, NewMachine, Requestor, ScriptOutcome, TenantState,
};
use serde_json::json;

use crate::emulator_support::{get_file, put_file, run_script, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Row 15: a link is a 400 while its command runs, then 200, or 404 if there is no result.
#[tokio::test(start_paused = true)]
async fn a_link_before_its_result() {
    for (switch, early) in [(None, 400), (Some(404), 404)] {
        let service = with_switches(|s| {
            s.early_link_status = switch.unwrap_or(s.early_link_status);
            s.result_lag = 20.0;
        });
        service.emulator.add_library_file("helper.exe", b"MZ");
        let outcome = ScriptOutcome { duration: 60.0, ..ScriptOutcome::default() };
        service.emulator.on_script("a.ps1", outcome);
        let commands = json!([put_file("helper.exe"), run_script("a.ps1"), get_file("/none")]);
        let id = service.run(&service.machine(0), &commands, "c").await.json()["id"].clone();
        let id = id.as_str().unwrap();
        let links = async || {
            let mut found = Vec::new();
            for index in 0..3 {
                found.push(service.link(id, index).await.status);
            }
            found
        };
        sleep(30.0).await;
        assert_eq!(links().await, [early; 3], "while it runs");
        while service.action(id).await["status"] == "InProgress" {
            sleep(1.0).await;
        }
        assert_eq!(links().await, [404, early, 404], "its results are late");
        sleep(30.0).await;
        assert_eq!(links().await, [404, 200, 404]);
    }
}

/// Section 19: an action and a file show the application's id or its display name.
#[tokio::test(start_paused = true)]
async fn the_requestor_is_an_id_or_a_name() {
    for (requestor, is_id) in [(Requestor::Id, true), (Requestor::Name, false)] {
        let service = with_switches(|s| s.requestor = requestor);
        service.emulator.set_online("ws-0001", false).unwrap();
        let id = service.submit(&service.machine(0), "a.ps1").await;
        let path = format!("/api/machineactions/{id}/cancel");
        let action = service.post(&path, &json!({"Comment": "c"})).await.json();
        let shown = action["requestor"].as_str().unwrap();
        assert_eq!(shown == service.emulator.client_id(), is_id, "{shown}");
        assert_eq!(action["cancellationRequestor"], shown);
        let name = shown.replace(' ', "+");
        let path = format!("/api/machineactions?$filter=requestor+eq+'{name}'");
        assert_eq!(service.get(&path).await.ids(), [id]);
    }
}

/// Section 19: a tenant that may not use the API, whatever is called.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_may_not_use_the_api() {
    for (tenant, status, reason) in [
        (TenantState::Inactive, 401, "Account mode is inactive"),
        (TenantState::NoLicense, 401, "No Tvm license"),
        (TenantState::Suspended, 403, "Suspended account mode"),
    ] {
        let service = with_switches(|s| s.tenant = tenant);
        let submit = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
        for response in [submit, service.get("/api/machines").await] {
            assert_eq!((response.status, response.code().as_str()), (status, "Unauthorized"));
            let message = response.json()["error"]["message"].clone();
            let expected = format!("Unauthorized request - reason of failure: {reason}");
            assert_eq!(message, expected);
        }
    }
}

/// Section 19: the texts of a missing role, and the code of a busy machine.
#[tokio::test(start_paused = true)]
async fn texts_of_refusals() {
    for (text, expected) in [
        (MissingRoleText::Permissions, "permissions (Machine.Read.All, Machine.ReadWrite.All) to"),
        (
            MissingRoleText::Roles,
            "Missing application roles. API required roles: Machine.Read.All, \
             Machine.ReadWrite.All, application roles: Library.Manage.",
        ),
    ] {
        let mut service = with_switches(|s| s.missing_role_text = text);
        service.token = service.emulator.token_with(["Library.Manage"]);
        let refused = service.get("/api/machines").await;
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!((refused.status, message.contains(expected)), (403, true), "{message}");
    }
    let service = with_switches(|s| s.busy_code = "BadRequest".to_owned());
    service.submit(&service.machine(0), "a.ps1").await;
    let busy = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
    let message = busy.json()["error"]["message"].clone();
    assert_eq!((busy.status, busy.code().as_str()), (400, "BadRequest"));
    assert_eq!(message, "Action is already in progress");
}

/// Section 19: the first reads of each action and machine are a 404, but nothing else is.
#[tokio::test(start_paused = true)]
async fn first_reads_are_a_404() {
    let service = with_switches(|s| s.reads_404 = 2);
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let action = format!("/api/machineactions/{id}");
    let machine = format!("/api/machines/{}", service.machine(1));
    for path in [action.as_str(), &machine, "/api/machines/ws-0003"] {
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(service.get(path).await.status);
        }
        assert_eq!(found, [404, 404, 200, 200], "{path}");
    }
    assert_eq!(service.get("/api/machineactions").await.ids(), [id]);
    assert_eq!(service.get("/api/machines").await.ids().len(), 3);
    assert_eq!(service.get("/api/machines/nobody").await.status, 404);
    service.emulator.reset();
    assert_eq!(service.get(&machine).await.status, 404);
}

/// Section 19: what Azure Storage answers besides a result.
#[tokio::test(start_paused = true)]
async fn errors_of_the_results_host() {
    for (code, status) in [
        ("AuthorizationFailure", 403),
        ("AuthorizationSourceIPMismatch", 403),
        ("BlobNotFound", 404),
        ("PublicAccessNotPermitted", 409),
    ] {
        let service = with_switches(|s| s.blob_error = Some(code.to_owned()));
        service.emulator.add_library_file("a.ps1", b"x");
        let id = service.submit(&service.machine(0), "a.ps1").await;
        sleep(30.0).await;
        let link = service.link(&id, 0).await.json()["value"].as_str().unwrap().to_owned();
        let refused = service.blob(&link, &[]).await;
        assert_eq!((refused.status, refused.header("x-ms-error-code")), (status, code));
        assert!(String::from_utf8_lossy(&refused.body).contains(code));
    }
}

/// Section 19: a large file does not reach a machine without Windows.
#[tokio::test(start_paused = true)]
async fn large_files_off_windows() {
    for (is_on, system, size, expected) in [
        (true, "Linux", (10 << 20) + 1, "Failed"),
        (true, "macOS", (10 << 20) + 1, "Failed"),
        (true, "Linux", 10 << 20, "Succeeded"),
        (true, "WindowsServer2022", (10 << 20) + 1, "Succeeded"),
        (false, "Linux", (10 << 20) + 1, "Succeeded"),
    ] {
        let service = with_switches(|s| s.small_put_files = is_on);
        let mut machine = NewMachine::named("srv-01.example.test");
        machine.properties.insert("osPlatform".to_owned(), json!(system));
        let machine = service.emulator.add_machine(machine).unwrap();
        service.emulator.add_library_file("tool.bin", &vec![0; size]);
        let answer = service.run(&machine.id, &json!([put_file("tool.bin")]), "c").await.json();
        sleep(30.0).await;
        let action = service.action(answer["id"].as_str().unwrap()).await;
        assert_eq!(action["status"], expected, "{is_on} {system} {size}: {action}");
    }
}
