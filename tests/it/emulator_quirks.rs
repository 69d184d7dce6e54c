//! Switches for behaviour that surprised production clients (docs/service.md, section 18).

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

/// Section 18: a busy machine answers 201 with another caller's action, with a switch or for one
/// foreign session.
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
    let response = service.run(&service.machine(0), &json!([run_script("b.ps1")]), "mine").await;
    assert_eq!((response.status, &response.json()["id"]), (201, &json!(other.to_string())));
}

/// Section 18: the first body may lack machine, commands and comment, which appear later.
#[tokio::test(start_paused = true)]
async fn the_first_body_may_lack_properties() {
    for no_comment in [false, true] {
        let service = with_switches(|s| {
            s.null_first_body = 5.0;
            s.null_first_comment = no_comment;
        });
        let response =
            service.run(&service.machine(0), &json!([run_script("a.ps1")]), "case 42").await.json();
        assert_eq!(
            (&response["machineId"], &response["computerDnsName"], &response["commands"]),
            (&Value::Null, &Value::Null, &json!([]))
        );
        assert_eq!(response["requestorComment"].is_null(), no_comment);
        sleep(5.0).await;
        let action = service.action(response["id"].as_str().unwrap()).await;
        assert_eq!(
            (&action["machineId"], &action["requestorComment"]),
            (&json!(service.machine(0)), &json!("case 42"))
        );
        assert_eq!(action["commands"].as_array().unwrap().len(), 1);
    }
}

/// Section 18: for a while, lists may lack an accepted action.
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
