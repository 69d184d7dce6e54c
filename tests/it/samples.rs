//! Decodes the samples of docs/service.md, section 13, complete, truncated and with wrong values.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use mde_live_response::auth::{StaticToken, TokenCache};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud};
use mde_live_response::error::{Kind, Result};
use mde_live_response::model::{
    Command, LibraryFile, MachineAction, ScriptOutput, decode_entity, decode_page,
};
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::transport::{Failure, Request, Response, Transport};
use serde_json::{Value, json};

use crate::support::within;

const REQUEST: &str = r#"{"Commands":[
  {"type":"PutFile","params":[{"key":"FileName","value":"helper.exe"}]},
  {"type":"RunScript","params":[{"key":"ScriptName","value":"triage.ps1"},{"key":"Args","value":"-Depth 2"}]},
  {"type":"GetFile","params":[{"key":"Path","value":"C:\\Temp\\triage.zip"}]}],
 "Comment":"case 42"}"#;
const CREATED: &str = r#"{"@odata.context":"https://api.security.microsoft.com/api/$metadata#MachineActions/$entity",
 "id":"6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10","type":"LiveResponse","title":null,
 "requestor":"0f3c1d4e-1111-4222-8333-444455556666","requestorComment":"case 42","status":"Pending",
 "machineId":"9a0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3","computerDnsName":"ws-eng-042.example.test",
 "creationDateTimeUtc":"2026-03-10T14:36:51.8759111Z","lastUpdateDateTimeUtc":"2026-03-10T14:36:51.8759111Z",
 "cancellationRequestor":null,"cancellationComment":null,"cancellationDateTimeUtc":null,
 "errorHResult":0,"scope":null,"externalId":null,"requestSource":"PublicApi","relatedFileInfo":null,
 "commands":[
  {"index":0,"startTime":null,"endTime":null,"commandStatus":"Created","errors":[],
   "command":{"type":"PutFile","params":[{"key":"FileName","value":"helper.exe"}]}},
  {"index":1,"startTime":null,"endTime":null,"commandStatus":"Created","errors":[],
   "command":{"type":"RunScript","params":[{"key":"ScriptName","value":"triage.ps1"},{"key":"Args","value":"-Depth 2"}]}},
  {"index":2,"startTime":null,"endTime":null,"commandStatus":"Created","errors":[],
   "command":{"type":"GetFile","params":[{"key":"Path","value":"C:\\Temp\\triage.zip"}]}}],
 "troubleshootInfo":null}"#;
const FINISHED: &str = r#"{"status":"Failed","lastUpdateDateTimeUtc":"2026-03-10T14:39:02.12Z","errorHResult":0,
 "commands":[{"index":0,"startTime":"2026-03-10T14:37:20.1Z","endTime":"2026-03-10T14:37:31.0021Z","commandStatus":"Completed","errors":[]},
             {"index":1,"startTime":"2026-03-10T14:37:31.5Z","endTime":"2026-03-10T14:39:01.9Z","commandStatus":"Failed","errors":["<free text>"]},
             {"index":2,"startTime":null,"endTime":null,"commandStatus":"Created","errors":[]}]}"#;
const LINK: &str = r#"{"@odata.context":".../api/$metadata#Edm.String","value":"https://store1.blob.core.windows.net/investigation-actions-data/0f3c1d4e-1111-4222-8333-444455556666/CustomPlaybookCommandOutput/0123456789abcdef0123456789abcdef?se=2026-03-10T15%3A09%3A00Z&sp=rt&sv=2020-06-12&sr=b&rscd=attachment%3B%20filename%3Doutput_6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10_1.json&sig=AbC%2B123%3D"}"#;
const TRANSCRIPT: &str = r#"{"script_name":"triage.ps1","exit_code":0,"script_output":"Transcript started, output file is C:\\ProgramData\\…\\PSScript_Transcript_{GUID}.txt\ndone\n\u0000","script_errors":""}"#;
const LIBRARY: &str = r#"{"@odata.context":".../api/$metadata#LibraryFiles/$entity","fileName":"triage.ps1","sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","description":"triage","creationTime":"2026-03-10T13:35:27.841749Z","lastUpdatedTime":"2026-03-10T13:35:27.841749Z","createdBy":"app-name","hasParameters":true,"parametersDescription":"-Depth N"}"#;
const ERROR: &str = r#"{"error":{"code":"ResourceNotFound","message":"Machine 9a0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3 was not found","target":"43f4cb08-0000-4b65-9db1-745c2ae60000"}}"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn merged(onto: &str, what: &str) -> Value {
    let mut whole = value(onto);
    for (name, new) in value(what).as_object().unwrap() {
        match whole[name].as_array_mut() {
            Some(old) => {
                for (old, new) in old.iter_mut().zip(new.as_array().unwrap()) {
                    old.as_object_mut().unwrap().extend(new.as_object().unwrap().clone());
                }
            }
            None => whole[name] = new.clone(),
        }
    }
    whole
}

fn action(body: &Value) -> MachineAction {
    decode_entity(body.to_string().as_bytes()).unwrap()
}

fn list() -> Value {
    let mut item = value(CREATED);
    item.as_object_mut().unwrap().remove("@odata.context");
    json!({"@odata.context": ".../api/$metadata#MachineActions", "@odata.count": 1, "value": [item],
           "@odata.nextLink": "https://api.security.microsoft.com/api/machineactions?$skip=10000"})
}

#[test]
fn the_request_has_the_documented_body() {
    let commands = [
        Command::put_file("helper.exe").unwrap(),
        Command::run_script("triage.ps1", Some("-Depth 2")).unwrap(),
        Command::get_file(r"C:\Temp\triage.zip").unwrap(),
    ];
    assert_eq!(json!({"Commands": commands, "Comment": "case 42"}), value(REQUEST));
}

#[test]
fn an_action_from_its_creation_to_its_end() {
    let created = action(&value(CREATED));
    assert_eq!(
        (created.id.as_str(), created.status.as_str()),
        ("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10", "Pending")
    );
    assert_eq!(created.requestor_comment.as_deref(), Some("case 42"));
    assert_eq!(created.computer_dns_name.as_deref(), Some("ws-eng-042.example.test"));
    assert_eq!(created.request_source.as_deref(), Some("PublicApi"));
    assert_eq!(created.creation_date_time_utc.unwrap().to_string(), "2026-03-10T14:36:51.8759111Z");
    assert_eq!(created.commands[1].command.param("Args"), Some("-Depth 2"));
    assert!(!created.is_done() && !created.has_started());
    let finished = action(&merged(CREATED, FINISHED));
    assert!(finished.is_done());
    let statuses: Vec<_> =
        finished.commands.iter().map(|command| command.status.as_str()).collect();
    assert_eq!(statuses, ["Completed", "Failed", "Created"]);
    assert_eq!(finished.commands[1].errors, ["<free text>"]);
    assert_eq!(finished.commands[0].end_time.unwrap().to_string(), "2026-03-10T14:37:31.0021Z");
    // The finished sample with an id added: absent fields are none.
    let bare =
        action(&json!({"id": "x", "status": "Failed", "commands": value(FINISHED)["commands"]}));
    assert_eq!((bare.commands.len(), bare.machine_id), (3, None));
    let listed = decode_page::<MachineAction>(list().to_string().as_bytes()).unwrap();
    assert_eq!(listed.value[0].id, created.id);
    assert!(listed.next_link.unwrap().ends_with("$skip=10000"));
    let cancelled = merged(
        CREATED,
        r#"{"status":"Cancelled","cancellationRequestor":"a","cancellationComment":"no longer needed",
            "cancellationDateTimeUtc":"2026-03-10T14:40:00Z"}"#,
    );
    let cancelled = action(&cancelled);
    assert_eq!(cancelled.cancellation_comment.as_deref(), Some("no longer needed"));
    assert!(cancelled.is_done() && cancelled.cancellation_date_time_utc.is_some());
}

#[test]
fn a_transcript_and_a_library_file() {
    let output =
        ScriptOutput::decode(Bytes::from_static(TRANSCRIPT.as_bytes()), "x", 1 << 20).unwrap();
    assert_eq!(
        (output.script_name.as_str(), output.exit_code, output.stderr.as_str()),
        ("triage.ps1", Some(0), "")
    );
    assert!(output.stdout.ends_with("done\n"));
    for length in 0..TRANSCRIPT.len() {
        let cut = Bytes::copy_from_slice(&TRANSCRIPT.as_bytes()[..length]);
        let output = ScriptOutput::decode(cut.clone(), "x", 1 << 20).unwrap();
        assert_eq!(output.raw, cut);
    }
    let file: LibraryFile = decode_entity(LIBRARY.as_bytes()).unwrap();
    assert_eq!((file.file_name.as_str(), file.has_parameters), ("triage.ps1", Some(true)));
    assert_eq!(file.parameters_description.as_deref(), Some("-Depth N"));
    assert_eq!(file.creation_time.unwrap().to_string(), "2026-03-10T13:35:27.841749Z");
}

/// Decodes `body` as the type of `sample` and returns the error.
fn decode_error(sample: &str, body: &[u8]) -> Option<String> {
    let error = match sample {
        "action" => decode_entity::<MachineAction>(body).err(),
        "library" => decode_entity::<LibraryFile>(body).err(),
        _ => decode_page::<MachineAction>(body).err(),
    }?;
    assert_eq!(error.kind, Kind::Service);
    assert!(error.hint.is_some());
    Some(error.message.clone())
}

#[test]
fn a_body_cut_short_at_any_byte_is_a_service_error() {
    for (sample, text) in [
        ("action", CREATED.to_owned()),
        ("library", LIBRARY.to_owned()),
        ("list", list().to_string()),
    ] {
        for length in 0..text.len() {
            let message = decode_error(sample, &text.as_bytes()[..length])
                .unwrap_or_else(|| panic!("{sample} at {length}"));
            assert!(message.contains("the service's response is not as documented"), "{message}");
        }
        assert!(decode_error(sample, text.as_bytes()).is_none());
        for strange in [
            &b""[..],
            b" \r\n",
            b"null",
            b"[]",
            b"{}",
            b"3",
            b"\"x\"",
            b"<html>",
            b"\xff\xfe",
            b"{\"value\":3}",
        ] {
            assert!(decode_error(sample, strange).is_some(), "{sample}: {strange:?}");
        }
        assert!(decode_error(sample, "[".repeat(100_000).as_bytes()).is_some());
    }
}

/// Returns copies of `whole` with one value replaced, for every value, with its path.
fn corrupt_variants(whole: &Value, by: &Value) -> Vec<(String, Value)> {
    fn paths(value: &Value, at: String, all: &mut Vec<String>) {
        all.push(at.clone());
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                paths(value, format!("{at}/{}", name.replace('/', "~1")), all);
            }),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(i, value)| paths(value, format!("{at}/{i}"), all)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    paths(whole, String::new(), &mut all);
    all.into_iter()
        .map(|path| {
            let mut corrupt_variants = whole.clone();
            *corrupt_variants.pointer_mut(&path).unwrap() = by.clone();
            (path, corrupt_variants)
        })
        .collect()
}

#[test]
fn nulls_and_wrong_types_are_named_or_harmless() {
    for (sample, whole) in
        [("action", value(CREATED)), ("library", value(LIBRARY)), ("list", list())]
    {
        for by in
            [json!(null), json!([]), json!({}), json!(7), json!("word"), json!([null]), json!(true)]
        {
            for (path, body) in corrupt_variants(&whole, &by) {
                let error = decode_error(sample, body.to_string().as_bytes());
                let name = path
                    .rsplit('/')
                    .find(|part| part.parse::<usize>().is_err())
                    .unwrap_or_default();
                if let Some(message) = error.filter(|_| !name.is_empty()) {
                    assert!(message.contains(name), "{path} replaced by {by}: {message}");
                } else if by.is_null() && !name.is_empty() {
                    // What the client needs. A record of a list without an id is skipped.
                    let needed = ["id", "fileName", "value"];
                    let in_list = path.starts_with("/value/");
                    assert!(
                        !needed.contains(&name) || in_list || path.contains("params"),
                        "{path}"
                    );
                }
            }
        }
    }
    let all_null: Value = value(CREATED)
        .as_object()
        .unwrap()
        .keys()
        .map(|name| (name.clone(), Value::Null))
        .collect();
    assert!(decode_error("action", all_null.to_string().as_bytes()).unwrap().contains("id"));
    let needed = json!({"id": "x", "status": "Pending", "commands": [null, {"index": 0, "commandStatus": "Created",
        "command": {"type": null, "params": [null, {"key": null, "value": null}]}, "errors": [null, "e"]}]});
    let action = action(&needed);
    assert_eq!((action.commands.len(), action.commands[0].errors.len()), (1, 1));
}

/// A service that always sends the same response.
struct CannedTransport(u16, String);

impl Transport for CannedTransport {
    fn send(&self, _request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        let status = StatusCode::from_u16(self.0).unwrap();
        let response = Response::from_bytes(status, HeaderMap::new(), self.1.clone());
        std::future::ready(Ok(response)).boxed()
    }
}

fn pipeline_serving(status: u16, body: impl Into<String>) -> Pipeline {
    let clock = Clock::new();
    let token = StaticToken::new(Secret::new("opaque"), clock).unwrap();
    let options = ClientOptions::new(Cloud::default(), None).unwrap();
    let tokens = TokenCache::new(Arc::new(token), None, clock).unwrap();
    Pipeline::new(
        options,
        Arc::new(CannedTransport(status, body.into())),
        tokens,
        Arc::new(mde_live_response::limits::QuotaRegistry::default()),
        clock,
    )
}

#[tokio::test(start_paused = true)]
async fn a_wrong_link_stays_secret() {
    let link =
        within(600, pipeline_serving(200, LINK).get_result_link("6b1d2c1e", 1)).await.unwrap();
    assert_eq!(link.host(), "store1.blob.core.windows.net");
    assert!(
        link.expose().as_str().ends_with("sig=AbC%2B123%3D")
            && !format!("{link:?}").contains("sig")
    );
    let quoted = LINK.replace("https://", "\\\"https://").replace("123%3D", "123%3D\\\"");
    assert!(
        within(600, pipeline_serving(200, quoted).get_result_link("6b1d2c1e", 1)).await.is_ok()
    );
    let corrupt_variants =
        corrupt_variants(&value(LINK), &json!(null)).into_iter().map(|(_, body)| body.to_string());
    let cut = (0..LINK.len()).step_by(7).map(|length| LINK[..length].to_owned());
    let wrong = r#"{"value":"not a link, sig=AbC"}"#.to_owned();
    for body in corrupt_variants.chain(cut).chain([wrong]) {
        if body.contains("https://") && body.ends_with("\"}") {
            continue;
        }
        let error = within(600, pipeline_serving(200, body.clone()).get_result_link("6b1d2c1e", 1))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.action_id.as_deref()),
            (Kind::Service, Some("6b1d2c1e")),
            "{body}"
        );
        assert!(!format!("{error:?}").contains("sig="), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_sample_decodes_in_every_variant() {
    let error = within(600, pipeline_serving(404, ERROR).get_machine("9a0b")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_deref(), error.status),
        (Kind::NotFound, Some("ResourceNotFound"), Some(404))
    );
    assert_eq!(error.request_id.as_deref(), Some("43f4cb08-0000-4b65-9db1-745c2ae60000"));
    for status in [400, 401, 403, 404, 409, 429, 500, 503, 302, 999] {
        let cut = (0..ERROR.len()).step_by(5).map(|length| ERROR[..length].to_owned());
        for body in cut.chain(
            corrupt_variants(&value(ERROR), &json!(null))
                .into_iter()
                .map(|(_, body)| body.to_string()),
        ) {
            let error = within(3600, pipeline_serving(status, body).get_machine_action("6b1d2c1e"))
                .await
                .unwrap_err();
            assert_eq!((error.status, error.message.is_empty()), (Some(status), false));
        }
    }
}
