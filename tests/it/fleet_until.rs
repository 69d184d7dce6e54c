//! Machines that are off for days: `until` tries them again when the service has seen them, and
//! nothing runs twice.

use std::ops::Deref;
use std::sync::Arc;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{NewMachine, Route, Settings, Switches};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Fleet, Outcome, RunSpec, Until};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::Timestamp;
use mde_live_response::session::Sessions;
use serde_json::json;

use crate::fleet_support::*;
use crate::support::{Fixture, count_accepted, count_held, sleep};

const DAY: f64 = 86_400.0;
/// How long the service queues a session here. The machines are listed twice in that time. A real
/// day would make a slow test: a run reads the store each second.
const QUEUE_TIME: f64 = 600.0;
const LISTING: f64 = QUEUE_TIME / 2.0;
/// For how long the runs try machines again.
const UNTIL: f64 = 20.0 * QUEUE_TIME;
const NAME: &str = "ws-off.example.test";

/// A service with a short queue time, and clients that know it and share a store.
struct Case {
    fixture: Fixture,
    quotas: Arc<QuotaRegistry>,
    sessions: Arc<Sessions>,
}

impl Case {
    fn new(machines: usize, change: impl FnOnce(&mut Switches)) -> Self {
        let mut switches = Switches::default();
        change(&mut switches);
        let settings = Settings { machines, switches, limits: limits(), ..Settings::default() };
        let (fixture, quotas) = (Fixture::with_settings(settings), Arc::default());
        let sessions = fixture.client_sharing(&quotas, |options| options.limits = limits());
        Self { fixture, quotas, sessions }
    }

    fn other_client(&self) -> Arc<Sessions> {
        self.client_sharing(&self.quotas, |options| options.limits = limits())
    }
}

impl Deref for Case {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.fixture
    }
}

fn limits() -> Limits {
    Limits { queue_time: QUEUE_TIME, ..Limits::default() }
}

fn spec(fixture: &Fixture, until: f64) -> RunSpec {
    RunSpec {
        run_id: Some("sweep".to_owned()),
        until: Some(Until::After(until)),
        ..run_spec(fixture.emulator.machine_ids())
    }
}

/// Creates a service with one machine, which is off, and starts a run.
async fn sweep_one() -> (Case, String, Fleet) {
    let case = Case::new(0, |_| {});
    let id = add_offline(&case, NAME);
    let fleet = start(&case.sessions, spec(&case, UNTIL)).await;
    (case, id, fleet)
}

async fn resume(sessions: &Arc<Sessions>, until: Option<f64>) -> Fleet {
    Fleet::resume_until(sessions, "sweep", until.map(Until::After)).await.unwrap()
}

async fn only_outcome(fleet: &Fleet) -> Outcome {
    let mut outcomes = all_outcomes(fleet).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn time(seconds: f64) -> serde_json::Value {
    json!(Timestamp::from_unix(seconds).unwrap().to_string())
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_off_for_long_run_once_when_they_are_seen() {
    let case = Case::new(20, |_| {});
    let off: Vec<_> = (0..10).map(|at| add_offline(&case, &format!("off-{at}"))).collect();
    let began = case.clock.now();
    let fleet = start(&case.sessions, spec(&case, UNTIL)).await;
    sleep(2.0 * QUEUE_TIME).await;
    let counts = fleet.counts();
    assert_eq!((counts.succeeded, counts.waiting), (20, 10), "{counts:?}");
    assert_eq!(count_held(&case.sessions).await.1, 0, "no slot is held for a machine that is off");
    let (posts, lists) = (count_accepted(&case), case.request_count(Route::ListMachines));
    sleep(12.0 * LISTING).await;
    assert_eq!(count_accepted(&case), posts, "nothing is submitted to a machine that is off");
    let listings = case.request_count(Route::ListMachines) - lists;
    assert!((11..=13).contains(&listings), "{listings} calls for twelve listings");
    off.iter().for_each(|id| case.emulator.set_online(id, true).unwrap());
    let outcomes = all_outcomes(&fleet).await;
    assert_eq!(reasons_by_row(&outcomes), vec!["ok"; 30]);
    let took = case.clock.now() - began;
    assert!(took < 2.0 * QUEUE_TIME + 13.2 * LISTING, "the run ended {took} s after its start");
    assert_eq!(count_accepted(&case), posts + 10);
    assert!(count_starts(&case).await.values().all(|count| *count == 1));
    case.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_last_outcome_counts_when_the_time_is_over() {
    let (case, _, fleet) = sweep_one().await;
    let began = case.clock.now();
    let outcome = only_outcome(&fleet).await;
    let took = case.clock.now() - began;
    assert_eq!(
        (outcome.reason.as_str(), outcome.status.as_deref()),
        ("timed_out", Some("TimeOut"))
    );
    assert!((UNTIL - 1.0..UNTIL + 10.0).contains(&took), "{took}");
    assert!(fleet.results().load(0).await.unwrap().is_some(), "with its result");
    assert_eq!(count_accepted(&case), 1);
    // The run is over, and stays so.
    case.emulator.set_online(NAME, true).unwrap();
    sleep(QUEUE_TIME).await;
    assert_eq!(only_outcome(&resume(&case.sessions, None).await).await, outcome);
    assert_eq!(count_accepted(&case), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_tries_machines_again_that_were_given_up() {
    let case = Case::new(3, |_| {});
    add_offline(&case, NAME);
    let without = RunSpec { until: None, ..spec(&case, 0.0) };
    let fleet = start(&case.sessions, without.clone()).await;
    let before = reasons_by_row(&all_outcomes(&fleet).await);
    assert_eq!(before, ["ok", "ok", "ok", "timed_out"]);
    drop(fleet);
    sleep(DAY).await;
    let again = resume(&case.other_client(), Some(UNTIL)).await;
    sleep(60.0).await;
    assert_eq!((again.counts().succeeded, again.counts().waiting), (3, 1));
    case.emulator.set_online(NAME, true).unwrap();
    let outcomes = all_outcomes(&again).await;
    assert_eq!(reasons_by_row(&outcomes), vec!["ok"; 4]);
    assert_eq!(count_accepted(&case), 5, "three, one to the machine that was off, and one more");
    let runs = Fleet::list(&case.sessions).await.unwrap();
    assert_eq!((runs.len(), runs[0].machines, runs[0].done, runs[0].ok), (1, 4, 4, 4));
    // `run_many` with the same id does the same as a resume.
    let with = RunSpec { until: Some(Until::After(DAY)), ..without };
    assert_eq!(all_outcomes(&start(&case.sessions, with).await).await.len(), 4);
    assert_eq!(count_accepted(&case), 5);
}

/// The worker goes at some time between the first submit and the end, and another one continues.
#[tokio::test(start_paused = true)]
async fn a_worker_that_goes_at_any_time_loses_nothing_and_starts_nothing_twice() {
    for stop in 0..60 {
        let (case, id, fleet) = sweep_one().await;
        case.script("echo.ps1", 20.0);
        sleep(2.0 * QUEUE_TIME).await;
        case.emulator.set_online(&id, true).unwrap();
        // The session comes after the next listing.
        let listings = case.request_count(Route::ListMachines);
        while case.request_count(Route::ListMachines) == listings {
            sleep(0.05).await;
        }
        sleep(f64::from(stop * stop) * 0.01).await;
        drop(fleet);
        sleep(f64::from(stop % 3) * 20.0).await;
        let outcome = only_outcome(&resume(&case.other_client(), None).await).await;
        assert_eq!(outcome.reason, "ok", "{stop}: {outcome:?}");
        assert_eq!(count_accepted(&case), 2, "{stop}");
        assert_nothing_ran_twice(&case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_may_have_run_is_not_started_again() {
    // The script started, and the service gave up waiting for it.
    let slow = Case::new(1, |switches| switches.script_timeout_status = "TimeOut".into());
    slow.script("echo.ps1", 5000.0);
    // The first command ran, then the machine went.
    let gone = Case::new(1, |switches| switches.script_timeout_status = "TimeOut".into());
    gone.script("echo.ps1", 300.0);
    for (case, goes) in [(&slow, false), (&gone, true)] {
        let fleet = start(&case.sessions, spec(case, DAY)).await;
        sleep(60.0).await;
        if goes {
            case.emulator.set_online(&case.machine(0), false).unwrap();
        }
        let outcome = only_outcome(&fleet).await;
        assert_eq!(count_accepted(case), 1, "{outcome:?}");
        case.emulator.set_online(&case.machine(0), true).unwrap();
        drop(fleet);
        let again = only_outcome(&resume(&case.sessions, Some(DAY)).await).await;
        assert_eq!(again, outcome);
        assert_eq!(count_accepted(case), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_somebody_cancelled_is_not_started_again() {
    let (case, id, fleet) = sweep_one().await;
    sleep(60.0).await;
    let action = case.actions().await.remove(0);
    case.sessions.session(&action.id).cancel("not on this machine").await.unwrap();
    let outcome = only_outcome(&fleet).await;
    assert_eq!(outcome.reason, "cancelled", "{outcome:?}");
    drop(fleet);
    case.emulator.set_online(&id, true).unwrap();
    let again = only_outcome(&resume(&case.sessions, Some(DAY)).await).await;
    assert_eq!((again, count_accepted(&case)), (outcome, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_the_rows_that_wait() {
    let (case, id, fleet) = sweep_one().await;
    sleep(2.0 * QUEUE_TIME).await;
    let began = case.clock.now();
    fleet.cancel("enough", true).await.unwrap();
    assert_eq!(only_outcome(&fleet).await.reason, "timed_out");
    assert!(case.clock.now() - began < 10.0);
    drop(fleet);
    // A cancelled run tries nothing again.
    case.emulator.set_online(&id, true).unwrap();
    assert_eq!(only_outcome(&resume(&case.sessions, Some(DAY)).await).await.reason, "timed_out");
    assert_eq!(count_accepted(&case), 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_pending_after_ends_each_session_and_not_the_row() {
    let case = Case::new(0, |_| {});
    let id = add_offline(&case, NAME);
    let spec = RunSpec { cancel_pending_after: Some(300.0), ..spec(&case, DAY) };
    let fleet = start(&case.sessions, spec).await;
    sleep(2.0 * QUEUE_TIME).await;
    assert_eq!((fleet.counts().waiting, count_held(&case.sessions).await.1), (1, 0));
    case.emulator.set_online(&id, true).unwrap();
    assert_eq!(only_outcome(&fleet).await.reason, "ok");
    assert_eq!(count_accepted(&case), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_installed_again_is_followed_by_its_name() {
    for (is_older, days) in [(false, 2.0), (true, 2.0), (false, 0.2)] {
        let (case, old, fleet) = sweep_one().await;
        sleep(2.0 * QUEUE_TIME).await;
        let now = case.clock.now();
        case.emulator.set_raw_property(&old, "lastSeen", Some(time(now - days * DAY))).unwrap();
        let first_seen = now - if is_older { 30.0 * DAY } else { 60.0 };
        let mut machine = NewMachine::named(NAME);
        machine.properties.insert("firstSeen".into(), time(first_seen));
        let new = case.emulator.add_machine(machine).unwrap().id;
        sleep(3.0 * LISTING).await;
        let is_followed = !is_older && days > 1.5;
        assert_eq!(count_accepted(&case), 1 + usize::from(is_followed), "{is_older} {days}");
        if !is_followed {
            // Another machine has the name. Or the old record may still report: it is no proof yet.
            case.emulator.set_online(&old, true).unwrap();
            let now = case.clock.now();
            case.emulator.set_raw_property(&old, "lastSeen", Some(time(now))).unwrap();
        }
        let outcome = only_outcome(&fleet).await;
        let ran = if is_followed { &new } else { &old };
        assert_eq!((outcome.reason.as_str(), outcome.machine_id.as_ref()), ("ok", Some(ran)));
        assert_eq!(count_accepted(&case), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_merged_is_followed() {
    let (case, old, fleet) = sweep_one().await;
    sleep(2.0 * QUEUE_TIME).await;
    let new = case.emulator.add_machine(NewMachine::named("ws-new.example.test")).unwrap().id;
    case.emulator.set_raw_property(&old, "mergedIntoMachineId", Some(json!(new))).unwrap();
    let outcome = only_outcome(&fleet).await;
    assert_eq!((outcome.reason.as_str(), outcome.machine_id.as_ref()), ("ok", Some(&new)));
    assert_eq!(outcome.row, 0);
}

#[tokio::test(start_paused = true)]
async fn the_services_clock_decides_what_is_new() {
    let (case, _, fleet) = sweep_one().await;
    sleep(2.0 * QUEUE_TIME).await;
    // From now on the service's clock is five days ahead of ours.
    case.emulator.advance(5.0 * DAY);
    sleep(LISTING).await;
    let new = case.emulator.add_machine(NewMachine::named(NAME)).unwrap().id;
    let outcome = only_outcome(&fleet).await;
    assert_eq!((outcome.reason.as_str(), outcome.machine_id.as_ref()), ("ok", Some(&new)));
    assert_eq!(count_accepted(&case), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_reports_already_is_tried_after_a_merge() {
    let (case, old, fleet) = sweep_one().await;
    let reported = time(case.clock.now() - 3600.0);
    sleep(2.0 * QUEUE_TIME).await;
    let mut machine = NewMachine::named("ws-new.example.test");
    machine.properties.insert("lastSeen".into(), reported);
    let new = case.emulator.add_machine(machine).unwrap().id;
    case.emulator.set_raw_property(&old, "mergedIntoMachineId", Some(json!(new))).unwrap();
    let outcome = only_outcome(&fleet).await;
    assert_eq!((outcome.reason.as_str(), outcome.machine_id.as_ref()), ("ok", Some(&new)));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_script_was_deleted_is_not_prolonged() {
    let case = Case::new(0, |_| {});
    let id = add_offline(&case, NAME);
    let fleet = start(&case.sessions, spec(&case, QUEUE_TIME)).await;
    assert_eq!(only_outcome(&fleet).await.reason, "timed_out");
    drop(fleet);
    case.sessions.pipeline.delete_library_file("echo.ps1").await.unwrap();
    let until = Some(Until::After(DAY));
    let error = Fleet::resume_until(&case.sessions, "sweep", until).await.map(drop).unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
    assert!(error.message.contains("echo.ps1"), "{error}");
    assert_eq!(only_outcome(&resume(&case.sessions, None).await).await.reason, "timed_out");
    // With the script, the row has not lost its second chance.
    case.emulator.add_library_file("echo.ps1", b"");
    let fleet = resume(&case.sessions, Some(DAY)).await;
    case.emulator.set_online(&id, true).unwrap();
    assert_eq!(only_outcome(&fleet).await.reason, "ok");
}

#[tokio::test(start_paused = true)]
async fn two_rows_that_become_one_machine_run_once() {
    let case = Case::new(1, |_| {});
    let old = add_offline(&case, NAME);
    let fleet = start(&case.sessions, spec(&case, UNTIL)).await;
    sleep(2.0 * QUEUE_TIME).await;
    let other = json!(case.machine(0));
    case.emulator.set_raw_property(&old, "mergedIntoMachineId", Some(other)).unwrap();
    let outcomes = all_outcomes(&fleet).await;
    assert_eq!(reasons_by_row(&outcomes), ["ok", "duplicate"]);
    assert_nothing_ran_twice(&case).await;
    assert_eq!(count_starts(&case).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_is_past_is_refused_before_any_request() {
    let case = Case::new(1, |_| {});
    let now = case.clock.now();
    for until in [Until::At(now - 1.0), Until::After(-1.0), Until::After(f64::INFINITY)] {
        let spec = RunSpec { until: Some(until), ..spec(&case, 0.0) };
        let error = Fleet::start(&case.sessions, spec).await.map(drop).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{error}");
        assert!(error.message.contains("until"), "{error}");
        let resumed = Fleet::resume_until(&case.sessions, "sweep", Some(until)).await;
        assert_eq!(resumed.map(drop).unwrap_err().kind, Kind::InvalidRequest);
    }
    assert!(case.emulator.requests().is_empty());
    let unknown = Fleet::resume_until(&case.sessions, "sweep", Some(Until::After(1.0))).await;
    assert_eq!(unknown.map(drop).unwrap_err().kind, Kind::NotFound);
}
