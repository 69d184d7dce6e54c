//! Switches for undocumented behaviour (docs/service.md, section 15).

use std::time::Duration;

use mde_live_response::emulator::{MissingFile, ScriptOutcome};
use serde_json::{Value, json};

use crate::emulator_support::{get_file, new_service, put_file, run_script, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Row 7: the error codes for invalid commands and for a missing field.
#[tokio::test(start_paused = true)]
async fn error_codes_of_an_invalid_body() {
    let service = with_switches(|s| {
        s.bad_commands_code = "BadRequest".into();
        s.missing_field_code = "InvalidRequestBody".into();
    });
    assert_eq!(service.run(&service.machine(0), &json!([]), "c").await.code(), "BadRequest");
    assert_eq!(
        service.run(&service.machine(0), &json!(null), "c").await.code(),
        "InvalidRequestBody"
    );
}

/// Row 9: a file that is not in the library fails the command, or the submit gets a 400.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_in_the_library() {
    for command in [put_file("none.exe"), run_script("none.ps1")] {
        let service = new_service();
        let id =
            service.run(&service.machine(0), &json!([command]), "c").await.json()["id"].clone();
        sleep(5.0).await;
        let action = service.action(id.as_str().unwrap()).await;
        assert_eq!(
            (&action["status"], &action["commands"][0]["commandStatus"]),
            (&json!("Failed"), &json!("Failed"))
        );
        assert!(action["commands"][0]["errors"][0].as_str().unwrap().contains("none."));
        let strict = with_switches(|s| s.missing_file = MissingFile::Refused);
        assert_eq!(strict.run(&strict.machine(0), &json!([command]), "c").await.status, 400);
    }
}

/// Rows 10, 11 and 16: the statuses after a failure, and whether a failed script has a transcript.
#[tokio::test(start_paused = true)]
async fn statuses_after_a_failed_command() {
    let service = with_switches(|s| {
        s.skipped_status = "Failed".into();
        s.failed_status = "Succeeded".into();
        s.failed_script_has_transcript = false;
    });
    service
        .emulator
        .on_script("a.ps1", ScriptOutcome { fails: Some("no".into()), ..ScriptOutcome::default() });
    let commands = json!([run_script("a.ps1"), get_file("/x")]);
    let id = service.run(&service.machine(0), &commands, "c").await.json()["id"].clone();
    let id = id.as_str().unwrap();
    sleep(5.0).await;
    let action = service.action(id).await;
    assert_eq!(
        (&action["status"], &action["commands"][1]["commandStatus"]),
        (&json!("Succeeded"), &json!("Failed"))
    );
    assert_eq!(service.link(id, 0).await.status, 404);
}

/// Row 14: the status of an action that was queued for two hours.
#[tokio::test(start_paused = true)]
async fn the_status_after_the_queue_time() {
    let service = with_switches(|s| {
        s.queue_expiry_status = "Failed".into();
        s.stuck_after_timeout = true;
    });
    service.emulator.set_online("ws-0001", false).unwrap();
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(7201.0).await;
    assert_eq!(service.action(&id).await["status"], "Failed");
    let stuck = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!((stuck.status, stuck.body.len()), (500, 0), "section 18: stuck");
}

/// Rows 15, 17 and 18, and section 18: result links and blobs.
#[tokio::test(start_paused = true)]
async fn switches_of_results() {
    let service = with_switches(|s| {
        s.no_result_status = 400;
        s.out_of_range_status = 404;
        s.expired_link_status = 404;
        s.link_life = 10.0;
        s.result_lag = 5.0;
        s.quoted_link = true;
        s.gzip_files = false;
        s.transcript_line = false;
        s.transcript_nuls = 3;
    });
    service
        .emulator
        .put_remote_file("*", "/x", mde_live_response::emulator::Content::Bytes("xyz".into()))
        .unwrap();
    service
        .emulator
        .on_script("a.ps1", ScriptOutcome { stdout: "out".into(), ..ScriptOutcome::default() });
    let commands = json!([run_script("a.ps1"), get_file("/x")]);
    let id = service.run(&service.machine(0), &commands, "c").await.json()["id"].clone();
    let id = id.as_str().unwrap();
    while service.action(id).await["status"] != "Succeeded" {
        sleep(0.5).await;
    }
    let early = service.link(id, 0).await;
    assert_eq!((early.status, early.code().as_str()), (400, "InvalidInput"), "results lag");
    sleep(5.0).await;
    assert_eq!(service.link(id, 2).await.status, 404);
    let mut links = Vec::new();
    for index in [0, 1] {
        let value = service.link(id, index).await.json()["value"].as_str().unwrap().to_owned();
        links.push(value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_owned());
    }
    assert_eq!(service.blob(&links[0], &[]).await.json()["script_output"], "out\0\0\0");
    assert_eq!(&service.blob(&links[1], &[]).await.body[..], b"xyz");
    sleep(10.0).await;
    assert_eq!(service.blob(&links[0], &[]).await.status, 404);
}

/// Rows 20 and 21: responses of cancel, and a cancel without effect.
#[tokio::test(start_paused = true)]
async fn switches_of_cancel() {
    let service = with_switches(|s| {
        s.cancel_pending_time = 5.0;
        s.cancel_fields_at_once = false;
        s.busy_after_cancel = 60.0;
        s.cancel_ended_status = 409;
    });
    service.emulator.set_online("ws-0001", false).unwrap();
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let (path, comment) = (format!("/api/machineactions/{id}/cancel"), json!({"Comment": "c"}));
    let response = service.post(&path, &comment).await.json();
    assert_eq!(
        (&response["status"], &response["cancellationComment"]),
        (&json!("Pending"), &Value::Null)
    );
    sleep(5.0).await;
    let action = service.action(&id).await;
    assert_eq!(
        (&action["status"], &action["cancellationComment"]),
        (&json!("Cancelled"), &json!("c"))
    );
    assert_eq!(service.post(&path, &comment).await.status, 409);
    let again = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!(
        again.code(),
        "ActiveRequestAlreadyExists",
        "section 18: the machine stays busy for a while"
    );
    assert_eq!(service.emulator.violations().machine_busy, 0);
    sleep(60.0).await;
    service.submit(&service.machine(0), "a.ps1").await;

    let service = with_switches(|s| s.cancel_loses = true);
    service
        .emulator
        .on_script("a.ps1", ScriptOutcome { duration: 60.0, ..ScriptOutcome::default() });
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(5.0).await;
    service.post(&format!("/api/machineactions/{id}/cancel"), &comment).await;
    sleep(100.0).await;
    assert_eq!(service.action(&id).await["status"], "Succeeded");
}

/// Row 30: commands with the documented statuses only.
#[tokio::test(start_paused = true)]
async fn only_documented_command_statuses() {
    let service = with_switches(|s| s.command_states = false);
    service.emulator.add_library_file("a.ps1", b"x");
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(0.55).await;
    assert_eq!(service.action(&id).await["commands"][0]["commandStatus"], "Created");
}
