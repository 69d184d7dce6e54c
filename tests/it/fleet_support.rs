//! Helpers for tests of runs over many machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_live_response::emulator::{NewMachine, Settings, Switches};
use mde_live_response::error::Result;
use mde_live_response::fleet::{Fleet, Outcome, RunSpec};
use mde_live_response::model::Command;
use mde_live_response::session::Sessions;

use crate::support::{Fixture, HOUR, run_script, within};

/// Creates a fixture with this number of machines, and changed switches.
pub fn fixture(machines: usize, change: impl FnOnce(&mut Switches)) -> Fixture {
    let mut switches = Switches { log_size: 1_000_000, ..Switches::default() };
    change(&mut switches);
    Fixture::with_settings(Settings { machines, switches, ..Settings::default() })
}

pub fn run_spec(machines: Vec<String>) -> RunSpec {
    run_spec_with(machines, vec![run_script("echo.ps1")])
}

pub fn run_spec_with(machines: Vec<String>, commands: Vec<Command>) -> RunSpec {
    RunSpec {
        machines: machines.into_iter().map(|machine| (machine, 0)).collect(),
        commands: vec![commands],
        comment: "case 42".to_owned(),
        ..RunSpec::default()
    }
}

pub async fn start(sessions: &Arc<Sessions>, spec: RunSpec) -> Fleet {
    Fleet::start(sessions, spec).await.unwrap()
}

/// Waits for every outcome, and returns them in the order in which they came.
pub async fn all_outcomes(fleet: &Fleet) -> Vec<Outcome> {
    try_all_outcomes(fleet).await.unwrap()
}

pub async fn try_all_outcomes(fleet: &Fleet) -> Result<Vec<Outcome>> {
    within(100 * HOUR, fleet.outcomes()).await
}

/// Returns the reasons in the order of the rows. Each row must have one outcome.
pub fn reasons_by_row(outcomes: &[Outcome]) -> Vec<String> {
    let by_row: BTreeMap<u32, &Outcome> =
        outcomes.iter().map(|outcome| (outcome.row, outcome)).collect();
    assert_eq!(by_row.len(), outcomes.len(), "a row has two outcomes");
    by_row.values().map(|outcome| outcome.reason.clone()).collect()
}

pub fn add_offline(fixture: &Fixture, name: &str) -> String {
    fixture.emulator.add_machine(NewMachine::named(name).offline()).unwrap().id
}

/// Counts our actions with a started command, by machine. With two, a command ran twice.
pub async fn count_starts(fixture: &Fixture) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for action in fixture.actions().await {
        let ours =
            action.requestor_comment.as_deref().is_some_and(|comment| comment.contains("[mlr:"));
        if ours && action.has_started() {
            *starts.entry(action.machine_id.unwrap_or_default()).or_default() += 1;
        }
    }
    starts
}

pub async fn assert_nothing_ran_twice(fixture: &Fixture) {
    let twice: Vec<_> =
        count_starts(fixture).await.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
