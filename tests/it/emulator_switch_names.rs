//! The names, defaults and valid values of switches (docs/service.md, section 15).

use std::collections::BTreeSet;

use mde_live_response::emulator::Switches;
use serde_json::{Value, json};

const SERVICE_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/service.md");

/// Returns the cells of the rows of a section's first table, without its head.
fn table(page: &str, section: &str) -> Vec<Vec<String>> {
    let (_, rest) = page.split_once(&format!("\n## {section}")).unwrap();
    let rows = rest.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let row = row.replace("\\|", "or").trim_matches('|').to_owned();
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Returns the words in backticks.
fn names(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Sections 15, 18 and 19 of docs/service.md have every switch and no other, and each of their rows
/// has a switch or says why it has none.
#[test]
fn the_page_about_the_service_and_the_switches_agree() {
    let all = serde_json::to_value(Switches::default()).unwrap();
    let known: BTreeSet<String> = all.as_object().unwrap().keys().cloned().collect();
    let page = std::fs::read_to_string(SERVICE_PAGE).unwrap();
    let mut found = BTreeSet::new();
    for (section, column, rows) in [("15. ", 2, 39), ("18. ", 1, 8), ("19. ", 2, 22)] {
        let table = table(&page, section);
        assert_eq!(table.len(), rows, "rows of section {section}");
        for (number, row) in (1..).zip(table) {
            let cell = &row[column];
            let named = names(cell);
            let has_reason = cell.strip_prefix("no switch: ").is_some_and(|why| !why.is_empty());
            assert!(has_reason == named.is_empty(), "section {section}row {number}: {cell:?}");
            found.extend(named);
            assert!(section != "15. " || row[0] == number.to_string(), "{row:?}");
        }
    }
    let others = page.lines().find(|line| line.starts_with("These switches are not about"));
    found.extend(names(others.unwrap().split_once(". `tests").unwrap().0));
    assert_eq!(found, known);
}

/// Every switch can be set by name, and docs/emulator.md lists it with its default.
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

/// Section 15: every row that can be switched has its switches, with the default of the row.
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
        (
            15,
            &[
                ("early_link_status", json!(400)),
                ("no_result_status", json!(404)),
                ("out_of_range_status", json!(400)),
            ],
        ),
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
    let later: [(u8, &[(&str, Value)]); 5] = [
        (
            29,
            &[
                ("audiences", json!(null)),
                ("wrong_audience_status", json!(403)),
                ("read_permission", json!("any")),
            ],
        ),
        (30, &[("command_states", json!(true))]),
        (31, &[("compression", json!("deflate"))]),
        (32, &[("comment_limit", json!(null)), ("comment_form", json!("keep"))]),
        (33, &[("merged_machine", json!("record")), ("merged_machine_status", json!(404))]),
    ];
    for (row, switches) in rows.into_iter().chain(later) {
        for (name, default) in switches {
            assert_eq!(all.get(name), Some(default), "row {row}: {name}");
        }
    }
}

/// The error for an invalid switch names the valid values, without the words of a library.
#[test]
fn invalid_switches_are_rejected() {
    for (text, expected) in [
        (
            r#"{"acepted_status": 200}"#,
            "there is no switch \"acepted_status\"; valid names are accepted_status, \
             audiences, bad_commands_code",
        ),
        (
            r#"{"accepted_status": "x"}"#,
            "switch accepted_status is \"x\"; it must be an HTTP status, 200 to 599",
        ),
        (r#"{"accepted_status": 70000}"#, "it must be an HTTP status, 200 to 599"),
        (r#"{"windows": "round"}"#, "switch windows is \"round\"; it must be 'sliding' or 'fixed'"),
        (r#"{"windows": 5}"#, "switch windows is 5; it must be 'sliding' or 'fixed'"),
        (r#"{"cap_answer": "x"}"#, "it must be one of 'full', 'plain', 'empty', 'html'"),
        (r#"{"gzip_files": 1}"#, "switch gzip_files is 1; it must be true or false"),
        (
            r#"{"fresh_404": -1}"#,
            "switch fresh_404 is -1; it must be a number between 0 and 1000000000",
        ),
        (r#"{"fault_rate": 1.5}"#, "switch fault_rate is 1.5; it must be between 0 and 1"),
        (r#"{"fault_kinds": "garble"}"#, "it must be a list of strings"),
        (r#"{"fault_kinds": ["explode"]}"#, "it must be one of 'status', 'drop_before'"),
        (r#"{"page_size": 0}"#, "switch page_size is 0; it must be a whole number, 1 to 10000"),
        (r#"{"log_size": 1.5}"#, "switch log_size is 1.5; it must be a whole number, 0 or more"),
        (r#"{"failed_status": 500}"#, "switch failed_status is 500; it must be a word"),
        (r#"{"bad_commands_code": null}"#, "switch bad_commands_code is null; it must be a string"),
        (r#"{"comment_limit": -1}"#, "it must be a whole number, 0 to 1000000, or null"),
        (r#"{"comment_form": "x"}"#, "it must be one of 'keep', 'escape', 'percent', 'upper'"),
        (r#"{"comment_suffix": 5}"#, "switch comment_suffix is 5; it must be a string"),
        (r#"{"audiences": "x"}"#, "switch audiences is \"x\"; it must be a list of audiences"),
        (r#"{"audiences": [5]}"#, "it must be a list of audiences or null"),
        (r#"{"cors_origin": true}"#, "it must be an origin, '*' or null"),
        (
            r#"{"blob_error": "x"}"#,
            "it must be AuthorizationFailure, AuthorizationSourceIPMismatch",
        ),
        (r#"{"tenant": "x"}"#, "'active', 'inactive', 'no_license', 'suspended'"),
        (r#"{"reads_404": -1}"#, "it must be a whole number, 0 to 1000000"),
        (r#"{"context_host": 5}"#, "switch context_host is 5; it must be a URL or null"),
        ("[]", "switch: expected a mapping of names to values"),
    ] {
        let error = Switches::from_json(text).unwrap_err();
        assert!(
            error.message.contains(expected) && !error.message.contains("line 1"),
            "{text}: {error}"
        );
    }
    let some = Switches::from_json(
        r#"{"fresh_404": 5, "context_host": "https://x.test", "windows": "fixed"}"#,
    )
    .unwrap();
    assert_eq!((some.fresh_404, some.context_host.as_deref()), (5.0, Some("https://x.test")));
}
