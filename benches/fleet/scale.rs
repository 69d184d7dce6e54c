//! Very many machines in one process, over HTTP on loopback and in real time. The service runs in
//! another process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud, Limits};
use mde_live_response::emulator::{self, Emulator, NewMachine, ScriptOutcome, Settings, Switches};
use mde_live_response::error::Result;
use mde_live_response::fleet::Cursor;
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::session::Sessions;
use mde_live_response::transport::http::{HttpClientRegistry, HttpTransport};

use crate::fixture::start;

const SERVICE: &str = "MDE_LIVE_RESPONSE_BENCH_SERVICE";

pub fn is_service() -> bool {
    std::env::var_os(SERVICE).is_some()
}

/// Limits without rates: only the slots limit the run.
fn limits() -> Limits {
    Limits { submit: Vec::new(), read: Vec::new(), ..Limits::default() }
}

/// Runs the service. Prints its URL, a token and the ids of the machines, and serves until its
/// standard input ends.
pub fn serve() {
    let machines: usize = std::env::var(SERVICE).unwrap().parse().unwrap();
    let switches = Switches { log_size: 1, ..Switches::default() };
    let service =
        Emulator::new(Settings { machines: 0, limits: limits(), switches, ..Settings::default() })
            .unwrap();
    for number in 0..machines {
        let machine = NewMachine::named(format!("m-{number:06}.example.test"));
        service.add_machine(NewMachine { start_delay: 0.0, ..machine }).unwrap();
    }
    let outcome =
        ScriptOutcome { stdout: "done\n".into(), duration: 0.0, ..ScriptOutcome::default() };
    service.on_script("a.ps1", outcome);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _server = emulator::serve(service.clone(), "127.0.0.1", 0, false).await.unwrap();
        println!("{}\n{}", service.url(), service.token());
        service.machine_ids().iter().for_each(|id| println!("{id}"));
        println!();
        tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await.unwrap().unwrap();
    });
}

struct Service {
    process: Child,
    url: String,
    token: String,
    ids: Vec<String>,
}

impl Service {
    fn spawn(machines: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(SERVICE, machines.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines =
            BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap_or_default);
        let mut lines = lines.take_while(|line: &String| !line.is_empty());
        let (url, token) = (lines.next().unwrap(), lines.next().unwrap());
        Self { url, token, ids: lines.collect(), process }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

struct StaticToken(String);

impl TokenSource for StaticToken {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        std::future::ready(Ok(AccessToken::new(Secret::new(self.0.clone()), None))).boxed()
    }

    fn describe(&self) -> String {
        "the emulator".to_owned()
    }
}

fn client(service: &Service, state: String) -> Arc<Sessions> {
    let clock = Clock::new();
    let mut options = ClientOptions::new(Cloud::default(), Some(&service.url)).unwrap();
    options.limits = limits();
    options.state = Secret::new(state);
    let transport = Arc::new(HttpTransport::new(&options, &HttpClientRegistry::default()).unwrap());
    let tokens =
        TokenCache::new(Arc::new(StaticToken(service.token.clone())), None, clock).unwrap();
    Arc::new(Sessions::new(Arc::new(Pipeline::new(
        options,
        transport,
        tokens,
        Arc::default(),
        clock,
    ))))
}

pub fn measure(machines: usize) {
    let mut service = Service::spawn(machines);
    let folder = std::env::temp_dir().join(format!("mde-bench-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let sessions = client(&service, format!("sqlite:///{}", folder.join("state.db").display()));
        let (before, started) = (peak_mb(), Instant::now());
        let fleet = start(&sessions, std::mem::take(&mut service.ids)).await;
        let mut cursor = Cursor::default();
        let mut ok = 0;
        while let Some(outcome) = fleet.next(&mut cursor).await.unwrap() {
            ok += usize::from(outcome.is_ok());
        }
        let per_machine = started.elapsed().as_secs_f64() * 1000.0 / machines as f64;
        println!(
            "\n{machines} machines, over HTTP and with SQLite: {ok} ok, {per_machine:.2} ms per machine"
        );
        println!(
            "  at most {} MB, {before} MB of it before the run (bound: 300 MB for 100,000)",
            peak_mb()
        );
    });
    std::fs::remove_dir_all(folder).unwrap();
}

fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024
}
