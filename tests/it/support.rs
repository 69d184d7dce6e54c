//! Fixtures for tests of the core against the emulator, in one process and with the clock paused.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud};
use mde_live_response::emulator::{
    Emulator, Fault, FaultKind, ROLES, Route, ScriptOutcome, Settings, Switches, Violations,
};
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::{Command, MachineAction};
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::session::{RunOptions, Session, SessionResult, Sessions, SubmitRequest};

use crate::network::{FaultyNetwork, Outage, TestTransport};

pub const HOUR: u64 = 3600;

/// Fails if `future` takes longer than `seconds`. The clock is paused, so that costs no real time.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("not done within {seconds} s"),
    }
}

/// A runtime for the cases of a property, whose clock is paused as in `#[tokio::test]`.
pub fn paused_runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap()
}

/// Returns the number in an environment variable.
pub fn env_number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

pub struct Fixture {
    pub emulator: Emulator,
    pub network: Arc<FaultyNetwork>,
    pub sessions: Arc<Sessions>,
    pub clock: Clock,
    quotas: Arc<QuotaRegistry>,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_settings(Settings::default())
    }

    pub fn with_switches(change: impl FnOnce(&mut Switches)) -> Self {
        let mut switches = Switches::default();
        change(&mut switches);
        Self::with_settings(Settings { switches, ..Settings::default() })
    }

    pub fn with_settings(settings: Settings) -> Self {
        let emulator = Emulator::new(settings).unwrap();
        emulator.add_library_file("helper.exe", b"MZ");
        emulator.on_script("echo.ps1", ScriptOutcome::default());
        let network = FaultyNetwork::new(emulator.clone());
        let quotas = Arc::new(QuotaRegistry::default());
        let sessions = client(&emulator, network.clone(), quotas.clone(), |_| {});
        let clock = sessions.pipeline.clock;
        Self { emulator, network, sessions, clock, quotas }
    }

    /// A client with its own store, like another process.
    pub fn unrelated_client(&self) -> Arc<Sessions> {
        self.client_with(|_| {})
    }

    /// Another client with the same store.
    pub fn sibling_client(&self) -> Arc<Sessions> {
        self.client_sharing(&self.quotas, |_| {})
    }

    pub fn client_with(&self, change: impl FnOnce(&mut ClientOptions)) -> Arc<Sessions> {
        self.client_sharing(&Arc::default(), change)
    }

    /// A client that shares the stores of `quotas`.
    pub fn client_sharing(
        &self,
        quotas: &Arc<QuotaRegistry>,
        change: impl FnOnce(&mut ClientOptions),
    ) -> Arc<Sessions> {
        client(&self.emulator, self.network.clone(), quotas.clone(), change)
    }

    pub fn machine(&self, at: usize) -> String {
        self.emulator.machine_ids()[at].clone()
    }

    /// Adds a script that runs for `seconds`.
    pub fn script(&self, name: &str, seconds: f64) {
        let outcome = ScriptOutcome {
            stdout: "done\n".to_owned(),
            duration: seconds,
            ..ScriptOutcome::default()
        };
        self.emulator.on_script(name, outcome);
    }

    /// Returns a submit of `echo.ps1` to the first machine.
    pub fn submit_args(&self) -> SubmitRequest {
        self.submit_args_for(0)
    }

    pub fn submit_args_for(&self, machine: usize) -> SubmitRequest {
        SubmitRequest {
            machine_id: self.machine(machine),
            commands: vec![run_script("echo.ps1")],
            comment: "case 42".to_owned(),
            correlation_id: None,
            wait_if_busy: false,
        }
    }

    pub fn submit_args_with_id(&self, correlation_id: &str) -> SubmitRequest {
        SubmitRequest { correlation_id: Some(correlation_id.to_owned()), ..self.submit_args() }
    }

    pub async fn submit(&self, submit: SubmitRequest) -> Result<Session> {
        within(3 * HOUR, self.sessions.submit(submit, None)).await
    }

    pub async fn run(&self, submit: SubmitRequest, options: RunOptions) -> Result<SessionResult> {
        within(4 * HOUR, self.sessions.run(submit, options)).await
    }

    pub fn fault(&self, route: &str, fault: Fault, nth: u32, times: u32) {
        self.emulator.fault("*", route, fault, nth, times).unwrap();
    }

    /// Returns every action of the service, even if no list shows it yet.
    pub async fn actions(&self) -> Vec<MachineAction> {
        self.emulator.set_switches(|switches| switches.list_lag = 0.0);
        self.network.drop_lists.store(false, Ordering::SeqCst);
        let other = self.client_with(|options| options.max_wait = 7200.0);
        within(3 * HOUR, other.pipeline.list_machine_actions(None, None)).await.unwrap()
    }

    pub fn request_count(&self, route: Route) -> usize {
        self.emulator.requests().iter().filter(|request| request.route == route).count()
    }

    /// Returns the times, in seconds, at which the calls of a route arrived.
    pub fn request_times(&self, route: Route) -> Vec<f64> {
        let of_route = self.emulator.requests();
        of_route
            .iter()
            .filter(|request| request.route == route)
            .map(|request| request.time as f64 / 1e7)
            .collect()
    }

    /// Returns the number of intents and of slots in the client's store.
    pub async fn count_held(&self) -> (usize, usize) {
        count_held(&self.sessions).await
    }

    pub fn assert_no_violations(&self) {
        assert_eq!(self.emulator.violations(), Violations::default());
    }
}

fn client(
    emulator: &Emulator,
    network: Arc<FaultyNetwork>,
    quotas: Arc<QuotaRegistry>,
    change: impl FnOnce(&mut ClientOptions),
) -> Arc<Sessions> {
    let clock = Clock::new();
    let mut options = ClientOptions::new(Cloud::default(), Some(&emulator.url())).unwrap();
    change(&mut options);
    let tokens =
        TokenCache::new(Arc::new(EmulatorTokenSource(network.clone())), None, clock).unwrap();
    let pipeline = Pipeline::new(options, Arc::new(TestTransport(network)), tokens, quotas, clock);
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

/// Gives a fresh token at every fetch.
struct EmulatorTokenSource(Arc<FaultyNetwork>);

impl TokenSource for EmulatorTokenSource {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        let fetched = if self.0.has_outage(Outage::SignIn) {
            Err(Error::new(Kind::Authentication, "the client secret is wrong"))
        } else {
            Ok(AccessToken::new(Secret::new(self.0.emulator.token_with(ROLES)), None))
        };
        std::future::ready(fetched).boxed()
    }

    fn describe(&self) -> String {
        "the emulator".to_owned()
    }
}

/// Returns the number of intents and of slots in a client's store.
pub async fn count_held(sessions: &Sessions) -> (usize, usize) {
    let (_, quota) = sessions.pipeline.shared_quota().await.unwrap();
    let snapshot = quota.store().snapshot().await.unwrap();
    (snapshot.intents.len(), snapshot.slots.len())
}

/// Returns the number of submits that the service accepted.
pub fn count_accepted(fixture: &Fixture) -> usize {
    let posts = fixture.emulator.requests();
    posts
        .iter()
        .filter(|r| {
            r.route == Route::RunLiveResponse
                && r.status == mde_live_response::emulator::RequestOutcome::Status(201)
        })
        .count()
}

/// Returns the most calls in any window of this many seconds.
pub fn max_calls_within(times: &[f64], seconds: f64) -> usize {
    let from = |start: usize| {
        times[start..].iter().take_while(|time| **time < times[start] + seconds).count()
    };
    (0..times.len()).map(from).max().unwrap_or(0)
}

pub fn run_script(script: &str) -> Command {
    Command::run_script(script, None).unwrap()
}

/// The faults after which a client cannot know whether the service acted.
pub const LOST_RESPONSES: [FaultKind; 5] = [
    FaultKind::DropBefore,
    FaultKind::DropUnread,
    FaultKind::DropAfter,
    FaultKind::Truncate,
    FaultKind::Garble,
];

pub fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind)
}

/// A folder that is deleted when it is dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mlr-it-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Returns the relative path of every collected file in the folder.
    pub fn collected_files(&self) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| file != "manifest.jsonl");
        files
    }

    /// Returns the relative path of every file in the folder.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&self.0).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
