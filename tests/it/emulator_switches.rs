//! facts.md, section 15: what is not known, as switches.

use std::time::Duration;

use mde_live_response::emulator::{MissingFile, ScriptOutcome, Switches};
use serde_json::{Value, json};

use crate::emulator_support::{get_file, new_service, put_file, run_script, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Every switch can be given by its name; one that is not known is told, and docs/emulator.md lists each.
#[test]
fn switches_by_name() {
    let all = serde_json::to_value(Switches::default()).unwrap();
    assert_eq!(Switches::from_json(&all.to_string()).unwrap(), Switches::default());
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emulator.md")).unwrap();
    for (name, value) in all.as_object().unwrap() {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/emulator.md does not list {name}"));
        let default =
            if name == "fault_kinds" { String::new() } else { value.to_string().replace('"', "") };
        let default = if default == "null" {
            "none".to_owned()
        } else {
            default.trim_end_matches(".0").to_owned()
        };
        assert!(
            row.replace(',', "").contains(&default),
            "docs/emulator.md: {name} is {value} by default: {row}"
        );
    }
}

/// Section 15, every row that a switch can turn: its switches, and the defaults that the row gives.
#[test]
fn each_row_of_section_15_is_a_switch() {
    let all = serde_json::to_value(Switches::default()).unwrap();
    let rows: [(u8, &[(&str, Value)]); 28] = [
        (1, &[("accepted_status", json!(201))]),
        (2, &[("cap_answer", json!("plain"))]),
        (3, &[("rate_answer", json!("full")), ("rate_retry_after", json!(true))]),
        (4, &[("cap_counts", json!("open"))]),
        (5, &[("windows", json!("sliding"))]),
        (6, &[("refused_calls_count", json!(false))]),
        (
            7,
            &[
                ("bad_commands_code", json!("InvalidRequestBody")),
                ("missing_field_code", json!("MissingRequiredParameter")),
            ],
        ),
        (8, &[("case_sensitive_bodies", json!(true))]),
        (9, &[("missing_file", json!("fails"))]),
        (10, &[("skipped_status", json!("Created"))]),
        (11, &[("failed_status", json!("Failed"))]),
        (12, &[("nonzero_exit", json!("completed"))]),
        (13, &[("script_timeout_status", json!("Failed"))]),
        (14, &[("queue_expiry_status", json!("TimeOut"))]),
        (15, &[("no_result_status", json!(404)), ("out_of_range_status", json!(400))]),
        (16, &[("failed_script_has_transcript", json!(true))]),
        (17, &[("expired_link_status", json!(403))]),
        (
            18,
            &[
                ("gzip_files", json!(true)),
                ("gzip_name", json!(true)),
                ("blob_content_encoding", json!(false)),
            ],
        ),
        (19, &[("blob_ranges", json!(true))]),
        (20, &[("cancel_ended_status", json!(400))]),
        (
            21,
            &[
                ("cancel_pending_time", json!(0.0)),
                ("cancel_time", json!(2.0)),
                ("cancel_loses", json!(false)),
            ],
        ),
        (22, &[("upload_exists_status", json!(400))]),
        (23, &[("upload_too_big_status", json!(400))]),
        (24, &[("unnamed_upload", json!("file"))]),
        (25, &[("fresh_404", json!(0.0))]),
        (26, &[("list_order", json!("newest"))]),
        (27, &[("no_machines_is_404", json!(false))]),
        (28, &[("machine_by_name", json!("newest"))]),
    ];
    let later: [(u8, &[(&str, Value)]); 3] = [
        (29, &[("wrong_audience_status", json!(403)), ("read_permission", json!("any"))]),
        (30, &[("command_states", json!(true))]),
        (31, &[("compression", json!("deflate"))]),
    ];
    for (row, switches) in rows.into_iter().chain(later) {
        for (name, default) in switches {
            assert_eq!(all.get(name), Some(default), "row {row}: {name}");
        }
    }
}

/// What is wrong with a switch is told with what would be right, in no library's words.
#[test]
fn wrong_switches() {
    for (text, told) in [
        (
            r#"{"acepted_status": 200}"#,
            "there is no switch \"acepted_status\"; there are accepted_status, bad_commands_code",
        ),
        (
            r#"{"accepted_status": "x"}"#,
            "switch accepted_status is \"x\"; it has to be an HTTP status, 200 to 599",
        ),
        (r#"{"accepted_status": 70000}"#, "it has to be an HTTP status, 200 to 599"),
        (
            r#"{"windows": "round"}"#,
            "switch windows is \"round\"; it has to be 'sliding' or 'fixed'",
        ),
        (r#"{"windows": 5}"#, "switch windows is 5; it has to be 'sliding' or 'fixed'"),
        (r#"{"cap_answer": "x"}"#, "it has to be one of 'full', 'plain', 'empty', 'html'"),
        (r#"{"gzip_files": 1}"#, "switch gzip_files is 1; it has to be true or false"),
        (
            r#"{"fresh_404": -1}"#,
            "switch fresh_404 is -1; it has to be a number between 0 and 1000000000",
        ),
        (r#"{"fault_rate": 1.5}"#, "switch fault_rate is 1.5; it has to be between 0 and 1"),
        (r#"{"fault_kinds": "garble"}"#, "it has to be a list of words"),
        (r#"{"fault_kinds": ["explode"]}"#, "it has to be one of 'status', 'drop_before'"),
        (r#"{"page_size": 0}"#, "switch page_size is 0; it has to be a whole number, 1 to 10000"),
        (r#"{"log_size": 1.5}"#, "switch log_size is 1.5; it has to be a whole number, 0 or more"),
        (r#"{"failed_status": 500}"#, "switch failed_status is 500; it has to be a word"),
        (r#"{"bad_commands_code": null}"#, "switch bad_commands_code is null; it has to be a text"),
        (r#"{"context_host": 5}"#, "switch context_host is 5; it has to be a URL or null"),
        ("[]", "switch: names with their values are wanted"),
    ] {
        let error = Switches::from_json(text).unwrap_err();
        assert!(
            error.message.contains(told) && !error.message.contains("line 1"),
            "{text}: {error}"
        );
    }
    let some = Switches::from_json(
        r#"{"fresh_404": 5, "context_host": "https://x.test", "windows": "fixed"}"#,
    )
    .unwrap();
    assert_eq!((some.fresh_404, some.context_host.as_deref()), (5.0, Some("https://x.test")));
}

/// Row 7: the code of refused commands and of a missing field.
#[tokio::test(start_paused = true)]
async fn codes_of_a_refused_body() {
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

/// Row 9: a file that is not in the library fails the command, or is refused.
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

/// Rows 10, 11, 16: the words after a failure, and whether a failed script has a transcript.
#[tokio::test(start_paused = true)]
async fn after_a_failed_command() {
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

/// Row 14: the word after two hours in the queue.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_queue() {
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

/// Rows 15, 17, 18, 19 and section 18: the results.
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

/// Rows 20 and 21: cancel's answers, and a cancel that is overtaken.
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
    let answer = service.post(&path, &comment).await.json();
    assert_eq!(
        (&answer["status"], &answer["cancellationComment"]),
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
    assert_eq!(again.code(), "ActiveRequestAlreadyExists", "section 18: busy for a while");
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

/// Row 30: commands without their states in between.
#[tokio::test(start_paused = true)]
async fn documented_states_alone() {
    let service = with_switches(|s| s.command_states = false);
    service.emulator.add_library_file("a.ps1", b"x");
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(0.55).await;
    assert_eq!(service.action(&id).await["commands"][0]["commandStatus"], "Created");
}
