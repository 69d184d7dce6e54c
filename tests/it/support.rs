//! The core against the emulator in process, with the clock paused: a world of its own for each test.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{Cloud, Options};
use mde_live_response::emulator::{
    Emulator, Fault, FaultKind, ROLES, Route, ScriptOutcome, Settings, Switches, Violations,
};
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::limits::Quotas;
use mde_live_response::model::{Command, MachineAction};
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::session::{RunOptions, Session, SessionResult, Sessions, Submit};
use mde_live_response::transport::{Audience, Failure, Request, Response, Transport};

pub const HOUR: u64 = 3600;

/// Nothing may hang: the clock is paused, so the bound costs no time.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), future).await {
        Ok(value) => value,
        Err(_) => panic!("it hangs: no end within {seconds} s"),
    }
}

pub async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// What can't be reached, or fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Down {
    Nothing,
    Everything,
    Results,
    /// No token is given out, and the one in use is not taken any more.
    SignIn,
}

/// The way to the emulator, on which things can go wrong that the emulator knows nothing of.
pub struct Wire {
    emulator: Emulator,
    down: Mutex<Down>,
    /// Lists of machine actions are lost before they arrive.
    pub lists_are_cut: AtomicBool,
    /// Each submit to come is lost here and reaches the emulator so many seconds later.
    pub late_submits: Mutex<VecDeque<f64>>,
    /// Hosts that were called, and whether with a token.
    pub called: Mutex<Vec<(String, bool)>>,
}

impl Wire {
    fn new(emulator: Emulator) -> Arc<Self> {
        Arc::new(Self {
            emulator,
            down: Mutex::new(Down::Nothing),
            lists_are_cut: AtomicBool::new(false),
            late_submits: Mutex::default(),
            called: Mutex::default(),
        })
    }

    pub fn set_down(&self, down: Down) {
        *self.down.lock().unwrap() = down;
    }

    fn is_down(&self, down: Down) -> bool {
        *self.down.lock().unwrap() == down
    }

    fn reaches(&self, request: &Request) -> bool {
        let to_service = request.audience == Audience::Service;
        !self.is_down(Down::Everything) && (to_service || !self.is_down(Down::Results))
    }
}

/// The transport of one client.
pub struct Line(pub Arc<Wire>);

impl Transport for Line {
    fn send(&self, mut request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        let wire = self.0.clone();
        let lost = || Failure { sent: true, error: Error::new(Kind::ConnectionFailed, "the wire was cut") };
        let bearer = request.headers.contains_key("authorization");
        if bearer && wire.is_down(Down::SignIn) {
            request.headers.insert("authorization", http::HeaderValue::from_static("Bearer revoked"));
        }
        wire.called.lock().unwrap().push((request.url.host().to_owned(), bearer));
        async move {
            if !wire.reaches(&request) {
                return Err(Failure { sent: false, error: Error::new(Kind::ConnectionFailed, "there is no way") });
            }
            let path = request.url.expose().path().to_owned();
            if request.audience == Audience::Service && path == "/api/machineactions" {
                if wire.lists_are_cut.load(Ordering::SeqCst) {
                    return Err(lost());
                }
            } else if path.ends_with("/runliveresponse") {
                let late = wire.late_submits.lock().unwrap().pop_front();
                if let Some(seconds) = late {
                    tokio::spawn(async move {
                        sleep(seconds).await;
                        let _ = wire.emulator.send(request).await;
                    });
                    return Err(lost());
                }
            }
            wire.emulator.send(request).await
        }
        .boxed()
    }
}

pub struct World {
    pub emulator: Emulator,
    pub wire: Arc<Wire>,
    pub sessions: Arc<Sessions>,
    pub clock: Clock,
    quotas: Arc<Quotas>,
}

impl World {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn switched(change: impl FnOnce(&mut Switches)) -> Self {
        let mut switches = Switches::default();
        change(&mut switches);
        Self::with(Settings { switches, ..Settings::default() })
    }

    pub fn with(settings: Settings) -> Self {
        let emulator = Emulator::new(settings).unwrap();
        emulator.add_library_file("helper.exe", b"MZ");
        emulator.on_script("echo.ps1", ScriptOutcome::default());
        let wire = Wire::new(emulator.clone());
        let quotas = Arc::new(Quotas::default());
        let sessions = client(&emulator, wire.clone(), quotas.clone(), |_| {});
        let clock = sessions.pipeline.clock;
        Self { emulator, wire, sessions, clock, quotas }
    }

    /// Another process: a client with a store of its own.
    pub fn elsewhere(&self) -> Arc<Sessions> {
        self.changed(|_| {})
    }

    /// Another client that shares the store.
    pub fn sibling(&self) -> Arc<Sessions> {
        self.sharing(&self.quotas, |_| {})
    }

    pub fn changed(&self, change: impl FnOnce(&mut Options)) -> Arc<Sessions> {
        self.sharing(&Arc::default(), change)
    }

    /// A client that shares the stores of `quotas`.
    pub fn sharing(&self, quotas: &Arc<Quotas>, change: impl FnOnce(&mut Options)) -> Arc<Sessions> {
        client(&self.emulator, self.wire.clone(), quotas.clone(), change)
    }

    pub fn machine(&self, at: usize) -> String {
        self.emulator.machine_ids()[at].clone()
    }

    /// A script that runs so many seconds.
    pub fn script(&self, name: &str, seconds: f64) {
        let outcome = ScriptOutcome { stdout: "done\n".to_owned(), duration: seconds, ..ScriptOutcome::default() };
        self.emulator.on_script(name, outcome);
    }

    /// A submit of `echo.ps1` to the first machine.
    pub fn order(&self) -> Submit {
        self.order_on(0)
    }

    pub fn order_on(&self, machine: usize) -> Submit {
        Submit {
            machine_id: self.machine(machine),
            commands: vec![run("echo.ps1")],
            comment: "case 42".to_owned(),
            correlation_id: None,
            wait_if_busy: false,
        }
    }

    pub fn named(&self, correlation_id: &str) -> Submit {
        Submit { correlation_id: Some(correlation_id.to_owned()), ..self.order() }
    }

    pub async fn submit(&self, submit: Submit) -> Result<Session> {
        within(3 * HOUR, self.sessions.submit(submit, None)).await
    }

    pub async fn run(&self, submit: Submit, options: RunOptions) -> Result<SessionResult> {
        within(4 * HOUR, self.sessions.run(submit, options)).await
    }

    pub fn fault(&self, route: &str, fault: Fault, nth: u32, times: u32) {
        self.emulator.fault("*", route, fault, nth, times).unwrap();
    }

    /// Every action that the service has, listed or not so yet.
    pub async fn actions(&self) -> Vec<MachineAction> {
        self.emulator.set_switches(|switches| switches.list_lag = 0.0);
        self.wire.lists_are_cut.store(false, Ordering::SeqCst);
        let other = self.changed(|options| options.max_wait = 7200.0);
        within(3 * HOUR, other.pipeline.machine_actions(None, None)).await.unwrap()
    }

    pub fn count(&self, route: Route) -> usize {
        self.emulator.requests().iter().filter(|request| request.route == route).count()
    }

    /// When each call of a route arrived, in seconds.
    pub fn times(&self, route: Route) -> Vec<f64> {
        let of_route = self.emulator.requests();
        of_route.iter().filter(|request| request.route == route).map(|request| request.time as f64 / 1e7).collect()
    }

    /// How many intents and how many slots the client's store holds.
    pub async fn held(&self) -> (usize, usize) {
        held(&self.sessions).await
    }

    pub fn broke_nothing(&self) {
        assert_eq!(self.emulator.violations(), Violations::default());
    }
}

fn client(
    emulator: &Emulator,
    wire: Arc<Wire>,
    quotas: Arc<Quotas>,
    change: impl FnOnce(&mut Options),
) -> Arc<Sessions> {
    let clock = Clock::new();
    let mut options = Options::new(Cloud::default(), Some(&emulator.url())).unwrap();
    change(&mut options);
    let tokens = TokenCache::new(Arc::new(Login(wire.clone())), None, clock).unwrap();
    let pipeline = Pipeline::new(options, Arc::new(Line(wire)), tokens, quotas, clock);
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

/// A fresh token at every fetch.
struct Login(Arc<Wire>);

impl TokenSource for Login {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        let fetched = if self.0.is_down(Down::SignIn) {
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

/// How many intents and how many slots a client's store holds.
pub async fn held(sessions: &Sessions) -> (usize, usize) {
    let (_, quota) = sessions.pipeline.state().await.unwrap();
    let snapshot = quota.store().snapshot().await.unwrap();
    (snapshot.intents.len(), snapshot.slots.len())
}

/// Submits that the service took.
pub fn accepted(world: &World) -> usize {
    let posts = world.emulator.requests();
    posts
        .iter()
        .filter(|r| r.route == Route::RunLiveResponse && r.status == mde_live_response::emulator::Ended::Status(201))
        .count()
}

/// The most calls in any window of so many seconds.
pub fn most_within(times: &[f64], seconds: f64) -> usize {
    let from = |start: usize| times[start..].iter().take_while(|time| **time < times[start] + seconds).count();
    (0..times.len()).map(from).max().unwrap_or(0)
}

pub fn run(script: &str) -> Command {
    Command::run_script(script, None).unwrap()
}

pub fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind)
}

/// A folder that is gone with its test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mlr-it-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Every file below it, by its path within it.
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

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
