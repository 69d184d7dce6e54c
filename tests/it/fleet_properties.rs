//! Random fleets, workers and faults from a seed. Each row has one outcome, nothing runs twice or
//! is lost, no rule of the service is broken, and every run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{Content, ScriptOutcome, Settings, Violations};
use mde_live_response::error::{Error, Kind};
use mde_live_response::fleet::{Fleet, Outcome, RunSpec, Until};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::session::Sessions;

use crate::fleet_random::{FILE, commands, inject_faults, limits, populate, switches};
use crate::fleet_support::*;
use crate::support::{Fixture, HOUR, TempDir, env_number, paused_runtime, sleep, within};

/// The number of seeds. `MDE_LIVE_RESPONSE_FLEETS` sets another number, and
/// `MDE_LIVE_RESPONSE_FLEET_SEED` the first seed.
const FLEETS: u64 = 300;

/// Works on a run as one process: it joins at a random time, may detach, and resumes until the run
/// is over.
async fn run_worker(
    sessions: &Arc<Sessions>,
    run_id: &str,
    rng: &mut Rng,
    fleet: Option<Fleet>,
) -> Vec<Outcome> {
    let mut fleet = fleet;
    if fleet.is_none() {
        sleep(rng.f64() * 200.0).await;
    }
    let mut leaves = rng.f64() < 0.4;
    let can_come_back =
        |error: &Error| assert_eq!(error.kind, Kind::Authentication, "{run_id}: {error:?}");
    loop {
        let attached = match fleet.take() {
            Some(fleet) => Ok(fleet),
            None => Fleet::resume(sessions, run_id).await,
        };
        match attached {
            Ok(attached) if std::mem::take(&mut leaves) => {
                sleep(rng.f64() * 120.0).await;
                attached.detach();
            }
            Ok(attached) => match attached.outcomes().await {
                Ok(outcomes) => return outcomes,
                Err(error) => can_come_back(&error),
            },
            Err(error) => can_come_back(&error),
        }
        sleep(rng.f64() * 60.0).await;
    }
}

/// Checks that each action that has started is in the outcome of its machine.
async fn assert_no_action_lost(fixture: &Fixture, outcomes: &[Outcome], seed: u64) {
    let reported: BTreeMap<_, _> =
        outcomes.iter().filter_map(|it| Some((it.action_id.as_deref()?, it))).collect();
    let unknown = |machine: Option<&str>| {
        let of_machine = outcomes.iter().filter(|outcome| outcome.machine_id.as_deref() == machine);
        of_machine.filter_map(|it| it.error.as_ref()).any(|error| error.kind == Kind::SubmitUnknown)
    };
    for action in fixture.actions().await {
        let ours =
            action.requestor_comment.as_deref().is_some_and(|comment| comment.contains("[mlr:"));
        if ours && action.has_started() && !unknown(action.machine_id.as_deref()) {
            assert!(
                reported.contains_key(action.id.as_str()),
                "seed {seed}: no outcome has {action:?}: {outcomes:?}"
            );
        }
    }
}

fn assert_one_outcome_per_row(outcomes: &[Outcome], rows: usize, seed: u64) {
    assert_eq!(outcomes.len(), rows, "seed {seed}");
    let _ = reasons_by_row(outcomes);
    assert!(
        outcomes.iter().all(|it| !it.reason.is_empty() && !it.message.is_empty()),
        "seed {seed}"
    );
}

/// Checks that all processes saw the same outcomes in the same order.
///
/// A process that resumes the run fetches results again. So of a row whose results could not be
/// fetched, an earlier process saw an older outcome of the same session.
fn assert_same_outcomes(seen: &[Vec<Outcome>], seed: u64) {
    let may_be_replaced = |it: &&Outcome| it.reason == "fetch" && it.action_id.is_some();
    let rows: BTreeSet<u32> =
        seen.iter().flatten().filter(may_be_replaced).map(|it| it.row).collect();
    let split = |outcomes: &[Outcome]| -> (Vec<_>, Vec<_>) {
        outcomes.iter().cloned().partition(|it| !rows.contains(&it.row))
    };
    let session = |it: &Outcome| {
        (it.row, (it.action_id.clone(), it.status.clone(), it.correlation_id.clone()))
    };
    let sessions = |outcomes: &[Outcome]| outcomes.iter().map(session).collect::<BTreeMap<_, _>>();
    let (kept, replaced) = split(&seen[0]);
    for (other_kept, other_replaced) in seen.iter().map(|outcomes| split(outcomes)) {
        assert_eq!(other_kept, kept, "seed {seed}");
        assert_eq!(sessions(&other_replaced), sessions(&replaced), "seed {seed}");
    }
}

/// Checks that the manifest has each collected file once.
fn assert_manifest_matches_files(folder: &TempDir, seed: u64) {
    let manifest = std::fs::read_to_string(folder.0.join("manifest.jsonl")).unwrap_or_default();
    let path = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["path"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut named: Vec<String> = manifest.lines().map(path).collect();
    named.sort();
    let mut files = folder.files();
    files.retain(|file| file != "manifest.jsonl");
    assert_eq!(named, files, "seed {seed}");
}

/// A random run with its faults.
struct Case {
    seed: u64,
    rng: Rng,
    fixture: Fixture,
    limits: Limits,
    quotas: Arc<QuotaRegistry>,
    /// The folder for collected files.
    folder: Option<TempDir>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = limits(&mut rng);
        let settings = Settings {
            machines: 0,
            seed,
            switches: switches(&mut rng),
            limits: limits.clone(),
            ..Settings::default()
        };
        let fixture = Fixture::with_settings(settings);
        let duration = rng.f64() * 90.0;
        fixture
            .emulator
            .on_script("echo.ps1", ScriptOutcome { duration, ..ScriptOutcome::default() });
        fixture.emulator.put_remote_file("*", FILE, Content::Bytes("evidence".into())).unwrap();
        let folder = (rng.f64() < 0.2).then(TempDir::new);
        Self { seed, rng, fixture, limits, quotas: Arc::default(), folder }
    }

    /// Creates a client for another process, which shares only the state store.
    fn client(&self) -> Arc<Sessions> {
        self.fixture.client_sharing(&self.quotas, |options| options.limits = self.limits.clone())
    }

    fn run_spec(&mut self) -> RunSpec {
        let rng = &mut self.rng;
        let rows = populate(&self.fixture, rng);
        RunSpec {
            commands: vec![commands(rng)],
            run_id: rng.bool().then(|| format!("seed {}", self.seed)),
            cancel_pending_after: (rng.f64() < 0.2).then(|| rng.f64() * 400.0),
            until: (rng.f64() < 0.4).then(|| Until::After(rng.f64() * 3000.0)),
            save_to: self.folder.as_ref().map(|folder| folder.0.display().to_string()),
            ..run_spec(rows)
        }
    }

    /// Runs up to three processes until each has seen the end. Returns the outcomes that each saw,
    /// and how many submits were delayed.
    async fn run(&mut self, sessions: Arc<Sessions>, fleet: Fleet) -> (Vec<Vec<Outcome>>, u64) {
        let run_id = &fleet.run_id().to_owned();
        let rng = &mut self.rng;
        let (mut faults, mut stops) = (rng.fork(), rng.fork());
        let mut workers = vec![(sessions.clone(), rng.fork(), Some(fleet))];
        let others: Vec<_> = (0..rng.usize(0..3)).map(|_| rng.fork()).collect();
        workers.extend(others.into_iter().map(|rng| (self.client(), rng, None)));
        let working = workers.into_iter().map(async |(sessions, mut rng, fleet)| {
            run_worker(&sessions, run_id, &mut rng, fleet).await
        });
        let all = async {
            tokio::join!(
                futures_util::future::join_all(working),
                inject_faults(&self.fixture, &mut faults),
                cancel_sometimes(&sessions, run_id, &mut stops),
            )
        };
        let (seen, late, ()) = Box::pin(within(48 * HOUR, all)).await;
        (seen, late)
    }
}

async fn cancel_sometimes(sessions: &Arc<Sessions>, run_id: &str, rng: &mut Rng) {
    sleep(rng.f64() * 300.0).await;
    if rng.f64() < 0.2
        && let Ok(fleet) = Fleet::resume(sessions, run_id).await
    {
        fleet.cancel("enough", rng.bool()).await.unwrap();
    }
}

async fn run_case(seed: u64) {
    let mut case = Case::new(seed);
    let (sessions, spec) = (case.client(), case.run_spec());
    let rows = spec.machines.len();
    let fleet = start(&sessions, spec).await;
    let (seen, late) = case.run(sessions, fleet).await;
    let fixture = &case.fixture;
    assert_one_outcome_per_row(&seen[0], rows, seed);
    assert_same_outcomes(&seen, seed);
    // A client cannot know when a delayed submit arrives, so it may exceed the rate then.
    let violations = fixture.emulator.violations();
    let counted = Violations { rate: violations.rate.saturating_sub(late), ..violations };
    assert_eq!(counted, Violations::default(), "seed {seed}");
    fixture.emulator.set_switches(|switches| switches.fault_rate = 0.0);
    let twice: Vec<_> =
        count_starts(fixture).await.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
    assert_no_action_lost(fixture, &seen[0], seed).await;
    case.folder.iter().for_each(|folder| assert_manifest_matches_files(folder, seed));
}

/// Returns the first seed whose run fails a check.
fn first_failing_seed(seeds: impl Iterator<Item = u64>) -> Option<u64> {
    let holds = |seed: &u64| {
        let runtime = paused_runtime();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run_case(*seed))))
            .is_ok()
    };
    seeds.into_iter().find(|seed| !holds(seed))
}

#[test]
fn random_fleets_with_random_faults() {
    let first = env_number("MDE_LIVE_RESPONSE_FLEET_SEED", 0);
    let end = first + env_number("MDE_LIVE_RESPONSE_FLEETS", FLEETS);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let share = |worker| {
            scope.spawn(move || first_failing_seed((first + worker as u64..end).step_by(workers)))
        };
        let shares: Vec<_> = (0..workers).map(share).collect();
        for share in shares {
            assert_eq!(share.join().unwrap(), None, "the run with this seed failed");
        }
    });
}
