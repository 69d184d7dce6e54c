//! The library and the machines (docs/service.md, sections 8 and 9).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{NewMachine, Settings, UnnamedUpload};
use mde_live_response::model::{LibraryFile, Machine, decode_entity};
use serde_json::{Value, json};

use crate::emulator_support::{
    Service, ServiceResponse, new_service, with_settings, with_switches,
};

async fn upload(
    service: &Service,
    file: Option<(&str, &str)>,
    fields: &[(&str, &str)],
) -> ServiceResponse {
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    if let Some((name, content)) = file {
        let name = if name.is_empty() { String::new() } else { format!("; filename=\"{name}\"") };
        body += &format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"{name}\r\n\
             Content-Type: text/plain\r\n\r\n{content}\r\n"
        );
    }
    body += "--b--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=\"b\"")];
    service.call(Method::POST, "/api/libraryfiles", &headers, body).await
}

/// Section 8: a library file has a name, a hash, a description, times, a creator and parameters,
/// but neither size nor id.
#[tokio::test(start_paused = true)]
async fn properties_of_a_library_file() {
    let service = new_service();
    let fields = [
        ("Description", "triage"),
        ("ParametersDescription", "-Depth N"),
        ("HasParameters", "true"),
    ];
    let response = upload(&service, Some(("triage.ps1", "abc")), &fields).await;
    assert_eq!(response.status, 200);
    let file: LibraryFile = decode_entity(&response.body).unwrap();
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!((file.file_name.as_str(), file.sha256.as_deref()), ("triage.ps1", Some(sha)));
    assert_eq!(
        (file.has_parameters, file.parameters_description.as_deref()),
        (Some(true), Some("-Depth N"))
    );
    assert_eq!(file.created_by, Some(service.emulator.client_id()));
    let json = response.json();
    assert!(
        json["@odata.context"].as_str().unwrap().ends_with("/api/$metadata#LibraryFiles/$entity")
    );
    assert!(json.get("id").is_none() && json.get("size").is_none());
    let list = service.get("/api/libraryfiles").await.json();
    assert!(list["@odata.context"].as_str().unwrap().ends_with("$metadata#LibraryFiles"));
    assert_eq!(list["value"][0]["description"], "triage");
}

/// Section 8: `HasParameters` is independent of the description, and a part without a file name is
/// stored as `file`.
#[tokio::test(start_paused = true)]
async fn parts_of_an_upload() {
    let service = new_service();
    let response =
        upload(&service, Some(("", "x")), &[("ParametersDescription", "-x")]).await.json();
    assert_eq!(
        (&response["fileName"], &response["hasParameters"]),
        (&json!("file"), &json!(false))
    );
    assert_eq!(response["parametersDescription"], "-x");
    service.emulator.set_switches(|s| s.unnamed_upload = UnnamedUpload::Refused);
    assert_eq!(upload(&service, Some(("", "x")), &[]).await.status, 400);
    assert_eq!(
        upload(&service, None, &[("Description", "d")]).await.code(),
        "MissingRequiredParameter"
    );
}

/// Section 8: an upload replaces a file only with `OverrideIfExists`; Python's `True` counts too.
#[tokio::test(start_paused = true)]
async fn an_upload_may_replace_a_file() {
    let service = new_service();
    upload(&service, Some(("a.ps1", "one")), &[]).await;
    for flag in ["", "false"] {
        let response =
            upload(&service, Some(("A.ps1", "two")), &[("OverrideIfExists", flag)]).await;
        assert_eq!((response.status, response.code().as_str()), (400, "BadRequest"));
        assert!(response.json()["error"]["message"].as_str().unwrap().contains("already exists"));
    }
    for flag in ["true", "True"] {
        assert_eq!(
            upload(&service, Some(("a.ps1", flag)), &[("OverrideIfExists", flag)]).await.status,
            200
        );
    }
    assert_eq!(service.get("/api/libraryfiles").await.json()["value"].as_array().unwrap().len(), 1);
}

/// Section 8: an upload that is too large, has an invalid name or is not a form is rejected.
#[tokio::test(start_paused = true)]
async fn invalid_uploads_are_rejected() {
    let limits = Limits { upload_size: 100, ..Limits::default() };
    let service = with_settings(Settings { limits, ..Settings::default() });
    assert_eq!(upload(&service, Some(("a.ps1", &"x".repeat(100))), &[]).await.status, 200);
    let big = upload(&service, Some(("b.ps1", &"x".repeat(101))), &[]).await;
    assert_eq!((big.status, big.code().as_str()), (400, "InvalidRequestBody"));
    service.emulator.set_switches(|s| s.upload_too_big_status = 413);
    assert_eq!(upload(&service, Some(("b.ps1", &"x".repeat(101))), &[]).await.status, 413);
    for name in ["a b.ps1", "a/b.ps1", "é.ps1"] {
        assert_eq!(upload(&service, Some((name, "x")), &[]).await.code(), "InvalidInput", "{name}");
    }
    let path = "/api/libraryfiles";
    for content_type in
        ["application/json", "multipart/form-data", "multipart/form-data; boundary="]
    {
        let response =
            service.call(Method::POST, path, &[("content-type", content_type)], "--b--").await;
        assert_eq!(response.code(), "InvalidRequestBody", "{content_type}");
    }
}

/// Section 8: while the emulator parses and hashes 20 MB, it serves other callers.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_does_not_block_other_callers() {
    let service = new_service();
    // Every byte could start the boundary, which is the slowest case for the parser.
    let content = "\r".repeat(20 << 20);
    let emulator = service.emulator.clone();
    let uploading = Arc::new(AtomicBool::new(true));
    let still_uploading = Arc::clone(&uploading);
    let others = std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while still_uploading.load(Ordering::Relaxed) {
            let start = Instant::now();
            emulator.violations();
            longest = longest.max(start.elapsed());
        }
        longest
    });
    let start = Instant::now();
    let response = upload(&service, Some(("big.ps1", &content)), &[]).await;
    let duration = start.elapsed();
    uploading.store(false, Ordering::Relaxed);
    assert_eq!(response.status, 200);
    let longest = others.join().unwrap();
    assert!(
        longest < duration / 3,
        "the upload took {duration:?}, and another caller waited {longest:?}"
    );
}

/// Section 8: a delete is a 204, and a second one a 404.
#[tokio::test(start_paused = true)]
async fn deleting_a_file() {
    let service = new_service();
    service.emulator.add_library_file("a.ps1", b"x");
    let first = service.call(Method::DELETE, "/api/libraryfiles/a.ps1", &[], "").await;
    assert_eq!((first.status, first.body.len()), (204, 0));
    let second = service.call(Method::DELETE, "/api/libraryfiles/a.ps1", &[], "").await;
    assert_eq!((second.status, second.code().as_str()), (404, "ResourceNotFound"));
}

/// Section 9: a machine has the captured properties in the captured order.
#[tokio::test(start_paused = true)]
async fn properties_of_a_machine() {
    let service = new_service();
    let mut new_machine = NewMachine::named("srv.example.test");
    new_machine.properties.insert("osPlatform".into(), json!("WindowsServer2022"));
    new_machine.properties.insert("rbacGroupName".into(), json!("Servers"));
    new_machine.properties.insert("unknownProperty".into(), json!({"a": 1}));
    let added = service.emulator.add_machine(new_machine).unwrap();
    let response = service.get(&format!("/api/machines/{}", added.id)).await;
    let machine: Machine = decode_entity(&response.body).unwrap();
    assert_eq!(
        (machine.os_platform.as_deref(), machine.rbac_group_name.as_deref()),
        (Some("WindowsServer2022"), Some("Servers"))
    );
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    let order = [
        "@odata.context",
        "id",
        "mergedIntoMachineId",
        "isPotentialDuplication",
        "computerDnsName",
        "firstSeen",
        "lastSeen",
        "osPlatform",
        "version",
        "agentVersion",
        "osBuild",
        "healthStatus",
        "rbacGroupId",
        "rbacGroupName",
        "machineTags",
        "onboardingStatus",
        "managedBy",
        "ipAddresses",
        "vmMetadata",
        "unknownProperty",
    ];
    let places: Vec<_> =
        order.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    let json = response.json();
    assert!(json["@odata.context"].as_str().unwrap().ends_with("$metadata#Machines/$entity"));
    assert_eq!(
        (&json["osVersion"], &json["rbacGroupId"], &json["onboardingStatus"]),
        (&Value::Null, &json!(0), &json!("Onboarded"))
    );
    assert_eq!(json["ipAddresses"][0]["macAddress"].as_str().unwrap().len(), 12);
}

/// Section 9 and section 15, row 28: a machine is found by its name; of several, the newest.
#[tokio::test(start_paused = true)]
async fn a_machine_is_found_by_name() {
    let service = new_service();
    let seen = |name: &str, time: &str| {
        let mut machine = NewMachine::named(name);
        machine.properties.insert("lastSeen".into(), json!(time));
        service.emulator.add_machine(machine).unwrap().id
    };
    let newer = seen("twin.example.test", "2026-02-01T00:00:00Z");
    seen("twin.example.test", "2026-01-01T00:00:00Z");
    for name in ["twin.example.test", "TWIN.example.TEST", "twin"] {
        assert_eq!(
            service.get(&format!("/api/machines/{name}")).await.json()["id"],
            newer,
            "{name}"
        );
    }
    service
        .emulator
        .set_switches(|s| s.machine_by_name = mde_live_response::emulator::MachineByName::Refused);
    assert_eq!(service.get("/api/machines/twin").await.status, 404);
}

/// Section 9: `$filter` supports each property that the page names.
#[tokio::test(start_paused = true)]
async fn filters_of_machines() {
    let service = new_service();
    let mut machine = NewMachine::named("lin-01.example.test");
    for (name, value) in [
        ("osPlatform", json!("Linux")),
        ("healthStatus", json!("Inactive")),
        ("machineTags", json!(["red", "blue"])),
        ("rbacGroupId", json!(140)),
        ("aadDeviceId", json!("80fe8ff8-2624-418e-9591-41f0491218f9")),
        ("lastSeen", json!("2020-01-01T00:00:00Z")),
    ] {
        machine.properties.insert(name.into(), value);
    }
    let id = service.emulator.add_machine(machine).unwrap().id;
    for filter in [
        "computerDnsName eq 'lin-01.example.test'",
        "startswith(computerDnsName,'lin-')",
        &format!("id eq '{id}'"),
        "osPlatform eq 'Linux'",
        "healthStatus ne 'Active'",
        "machineTags eq 'blue'",
        "rbacGroupId eq 140",
        "aadDeviceId eq '80fe8ff8-2624-418e-9591-41f0491218f9'",
        "lastSeen lt 2021-01-01Z",
        "contains(computerDnsName,'n-0')",
        "not (onboardingStatus eq 'Onboarded' and riskScore eq 'Low' and exposureLevel eq 'Low') \
         or osPlatform eq 'Linux'",
    ] {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("$filter", filter)
            .finish();
        assert_eq!(
            service.get(&format!("/api/machines?{query}")).await.ids(),
            [id.as_str()],
            "{filter}"
        );
    }
    let list = with_switches(|_| ()).get("/api/machines?$top=2&$count=true").await;
    assert_eq!((list.ids().len(), list.json()["@odata.count"].clone()), (2, json!(3)));
}

/// Section 15, row 22: the status of an upload to a name that exists is a switch.
#[tokio::test(start_paused = true)]
async fn the_status_of_an_upload_to_an_existing_name() {
    let service = with_switches(|switches| switches.upload_exists_status = 409);
    upload(&service, Some(("a.ps1", "one")), &[]).await;
    assert_eq!(upload(&service, Some(("a.ps1", "two")), &[]).await.status, 409);
}
