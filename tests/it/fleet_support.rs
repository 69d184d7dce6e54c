//! Runs over many machines: how they are ordered, and what is asked of them afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_live_response::emulator::{NewMachine, Settings, Switches};
use mde_live_response::error::Result;
use mde_live_response::fleet::{Fleet, Order, Outcome};
use mde_live_response::model::Command;
use mde_live_response::session::Sessions;

use crate::support::{HOUR, World, run, within};

/// A world of so many machines.
pub fn world(machines: usize, change: impl FnOnce(&mut Switches)) -> World {
    let mut switches = Switches { log_size: 1_000_000, ..Switches::default() };
    change(&mut switches);
    World::with(Settings { machines, switches, ..Settings::default() })
}

pub fn order(machines: Vec<String>) -> Order {
    order_of(machines, vec![run("echo.ps1")])
}

pub fn order_of(machines: Vec<String>, commands: Vec<Command>) -> Order {
    Order {
        machines: machines.into_iter().map(|machine| (machine, 0)).collect(),
        commands: vec![commands],
        comment: "case 42".to_owned(),
        ..Order::default()
    }
}

pub async fn start(sessions: &Arc<Sessions>, order: Order) -> Fleet {
    Fleet::start(sessions, order).await.unwrap()
}

/// Every outcome, in the order in which they came.
pub async fn all(fleet: &Fleet) -> Vec<Outcome> {
    try_all(fleet).await.unwrap()
}

pub async fn try_all(fleet: &Fleet) -> Result<Vec<Outcome>> {
    within(100 * HOUR, fleet.outcomes()).await
}

/// Each row has one outcome; its reason by the row.
pub fn reasons(outcomes: &[Outcome]) -> Vec<String> {
    let by_row: BTreeMap<u32, &Outcome> = outcomes.iter().map(|outcome| (outcome.row, outcome)).collect();
    assert_eq!(by_row.len(), outcomes.len(), "a row has two outcomes");
    by_row.values().map(|outcome| outcome.reason.clone()).collect()
}

pub fn add_offline(world: &World, name: &str) -> String {
    world.emulator.add_machine(NewMachine::named(name).offline()).unwrap().id
}

/// Actions of ours of which a command was started, by machine: more than one is a command run twice.
pub async fn starts(world: &World) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for action in world.actions().await {
        let ours = action.requestor_comment.as_deref().is_some_and(|comment| comment.contains("[mlr:"));
        if ours && action.has_started() {
            *starts.entry(action.machine_id.unwrap_or_default()).or_default() += 1;
        }
    }
    starts
}

pub async fn nothing_ran_twice(world: &World) {
    let twice: Vec<_> = starts(world).await.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
