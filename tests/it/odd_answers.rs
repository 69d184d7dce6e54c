//! Tests of answers that are odd, endless, too large or about something else.

use mde_live_response::emulator::{Fault, NewMachine, Route};
use mde_live_response::error::Kind;
use mde_live_response::model::{
    Command, LibraryFile, Machine, MachineAction, decode_entity, decode_page,
};
use mde_live_response::session::SubmitRequest;
use serde_json::{Value, json};

use crate::support::{Fixture, HOUR, within};

fn answer(body: &Value) -> Fault {
    Fault { body: body.to_string(), ..Fault::status(200) }
}

fn refusal(status: u16, code: &str, message: &str) -> Fault {
    let body = json!({"error": {"code": code, "message": message, "target": "t"}});
    Fault { body: body.to_string(), ..Fault::status(status) }
}

#[test]
fn of_a_record_only_the_id_is_needed() {
    let odd = [json!(null), json!(""), json!(7), json!(true), json!([1]), json!({"a": [[]]})];
    let action = [
        "status",
        "type",
        "machineId",
        "requestorComment",
        "creationDateTimeUtc",
        "errorHResult",
        "commands",
        "externalId",
        "cancellationDateTimeUtc",
        "lastUpdateTimeUtc",
    ];
    let machine = ["lastSeen", "healthStatus", "machineTags", "mergedIntoMachineId", "version"];
    let file = ["sha256", "hasParameters", "creationTime", "description"];
    for value in odd {
        for name in action {
            let body = json!({"id": "a-1", name: value}).to_string();
            let read: MachineAction = decode_entity(body.as_bytes()).unwrap();
            assert!(!read.is_done() && read.creation_date_time_utc.is_none(), "{body}");
            assert!(read.error_hresult.is_none() || value == json!(7), "{body}");
            assert_eq!(&*read.raw, body);
        }
        for name in machine {
            let body = json!({"id": "m-1", name: value}).to_string();
            let read: Machine = decode_entity(body.as_bytes()).unwrap();
            assert!(read.last_seen.is_none() && read.merged_into().is_none(), "{body}");
        }
        for name in file {
            let body = json!({"fileName": "a.ps1", name: value}).to_string();
            let read: LibraryFile = decode_entity(body.as_bytes()).unwrap();
            assert!(read.creation_time.is_none(), "{body}");
        }
    }
    let number = br#"{"id": "a", "status": 1e999, "errorHResult": "5", "Xy": "\ud800", "id": "b"}"#;
    let read: MachineAction = decode_entity(number).unwrap();
    assert_eq!((read.id.as_str(), read.status.as_str(), read.error_hresult), ("b", "", None));
}

#[test]
fn an_odd_command_keeps_its_place() {
    let body = json!({"id": "a", "commands": [
        null, {"index": "x", "commandStatus": 5}, 7, {"commandStatus": "Completed", "errors": [1, "e"]},
    ]});
    let read: MachineAction = decode_entity(body.to_string().as_bytes()).unwrap();
    let commands: Vec<_> =
        read.commands.iter().map(|it| (it.index, it.status.as_str(), it.errors.len())).collect();
    assert_eq!(commands, [(0, "", 0), (1, "", 0), (2, "Completed", 1)]);
}

#[test]
fn a_record_without_an_id_is_skipped() {
    let items = json!([null, 5, "x", {}, {"id": null}, {"id": " "}, {"id": 7}, {"id": "a\u{7}"}, {"id": "a"}]);
    let page = decode_page::<MachineAction>(json!({"value": items}).to_string().as_bytes());
    let page = page.unwrap();
    assert_eq!((page.value.len(), page.skipped.len()), (1, 8));
    let many = format!(r#"{{"value":[{}1]}}"#, "1,".repeat(60_000));
    assert!(decode_page::<MachineAction>(many.as_bytes()).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_something_else_is_not_used() {
    let fixture = Fixture::new();
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    let other = json!({"id": uuid::Uuid::new_v4().to_string(), "status": "Succeeded"});
    fixture.fault("machineaction", answer(&other), 1, 1);
    assert_eq!(within(HOUR, session.refresh(0.0)).await.unwrap().id, session.id);
    fixture.fault("machineaction", answer(&other), 1, 100);
    let error = within(HOUR, session.refresh(0.0)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Service);
    assert!(error.message.contains("another machine action"), "{error}");
    let fixture = Fixture::new();
    let pipeline = &fixture.sessions.pipeline;
    let (id, other) = (fixture.machine(0), json!({"id": "0".repeat(40)}));
    fixture.fault("machine", answer(&other), 1, 1);
    assert_eq!(within(HOUR, pipeline.get_machine(&id)).await.unwrap().id, id);
    fixture.fault("machine", answer(&other), 1, 100);
    let error = within(HOUR, pipeline.get_machine(&id)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Service, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_404_that_passes_ends_nothing() {
    let fixture = Fixture::new();
    let gone = || refusal(404, "ResourceNotFound", "not found");
    let pipeline = &fixture.sessions.pipeline;
    fixture.fault("machine", gone(), 1, 2);
    assert!(within(HOUR, pipeline.get_machine(&fixture.machine(0))).await.is_ok());
    fixture.fault("machines", gone(), 1, 2);
    assert!(within(HOUR, pipeline.resolve_machine("ws-0001")).await.is_ok());
    let id = fixture.submit(fixture.submit_args()).await.unwrap().id.clone();
    fixture.fault("machineaction", gone(), 1, 2);
    let session = fixture.unrelated_client().session(&id);
    assert_eq!(session.known_machine_id(), None);
    assert!(within(HOUR, session.refresh(0.0)).await.is_ok());
    assert_eq!(session.known_machine_id(), Some(fixture.machine(0)));
}

#[tokio::test(start_paused = true)]
async fn a_merged_record_is_followed() {
    let fixture = Fixture::new();
    let target = fixture.machine(0);
    let merged = |name: &str, into: &str| NewMachine {
        properties: json!({"mergedIntoMachineId": into}).as_object().unwrap().clone(),
        ..NewMachine::named(name)
    };
    let pipeline = &fixture.sessions.pipeline;
    let body = |id: &str, into: &str| json!({"id": id, "mergedIntoMachineId": into});
    let (one, two) = ("1".repeat(40), "2".repeat(40));
    fixture.fault("machine", answer(&body(&one, &two)), 1, 1);
    fixture.fault("machine", answer(&body(&two, &target)), 2, 1);
    assert_eq!(within(HOUR, pipeline.get_machine(&one)).await.unwrap().id, target);
    fixture.fault("/api/machines/1*", answer(&body(&one, &two)), 1, 9);
    fixture.fault("/api/machines/2*", answer(&body(&two, &one)), 1, 9);
    let error = within(HOUR, pipeline.get_machine(&one)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Service, "{error}");
    // The emulator may refuse to store the property: then only the rest is tested.
    if fixture.emulator.add_machine(merged("ws-old.example.test", &target)).is_ok() {
        let found = within(HOUR, pipeline.resolve_machine("ws-old")).await.unwrap();
        assert_eq!(found.id, target);
    }
}

/// The bounds of a record, of an error and of a page.
#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_not_kept() {
    let fixture = Fixture::new();
    let pipeline = &fixture.sessions.pipeline;
    let padded = |body: &Value, length: usize| {
        let body = body.to_string();
        format!("{}{body}", " ".repeat(length - body.len()))
    };
    for (id, status, limit) in [("m-1", 200, 8 << 20), ("m-2", 400, 1 << 20)] {
        let body = padded(&json!({"id": id}), limit + 1);
        let too_large = Fault { body, ..Fault::status(status) };
        fixture.fault(&format!("/api/machines/{id}"), too_large, 1, 9);
        let error = within(HOUR, pipeline.get_machine(id)).await.unwrap_err();
        assert_eq!((error.kind, error.status), (Kind::Service, Some(status)), "{error}");
        assert!(error.message.contains(&format!("is larger than {limit} bytes")), "{error}");
    }
    let body = padded(&json!({"id": "m-3"}), 8 << 20);
    fixture.fault("/api/machines/m-3", Fault { body, ..Fault::status(200) }, 1, 1);
    assert_eq!(within(HOUR, pipeline.get_machine("m-3")).await.unwrap().id, "m-3");
    let body = padded(&json!({"value": [{"id": "m-1"}]}), (64 << 20) + 1);
    fixture.fault("machines", Fault { body, ..Fault::status(200) }, 1, 9);
    let error = within(HOUR, pipeline.list_machines(None, None)).await.unwrap_err();
    assert!(error.message.contains("is larger than 67108864 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_endless_list_ends() {
    let fixture = Fixture::new();
    let pipeline = fixture.client_with(|options| {
        options.limits.read = vec![mde_live_response::config::Rate { count: 100_000, per: 1.0 }];
    });
    for page in 1..1100 {
        let next = format!("https://api.emulator.test/api/machines?$skip={page}");
        let body = json!({"value": [{"id": format!("m-{page}")}], "@odata.nextLink": next});
        fixture.fault("machines", answer(&body), page, 1);
    }
    let error = within(10 * HOUR, pipeline.pipeline.list_machines(None, None)).await.unwrap_err();
    assert!(error.kind == Kind::Service && error.message.contains("does not end"), "{error}");
    assert!(fixture.request_count(Route::ListMachines) <= 1000);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_name_is_not_sent() {
    let fixture = Fixture::new();
    let pipeline = &fixture.sessions.pipeline;
    within(HOUR, pipeline.list_machines(None, Some(1))).await.unwrap();
    let before = fixture.emulator.requests().len();
    let huge = "x".repeat(1 << 20);
    for name in [&huge, "a\u{1b}b", "a\0b", ""] {
        let error = pipeline.resolve_machine(name).await.unwrap_err();
        assert!(error.kind == Kind::InvalidRequest && error.message.len() < 400, "{error}");
        assert_eq!(pipeline.get_machine_action(name).await.unwrap_err().kind, Kind::InvalidRequest);
        assert_eq!(
            pipeline.delete_library_file(name).await.unwrap_err().kind,
            Kind::InvalidRequest
        );
        assert!(Command::put_file(name).is_err());
    }
    assert!(pipeline.delete_library_file("..").await.is_err());
    assert!(pipeline.list_machines(None, Some(0)).await.is_err());
    assert_eq!(fixture.emulator.requests().len(), before);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_the_service_repeats_are_not_shown() {
    let fixture = Fixture::new();
    let args = r#"-Token "s3cr3t\pa&ss'word" -Depth 3"#;
    let submit = || SubmitRequest {
        commands: vec![Command::run_script("echo.ps1", Some(args)).unwrap()],
        ..fixture.submit_args()
    };
    let escaped = serde_json::to_string(args).unwrap();
    for echo in [args.to_owned(), escaped, args.replace('&', "&amp;").replace('"', "&quot;")] {
        for status in [400, 403, 500] {
            let message = format!("{}the arguments {echo} are \u{1b}[31mwrong", "x".repeat(960));
            fixture.fault("runliveresponse", refusal(status, "InvalidInput", &message), 1, 2);
            let error = fixture.submit(submit()).await.unwrap_err();
            let shown = format!("{error:?} {}", error.hint.as_deref().unwrap_or_default());
            assert!(!shown.contains("s3cr3t") && !shown.contains("Depth"), "{shown}");
            assert!(!error.message.contains('\u{1b}'));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn busy_in_words_is_busy() {
    let fixture = Fixture::new();
    fixture.fault(
        "runliveresponse",
        refusal(400, "BadRequest", "Action is already in progress"),
        1,
        1,
    );
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!(error.kind, Kind::MachineBusy, "{error}");
    fixture.fault(
        "runliveresponse",
        refusal(409, "Conflict", "Action is already in progress"),
        1,
        2,
    );
    let patient = SubmitRequest { wait_if_busy: true, ..fixture.submit_args() };
    assert!(fixture.submit(patient).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_queue_says_what_it_waited_for() {
    let fixture = Fixture::new();
    fixture.fault("runliveresponse", refusal(400, "X", "Action is already in progress"), 1, 99);
    let submit = SubmitRequest { wait_if_busy: true, ..fixture.submit_args_with_id("case-7") };
    let error = within(HOUR, fixture.sessions.submit(submit, Some(60.0))).await.unwrap_err();
    assert_eq!(error.kind, Kind::WaitTimeout);
    assert!(error.message.contains("waited for the machine, which is busy"), "{error}");
    assert!(
        std::error::Error::source(&error).is_some_and(|it| it.to_string().contains("progress"))
    );
    assert!(error.tenant_id.is_some() && error.machine_id.is_some());
    assert_eq!(error.correlation_id.as_deref(), Some("case-7"));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_gives_up_in_the_queue_sends_nothing() {
    let fixture = Fixture::new();
    let id = fixture.submit(fixture.submit_args()).await.unwrap().id.clone();
    let sessions = fixture.client_with(|options| {
        options.limits.read = vec![mde_live_response::config::Rate { count: 1, per: 3000.0 }];
    });
    let session = sessions.session(&id);
    within(HOUR, session.cancel("stop")).await.unwrap();
    let before = fixture.emulator.requests().len();
    let error = within(HOUR, session.cancel("stop")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert_eq!(fixture.emulator.requests().len(), before);
    assert!(error.tenant_id.is_some() && error.action_id == Some(id));
}
