//! Fixtures for tests of the core against the emulator, in one process and with the clock paused.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
use mde_live_response::transport::{Destination, Failure, Request, Response, Transport};

pub const HOUR: u64 = 3600;

/// Fails if `future` takes longer than `seconds`. The clock is paused, so that costs no real time.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("not done within {seconds} s"),
    }
}

/// Returns the number in an environment variable.
pub fn env_number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// What the network cannot reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outage {
    None,
    Everything,
    Results,
    /// No new token can be fetched, and the service refuses the current one.
    SignIn,
}

/// What the network does with a POST of a submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SubmitFate {
    Usual,
    /// It fails here, and reaches the emulator this many seconds later.
    Late(f64),
    /// It reaches the emulator, and again this many seconds later. The second response counts.
    Twice(f64),
}

/// Replaces responses of the results' host.
pub type BlobFilter = Box<dyn Fn(Response) -> BoxFuture<'static, Response> + Send + Sync>;

/// The network in front of the emulator. It adds faults that the emulator does not see.
pub struct FaultyNetwork {
    emulator: Emulator,
    outage: Mutex<Outage>,
    /// Lists of machine actions are lost before they reach the emulator.
    pub drop_lists: AtomicBool,
    /// The next submits fail here, and reach the emulator this many seconds later.
    pub submit_delays: Mutex<VecDeque<f64>>,
    /// What happens to the next submits after those.
    pub submit_fates: Mutex<VecDeque<SubmitFate>>,
    /// The hosts that were called, and whether the request had a token.
    pub called_hosts: Mutex<Vec<(String, bool)>>,
    pub blob_filter: Mutex<Option<BlobFilter>>,
}

impl FaultyNetwork {
    fn new(emulator: Emulator) -> Arc<Self> {
        Arc::new(Self {
            emulator,
            outage: Mutex::new(Outage::None),
            drop_lists: AtomicBool::new(false),
            submit_delays: Mutex::default(),
            submit_fates: Mutex::default(),
            called_hosts: Mutex::default(),
            blob_filter: Mutex::default(),
        })
    }

    pub fn set_outage(&self, outage: Outage) {
        *self.outage.lock().unwrap() = outage;
    }

    fn has_outage(&self, outage: Outage) -> bool {
        *self.outage.lock().unwrap() == outage
    }

    fn next_submit_fate(&self) -> SubmitFate {
        match self.submit_delays.lock().unwrap().pop_front() {
            Some(seconds) => SubmitFate::Late(seconds),
            None => self.submit_fates.lock().unwrap().pop_front().unwrap_or(SubmitFate::Usual),
        }
    }

    fn is_reachable(&self, request: &Request) -> bool {
        let to_service = request.destination == Destination::Service;
        !self.has_outage(Outage::Everything) && (to_service || !self.has_outage(Outage::Results))
    }
}

/// The transport of one client.
pub struct TestTransport(pub Arc<FaultyNetwork>);

impl Transport for TestTransport {
    fn send(&self, mut request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        let network = self.0.clone();
        let lost = || Failure {
            sent: true,
            error: Error::new(Kind::ConnectionFailed, "the network was cut"),
        };
        let bearer = request.headers.contains_key("authorization");
        if bearer && network.has_outage(Outage::SignIn) {
            request
                .headers
                .insert("authorization", http::HeaderValue::from_static("Bearer revoked"));
        }
        network.called_hosts.lock().unwrap().push((request.url.host().to_owned(), bearer));
        async move {
            if !network.is_reachable(&request) {
                return Err(Failure {
                    sent: false,
                    error: Error::new(Kind::ConnectionFailed, "the network is down"),
                });
            }
            let path = request.url.expose().path().to_owned();
            if request.destination == Destination::Service && path == "/api/machineactions" {
                if network.drop_lists.load(Ordering::SeqCst) {
                    return Err(lost());
                }
            } else if path.ends_with("/runliveresponse") {
                match network.next_submit_fate() {
                    SubmitFate::Usual => {}
                    SubmitFate::Late(seconds) => {
                        tokio::spawn(async move {
                            sleep(seconds).await;
                            let _ = network.emulator.send(request).await;
                        });
                        return Err(lost());
                    }
                    SubmitFate::Twice(seconds) => {
                        let _ = network.emulator.send(request.clone()).await;
                        sleep(seconds).await;
                        // The client has sent its request, whatever becomes of the copy.
                        return network.emulator.send(request).await.map_err(|_| lost());
                    }
                }
            }
            let destination = request.destination;
            let response = network.emulator.send(request).await?;
            let filtered = match &*network.blob_filter.lock().unwrap() {
                Some(filter) if destination == Destination::Blob => filter(response),
                _ => std::future::ready(response).boxed(),
            };
            Ok(filtered.await)
        }
        .boxed()
    }
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
