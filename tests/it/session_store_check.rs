//! A submit with a state store that is new, or that lost its memory.

use std::path::Path;
use std::sync::Arc;

use mde_live_response::emulator::{Route, Settings, Switches};
use mde_live_response::error::Kind;
use mde_live_response::operation::Operation;
use mde_live_response::secret::Secret;
use mde_live_response::session::{Sessions, new_correlation_id};

use crate::support::{Fixture, HOUR, TempDir, count_accepted, within};

fn fixture(list_lag: f64) -> Fixture {
    let switches = Switches { list_lag, ..Switches::default() };
    let fixture = Fixture::with_settings(Settings { machines: 9, switches, ..Settings::default() });
    fixture.script("echo.ps1", 500.0);
    fixture
}

/// SQLite has a thread of its own, so the clock is not paused. Returns the client of another process with the store in this file.
fn client(fixture: &Fixture, path: &Path) -> Arc<Sessions> {
    let address = format!("sqlite:///{}", path.display());
    fixture.client_with(|options| {
        options.state = Secret::new(address.as_str());
        options.limits.settle_time = 4.0;
    })
}

#[tokio::test]
async fn a_first_use_reads_one_list_and_waits_for_nothing() {
    let (fixture, folder) = (fixture(0.0), TempDir::new());
    let sessions = client(&fixture, &folder.0.join("s.db"));
    let began = fixture.clock.now();
    for machine in 0..5 {
        let submit = fixture.submit_args_for(machine);
        within(HOUR, sessions.submit(submit, None)).await.unwrap();
    }
    assert!(fixture.clock.now() - began < 5.0, "{}", fixture.clock.now() - began);
    assert_eq!(fixture.request_count(Route::ListMachineActions), 1);
    fixture.assert_no_violations();
}

#[tokio::test]
async fn after_a_loss_nothing_runs_twice_and_the_limits_are_kept() {
    let (fixture, folder) = (fixture(1.0), TempDir::new());
    let before = client(&fixture, &folder.0.join("s.db"));
    for machine in 0..3 {
        within(HOUR, before.submit(fixture.submit_args_for(machine), None)).await.unwrap();
    }
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let ours = fixture.submit_args_with_id("case-1");
    let ours = mde_live_response::session::SubmitRequest { machine_id: fixture.machine(4), ..ours };
    let started = within(HOUR, before.submit(ours.clone(), None)).await.unwrap();
    // The file is lost, and the list does not show the newest submit yet.
    let after = client(&fixture, &folder.0.join("new.db"));
    let found = within(HOUR, after.submit(ours, None)).await.unwrap();
    assert!(found.adopted && found.id == started.id);
    assert_eq!(count_accepted(&fixture), 4);
    let (_, quota) = after.pipeline.shared_quota().await.unwrap();
    assert!(quota.store().slots().await.unwrap().len() >= 4, "the open sessions are known");
    let usage = quota.window_usage(Operation::RunLiveResponse).await.unwrap();
    assert!(usage.free_share <= 0.6 + 1e-9, "all four submits count: {usage:?}");
    fixture.assert_no_violations();
}

#[tokio::test]
async fn the_submits_of_the_last_minute_count_after_a_loss() {
    let (fixture, folder) = (fixture(0.0), TempDir::new());
    let before = client(&fixture, &folder.0.join("s.db"));
    for machine in 0..8 {
        within(HOUR, before.submit(fixture.submit_args_for(machine), None)).await.unwrap();
    }
    let after = client(&fixture, &folder.0.join("new.db"));
    within(HOUR, after.submit(fixture.submit_args_for(8), None)).await.unwrap();
    let (_, quota) = after.pipeline.shared_quota().await.unwrap();
    let usage = quota.window_usage(Operation::RunLiveResponse).await.unwrap();
    assert!(usage.free_share <= 0.1 + 1e-9, "{usage:?}");
    fixture.assert_no_violations();
}

#[tokio::test]
async fn the_timeout_ends_the_lookup_after_a_loss_and_nothing_is_sent() {
    let (fixture, folder) = (fixture(0.0), TempDir::new());
    let before = client(&fixture, &folder.0.join("s.db"));
    within(HOUR, before.submit(fixture.submit_args_for(1), None)).await.unwrap();
    let after = client(&fixture, &folder.0.join("new.db"));
    let submit = fixture.submit_args_with_id("case-1");
    let error = within(HOUR, after.submit(submit.clone(), Some(0.7))).await.err().unwrap();
    assert_eq!((error.kind, error.retryable), (Kind::WaitTimeout, true), "{error}");
    assert!(error.message.contains("looking for the session"), "{error}");
    assert!(!error.hint.as_deref().unwrap().contains("nothing was started"), "{error:?}");
    assert_eq!(count_accepted(&fixture), 1);
    // Without a timeout, the lookup ends, and the submit starts.
    assert!(!within(HOUR, after.submit(submit, None)).await.unwrap().adopted);
    assert_eq!(count_accepted(&fixture), 2);
    fixture.assert_no_violations();
}

#[tokio::test]
async fn a_new_id_is_looked_for_only_when_it_is_used_again() {
    let (fixture, folder) = (fixture(0.0), TempDir::new());
    let before = client(&fixture, &folder.0.join("s.db"));
    within(HOUR, before.submit(fixture.submit_args_for(1), None)).await.unwrap();
    let submit = fixture.submit_args_with_id(&new_correlation_id());
    let after = client(&fixture, &folder.0.join("new.db"));
    let began = fixture.clock.now();
    let started = within(HOUR, after.submit(submit.clone(), Some(2.0))).await.unwrap();
    assert!(!started.adopted && fixture.clock.now() - began < 2.0);
    // The store is lost once more: now the id is one that was given.
    let lost = client(&fixture, &folder.0.join("third.db"));
    let found = within(HOUR, lost.submit(submit, None)).await.unwrap();
    assert!(found.adopted && found.id == started.id);
    assert_eq!(count_accepted(&fixture), 2);
    fixture.assert_no_violations();
}
