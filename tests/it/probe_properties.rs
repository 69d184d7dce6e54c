//! A probe finds each switch of the emulator that a read can show, and nothing else.

use mde_live_response::emulator::{
    BusyResponse, CommentForm, Compression, ListOrder, MachineByName, MergedMachine, MissingFile,
    NonzeroExit, Switches, ThrottleResponse, TranscriptForm, WindowKind,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::probe_support::{ACTIONS, Tenant};
use crate::support::{env_number, paused_runtime};

/// The length of "Case A ", which begins each comment, and of a tag's digits.
const BEFORE: usize = 7;
const DIGITS: usize = 16;
const SUFFIXES: [&str; 3] = ["", " (by API)", " (by Contoso)"];

fn word() -> impl Strategy<Value = String> {
    select(vec!["Created", "Failed", "TimeOut", "Skipped", "Aborted"]).prop_map(str::to_owned)
}

fn statuses(s: Switches) -> impl Strategy<Value = Switches> {
    (word(), word(), word(), word(), select(vec![400, 404, 409]), select(vec![400, 404, 422]))
        .prop_map(move |(skipped, failed, timeout, expiry, none, range)| Switches {
            skipped_status: skipped,
            failed_status: failed,
            script_timeout_status: timeout,
            queue_expiry_status: expiry,
            no_result_status: none,
            out_of_range_status: range,
            ..s.clone()
        })
}

fn results(s: Switches) -> impl Strategy<Value = Switches> {
    let forms = [
        TranscriptForm::Json,
        TranscriptForm::RawNewline,
        TranscriptForm::Bom,
        TranscriptForm::Gzip,
        TranscriptForm::Zip,
        TranscriptForm::Text,
    ];
    let exits = [NonzeroExit::Completed, NonzeroExit::Failed];
    let flags = proptest::array::uniform8(any::<bool>());
    (flags, select(forms.to_vec()), select(exits.to_vec()), 0..4_usize, 1..60_u32).prop_map(
        move |(flags, form, exit, nuls, life)| Switches {
            failed_script_has_transcript: flags[0],
            gzip_files: flags[1],
            gzip_name: flags[2],
            blob_content_encoding: flags[3],
            blob_ranges: flags[4],
            transcript_line: flags[5],
            script_hash_differs: flags[6],
            quoted_link: flags[7],
            transcript_form: form,
            nonzero_exit: exit,
            transcript_nuls: nuls,
            link_life: f64::from(life) * 60.0,
            ..s.clone()
        },
    )
}

fn comments(s: Switches) -> impl Strategy<Value = Switches> {
    let forms = [
        CommentForm::Keep,
        CommentForm::Escape,
        CommentForm::Percent,
        CommentForm::Upper,
        CommentForm::Lower,
        CommentForm::Null,
        CommentForm::Empty,
    ];
    let limit = prop_oneof![Just(None), (1..45_usize).prop_map(Some)];
    (select(forms.to_vec()), limit, select(SUFFIXES.to_vec())).prop_map(
        move |(form, limit, suffix)| Switches {
            comment_form: form,
            comment_limit: limit,
            comment_suffix: suffix.to_owned(),
            ..s.clone()
        },
    )
}

fn lists(s: Switches) -> impl Strategy<Value = Switches> {
    let codings =
        [Compression::Deflate, Compression::RawDeflate, Compression::Gzip, Compression::None];
    let hosts = [None, Some("https://api-eu.securitycenter.microsoft.com".to_owned())];
    let flags = proptest::array::uniform8(any::<bool>());
    let sizes = select(vec![10_000, 5, 3]);
    (flags, select(codings.to_vec()), select(hosts.to_vec()), sizes).prop_map(
        move |(flags, compression, context_host, page_size)| Switches {
            list_order: if flags[0] { ListOrder::Newest } else { ListOrder::Oldest },
            date_header: flags[1],
            no_machines_is_404: flags[2],
            machine_by_name: if flags[3] { MachineByName::Newest } else { MachineByName::Refused },
            merged_machine: if flags[4] { MergedMachine::Record } else { MergedMachine::Refused },
            merged_machine_status: if flags[5] { 404 } else { 400 },
            command_states: flags[6],
            missing_file: if flags[7] { MissingFile::Fails } else { MissingFile::Refused },
            compression,
            context_host,
            page_size,
            ..s.clone()
        },
    )
}

fn cancels(s: Switches) -> impl Strategy<Value = Switches> {
    let times = (select(vec![0.0, 2.0, 7.5]), select(vec![0.0, 3.0]));
    (times, proptest::array::uniform3(any::<bool>())).prop_map(
        move |((time, pending_time), flags)| Switches {
            cancel_time: time,
            cancel_pending_time: pending_time,
            cancel_loses: flags[0],
            cancel_fields_at_once: flags[1],
            portal_characters_refused: flags[2],
            ..s.clone()
        },
    )
}

/// Switches that no read shows.
fn hidden() -> impl Strategy<Value = Switches> {
    any::<bool>().prop_map(|changed| {
        let usual = Switches::default();
        if !changed {
            return usual;
        }
        Switches {
            accepted_status: 200,
            bad_commands_code: "BadRequest".to_owned(),
            busy_answer: BusyResponse::Foreign,
            cancel_ended_status: 409,
            cap_answer: ThrottleResponse::Html,
            expired_link_status: 404,
            refused_calls_count: true,
            upload_exists_status: 409,
            windows: WindowKind::Fixed,
            ..usual
        }
    })
}

fn switches() -> impl Strategy<Value = Switches> {
    let all = hidden().prop_flat_map(statuses).prop_flat_map(results);
    all.prop_flat_map(comments).prop_flat_map(lists).prop_flat_map(cancels)
}

/// Returns what reads of the tenant show.
fn expected(s: &Switches) -> Map<String, Value> {
    let all = serde_json::to_value(s).unwrap();
    let mut names = vec![
        "blob_ranges",
        "cancel_pending_time",
        "context_host",
        "compression",
        "date_header",
        "failed_script_has_transcript",
        "failed_status",
        "gzip_files",
        "link_life",
        "list_order",
        "machine_by_name",
        "merged_machine",
        "no_machines_is_404",
        "no_result_status",
        "out_of_range_status",
        "queue_expiry_status",
        "quoted_link",
        "script_timeout_status",
        "skipped_status",
        "transcript_form",
        "cancel_loses",
    ];
    let mut add = |shown: bool, more: &[&'static str]| {
        names.extend(more.iter().filter(|_| shown));
    };
    let refused = usize::from(s.missing_file == MissingFile::Refused);
    add(s.page_size < ACTIONS - refused, &["page_size"]);
    add(s.command_states, &["command_states"]);
    add(!s.portal_characters_refused, &["portal_characters_refused"]);
    add(refused == 0, &["missing_file"]);
    add(s.gzip_files, &["gzip_name", "blob_content_encoding"]);
    add(s.merged_machine == MergedMachine::Refused, &["merged_machine_status"]);
    add(!s.cancel_loses, &["cancel_time"]);
    let still_runs = s.cancel_loses || s.cancel_time > 0.0;
    add(still_runs && s.cancel_fields_at_once, &["cancel_fields_at_once"]);
    // The text and the zip have no exit code.
    let has_code = !matches!(s.transcript_form, TranscriptForm::Zip | TranscriptForm::Text);
    let completes = s.nonzero_exit == NonzeroExit::Completed;
    add(has_code, &["transcript_nuls"]);
    add(has_code && (completes || s.failed_script_has_transcript), &["nonzero_exit"]);
    // The one script in PowerShell fails if its hash differs and a code fails it.
    let ends = completes || !s.script_hash_differs || s.failed_script_has_transcript;
    add(has_code && ends, &["script_hash_differs", "transcript_line"]);
    let mut shown: Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), all[name].clone())).collect();
    shown.extend(expected_comments(s));
    shown
}

fn expected_comments(s: &Switches) -> Map<String, Value> {
    let (before, open, close) = match s.comment_form {
        CommentForm::Null => return object(json!({"comment_form": "null"})),
        CommentForm::Empty => return object(json!({"comment_form": "empty"})),
        CommentForm::Escape => (BEFORE, "&#91;mlr:".len(), "&#93;".len()),
        // "Case%20A%20"
        CommentForm::Percent => (BEFORE + 4, "%5Bmlr%3A".len(), "%5D".len()),
        CommentForm::Keep | CommentForm::Upper | CommentForm::Lower => (BEFORE, "[mlr:".len(), 1),
    };
    let whole = before + open + DIGITS + close;
    let limit = s.comment_limit.filter(|limit| *limit < whole);
    if limit.is_some_and(|limit| limit < before + open) {
        return Map::new();
    }
    let mut shown = Map::new();
    if s.comment_form != CommentForm::Lower {
        shown.insert("comment_form".to_owned(), json!(s.comment_form));
    }
    if s.comment_suffix != SUFFIXES[2] {
        shown.insert("comment_suffix".to_owned(), json!(s.comment_suffix));
        shown.extend(limit.map(|limit| ("comment_limit".to_owned(), json!(limit))));
    }
    shown
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(env_number("MDE_LIVE_RESPONSE_PROBES", 64) as u32))]

    #[test]
    fn each_switch_that_a_read_shows_is_found_and_no_other(switches in switches()) {
        paused_runtime().block_on(async {
            let profile = Tenant::new(switches.clone()).await.survey().await;
            let expected = expected(&switches);
            prop_assert_eq!(
                Value::Object(profile.observed.clone()), Value::Object(expected),
                "{:?}", profile.facts
            );
            let named: Vec<_> = profile.observed.keys().collect();
            prop_assert_eq!(profile.counts.keys().collect::<Vec<_>>(), named);
            prop_assert!(profile.counts.values().all(|count| *count > 0));
            // The emulator accepts each of them, and then behaves so.
            let text = Value::Object(profile.observed.clone()).to_string();
            prop_assert!(Switches::from_json(&text).is_ok());
            Ok(())
        })?;
    }
}
