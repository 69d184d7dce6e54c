//! Random services, faults and callers: each submit starts at most one action, returns its own
//! session and result, breaks no rule of the service, and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mde_live_response::emulator::{Behaviour, FaultKind, ScriptOutcome, Settings};
use mde_live_response::error::Error;
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::Command;
use mde_live_response::session::{Session, Sessions, SubmitRequest};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::emulator_support::Service;
use crate::emulator_tokens::token;
use crate::network::SubmitFate;
use crate::submit_random::{Caller, Case, cases};
use crate::support::{Fixture, HOUR, env_number, paused_runtime, sleep, within};

/// The number of cases. `MDE_LIVE_RESPONSE_SUBMITS` sets another number.
const CASES: u64 = 1000;
const SCRIPT: &str = "echo.ps1";
/// The seconds from the stranger's submit to the first one of ours. An action that is older than
/// our POST is the stranger's, if the clocks agree to a second.
const HEAD_START: f64 = 5.0;

/// What the callers of a case saw, by intent.
#[derive(Default)]
struct Seen {
    /// The sessions that submits returned.
    sessions: BTreeMap<String, BTreeSet<String>>,
    /// Every id that an error called ours.
    error_ids: Vec<(String, String)>,
    /// The intents for which the last error said that nothing was started.
    not_started: BTreeSet<String>,
}

struct RunningCase {
    case: Case,
    fixture: Fixture,
    stores: [Arc<QuotaRegistry>; 2],
    seen: Mutex<Seen>,
}

impl RunningCase {
    fn new(case: Case) -> Self {
        fastrand::seed(case.seed);
        let settings =
            Settings { seed: case.seed, switches: case.service.switches(), ..Settings::default() };
        let fixture = Fixture::with_settings(settings);
        let of_stranger = case.stranger.map(|stranger| HEAD_START + stranger.seconds);
        let (duration, is_first) = (case.duration, AtomicBool::new(true));
        let script = move |_: &str, args: Option<&str>| {
            let is_first = is_first.swap(false, Ordering::SeqCst);
            let stdout = args.unwrap_or_default().to_owned();
            let duration = of_stranger.filter(|_| is_first).unwrap_or(duration);
            ScriptOutcome { stdout, duration, ..ScriptOutcome::default() }
        };
        fixture.emulator.on_script(SCRIPT, Behaviour::Callback(Arc::new(script)));
        Self { case, fixture, stores: Default::default(), seen: Mutex::default() }
    }

    fn intent(&self, caller: usize, nth: u8) -> String {
        match self.case.callers[caller].id {
            Some(id) => format!("id-{id}"),
            None => format!("call-{caller}-{nth}"),
        }
    }

    fn arguments(&self, intent: &str) -> String {
        if self.case.same_commands { "-Same".to_owned() } else { format!("-Only {intent}") }
    }

    /// Starts the session of another application. Returns its id.
    async fn start_stranger(&self) -> Option<String> {
        let stranger = self.case.stranger?;
        let emulator = self.fixture.emulator.clone();
        let (id, secret) = emulator.add_application();
        let mut service = Service { token: emulator.token(), emulator };
        let response = token(&service, &[("client_id", &id), ("client_secret", &secret)]).await;
        service.token = response.json()["access_token"].as_str().unwrap().to_owned();
        let arguments = match stranger.has_our_commands {
            true => self.arguments(&self.intent(0, 0)),
            false => "-Other".to_owned(),
        };
        let params =
            json!([{"key": "ScriptName", "value": SCRIPT}, {"key": "Args", "value": arguments}]);
        let commands = json!([{"type": "RunScript", "params": params}]);
        let response = service.run(&service.machine(0), &commands, "case of another").await;
        sleep(HEAD_START).await;
        Some(response.json()["id"].as_str().unwrap().to_owned())
    }

    fn place_faults(&self, stranger: Option<&str>) {
        self.fixture.network.submit_fates.lock().unwrap().extend(&self.case.fates);
        for placed in &self.case.post_faults {
            let mut fault = placed.fault.clone();
            if fault.kind == FaultKind::WrongEntity {
                fault.entity = stranger.map(str::to_owned);
            }
            self.fixture.fault("runliveresponse", fault, placed.nth, placed.times);
        }
        for (route, placed) in &self.case.read_faults {
            self.fixture.fault(route, placed.fault.clone(), placed.nth, placed.times);
        }
    }

    async fn call(&self, at: usize) {
        let caller = &self.case.callers[at];
        let store = &self.stores[caller.store];
        let sessions = self.fixture.client_sharing(store, |_| {});
        sleep(caller.start).await;
        for nth in 0..caller.tries {
            let intent = self.intent(at, nth);
            self.seen.lock().unwrap().not_started.remove(&intent);
            match self.submit(&sessions, caller, &intent, nth).await {
                None => {}
                Some(Ok(session)) => {
                    self.record_session(&intent, &session).await;
                    if caller.id.is_none() {
                        return;
                    }
                }
                Some(Err(error)) => self.record_error(&intent, &error),
            }
            sleep(caller.pause).await;
        }
    }

    /// Submits once. Returns none if the caller stopped waiting.
    async fn submit(
        &self,
        sessions: &Arc<Sessions>,
        caller: &Caller,
        intent: &str,
        nth: u8,
    ) -> Option<Result<Session, Error>> {
        let request = SubmitRequest {
            machine_id: self.fixture.machine(0),
            commands: vec![Command::run_script(SCRIPT, Some(&self.arguments(intent))).unwrap()],
            comment: format!("case {intent}"),
            correlation_id: caller.id.map(|_| intent.to_owned()),
            wait_if_busy: caller.wait_if_busy,
        };
        let submitting = sessions.submit(request, caller.timeout);
        match caller.cancel_after.filter(|_| nth == 0) {
            None => Some(submitting.await),
            Some(seconds) => {
                let seconds = std::time::Duration::from_secs_f64(seconds);
                tokio::time::timeout(seconds, submitting).await.ok()
            }
        }
    }

    async fn record_session(&self, intent: &str, session: &Session) {
        let mut sessions = vec![session.id.clone()];
        if let Ok(result) = session.result(None, None).await {
            sessions.push(result.action.id.clone());
            // The service may show no commands of an action for a while.
            let script = result.commands.first().and_then(|command| command.script.as_ref());
            if let Some(output) = script.filter(|_| result.is_ok()) {
                assert_eq!(output.stdout, self.arguments(intent), "a stranger's result");
            }
        }
        self.seen.lock().unwrap().sessions.entry(intent.to_owned()).or_default().extend(sessions);
    }

    fn record_error(&self, intent: &str, error: &Error) {
        let mut seen = self.seen.lock().unwrap();
        seen.error_ids.extend(error.action_id.clone().map(|id| (intent.to_owned(), id)));
        let hint = error.hint.as_deref().unwrap_or_default();
        if hint.contains("nothing was started") {
            seen.not_started.insert(intent.to_owned());
        }
    }

    /// Returns the service's actions with their genuine comments.
    async fn actions(&self) -> Vec<Value> {
        let emulator = self.fixture.emulator.clone();
        emulator.set_switches(|switches| *switches = Default::default());
        let service = Service { token: emulator.token(), emulator };
        let bearer = format!("Bearer {}", service.token);
        let url = format!("{}/api/machineactions", service.emulator.url());
        let headers = [("authorization", bearer.as_str())];
        // Faults may be left.
        for _ in 0..100 {
            let (to, method) =
                (mde_live_response::transport::Destination::Service, http::Method::GET);
            let Ok(response) = service.send(to, method, &url, &headers, "").await else { continue };
            let body: Option<Value> = serde_json::from_slice(&response.body).ok();
            if let Some(Value::Array(actions)) = body.map(|mut body| body["value"].take()) {
                return actions;
            }
        }
        panic!("the list cannot be read");
    }

    /// Checks what the service started against what the callers saw.
    async fn check(&self, stranger: Option<&str>) {
        let actions = self.actions().await;
        let ours: Vec<_> =
            actions.iter().filter(|action| action["id"].as_str() != stranger).collect();
        let seen = self.seen.lock().unwrap();
        let mut of_intents = 0;
        let intents = (0..self.case.callers.len())
            .flat_map(|caller| (0..self.case.callers[caller].tries).map(move |nth| (caller, nth)));
        let intents: BTreeSet<_> = intents.map(|(caller, nth)| self.intent(caller, nth)).collect();
        for intent in &intents {
            let started: Vec<_> = ours
                .iter()
                .filter(|action| {
                    let params = &action["commands"][0]["command"]["params"];
                    let arguments = params[1]["value"].as_str().unwrap();
                    let comment = action["requestorComment"].as_str().unwrap();
                    arguments == self.arguments(intent)
                        && (!self.case.same_commands
                            || comment.starts_with(&format!("case {intent} [")))
                })
                .map(|action| action["id"].as_str().unwrap().to_owned())
                .collect();
            of_intents += started.len();
            assert!(started.len() <= 1, "{intent} was started {} times", started.len());
            let returned: Vec<_> = seen.sessions.get(intent).into_iter().flatten().collect();
            assert!(
                returned.iter().all(|id| started.contains(id)),
                "{intent} got {returned:?}; the service has {actions:?}, the stranger {stranger:?}"
            );
            let named = seen.error_ids.iter().filter(|(other, _)| other == intent);
            named.for_each(|(_, id)| assert!(started.contains(id), "{intent}: an error has {id}"));
            let has_one_caller = self.has_one_caller(intent);
            assert!(
                started.is_empty() || !has_one_caller || !seen.not_started.contains(intent),
                "{intent} was started, but its last error says that nothing was"
            );
        }
        assert_eq!(of_intents, ours.len(), "an action that nobody wanted: {ours:?}");
        self.check_rules();
    }

    fn has_one_caller(&self, intent: &str) -> bool {
        let has =
            |caller: &Caller| caller.id.map(|id| format!("id-{id}")).as_deref() == Some(intent);
        self.case.callers.iter().filter(|caller| has(caller)).count() <= 1
    }

    fn check_rules(&self) {
        let broken = self.fixture.emulator.violations();
        let case = &self.case;
        assert!(case.same_commands || broken.duplicate_submit == 0, "{broken:?}");
        assert_eq!((broken.sessions, broken.bearer_at_blob), (0, 0), "{broken:?}");
        if case.callers.iter().any(|caller| caller.store != case.callers[0].store) {
            return;
        }
        // A client cannot know of a POST that the network repeats or delays, nor of a session that
        // the service starts and denies.
        let is_odd = |fate: &SubmitFate| !matches!(fate, SubmitFate::Usual);
        let is_disturbed = case.fates.iter().any(is_odd)
            || case.post_faults.iter().any(|placed| placed.fault.acts);
        assert!(is_disturbed || (broken.rate, broken.machine_busy) == (0, 0), "{broken:?}");
    }
}

async fn run_case(case: Case) {
    let running = RunningCase::new(case);
    let stranger = running.start_stranger().await;
    running.place_faults(stranger.as_deref());
    let calls = (0..running.case.callers.len()).map(|caller| running.call(caller));
    within(48 * HOUR, futures_util::future::join_all(calls)).await;
    // What was sent and is still on its way.
    sleep(1000.0).await;
    running.check(stranger.as_deref()).await;
}

/// Runs random cases. Returns the smallest one that fails, and how.
fn first_failure(mut runner: TestRunner) -> Option<String> {
    let run = |case| {
        paused_runtime().block_on(run_case(case));
        Ok(())
    };
    runner.run(&cases(), run).err().map(|error| error.to_string())
}

/// Without `MDE_LIVE_RESPONSE_SUBMITS`, the cases are the same each time.
fn runner(worker: u64, workers: u64) -> TestRunner {
    let count = env_number("MDE_LIVE_RESPONSE_SUBMITS", CASES);
    let config = Config {
        cases: u32::try_from(count.div_ceil(workers)).unwrap(),
        source_file: Some(file!()),
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    if std::env::var_os("MDE_LIVE_RESPONSE_SUBMITS").is_some() {
        return TestRunner::new(config);
    }
    let seed = [u8::try_from(worker).unwrap(); 32];
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

#[test]
fn random_submits_with_random_faults() {
    const WORKERS: u64 = 2;
    std::thread::scope(|scope| {
        let share = |worker| scope.spawn(move || first_failure(runner(worker, WORKERS)));
        let shares: Vec<_> = (0..WORKERS).map(share).collect();
        let failures: Vec<_> =
            shares.into_iter().filter_map(|share| share.join().unwrap()).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}
