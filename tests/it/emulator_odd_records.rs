//! Odd values of an entity's properties, and records of machines that were merged.

use mde_live_response::emulator::{Emulator, MergedMachine, NewMachine};
use mde_live_response::error::Kind;
use serde_json::{Map, Value, json};

use crate::emulator_support::{Service, new_service, run_script, with_switches};

fn set(emulator: &Emulator, id: &str, name: &str, value: Value) {
    emulator.set_raw_property(id, name, Some(value)).unwrap();
}

/// A property may have any value, in each call that shows its action.
#[tokio::test(start_paused = true)]
async fn odd_properties_of_an_action() {
    let service = new_service();
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let other = service.submit(&service.machine(1), "a.ps1").await;
    let whole = service.action(&id).await;
    set(&service.emulator, &id.to_uppercase(), "status", json!(["Succeeded"]));
    set(&service.emulator, &id, "errorHResult", json!("0"));
    set(&service.emulator, &id, "commands", Value::Null);
    set(&service.emulator, &id, "newProperty", json!({"a": 1.5}));
    service.emulator.set_raw_property(&id, "id", None).unwrap();
    let listed = service.get("/api/machineactions").await.json()["value"][1].clone();
    let mut read = service.action(&id).await;
    read.as_object_mut().unwrap().remove("@odata.context");
    assert_eq!(read, listed);
    assert_eq!(
        [&read["status"], &read["errorHResult"], &read["commands"], &read["newProperty"]["a"]],
        [&json!(["Succeeded"]), &json!("0"), &Value::Null, &json!(1.5)]
    );
    assert!(read.get("id").is_none() && read["machineId"] == whole["machineId"]);
    assert_eq!(service.action(&other).await["errorHResult"], 0);
}

/// What is set for a kind holds for entities to come, and the response to a submit.
#[tokio::test(start_paused = true)]
async fn odd_properties_of_every_entity_of_a_kind() {
    let service = new_service();
    set(&service.emulator, "machineactions", "machineId", json!(7));
    let response = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "why").await;
    assert_eq!((response.status, &response.json()["machineId"]), (201, &json!(7)));
    set(&service.emulator, "libraryfiles", "sha256", Value::Null);
    service.emulator.add_library_file("b.ps1", b"b");
    set(&service.emulator, "B.ps1", "hasParameters", json!("true"));
    let file = service.get("/api/libraryfiles").await.json()["value"][0].clone();
    assert_eq!((&file["sha256"], &file["hasParameters"]), (&Value::Null, &json!("true")));
}

/// A machine is given by its id or name, in reads and in lists.
#[tokio::test(start_paused = true)]
async fn odd_properties_of_a_machine() {
    let service = new_service();
    set(&service.emulator, "ws-0001", "rbacGroupId", json!("12"));
    set(&service.emulator, &service.machine(0), "lastSeen", json!(5));
    let read = service.get(&format!("/api/machines/{}", service.machine(0))).await.json();
    assert_eq!((&read["rbacGroupId"], &read["lastSeen"]), (&json!("12"), &json!(5)));
    let list = service.get("/api/machines?$filter=rbacGroupId+eq+0").await;
    assert_eq!(list.ids().len(), 3, "filters match the real values");
    assert_eq!(list.json()["value"][0]["rbacGroupId"], "12");
    let unknown = service.emulator.set_raw_property("nobody", "id", None).unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
    assert!(unknown.message.contains("no action, machine or library file \"nobody\""));
}

/// Adds a record that was merged into the first machine, and returns its id.
fn add_merged(service: &Service) -> String {
    let mut machine = NewMachine::named("old.example.test");
    machine.properties =
        Map::from_iter([("mergedIntoMachineId".to_owned(), json!(service.machine(0)))]);
    service.emulator.add_machine(machine).unwrap();
    service.emulator.machine_ids().pop().unwrap()
}

/// A merged record is shown or refused; a submit to it finds no machine.
#[tokio::test(start_paused = true)]
async fn a_merged_record() {
    for (refused, number, status) in [(false, 404, 200), (true, 404, 404), (true, 400, 400)] {
        let service = with_switches(|s| {
            s.merged_machine = if refused { MergedMachine::Refused } else { MergedMachine::Record };
            s.merged_machine_status = number;
        });
        let id = add_merged(&service);
        let read = service.get(&format!("/api/machines/{id}")).await;
        assert_eq!(read.status, status);
        if status == 200 {
            assert_eq!(read.json()["mergedIntoMachineId"], service.machine(0));
        }
        let submit = service.run(&id, &json!([run_script("a.ps1")]), "why").await;
        assert_eq!((submit.status, submit.code()), (404, "ResourceNotFound".to_owned()));
        assert_eq!(service.get("/api/machines").await.ids().len(), 4);
        assert_eq!(service.get(&format!("/api/machines/{}", service.machine(0))).await.status, 200);
    }
}
