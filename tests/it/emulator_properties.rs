//! Property tests: any sequence of operations keeps the invariants of sessions.

use std::collections::HashMap;
use std::time::Duration;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Behaviour, ForeignSessionResponse, ScriptOutcome, Settings, Switches,
};
use mde_live_response::model::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::emulator_support::{Service, get_file, put_file, run_script, with_settings};
use crate::support::paused_runtime;

const MACHINES: usize = 4;
const SESSIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Operation {
    Submit { machine: usize, scripts: Vec<usize>, get: bool },
    Cancel { action: usize },
    Online { machine: usize, online: bool },
    Foreign { machine: usize, seconds: f64 },
    Wait { seconds: f64 },
    Jump { seconds: f64 },
}

fn operations() -> impl Strategy<Value = Operation> {
    let machine = 0..MACHINES;
    prop_oneof![
        4 => (machine.clone(), proptest::collection::vec(0..5_usize, 0..3), any::<bool>())
            .prop_map(|(machine, scripts, get)| Operation::Submit { machine, scripts, get }),
        1 => any::<usize>().prop_map(|action| Operation::Cancel { action }),
        1 => (machine.clone(), any::<bool>())
            .prop_map(|(machine, online)| Operation::Online { machine, online }),
        1 => (machine, 0.1..500.0)
            .prop_map(|(machine, seconds)| Operation::Foreign { machine, seconds }),
        3 => (0.01..3.0).prop_map(|seconds| Operation::Wait { seconds }),
        1 => (1.0..8000.0).prop_map(|seconds| Operation::Jump { seconds }),
    ]
}

fn switches() -> impl Strategy<Value = Switches> {
    (any::<bool>(), any::<bool>(), 0.0..5.0, 0.0..20.0).prop_map(|(states, loses, time, busy)| {
        Switches {
            command_states: states,
            cancel_loses: loses,
            cancel_time: time,
            cancel_pending_time: time / 2.0,
            busy_after_cancel: busy,
            ..Switches::default()
        }
    })
}

fn service(seed: u64, switches: Switches) -> Service {
    let limits = Limits { submit: vec![], read: vec![], sessions: SESSIONS, ..Limits::default() };
    let service = with_settings(Settings {
        machines: MACHINES,
        limits,
        seed,
        switches,
        ..Settings::default()
    });
    let outcome = |duration: f64| ScriptOutcome { duration, ..ScriptOutcome::default() };
    service.emulator.add_library_file("helper.exe", b"MZ");
    service.emulator.on_script("s0", outcome(1.0));
    service.emulator.on_script("s1", outcome(700.0));
    service.emulator.on_script("s2", ScriptOutcome { fails: Some("no".into()), ..outcome(2.0) });
    service.emulator.on_script(
        "s3",
        Behaviour::Callback(Arc::new(move |machine, _| outcome(machine.len() as f64))),
    );
    service
        .emulator
        .put_remote_file("*", "/x", mde_live_response::emulator::Content::Bytes("x".into()))
        .unwrap();
    service
}

async fn perform(service: &Service, operation: &Operation, ids: &mut Vec<String>) {
    match operation {
        Operation::Submit { machine, scripts, get } => {
            let mut commands = vec![put_file("helper.exe")];
            commands.extend(scripts.iter().map(|script| run_script(&format!("s{script}"))));
            commands.extend(get.then(|| get_file("/x")));
            let response = service.run(&service.machine(*machine), &json!(commands), "c").await;
            match response.status {
                201 => ids.push(response.json()["id"].as_str().unwrap().to_owned()),
                400 => assert_eq!(response.code(), "ActiveRequestAlreadyExists"),
                status => assert_eq!(status, 429),
            }
        }
        Operation::Cancel { action } if !ids.is_empty() => {
            let id = &ids[action % ids.len()];
            let was_open = is_open(&service.action(id).await);
            let response = service
                .post(&format!("/api/machineactions/{id}/cancel"), &json!({"Comment": "c"}))
                .await;
            assert_eq!(response.status, if was_open { 200 } else { 400 });
        }
        Operation::Cancel { .. } => {}
        Operation::Online { machine, online } => {
            service.emulator.set_online(&service.machine(*machine), *online).unwrap();
        }
        Operation::Foreign { machine, seconds } => {
            // The call fails if the machine has a session, which is fine here.
            let _ = service.emulator.add_foreign_session(
                &service.machine(*machine),
                *seconds,
                false,
                ForeignSessionResponse::Error,
            );
        }
        Operation::Wait { seconds } => tokio::time::sleep(Duration::from_secs_f64(*seconds)).await,
        Operation::Jump { seconds } => service.emulator.advance(*seconds),
    }
}

fn is_open(action: &Value) -> bool {
    matches!(action["status"].as_str().unwrap(), "Pending" | "InProgress")
}

fn rank(command: &Value) -> usize {
    let words = ["Created", "Submitted", "PendingResource", "Executing", "Completed", "Failed"];
    words.iter().position(|word| *word == command["commandStatus"]).unwrap().min(4)
}

/// Checks the invariants of one action.
fn check_action(action: &Value) {
    let commands = action["commands"].as_array().unwrap();
    let ranks: Vec<usize> = commands.iter().map(rank).collect();
    let running = ranks.iter().take_while(|rank| **rank == 4).count();
    assert!(
        ranks.iter().skip(running + 1).all(|rank| *rank == 0),
        "commands run one at a time: {action}"
    );
    if let Some(failed) = commands.iter().position(|command| command["commandStatus"] == "Failed") {
        assert!(ranks[failed + 1..].iter().all(|rank| *rank == 0) && !is_open(action), "{action}");
        assert!(!commands[failed]["errors"].as_array().unwrap().is_empty());
    }
    match action["status"].as_str().unwrap() {
        "Pending" | "TimeOut" => assert!(ranks.iter().all(|rank| *rank == 0), "{action}"),
        "Succeeded" => assert!(
            commands.iter().all(|command| command["commandStatus"] == "Completed"),
            "{action}"
        ),
        _ => {}
    }
    let time = |value: &Value| value.as_str().map(|text| Timestamp::parse(text).unwrap());
    assert!(time(&action["creationDateTimeUtc"]) <= time(&action["lastUpdateDateTimeUtc"]));
    for command in commands {
        let (start, end) = (time(&command["startTime"]), time(&command["endTime"]));
        assert!(end.is_none() || start.is_none() || start <= end, "{action}");
        assert_eq!(
            start.is_some() && end.is_none(),
            command["commandStatus"] == "Executing",
            "{action}"
        );
    }
}

/// Checks an action against an earlier state of it.
fn check_progress(before: &Value, after: &Value) {
    if !is_open(before) {
        assert_eq!(before, after, "an action that has ended does not change");
        return;
    }
    assert!(before["status"] != "InProgress" || after["status"] != "Pending");
    let pairs =
        before["commands"].as_array().unwrap().iter().zip(after["commands"].as_array().unwrap());
    for (earlier, later) in pairs {
        assert!(rank(earlier) <= rank(later), "{earlier} {later}");
        assert!(earlier["startTime"].is_null() || earlier["startTime"] == later["startTime"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn sessions_keep_their_invariants(
        seed: u64,
        switches in switches(),
        operations in proptest::collection::vec(operations(), 1..60),
    ) {
        paused_runtime().block_on(async {
            let service = service(seed, switches);
            let (mut ids, mut known) = (Vec::new(), HashMap::<String, Value>::new());
            for operation in &operations {
                perform(&service, operation, &mut ids).await;
                let list = service.get("/api/machineactions").await.json();
                let actions = list["value"].as_array().unwrap();
                assert_eq!(actions.len(), ids.len());
                let mut open_on = HashMap::<String, usize>::new();
                for action in actions {
                    check_action(action);
                    if is_open(action) {
                        *open_on.entry(action["machineId"].to_string()).or_default() += 1;
                    }
                    let id = action["id"].as_str().unwrap().to_owned();
                    if let Some(before) = known.insert(id, action.clone()) {
                        check_progress(&before, action);
                    }
                }
                assert!(open_on.values().all(|open| *open == 1), "one session per machine");
                assert!(open_on.len() <= SESSIONS as usize, "the cap holds");
            }
            // Every session must end at last.
            for machine in 0..MACHINES {
                service.emulator.set_online(&service.machine(machine), true).unwrap();
            }
            service.emulator.advance(20_000.0);
            let list = service.get("/api/machineactions").await.json();
            assert!(list["value"].as_array().unwrap().iter().all(|action| !is_open(action)));
        });
    }
}
