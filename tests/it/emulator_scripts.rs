//! The behaviour of scripts (docs/service.md, sections 6.6 and 7.2).

use std::sync::Arc;
use std::time::Duration;

use mde_live_response::emulator::{Behaviour, Content, NonzeroExit, ScriptOutcome};
use serde_json::json;

use crate::emulator_support::{Service, get_file, new_service, run_script, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn script_lasting(duration: f64) -> ScriptOutcome {
    ScriptOutcome { duration, ..ScriptOutcome::default() }
}

async fn result_link(service: &Service, id: &str, index: usize) -> String {
    service.link(id, index).await.json()["value"].as_str().unwrap().to_owned()
}

/// Section 6.6: a script with a nonzero exit code is `Completed`, or with a switch `Failed`.
#[tokio::test(start_paused = true)]
async fn a_nonzero_exit_code() {
    for (setting, status) in
        [(NonzeroExit::Completed, "Succeeded"), (NonzeroExit::Failed, "Failed")]
    {
        let service = with_switches(|s| s.nonzero_exit = setting);
        service
            .emulator
            .on_script("a.ps1", ScriptOutcome { exit_code: Some(3), ..script_lasting(1.0) });
        let id = service.submit(&service.machine(0), "a.ps1").await;
        sleep(5.0).await;
        assert_eq!(service.action(&id).await["status"], status);
        assert_eq!(
            service.blob(&result_link(&service, &id, 0).await, &[]).await.json()["exit_code"],
            3
        );
    }
}

/// Section 7.2: a script without an exit code leaves a transcript without `exit_code`, and has not
/// failed.
#[tokio::test(start_paused = true)]
async fn no_exit_code() {
    let service = with_switches(|s| s.nonzero_exit = NonzeroExit::Failed);
    service.emulator.on_script("a.sh", ScriptOutcome { exit_code: None, ..script_lasting(1.0) });
    let id = service.submit(&service.machine(0), "a.sh").await;
    sleep(5.0).await;
    assert_eq!(service.action(&id).await["status"], "Succeeded");
    let transcript = service.blob(&result_link(&service, &id, 0).await, &[]).await.json();
    assert_eq!(
        transcript,
        json!({"script_name": "a.sh", "script_output": "\0", "script_errors": ""})
    );
}

/// A callback gets machine and arguments when the script runs, and may call the emulator.
#[tokio::test(start_paused = true)]
async fn a_script_may_be_a_callback() {
    let service = new_service();
    let emulator = service.emulator.clone();
    let behaviour = Behaviour::Callback(Arc::new(move |machine, args| {
        let content = Content::Bytes(format!("{machine} {args:?}").into());
        emulator.put_remote_file(machine, "/tmp/made", content).unwrap();
        ScriptOutcome { stdout: machine.to_owned(), duration: 2.0, ..ScriptOutcome::default() }
    }));
    service.emulator.on_script("a.sh", behaviour);
    let machine = service.machine(0);
    let response = service
        .run(&machine, &json!([run_script("a.sh"), get_file("/tmp/made")]), "c")
        .await
        .json();
    let id = response["id"].as_str().unwrap();
    sleep(10.0).await;
    assert_eq!(service.action(id).await["status"], "Succeeded");
    let transcript = service.blob(&result_link(&service, id, 0).await, &[]).await.json();
    assert_eq!(
        transcript["script_output"],
        format!("{machine}\0"),
        "a .sh has no Windows transcript line"
    );
    assert_eq!(service.link(id, 1).await.status, 200);
}

/// A session ends even if the caller whose request runs the script disconnects.
#[tokio::test(flavor = "multi_thread")]
async fn a_script_survives_a_disconnect_of_its_caller() {
    let service = new_service();
    let behaviour = Behaviour::Callback(Arc::new(|_, _| {
        std::thread::sleep(Duration::from_millis(300));
        ScriptOutcome::default()
    }));
    service.emulator.on_script("a.sh", behaviour);
    let id = service.submit(&service.machine(0), "a.sh").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let timed_out = tokio::time::timeout(Duration::from_millis(50), service.action(&id)).await;
    assert!(timed_out.is_err(), "the request that runs the script must still be open");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(service.action(&id).await["status"], "Succeeded");
}

/// A script that panics fails its command.
#[tokio::test(start_paused = true)]
async fn a_script_that_panics() {
    let service = new_service();
    service.emulator.on_script("a.sh", Behaviour::Callback(Arc::new(|_, _| panic!("on purpose"))));
    let id = service.submit(&service.machine(0), "a.sh").await;
    sleep(10.0).await;
    assert_eq!(
        service.action(&id).await["commands"][0]["errors"],
        json!(["The emulator's script panicked."])
    );
}
