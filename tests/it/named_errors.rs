//! Errors name the machine or the file that the call was about, whatever failed.

use bytes::Bytes;
use mde_live_response::emulator::{Fault, FaultKind};
use mde_live_response::error::Kind;
use mde_live_response::library;
use mde_live_response::transfer::LibraryUpload;
use mde_live_response::transport::BodyPart;
use serde_json::json;

use crate::fleet_support::{all_outcomes, run_spec, start};
use crate::support::{Fixture, HOUR, fault, within};

const NAME: &str = "ws-0001.example.test";

fn other_machines() -> Fault {
    let body =
        json!({ "value": [{ "id": "0".repeat(40), "computerDnsName": "db-9.example.test" }] });
    let content_type = Some("application/json".to_owned());
    Fault { body: body.to_string(), content_type, ..Fault::new(FaultKind::Page) }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_machines_that_fails_names_the_machine() {
    for (failure, kind) in [
        (Fault::status(403), Kind::Service),
        (Fault { code: Some("Forbidden".into()), ..Fault::status(403) }, Kind::PermissionDenied),
        (Fault::status(500), Kind::Service),
        (fault(FaultKind::DropBefore), Kind::ConnectionFailed),
    ] {
        let fixture = Fixture::new();
        fixture.fault("machines", failure, 1, 20);
        let error =
            within(HOUR, fixture.sessions.pipeline.resolve_machine(NAME)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        let start = format!("could not find the machine {NAME:?}: could not list machines: ");
        assert!(error.message.starts_with(&start), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_other_machines_is_read_again() {
    let fixture = Fixture::new();
    fixture.fault("machines", other_machines(), 1, 2);
    let machine = within(HOUR, fixture.sessions.pipeline.resolve_machine(NAME)).await.unwrap();
    assert_eq!(machine.computer_dns_name.as_deref(), Some(NAME));
    assert_eq!(fixture.emulator.counters()["machines"], 3);
    fixture.fault("machines", other_machines(), 1, 20);
    let error = within(HOUR, fixture.sessions.pipeline.resolve_machine(NAME)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Service, "{error}");
    assert!(error.retryable && error.message.contains(NAME), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_run_reads_a_list_of_other_machines_again() {
    let fixture = Fixture::new();
    for by_id in [false, true] {
        let machine = if by_id { fixture.machine(0) } else { NAME.to_owned() };
        fixture.fault("machines", other_machines(), 1, 2);
        let fleet = start(&fixture.sessions, run_spec(vec![machine])).await;
        let outcomes = within(HOUR, all_outcomes(&fleet)).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    assert_eq!(fixture.emulator.counters()["machines"], 6);
    fixture.fault("machines", other_machines(), 1, 20);
    let fleet = start(&fixture.sessions, run_spec(vec!["ws-0002".to_owned()])).await;
    let outcomes = within(HOUR, all_outcomes(&fleet)).await;
    let error = outcomes[0].error.as_ref().unwrap();
    assert_eq!(error.kind, Kind::Service, "{error}");
    assert!(error.message.contains("other machines"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_an_answer_names_the_file() {
    let fixture = Fixture::new();
    fixture.fault("upload", fault(FaultKind::DropBefore), 1, 20);
    let upload = LibraryUpload {
        file_name: "tool.ps1".to_owned(),
        content: BodyPart::Bytes(Bytes::from_static(b"id")),
        description: String::new(),
        parameters_description: None,
        overwrite: true,
    };
    let pipeline = &fixture.sessions.pipeline;
    let error = within(HOUR, library::upload(pipeline, upload)).await.unwrap_err();
    assert_eq!(error.kind, Kind::ConnectionFailed, "{error}");
    assert!(error.message.starts_with("could not upload to the library the file tool.ps1: "));
}
