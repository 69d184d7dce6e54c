//! Random fleets, workers and faults, each of a seed: one outcome a row, nothing run twice or lost, no rule broken, and an
//! end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Compression, Content, ForeignSessionResponse, NewMachine, ScriptOutcome, Settings, Switches,
    Violations,
};
use mde_live_response::error::{Error, Kind};
use mde_live_response::fleet::{Fleet, Outcome, RunSpec};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::Command;
use mde_live_response::session::Sessions;

use crate::fleet_support::*;
use crate::support::{Fixture, HOUR, Outage, TempDir, run_script, sleep, within};

/// Seeds of the short form. `MDE_LIVE_RESPONSE_FLEETS` sets another number, and `_SEED` the first.
const FLEETS: u64 = 1_000;
const FILE: &str = "C:\\evidence.bin";

fn env_number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn limits(rng: &mut Rng) -> Limits {
    Limits {
        sessions: rng.u32(2..6),
        queue_time: 600.0,
        script_time: 120.0,
        settle_time: 60.0,
        ..Limits::default()
    }
}

fn switches(rng: &mut Rng) -> Switches {
    let mut sometimes =
        |chance: f64, max: f64| if rng.f64() < chance { rng.f64() * max } else { 0.0 };
    Switches {
        fault_rate: sometimes(0.5, 0.1),
        list_lag: sometimes(0.3, 20.0),
        fresh_404: sometimes(0.3, 20.0),
        null_first_body: sometimes(0.3, 10.0),
        result_lag: sometimes(0.3, 5.0),
        busy_after_cancel: sometimes(0.3, 60.0),
        null_first_comment: sometimes(0.3, 1.0) > 0.0,
        cancel_loses: sometimes(0.2, 1.0) > 0.0,
        cancel_fields_at_once: sometimes(0.2, 1.0) == 0.0,
        compression: Compression::None,
        ..Switches::default()
    }
}

fn populate(fixture: &Fixture, rng: &mut Rng) -> Vec<String> {
    let mut rows = Vec::new();
    for number in 0..rng.usize(1..9) {
        let name = format!("m-{number}.example.test");
        let machine = NewMachine { online: rng.f64() < 0.7, ..NewMachine::named(&name) };
        let id = fixture.emulator.add_machine(machine).unwrap().id;
        if rng.f64() < 0.1 {
            let _ = fixture.emulator.add_foreign_session(
                &id,
                rng.f64() * 900.0,
                rng.bool(),
                ForeignSessionResponse::Error,
            );
        }
        rows.push(if rng.bool() { id.clone() } else { name });
        if rng.f64() < 0.1 {
            rows.push(id);
        }
    }
    if rng.f64() < 0.1 {
        rows.push("nobody".to_owned());
    }
    rng.shuffle(&mut rows);
    rows
}

fn commands(rng: &mut Rng) -> Vec<Command> {
    let mut commands = vec![run_script("echo.ps1"); rng.usize(1..3)];
    if rng.f64() < 0.2 {
        commands.push(Command::get_file(FILE).unwrap());
    }
    commands
}

/// Machines go on and off, and what lies between them and us fails for a while. Tells how many submits arrive late.
async fn inject_faults(fixture: &Fixture, rng: &mut Rng) -> u64 {
    let mut late = 0;
    let ids = fixture.emulator.machine_ids();
    for _ in 0..3 {
        sleep(rng.f64() * 400.0).await;
        fixture.emulator.set_online(&ids[rng.usize(..ids.len())], rng.bool()).unwrap();
        let chance = rng.f64();
        if chance < 0.1 {
            let outage = [Outage::Everything, Outage::Results, Outage::SignIn][rng.usize(..3)];
            fixture.network.set_outage(outage);
            sleep(rng.f64() * 900.0).await;
            fixture.network.set_outage(Outage::None);
        } else if chance < 0.2 {
            fixture.network.drop_lists.store(true, Ordering::SeqCst);
            sleep(rng.f64() * 300.0).await;
            fixture.network.drop_lists.store(false, Ordering::SeqCst);
        } else if chance < 0.3 {
            fixture.network.submit_delays.lock().unwrap().push_back(rng.f64() * 25.0);
            late += 1;
        }
    }
    late
}

/// One process of a run: it comes at some time, may leave, and comes back until all is over.
async fn run_worker(
    sessions: &Arc<Sessions>,
    run_id: &str,
    rng: &mut Rng,
    begun: Option<Fleet>,
) -> Vec<Outcome> {
    if begun.is_none() {
        sleep(rng.f64() * 200.0).await;
    }
    let mut fleet = begun;
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

/// What was started is what the outcome of its machine tells of.
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
                "seed {seed}: nothing tells of {action:?}: {outcomes:?}"
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

/// The manifest names what was collected, each file once.
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

/// A run, and all that can happen to it.
struct Case {
    seed: u64,
    rng: Rng,
    fixture: Fixture,
    limits: Limits,
    quotas: Arc<QuotaRegistry>,
    /// Where what is collected goes.
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

    /// A process of its own, but for the store.
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
            save_to: self.folder.as_ref().map(|folder| folder.0.display().to_string()),
            ..run_spec(rows)
        }
    }

    /// Works at it with up to three processes, until each has seen the end. Tells what each saw, and how many submits
    /// arrived late.
    async fn run(&mut self, sessions: Arc<Sessions>, fleet: Fleet) -> (Vec<Vec<Outcome>>, u64) {
        let run_id = &fleet.run_id().to_owned();
        let rng = &mut self.rng;
        let (mut faults, mut stops) = (rng.fork(), rng.fork());
        let mut workers = vec![(sessions.clone(), rng.fork(), Some(fleet))];
        let others: Vec<_> = (0..rng.usize(0..3)).map(|_| rng.fork()).collect();
        workers.extend(others.into_iter().map(|rng| (self.client(), rng, None)));
        let working = workers.into_iter().map(async |(sessions, mut rng, begun)| {
            run_worker(&sessions, run_id, &mut rng, begun).await
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
    let (sessions, order) = (case.client(), case.run_spec());
    let rows = order.machines.len();
    let fleet = start(&sessions, order).await;
    let (seen, late) = case.run(sessions, fleet).await;
    let fixture = &case.fixture;
    assert_one_outcome_per_row(&seen[0], rows, seed);
    let to_json = |outcomes: &[Outcome]| serde_json::to_value(outcomes).unwrap();
    assert!(seen.iter().all(|other| to_json(other) == to_json(&seen[0])), "seed {seed}");
    // Nobody can know that a lost submit of long ago arrives right now.
    let violations = fixture.emulator.violations();
    let broken = Violations { rate: violations.rate.saturating_sub(late), ..violations };
    assert_eq!(broken, Violations::default(), "seed {seed}");
    fixture.emulator.set_switches(|switches| switches.fault_rate = 0.0);
    let twice: Vec<_> =
        count_starts(fixture).await.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
    assert_no_action_lost(fixture, &seen[0], seed).await;
    case.folder.iter().for_each(|folder| assert_manifest_matches_files(folder, seed));
}

/// The first seed of `seeds` whose run breaks a promise.
fn first_failing_seed(seeds: impl Iterator<Item = u64>) -> Option<u64> {
    let holds = |seed: &u64| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
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
        for broken in shares {
            assert_eq!(broken.join().unwrap(), None, "the fleet of this seed");
        }
    });
}
