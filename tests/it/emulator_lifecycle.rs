//! A session from submit to its end (docs/service.md, section 5).

use std::io::Read;
use std::time::Duration;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Content, ForeignSessionResponse, NewMachine, ScriptOutcome, Settings,
};
use serde_json::{Value, json};

use crate::emulator_support::{
    Service, get_file, new_service, put_file, run_script, with_settings, with_switches,
};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn script_lasting(duration: f64) -> ScriptOutcome {
    ScriptOutcome { duration, ..ScriptOutcome::default() }
}

fn failing_script(why: &str) -> ScriptOutcome {
    ScriptOutcome { fails: Some(why.into()), stdout: "so far".into(), ..ScriptOutcome::default() }
}

async fn result_link(service: &Service, id: &str, index: usize) -> String {
    service.link(id, index).await.json()["value"].as_str().unwrap().to_owned()
}

/// Sections 5.2, 6.1, 6.2, 6.6 and 7: the example of the page, from submit to collected file.
#[tokio::test(start_paused = true)]
async fn a_session_from_submit_to_result() {
    let service = new_service();
    service.emulator.add_library_file("helper.exe", b"MZ");
    service.emulator.on_script(
        "minidump.ps1",
        ScriptOutcome { stdout: "done\n".into(), ..ScriptOutcome::default() },
    );
    let dump = Content::Bytes(vec![7_u8; 100_000].into());
    service.emulator.put_remote_file("ws-0001", r"C:\windows\TEMP\a.dmp.zip", dump).unwrap();
    let commands = json!([
        put_file("helper.exe"),
        run_script("minidump.ps1"),
        get_file(r"c:\Windows\temp\A.dmp.zip")
    ]);
    let first = service.run(&service.machine(0), &commands, "case 42").await;
    assert_eq!(first.status, 201);
    let entity = first.json();
    assert_eq!(
        (&entity["status"], &entity["commands"][0]["commandStatus"]),
        (&json!("Pending"), &json!("Created"))
    );
    assert_eq!(
        (&entity["commands"][0]["startTime"], &entity["requestSource"]),
        (&Value::Null, &json!("PublicApi"))
    );
    assert_eq!(entity["commands"][1]["command"], commands[1]);
    let id = entity["id"].as_str().unwrap();
    sleep(10.0).await;
    let done = service.action(id).await;
    assert_eq!(done["status"], "Succeeded", "{done}");
    let transcript = service.blob(&result_link(&service, id, 1).await, &[]).await.json();
    assert_eq!(
        (&transcript["script_name"], &transcript["exit_code"]),
        (&json!("minidump.ps1"), &json!(0))
    );
    let output = transcript["script_output"].as_str().unwrap();
    assert!(
        output.starts_with("Transcript started, output file is C:\\")
            && output.ends_with("done\n\0"),
        "{output:?}"
    );
    let packed = service.blob(&result_link(&service, id, 2).await, &[]).await;
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&packed.body[..]);
    decoder.read_to_end(&mut unpacked).unwrap();
    assert_eq!(decoder.header().unwrap().filename(), Some(&b"A.dmp.zip"[..]));
    assert_eq!(unpacked, vec![7_u8; 100_000]);
    assert_eq!(service.link(id, 0).await.status, 404, "section 7.4: PutFile has no result");
    assert_eq!(service.emulator.violations(), Default::default());
}

/// Section 5.3: an accepted submit is a 201, or with a switch a 200.
#[tokio::test(start_paused = true)]
async fn the_status_of_an_accepted_submit() {
    let service = with_switches(|s| s.accepted_status = 200);
    assert_eq!(
        service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await.status,
        200
    );
}

/// Sections 5.4 and 6.6: the session of an offline machine is queued, and ends `TimeOut` after 2
/// hours.
#[tokio::test(start_paused = true)]
async fn an_offline_machine_queues_the_session() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(1.0));
    for at in [0, 1] {
        service.emulator.set_online(&service.machine(at), false).unwrap();
    }
    let reached = service.submit(&service.machine(0), "a.ps1").await;
    let unreached = service.submit(&service.machine(1), "a.ps1").await;
    sleep(3600.0).await;
    assert_eq!(service.action(&reached).await["status"], "Pending");
    service.emulator.set_online("ws-0001", true).unwrap();
    sleep(3599.0).await;
    assert_eq!(service.action(&reached).await["status"], "Succeeded");
    assert_eq!(service.action(&unreached).await["status"], "Pending");
    sleep(2.0).await;
    let expired = service.action(&unreached).await;
    assert_eq!(
        (&expired["status"], &expired["commands"][0]["commandStatus"]),
        (&json!("TimeOut"), &json!("Created"))
    );
    service.emulator.set_online("ws-0002", true).unwrap();
    service.submit(&service.machine(1), "a.ps1").await;
}

/// Section 5.4: a script times out after 10 minutes.
#[tokio::test(start_paused = true)]
async fn a_script_times_out() {
    for (word, service) in [
        ("Failed", new_service()),
        ("TimeOut", with_switches(|s| s.script_timeout_status = "TimeOut".into())),
    ] {
        service.emulator.on_script("slow.ps1", script_lasting(601.0));
        service.emulator.on_script("quick.ps1", script_lasting(600.0));
        let slow = service.submit(&service.machine(0), "slow.ps1").await;
        let quick = service.submit(&service.machine(1), "quick.ps1").await;
        sleep(610.0).await;
        let action = service.action(&slow).await;
        assert_eq!(
            (&action["status"], &action["commands"][0]["commandStatus"]),
            (&json!(word), &json!("Failed"))
        );
        assert!(action["commands"][0]["errors"][0].as_str().unwrap().contains("timed out"));
        assert_eq!(service.action(&quick).await["status"], "Succeeded");
    }
}

/// Section 5.4: commands run one at a time, in order.
#[tokio::test(start_paused = true)]
async fn one_command_at_a_time() {
    let service = new_service();
    service.emulator.add_library_file("helper.exe", b"MZ");
    service.emulator.on_script("a.ps1", script_lasting(2.0));
    service.emulator.put_remote_file("*", "/x", Content::Bytes("x".into())).unwrap();
    let commands =
        json!([put_file("helper.exe"), run_script("a.ps1"), run_script("a.ps1"), get_file("/x")]);
    let id = service.run(&service.machine(0), &commands, "c").await.json()["id"].clone();
    let mut executed = Vec::new();
    loop {
        let action = service.action(id.as_str().unwrap()).await;
        let words: Vec<_> =
            (0..4).map(|at| action["commands"][at]["commandStatus"].as_str().unwrap()).collect();
        let executing: Vec<usize> = (0..4).filter(|at| words[*at] == "Executing").collect();
        assert!(executing.len() <= 1, "{words:?}");
        executed.extend(executing);
        if action["status"] == "Succeeded" {
            break;
        }
        sleep(0.1).await;
    }
    executed.dedup();
    assert_eq!(executed, [0, 1, 2, 3]);
}

/// Section 5.4: the commands after a failed one do not run.
#[tokio::test(start_paused = true)]
async fn a_failed_command_stops_the_rest() {
    let service = new_service();
    service.emulator.on_script("bad.ps1", failing_script("Access is denied."));
    let commands = json!([run_script("bad.ps1"), run_script("bad.ps1"), get_file("/etc/passwd")]);
    let response = service.run(&service.machine(0), &commands, "c").await.json();
    let id = response["id"].as_str().unwrap();
    sleep(10.0).await;
    let action = service.action(id).await;
    let status =
        |index: usize| action["commands"][index]["commandStatus"].as_str().unwrap().to_owned();
    assert_eq!((action["status"].as_str().unwrap(), status(0).as_str()), ("Failed", "Failed"));
    assert_eq!(action["commands"][0]["errors"], json!(["Access is denied."]));
    assert_eq!((status(1).as_str(), status(2).as_str()), ("Created", "Created"));
    assert_eq!(action["commands"][1]["startTime"], Value::Null);
    let transcript = service.blob(&result_link(&service, id, 0).await, &[]).await.json();
    assert!(
        transcript["script_output"].as_str().unwrap().contains("so far"),
        "a failed script has a transcript"
    );
    assert_eq!(service.link(id, 1).await.status, 404);
}

/// Section 5.4: a machine has one session; a queued one counts too.
#[tokio::test(start_paused = true)]
async fn a_machine_has_one_session() {
    let service = new_service();
    service.emulator.set_online("ws-0001", false).unwrap();
    service.submit(&service.machine(0), "a.ps1").await;
    let second = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
    assert_eq!((second.status, second.code().as_str()), (400, "ActiveRequestAlreadyExists"));
    assert_eq!(service.emulator.violations().machine_busy, 1);
}

/// Section 5.4: a portal session occupies its machine, and no list shows it.
#[tokio::test(start_paused = true)]
async fn a_portal_session_is_not_listed() {
    let service = new_service();
    let portal = service
        .emulator
        .add_foreign_session("ws-0001", 600.0, false, ForeignSessionResponse::Error)
        .unwrap();
    let listed = service
        .emulator
        .add_foreign_session("ws-0002", 600.0, true, ForeignSessionResponse::Error)
        .unwrap();
    assert_eq!(service.get("/api/machineactions").await.ids(), [listed.to_string()]);
    assert_eq!(service.get(&format!("/api/machineactions/{portal}")).await.status, 404);
    for at in [0, 1] {
        let response = service.run(&service.machine(at), &json!([run_script("a.ps1")]), "c").await;
        assert_eq!(response.code(), "ActiveRequestAlreadyExists");
    }
    assert_eq!(
        service.emulator.violations().machine_busy,
        0,
        "the client cannot see these sessions"
    );
    sleep(600.0).await;
    assert_eq!(service.action(&listed.to_string()).await["status"], "Succeeded");
    service.submit(&service.machine(0), "a.ps1").await;
}

/// Sections 5.4, 10.4 and 15: the cap counts pending and running sessions, or with a switch only
/// the running ones.
#[tokio::test(start_paused = true)]
async fn the_session_cap() {
    use mde_live_response::emulator::CapCounts;
    for (counts, rejected) in [(CapCounts::Open, true), (CapCounts::Running, false)] {
        let limits = Limits { sessions: 2, ..Limits::default() };
        let service = with_settings(Settings { limits, machines: 4, ..Settings::default() });
        service.emulator.set_switches(|s| s.cap_counts = counts);
        service.emulator.on_script("a.ps1", script_lasting(300.0));
        service.emulator.set_online("ws-0001", false).unwrap();
        let pending = service.submit(&service.machine(0), "a.ps1").await;
        service.submit(&service.machine(1), "a.ps1").await;
        sleep(60.0).await;
        let third = service.run(&service.machine(2), &json!([run_script("a.ps1")]), "c").await;
        assert_eq!(third.status == 429, rejected, "{counts:?}");
        assert_eq!(service.emulator.violations().sessions, u64::from(rejected));
        if rejected {
            assert_eq!(
                (third.code().as_str(), third.header("retry-after")),
                ("TooManyRequests", "")
            );
            assert!(!third.json()["error"]["message"].as_str().unwrap().contains("quota exceeded"));
            let comment = json!({"Comment": "make room"});
            service.post(&format!("/api/machineactions/{pending}/cancel"), &comment).await;
            service.submit(&service.machine(2), "a.ps1").await;
        }
    }
}

/// Sections 5.4 and 5.5: the errors of machines that cannot run live response.
#[tokio::test(start_paused = true)]
async fn submits_that_a_machine_rejects() {
    let service = new_service();
    let group = NewMachine { remediation_level: false, ..NewMachine::named("group") };
    let old = NewMachine { supported: false, ..NewMachine::named("old") };
    let (group, old) = (
        service.emulator.add_machine(group).unwrap().id,
        service.emulator.add_machine(old).unwrap().id,
    );
    let commands = json!([run_script("a.ps1")]);
    let response = service.run(&group, &commands, "c").await;
    assert_eq!((response.status, response.code().as_str()), (403, "DisallowedOperation"));
    let message = "This device has no automation level assigned to it. You'll need to at \
                   least enable the minimum Remediation Level for a given Device Group.";
    assert_eq!(response.json()["error"]["message"], message);
    let response = service.run(&old, &commands, "c").await;
    assert_eq!((response.status, response.code().as_str()), (400, "OsPlatformNotSupported"));
    service.emulator.set_switches(|s| s.unsupported_code = "ClientVersionNotSupported".into());
    let response = service.run(&old, &commands, "c").await;
    assert_eq!((response.status, response.code().as_str()), (400, "ClientVersionNotSupported"));
    let unknown = "1".repeat(40);
    let response = service.run(&unknown, &commands, "c").await;
    assert_eq!((response.status, response.code().as_str()), (404, "ResourceNotFound"));
    assert_eq!(response.json()["error"]["message"], format!("Machine {unknown} was not found"));
    service.emulator.set_switches(|s| s.live_response_disabled = true);
    let response = service.run(&service.machine(0), &commands, "c").await;
    assert_eq!((response.status, response.code().as_str()), (403, "DisabledFeature"));
    service.emulator.set_switches(|s| s.live_response_disabled = false);
    service.emulator.set_stuck("ws-0001", true).unwrap();
    let response = service.run(&service.machine(0), &commands, "c").await;
    assert_eq!((response.status, response.body.len()), (500, 0), "section 18: a stuck action");
}
