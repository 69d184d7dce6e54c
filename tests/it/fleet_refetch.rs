//! Resuming a run fetches the results again that could not be fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use mde_live_response::emulator::Content;
use mde_live_response::fleet::{Counts, Fleet, RunSpec};
use mde_live_response::model::Command;
use mde_live_response::session::Sessions;

use crate::fleet_support::*;
use crate::network::Outage;
use crate::support::{Fixture, TempDir, count_accepted, run_script, sleep};

const FILE: &str = "C:\\evidence.bin";
const ROWS: usize = 20;

/// Runs a script and collects a file on each machine, while the results' host is down.
async fn run_without_results(folder: &TempDir) -> (Fixture, String) {
    let fixture = fixture(ROWS, |_| {});
    fixture.emulator.put_remote_file("*", FILE, Content::Bytes("evidence".into())).unwrap();
    fixture.network.set_outage(Outage::Results);
    let commands = vec![run_script("echo.ps1"), Command::get_file(FILE).unwrap()];
    let spec = RunSpec {
        save_to: Some(folder.0.display().to_string()),
        ..run_spec_with(fixture.emulator.machine_ids(), commands)
    };
    let fleet = start(&fixture.sessions, spec).await;
    let outcomes = all_outcomes(&fleet).await;
    assert!(outcomes.iter().all(|outcome| outcome.reason == "fetch"), "{outcomes:?}");
    let run_id = fleet.run_id().to_owned();
    fleet.detach();
    // A failure of the last 15 seconds holds for the next request too.
    sleep(20.0).await;
    (fixture, run_id)
}

/// Resumes the run, and checks that each row has one outcome, which is its last one.
async fn resume(sessions: &Arc<Sessions>, run_id: &str, reason: &str) -> Counts {
    let fleet = Fleet::resume(sessions, run_id).await.unwrap();
    let outcomes = all_outcomes(&fleet).await;
    assert_eq!(reasons_by_row(&outcomes), vec![reason; ROWS]);
    let stored = all_outcomes(&Fleet::resume(sessions, run_id).await.unwrap()).await;
    let by_row = |outcomes: Vec<mde_live_response::fleet::Outcome>| -> BTreeMap<_, _> {
        outcomes.into_iter().map(|it| (it.row, (it.reason, it.action_id))).collect()
    };
    assert_eq!(by_row(stored), by_row(outcomes));
    fleet.counts()
}

#[tokio::test(start_paused = true)]
async fn results_that_could_not_be_fetched_are_fetched_by_a_resume() {
    let folder = TempDir::new();
    let (fixture, run_id) = run_without_results(&folder).await;
    assert!(folder.files().is_empty());
    let counts = resume(&fixture.sibling_client(), &run_id, "fetch").await;
    assert_eq!((counts.succeeded, counts.failed), (0, ROWS as u32), "the host is still down");
    fixture.network.set_outage(Outage::None);
    sleep(20.0).await;
    let counts = resume(&fixture.sibling_client(), &run_id, "ok").await;
    assert_eq!((counts.succeeded, counts.failed), (ROWS as u32, 0));
    assert_eq!(count_accepted(&fixture), ROWS, "nothing runs again");
    let fleet = Fleet::resume(&fixture.sessions, &run_id).await.unwrap();
    for row in 0..ROWS as u32 {
        let result = fleet.results().load(row).await.unwrap().unwrap();
        assert!(result.is_ok() && result.commands[0].script.is_some());
        let path = result.commands[1].file.as_ref().unwrap().path.clone().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"evidence");
    }
    let manifest = std::fs::read_to_string(folder.0.join("manifest.jsonl")).unwrap();
    assert_eq!((manifest.lines().count(), folder.files().len()), (ROWS, ROWS + 1));
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn two_workers_that_resume_at_once_agree_on_the_outcomes() {
    let folder = TempDir::new();
    let (fixture, run_id) = run_without_results(&folder).await;
    fixture.network.set_outage(Outage::None);
    let (one, two) = (fixture.sibling_client(), fixture.sibling_client());
    tokio::join!(resume(&one, &run_id, "ok"), resume(&two, &run_id, "ok"));
    let manifest = std::fs::read_to_string(folder.0.join("manifest.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), ROWS);
    fixture.assert_no_violations();
}

/// What another process fetched is not fetched again, and what did not fail stays as it is.
#[tokio::test(start_paused = true)]
async fn a_resume_leaves_good_outcomes_alone() {
    let fixture = fixture(3, |_| {});
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    let before = all_outcomes(&fleet).await;
    sleep(60.0).await;
    let requests = fixture.emulator.requests().len();
    let resumed = Fleet::resume(&fixture.sibling_client(), fleet.run_id()).await.unwrap();
    assert_eq!(all_outcomes(&resumed).await, before);
    assert_eq!(fixture.emulator.requests().len(), requests);
}
