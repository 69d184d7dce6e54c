//! facts.md, section 18: what surprised production clients, as switches.

use std::time::Duration;

use mde_live_response::emulator::{BusyResponse, ForeignSessionResponse};
use serde_json::{Value, json};

use crate::emulator_support::{Service, new_service, run_script, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

async fn finished(service: &Service, script: &str) -> String {
    let id = service.submit(&service.machine(0), script).await;
    sleep(30.0).await;
    id
}

/// Section 18: 201 with another caller's pending action, by a switch for all or for one foreign session.
#[tokio::test(start_paused = true)]
async fn another_callers_action() {
    let service = with_switches(|s| s.busy_answer = BusyResponse::Foreign);
    let first = service.submit(&service.machine(0), "a.ps1").await;
    let second = service.run(&service.machine(0), &json!([run_script("b.ps1")]), "mine").await;
    assert_eq!(
        (second.status, &second.json()["id"], &second.json()["requestorComment"]),
        (201, &json!(first), &json!("case 42"))
    );
    let service = new_service();
    let other = service
        .emulator
        .add_foreign_session("ws-0001", 60.0, true, ForeignSessionResponse::Foreign)
        .unwrap();
    let answer = service.run(&service.machine(0), &json!([run_script("b.ps1")]), "mine").await;
    assert_eq!((answer.status, &answer.json()["id"]), (201, &json!(other.to_string())));
}

/// Section 18: the first body has no machine, no commands and, by another switch, no comment; they fill in later.
#[tokio::test(start_paused = true)]
async fn a_null_heavy_first_body() {
    for no_comment in [false, true] {
        let service = with_switches(|s| {
            s.null_first_body = 5.0;
            s.null_first_comment = no_comment;
        });
        let answer =
            service.run(&service.machine(0), &json!([run_script("a.ps1")]), "case 42").await.json();
        assert_eq!(
            (&answer["machineId"], &answer["computerDnsName"], &answer["commands"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
        assert_eq!(answer["requestorComment"].is_null(), no_comment);
        sleep(5.0).await;
        let action = service.action(answer["id"].as_str().unwrap()).await;
        assert_eq!(
            (&action["machineId"], &action["requestorComment"]),
            (&json!(service.machine(0)), &json!("case 42"))
        );
        assert_eq!(action["commands"].as_array().unwrap().len(), 1);
    }
}

/// Section 18 and `Limits.settle_time`: an accepted action may be missing from lists for a while.
#[tokio::test(start_paused = true)]
async fn a_list_lags() {
    let service = with_switches(|s| s.list_lag = 60.0);
    let id = finished(&service, "a.ps1").await;
    assert!(service.get("/api/machineactions").await.ids().is_empty());
    assert_eq!(service.action(&id).await["id"], id);
    sleep(30.0).await;
    assert_eq!(
        service.get(&format!("/api/machineactions?$filter=id+in+('{id}')")).await.ids(),
        [id]
    );
}
