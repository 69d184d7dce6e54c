//! Many sessions of several clients on one tenant, on random schedules from a seed: nothing runs
//! twice, nothing is lost, no rule of the service is broken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Behaviour, FaultKind, ScriptOutcome, Settings, Switches, Violations,
};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::{Command, MachineAction};
use mde_live_response::session::{RunOptions, Session, Sessions, SubmitRequest};

use crate::fleet_random::switches;
use crate::support::{Fixture, HOUR, env_number, paused_runtime, sleep, within};

/// The number of sessions. `MDE_LIVE_RESPONSE_SESSIONS` sets another number, and
/// `MDE_LIVE_RESPONSE_SESSIONS_SEED` the first seed.
const SESSIONS: u64 = 1_000;
/// The sessions of one tenant, which has its own seed.
const SESSIONS_PER_TENANT: u64 = 250;
const SCRIPT: &str = "echo.ps1";
/// How often a caller tries again after an error.
const MAX_TRIES: u32 = 50;

/// What all tenants together saw.
#[derive(Debug, Default)]
struct Tally {
    sessions: u64,
    twice: u64,
    lost: u64,
    rules_broken: u64,
}

/// What the caller of one session does.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Run,
    /// Stops waiting, and calls again with the same id.
    GiveUpAndReturn,
    /// Submits, and another client fetches the result.
    PassOn,
    /// Submits, and cancels it.
    Cancel,
}

struct Tenant {
    seed: u64,
    fixture: Fixture,
    clients: Vec<Arc<Sessions>>,
    next: AtomicU64,
    /// The action that each session's caller ended with.
    outcomes: Mutex<HashMap<u64, String>>,
}

impl Tenant {
    fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let mut switches = Switches { transcript_line: false, ..switches(&mut rng) };
        // Nobody can tell a script's output from the same with other letters.
        switches.fault_kinds.retain(|kind| *kind != FaultKind::Garble);
        let limits = Limits { sessions: rng.u32(2..25), ..Limits::default() };
        let settings = Settings {
            machines: rng.usize(5..60),
            seed,
            switches,
            limits: limits.clone(),
            ..Settings::default()
        };
        let fixture = Fixture::with_settings(settings);
        let longest = rng.f64() * 200.0;
        let script = move |_: &str, args: Option<&str>| ScriptOutcome {
            stdout: args.unwrap_or_default().to_owned(),
            duration: fastrand::f64() * longest,
            ..ScriptOutcome::default()
        };
        fixture.emulator.on_script(SCRIPT, Behaviour::Callback(Arc::new(script)));
        let store = Arc::<QuotaRegistry>::default();
        let client = |_| fixture.client_sharing(&store, |it| it.limits = limits.clone());
        let clients = (0..rng.usize(1..5)).map(client).collect();
        Self { seed, fixture, clients, next: AtomicU64::new(0), outcomes: Mutex::default() }
    }

    /// Starts one session after the other, at random times.
    async fn work(&self, mut rng: Rng) {
        loop {
            sleep(rng.f64() * 120.0).await;
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= SESSIONS_PER_TENANT {
                return;
            }
            if let Some(action) = self.one_session(number, &mut rng).await {
                self.outcomes.lock().unwrap().insert(number, action);
            }
        }
    }

    /// Has one session run to its end, whatever breaks. Returns its action.
    async fn one_session(&self, number: u64, rng: &mut Rng) -> Option<String> {
        let machine = rng.usize(..self.fixture.emulator.machine_ids().len());
        let mut manner = match rng.u32(..10) {
            0 => Manner::GiveUpAndReturn,
            1 => Manner::PassOn,
            2 => Manner::Cancel,
            _ => Manner::Run,
        };
        for _ in 0..MAX_TRIES {
            let request = self.request(number, machine);
            if let Some(action) = self.attempt(number, request, manner, rng).await {
                return Some(action);
            }
            if matches!(manner, Manner::GiveUpAndReturn) {
                manner = Manner::Run;
            }
            sleep(rng.f64() * 60.0).await;
        }
        None
    }

    fn request(&self, number: u64, machine: usize) -> SubmitRequest {
        SubmitRequest {
            machine_id: self.fixture.machine(machine),
            commands: vec![Command::run_script(SCRIPT, Some(&arguments(number))).unwrap()],
            comment: "soak".to_owned(),
            correlation_id: Some(format!("soak-{}-{number}", self.seed)),
            wait_if_busy: true,
        }
    }

    async fn attempt(
        &self,
        number: u64,
        request: SubmitRequest,
        manner: Manner,
        rng: &mut Rng,
    ) -> Option<String> {
        let (sessions, other) = (rng.choice(&self.clients)?, rng.choice(&self.clients)?);
        let (machine, id) = (request.machine_id.clone(), request.correlation_id.clone()?);
        match manner {
            Manner::Run => {
                let ran = sessions.run(request, RunOptions::default()).await.ok()?;
                let script = ran.commands.first().and_then(|command| command.script.as_ref());
                if ran.is_ok() && script.is_none_or(|it| it.stdout != arguments(number)) {
                    panic!("seed {}: {number} got {ran:?}", self.seed);
                }
                Some(ran.action.id)
            }
            Manner::GiveUpAndReturn => {
                let patience = std::time::Duration::from_secs_f64(rng.f64() * 300.0);
                let _ = tokio::time::timeout(patience, sessions.submit(request, None)).await;
                None
            }
            Manner::PassOn => {
                sessions.submit(request, None).await.ok()?;
                let session = other.find(&machine, &id).await.ok()??;
                Some(session.result(None, None).await.ok()?.action.id)
            }
            Manner::Cancel => {
                let session = sessions.submit(request, None).await.ok()?;
                sleep(rng.f64() * 200.0).await;
                self.cancel_to_the_end(&session).await
            }
        }
    }

    async fn cancel_to_the_end(&self, session: &Session) -> Option<String> {
        // It may have ended before.
        let _ = session.cancel("enough").await;
        Some(session.wait(None, None, None).await.ok()?.id)
    }

    async fn check(&self, tally: &mut Tally) {
        self.fixture.emulator.set_switches(|switches| switches.fault_rate = 0.0);
        let mut started: HashMap<u64, Vec<MachineAction>> = HashMap::new();
        for action in self.fixture.actions().await {
            started.entry(number_of(&action)).or_default().push(action);
        }
        let outcomes = self.outcomes.lock().unwrap();
        let has_outcome = |number: &u64, action: &MachineAction| {
            outcomes.get(number).is_some_and(|id| *id == action.id)
        };
        tally.sessions += started.len() as u64;
        tally.twice += started.values().filter(|actions| actions.len() > 1).count() as u64;
        // A caller that ends without its session's outcome has lost it.
        tally.lost += (0..SESSIONS_PER_TENANT)
            .filter(|number| {
                started
                    .get(number)
                    .is_none_or(|actions| !actions.iter().any(|action| has_outcome(number, action)))
            })
            .count() as u64;
        tally.rules_broken +=
            u64::from(self.fixture.emulator.violations() != Violations::default());
    }
}

fn arguments(number: u64) -> String {
    format!("-Number {number}")
}

/// Returns the number of the session that an action is for.
fn number_of(action: &MachineAction) -> u64 {
    let arguments = action.commands[0].command.param("Args").unwrap();
    arguments.strip_prefix("-Number ").unwrap().parse().unwrap()
}

async fn run_tenant(seed: u64, tally: &mut Tally) {
    let tenant = Tenant::new(seed);
    let mut rng = Rng::with_seed(!seed);
    let workers: Vec<_> = (0..rng.usize(1..30)).map(|_| rng.fork()).collect();
    let working = workers.into_iter().map(|rng| tenant.work(rng));
    within(10_000 * HOUR, futures_util::future::join_all(working)).await;
    tenant.check(tally).await;
}

/// Runs tenants, and stops at the first one whose check fails.
fn run_tenants(seeds: impl Iterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        paused_runtime().block_on(run_tenant(seed, &mut tally));
        let broken = (tally.twice, tally.lost, tally.rules_broken);
        assert_eq!(broken, (0, 0, 0), "seed {seed}: twice, lost, tenants with a broken rule");
    }
    tally
}

#[test]
fn many_sessions_on_random_schedules() {
    let first = env_number("MDE_LIVE_RESPONSE_SESSIONS_SEED", 0);
    let tenants = env_number("MDE_LIVE_RESPONSE_SESSIONS", SESSIONS).div_ceil(SESSIONS_PER_TENANT);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let share = |thread| {
            let seeds = (first + thread as u64..first + tenants).step_by(threads);
            scope.spawn(move || run_tenants(seeds))
        };
        let shares: Vec<_> = (0..threads).map(share).collect();
        shares.into_iter().map(|share| share.join().unwrap()).collect()
    });
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(count).sum::<u64>();
    let sessions = sum(|tally| tally.sessions);
    println!(
        "{sessions} sessions: twice {}, lost {}, tenants with a broken rule {}",
        sum(|tally| tally.twice),
        sum(|tally| tally.lost),
        sum(|tally| tally.rules_broken),
    );
    assert_eq!(sessions, tenants * SESSIONS_PER_TENANT);
}
