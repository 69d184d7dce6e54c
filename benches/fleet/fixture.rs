//! The emulator, a slow transport to it, and a client.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud, Limits};
use mde_live_response::emulator::{Behaviour, Emulator, ROLES, ScriptOutcome, Settings, Switches};
use mde_live_response::error::Result;
use mde_live_response::fleet::{Fleet, RunSpec};
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::Command;
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::session::Sessions;
use mde_live_response::transport::{Failure, Request, Response, Transport};

/// Seconds that a call takes on the network.
pub const CALL: f64 = 0.3;
/// Range of a script's duration in seconds. The seed decides.
pub const SCRIPT: std::ops::Range<f64> = 30.0..300.0;

/// Delays each call by this many seconds.
pub struct DelayedTransport(pub Emulator, pub f64);

impl Transport for DelayedTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            tokio::time::sleep(Duration::from_secs_f64(self.1)).await;
            self.0.send(request).await
        }
        .boxed()
    }
}

struct EmulatorTokenSource(Emulator);

impl TokenSource for EmulatorTokenSource {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        let token = self.0.token_with(ROLES);
        std::future::ready(Ok(AccessToken::new(Secret::new(token), None))).boxed()
    }

    fn describe(&self) -> String {
        "the emulator".to_owned()
    }
}

pub fn emulator(machines: usize, limits: Limits, log_size: usize) -> Emulator {
    let switches = Switches { log_size, ..Switches::default() };
    emulator_with(Settings { machines, limits, switches, ..Settings::default() })
}

pub fn emulator_with(settings: Settings) -> Emulator {
    let emulator = Emulator::new(settings).unwrap();
    let script = |machine: &str, _: Option<&str>| {
        let seed = u64::from_str_radix(&machine[..15], 16).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let duration = SCRIPT.start + rng.f64() * (SCRIPT.end - SCRIPT.start);
        let fails = (rng.f64() < 0.02).then(|| "it failed".to_owned());
        ScriptOutcome { stdout: "done\n".into(), duration, fails, ..ScriptOutcome::default() }
    };
    emulator.on_script("a.ps1", Behaviour::Callback(Arc::new(script)));
    emulator
}

/// Creates a client. The clients of one process share `quotas`.
pub fn client(
    emulator: &Emulator,
    quotas: &Arc<QuotaRegistry>,
    state: &str,
    limits: &Limits,
    call: f64,
) -> Arc<Sessions> {
    let clock = Clock::new();
    let mut options = ClientOptions::new(Cloud::default(), Some(&emulator.url())).unwrap();
    options.limits = limits.clone();
    options.state = Secret::new(state.to_owned());
    let tokens =
        TokenCache::new(Arc::new(EmulatorTokenSource(emulator.clone())), None, clock).unwrap();
    let pipeline = Pipeline::new(
        options,
        Arc::new(DelayedTransport(emulator.clone(), call)),
        tokens,
        quotas.clone(),
        clock,
    );
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

pub async fn start(sessions: &Arc<Sessions>, machines: Vec<String>) -> Fleet {
    let spec = RunSpec {
        machines: machines.into_iter().map(|machine| (machine, 0)).collect(),
        commands: vec![vec![Command::run_script("a.ps1", None).unwrap()]],
        comment: "a measurement".to_owned(),
        ..RunSpec::default()
    };
    Fleet::start(sessions, spec).await.unwrap()
}
