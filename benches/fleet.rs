//! A fleet with the clock paused, the bound beside each figure.
//! `cargo bench --no-default-features --bench fleet`, and to measure one thing only, `-- WORD`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement, not part of the package")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{Cloud, Limits, Options};
use mde_live_response::emulator::{
    Behaviour, Emulator, Ended, NewMachine, ROLES, Route, ScriptOutcome, Settings, Switches,
};
use mde_live_response::error::Result;
use mde_live_response::fleet::{Cursor, Fleet, Order};
use mde_live_response::limits::Quotas;
use mde_live_response::model::Command;
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::{Secret, SecretUrl};
use mde_live_response::session::Sessions;
use mde_live_response::transport::{Audience, Content, Failure, Request, Response, Transport};
use serde_json::Value;

/// Seconds that a call takes on the wire.
const CALL: f64 = 0.3;
/// A session's script: seconds, from the seed.
const SCRIPT: std::ops::Range<f64> = 30.0..300.0;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |word: &str| wanted.is_empty() || wanted.iter().any(|it| it == word);
    if wants("reachable") {
        paused(async { reachable(1000, 0.0, false).await });
    }
    if wants("unreachable") {
        paused(async { reachable(1000, 0.05, true).await });
        paused(async { reachable(1000, 0.60, true).await });
    }
    if wants("peers") {
        paused(peers(1000));
    }
    if wants("tenants") {
        paused(tenants());
    }
    if wants("many") {
        for machines in [1_000, 10_000, 100_000] {
            many(machines);
        }
    }
}

fn paused(measure: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(measure);
}

/// Each call takes its time, in seconds.
struct Wire(Emulator, f64);

impl Transport for Wire {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            tokio::time::sleep(Duration::from_secs_f64(self.1)).await;
            self.0.send(request).await
        }
        .boxed()
    }
}

struct Login(Emulator);

impl TokenSource for Login {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        let token = self.0.token_with(ROLES);
        std::future::ready(Ok(AccessToken::new(Secret::new(token), None))).boxed()
    }

    fn describe(&self) -> String {
        "the emulator".to_owned()
    }
}

fn emulator(machines: usize, limits: Limits, log_size: usize) -> Emulator {
    let switches = Switches { log_size, ..Switches::default() };
    let emulator = Emulator::new(Settings { machines, limits, switches, ..Settings::default() }).unwrap();
    let script = |machine: &str, _: Option<&str>| {
        let seed = u64::from_str_radix(&machine[..15], 16).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let duration = SCRIPT.start + rng.f64() * (SCRIPT.end - SCRIPT.start);
        let fails = (rng.f64() < 0.02).then(|| "it failed".to_owned());
        ScriptOutcome { stdout: "done\n".into(), duration, fails, ..ScriptOutcome::default() }
    };
    emulator.on_script("a.ps1", Behaviour::Call(Arc::new(script)));
    emulator
}

/// `quotas`: what the clients of one process share.
fn client(emulator: &Emulator, quotas: &Arc<Quotas>, state: &str, limits: &Limits, call: f64) -> Arc<Sessions> {
    let clock = Clock::new();
    let mut options = Options::new(Cloud::default(), Some(&emulator.url())).unwrap();
    options.limits = limits.clone();
    options.state = Secret::new(state.to_owned());
    let tokens = TokenCache::new(Arc::new(Login(emulator.clone())), None, clock).unwrap();
    let pipeline = Pipeline::new(options, Arc::new(Wire(emulator.clone(), call)), tokens, quotas.clone(), clock);
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

async fn start(sessions: &Arc<Sessions>, machines: Vec<String>) -> Fleet {
    let order = Order {
        machines: machines.into_iter().map(|machine| (machine, 0)).collect(),
        commands: vec![vec![Command::run_script("a.ps1", None).unwrap()]],
        comment: "a measurement".to_owned(),
        ..Order::default()
    };
    Fleet::start(sessions, order).await.unwrap()
}

struct Run {
    /// Seconds from the start to the outcome of the last reachable machine.
    reachable: f64,
    end: f64,
    /// When each submit arrived, from the start.
    submits: Vec<f64>,
    accepted: usize,
    untried_until: f64,
    calls: usize,
    longest: f64,
    mean: f64,
    broken: bool,
}

async fn run(machines: usize, offline: f64) -> Run {
    let limits = Limits::default();
    let emulator = emulator(0, limits.clone(), 10_000_000);
    let mut rng = fastrand::Rng::with_seed(7);
    for number in 0..machines {
        let machine = NewMachine::named(format!("m-{number:06}.example.test"));
        let machine = if rng.f64() < offline { machine.offline() } else { machine };
        emulator.add_machine(machine).unwrap();
    }
    let sessions = client(&emulator, &Arc::default(), "memory:", &limits, CALL);
    let clock = sessions.pipeline.clock;
    let began = clock.now();
    let fleet = start(&sessions, emulator.machine_ids()).await;
    let mut cursor = Cursor::default();
    let (mut reachable, mut end): (f64, f64) = (0.0, 0.0);
    while let Some(outcome) = fleet.next(&mut cursor).await.unwrap() {
        end = end.max(outcome.ended - began);
        if outcome.reason != "timed_out" {
            reachable = reachable.max(outcome.ended - began);
        }
    }
    let requests = emulator.requests();
    let posts: Vec<_> = requests.iter().filter(|it| it.route == Route::RunLiveResponse).collect();
    let submits: Vec<f64> = posts.iter().map(|it| it.time as f64 / 1e7 - began).collect();
    let mut tried = std::collections::HashSet::new();
    let untried_until = posts.iter().zip(&submits).filter(|(it, _)| tried.insert(it.path.clone())).map(|(_, at)| *at);
    let untried_until = untried_until.fold(0.0, f64::max);
    let links = requests.iter().filter(|it| matches!(it.route, Route::GetResultLink | Route::Blob)).count();
    let lengths: Vec<f64> = emulator
        .machine_ids()
        .iter()
        .map(|id| SCRIPT.start + fastrand::Rng::with_seed(u64::from_str_radix(&id[..15], 16).unwrap()).f64() * 270.0)
        .collect();
    Run {
        reachable,
        end,
        accepted: posts.iter().filter(|it| it.status == Ended::Status(201)).count(),
        submits,
        untried_until,
        calls: requests.len() - links,
        longest: lengths.iter().copied().fold(0.0, f64::max),
        mean: lengths.iter().sum::<f64>() / machines as f64,
        broken: emulator.violations() != Default::default(),
    }
}

/// The last submit can not be earlier than the strict window lets it, nor than the slots do.
fn bound(machines: usize, mean: f64) -> f64 {
    let windows = ((machines - 1) / 10) as f64 * (60.0 + CALL);
    windows.max(machines as f64 * mean / 50.0)
}

async fn reachable(machines: usize, offline: f64, compare: bool) {
    let run = run(machines, offline).await;
    let last = run.submits.last().copied().unwrap_or_default();
    println!("\n{machines} machines, {:.0} % of them off, and not known to be", offline * 100.0);
    println!("  rules broken: {} (bound: none)", if run.broken { "yes" } else { "none" });
    if compare {
        let alone = ((machines as f64 * (1.0 - offline)) as usize).max(1);
        let alone = bound(alone, run.mean) + run.longest;
        let gaps = run.submits.windows(2).filter(|pair| pair[1] <= run.untried_until).map(|pair| pair[1] - pair[0]);
        println!(
            "  the reachable done after {:.0} s, alone at best {alone:.0} s: {:.3} (bound: 1.10 for 5 %)",
            run.reachable,
            run.reachable / alone
        );
        println!("  the end after the last submit: {:.0} s (bound: 7,200 s)", run.end - last);
        println!(
            "  the longest time without a submit while an untried one waits: {:.0} s (bound: 600 s)",
            gaps.fold(0.0, f64::max)
        );
        println!("  submits a machine: {:.2}", run.accepted as f64 / machines as f64);
    } else {
        let bound = bound(machines, run.mean);
        println!("  the last submit after {last:.0} s, at best {bound:.0} s: {:.4} (bound: 1.01)", last / bound);
        println!(
            "  the end after it: {:.0} s (bound: the longest session, {:.0} s, and a look)",
            run.end - last,
            run.longest
        );
        println!("  calls a session: {:.2} (bound: 4)", run.calls as f64 / machines as f64);
    }
}

/// The same machines, as other tools do it: ten at a time, each session polled by itself every 15 s, one try for each
/// call, and the next ten when all of these are over.
async fn peers(machines: usize) {
    let limits = Limits::default();
    let emulator = emulator(machines, limits.clone(), 10_000_000);
    let clock = Clock::new();
    let began = clock.now();
    let ids = emulator.machine_ids();
    let mut had = 0;
    for ten in ids.chunks(10) {
        let loops = ten.iter().map(|id| peers_loop(&emulator, id));
        had += futures_util::future::join_all(loops).await.into_iter().flatten().count();
    }
    let calls = emulator.requests();
    let links = calls.iter().filter(|it| matches!(it.route, Route::GetResultLink | Route::Blob)).count();
    println!("\n{machines} machines, as other tools do it: ten at a time, each polled every 15 s");
    println!("  the end after {:.0} s, {had} results had", clock.now() - began);
    println!("  calls a session: {:.2}", (calls.len() - links) as f64 / machines as f64);
    println!("  refused by a limit: {}", calls.iter().filter(|it| it.status == Ended::Status(429)).count());
    println!("  outcomes before the last: none are told");
}

/// None where any call was refused.
async fn peers_loop(emulator: &Emulator, id: &str) -> Option<()> {
    let body = serde_json::json!({"Comment": "a measurement", "Commands": [
        {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]},
    ]});
    let path = format!("/api/machines/{id}/runliveresponse");
    let started = peers_call(emulator, Method::POST, &path, Some(body)).await?;
    let action = format!("/api/machineactions/{}", started["id"].as_str()?);
    loop {
        tokio::time::sleep(Duration::from_secs(15)).await;
        let now = peers_call(emulator, Method::GET, &action, None).await?;
        if !["Pending", "InProgress"].contains(&now["status"].as_str()?) {
            break;
        }
    }
    let link = format!("{action}/GetLiveResponseResultDownloadLink(index=0)");
    peers_call(emulator, Method::GET, &link, None).await.map(drop)
}

async fn peers_call(emulator: &Emulator, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", emulator.token_with(ROLES));
    headers.insert("authorization", bearer.parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(&body).unwrap());
    let request = Request {
        audience: Audience::Service,
        method,
        url: SecretUrl::parse(&format!("{}{path}", emulator.url()), "a call").unwrap(),
        headers,
        body: Content::from(body),
        timeout: Duration::from_secs(30),
    };
    let response = Wire(emulator.clone(), CALL).send(request).await.ok()?;
    let is_success = response.status.is_success();
    let body = response.bytes(1 << 20).await.ok()?;
    is_success.then(|| serde_json::from_slice(&body).unwrap())
}

/// So many tenants of one process, each with its own client, limits and fleet; and one alone.
async fn tenants() {
    let quotas = Arc::default();
    let one = async |machines: usize| {
        let limits = Limits::default();
        let emulator = emulator(machines, limits.clone(), 1);
        let sessions = client(&emulator, &quotas, "memory:", &limits, CALL);
        let began = sessions.pipeline.clock.now();
        let fleet = start(&sessions, emulator.machine_ids()).await;
        let outcomes = fleet.outcomes().await.unwrap();
        assert!(outcomes.len() == machines && emulator.violations() == Default::default());
        sessions.pipeline.clock.now() - began
    };
    let alone = one(100).await;
    let started = Instant::now();
    let all = futures_util::future::join_all((0..200).map(|_| one(100))).await;
    let slowest = all.into_iter().fold(0.0, f64::max);
    println!("\n200 tenants at once, 100 machines each");
    println!("  the slowest takes {slowest:.0} s, one alone {alone:.0} s (bound: the same, within a session)");
    println!("  {:.1} s of one core, in all", started.elapsed().as_secs_f64());
}

/// In real time, for SQLite has its own. The emulator holds every machine and action in the same process: its share is
/// part of the figure.
fn many(machines: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let limits = Limits { submit: Vec::new(), read: Vec::new(), ..Limits::default() };
        let emulator = emulator(0, limits.clone(), 1);
        for number in 0..machines {
            let machine = NewMachine::named(format!("m-{number:06}.example.test"));
            emulator.add_machine(NewMachine { start_delay: 0.0, ..machine }).unwrap();
        }
        let outcome = ScriptOutcome { stdout: "done\n".into(), duration: 0.0, ..ScriptOutcome::default() };
        emulator.on_script("a.ps1", outcome);
        let folder = std::env::temp_dir().join(format!("mde-bench-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let state = format!("sqlite:///{}", folder.join("state.db").display());
        let sessions = client(&emulator, &Arc::default(), &state, &limits, 0.0);
        let before = peak_mb();
        let started = Instant::now();
        let fleet = start(&sessions, emulator.machine_ids()).await;
        let mut cursor = Cursor::default();
        let mut ok = 0;
        while let Some(outcome) = fleet.next(&mut cursor).await.unwrap() {
            ok += usize::from(outcome.is_ok());
        }
        let each = started.elapsed().as_secs_f64() * 1000.0 / machines as f64;
        println!("\n{machines} machines in SQLite: {ok} ok, {each:.2} ms a machine");
        println!("  at the most {} MB, {before} MB of it before the run (bound: 300 MB for 100,000)", peak_mb());
        std::fs::remove_dir_all(folder).unwrap();
    });
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}
