//! A probe that reads: what its profile has, and what it never has.

use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use mde_live_response::emulator::{Fault, FaultKind, Route, Switches};
use mde_live_response::error::Kind;
use mde_live_response::probe::survey;
use mde_live_response::transport::Response;
use serde_json::{Value, json};

use crate::emulator_support::run_script;
use crate::network::Outage;
use crate::probe_support::{ACTIONS, FILE, Tenant};
use crate::support::{HOUR, fault, sleep, within};

fn forbidden() -> Fault {
    let body = json!({"error": {"code": "Forbidden", "message": "no", "target": "t"}});
    Fault { status: 403, body: body.to_string(), ..fault(FaultKind::Status) }
}

#[tokio::test(start_paused = true)]
async fn facts_that_no_switch_stands_for() {
    let profile = Tenant::new(Switches::default()).await.survey().await;
    let facts = Value::Object(profile.facts);
    assert_eq!(facts["actions"], ACTIONS);
    assert_eq!(facts["tags"], json!({"at the end": ACTIONS}));
    assert_eq!(facts["longest_queue_seconds"], 7200);
    assert_eq!(facts["longest_args"], "-x 'a;b'".len());
    assert_eq!(facts["longest_comment"], "Case A [mlr:0123456789abcdef]".len());
    assert_eq!(facts["statuses"]["TimeOut"], 1);
    assert_eq!(facts["request_sources"], json!({"PublicApi": ACTIONS}));
    let errors = &facts["errors"];
    assert_eq!(errors["access is denied 0x80070005:"], 1, "{errors}");
    assert_eq!(errors["the file _ was not found in the live response library."], 1, "{errors}");
    assert_eq!(facts["link_answers"]["PutFile: 404"], 1);
    assert_eq!(facts["action_filters"]["status eq"], true);
    assert_eq!(facts["action_filters"]["requestorComment contains"], false);
    assert!(facts["blob_headers"]["x-ms-version"].as_u64() > Some(3), "{facts}");
    assert_eq!(facts["library"]["sha256 in lower case"], facts["library"]["file"]);
    assert!(facts.get("mixed").is_none() && facts.get("unread").is_none(), "{facts}");
}

/// What a tenant wrote, and what identifies it, stays there.
#[tokio::test(start_paused = true)]
async fn a_profile_has_nothing_of_the_tenant() {
    const MARKER: &str = "Zqx7";
    let switches = Switches {
        context_host: Some(format!("https://{MARKER}.example.test")),
        comment_suffix: format!(" ({MARKER})"),
        ..Switches::default()
    };
    let tenant = Tenant::empty(switches, &format!("{MARKER} "));
    let emulator = tenant.emulator();
    tenant.add_scripts(MARKER);
    for (entities, names) in [
        ("machines", &["computerDnsName", "rbacGroupName", "managedBy", "osPlatform"][..]),
        ("libraryfiles", &["fileName", "description", "createdBy", "parametersDescription"][..]),
        (
            "machineactions",
            &["title", "requestor", "scope", "externalId", "troubleshootInfo", "computerDnsName"],
        ),
    ] {
        for name in names {
            let text = json!(format!("{MARKER}-{name}"));
            emulator.set_raw_property(entities, name, Some(text)).unwrap();
        }
    }
    tenant.add_history_with(MARKER).await;
    // A service may also send a text where a word or a number is expected.
    for (name, value) in [
        ("status", json!(format!("{MARKER} is off"))),
        ("requestSource", json!(format!("{MARKER}!"))),
        ("creationDateTimeUtc", json!(format!("{MARKER}.12"))),
    ] {
        let ids = tenant.service.get("/api/machineactions?$top=1").await.ids();
        emulator.set_raw_property(&ids[0], name, Some(value)).unwrap();
    }
    let add_headers = |mut response: Response| {
        let text = HeaderValue::from_static("text/Zqx7");
        response.headers.insert(HeaderName::from_static("x-ms-meta-zqx7"), text.clone());
        response.headers.insert(CONTENT_TYPE, text);
        std::future::ready(response).boxed()
    };
    *tenant.fixture.network.blob_filter.lock().unwrap() = Some(Box::new(add_headers));
    let text = tenant.survey().await.to_json();
    let mut secrets = vec![MARKER.to_owned(), "example.test".to_owned(), "127.0.0.1".to_owned()];
    secrets
        .extend(["Hello", "evidence", "helper.exe", "mlr:0", "not needed", FILE].map(Into::into));
    secrets.extend([emulator.tenant_id(), emulator.client_id(), emulator.blob_url()]);
    secrets.extend(emulator.machine_ids());
    secrets.extend(tenant.service.get("/api/machineactions").await.ids());
    assert!(secrets.len() > 20 && text.contains("\"list_order\": \"newest\""), "{text}");
    for secret in secrets {
        let found = text.to_lowercase().contains(&secret.to_lowercase());
        assert!(!found, "{secret} is in {text}");
    }
}

/// What was not seen is absent: it is not the default.
#[tokio::test(start_paused = true)]
async fn a_tenant_without_sessions_shows_little() {
    let tenant = Tenant::empty(Switches::default(), "");
    let observed = Value::Object(tenant.survey().await.observed);
    let expected = json!({
        "compression": "deflate",
        "context_host": null,
        "date_header": true,
        "machine_by_name": "newest",
        "merged_machine": "record",
        "no_machines_is_404": false,
    });
    assert_eq!(observed, expected);
}

/// Of answers that contradict each other, nothing follows.
#[tokio::test(start_paused = true)]
async fn what_is_mixed_is_named_and_not_observed() {
    let tenant = Tenant::new(Switches::default()).await;
    let service = &tenant.service;
    service.emulator.set_switches(|switches| switches.failed_status = "Aborted".to_owned());
    let commands = json!([run_script("fails.sh")]);
    assert_eq!(service.run(&service.machine(0), &commands, "c").await.status, 201);
    sleep(60.0).await;
    let profile = tenant.survey().await;
    assert!(!profile.observed.contains_key("failed_status"), "{:?}", profile.observed);
    assert_eq!(profile.facts["mixed"], json!(["failed_status"]));
}

/// A script that was cancelled did not fail: whether failed ones have a transcript is not seen.
#[tokio::test(start_paused = true)]
async fn a_cancelled_script_is_no_failed_one() {
    let tenant = Tenant::empty(Switches::default(), "Case ");
    tenant.add_scripts("");
    tenant.submit(0, "A", json!([run_script("good.sh")])).await.unwrap();
    sleep(10.0).await;
    let cancelled = tenant.submit(1, "B", json!([run_script("slow.sh")])).await.unwrap();
    sleep(20.0).await;
    tenant.cancel(&cancelled, "").await;
    sleep(20.0).await;
    let profile = tenant.survey().await;
    assert!(!profile.observed.contains_key("failed_script_has_transcript"), "{profile:?}");
    assert_eq!(profile.observed["cancel_time"], 2.0);
}

/// A session may start after it was cancelled, before the cancel ends it.
#[tokio::test(start_paused = true)]
async fn a_cancel_counts_for_what_the_session_was_when_it_came() {
    let switches = Switches { cancel_pending_time: 5.0, ..Switches::default() };
    let tenant = Tenant::empty(switches, "Case ");
    tenant.add_scripts("");
    let cancelled = tenant.submit(0, "A", json!([run_script("slow.sh")])).await.unwrap();
    sleep(0.2).await;
    tenant.cancel(&cancelled, "").await;
    sleep(20.0).await;
    let profile = tenant.survey().await;
    assert_eq!(profile.observed["cancel_pending_time"], 5.0);
    assert!(!profile.observed.contains_key("cancel_time"), "{profile:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_the_list_is_one_error() {
    let tenant = Tenant::new(Switches::default()).await;
    tenant.fixture.fault("/api/machineactions", forbidden(), 1, 99);
    let error = within(HOUR, survey(&tenant.fixture.sessions.pipeline)).await.unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied, "{error}");
    assert!(error.hint.is_some());
}

/// A tenant may refuse all but the list, and the results' host may be out of reach.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_observed() {
    let tenant = Tenant::new(Switches::default()).await;
    tenant.fixture.network.set_outage(Outage::Results);
    tenant.fixture.fault("/api/machines", forbidden(), 1, 999);
    let profile = tenant.survey().await;
    for name in ["transcript_form", "gzip_files", "blob_ranges", "machine_by_name", "nonzero_exit"]
    {
        assert!(!profile.observed.contains_key(name), "{name}");
    }
    assert!(profile.observed.contains_key("no_result_status"));
    let unread = &profile.facts["unread"];
    assert!(unread["machines: 403"].as_u64() > Some(0), "{unread}");
    assert!(unread["result: no answer"].as_u64() > Some(0), "{unread}");
    assert!(tenant.fixture.request_count(Route::Blob) == 0);
}
