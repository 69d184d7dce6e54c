//! Measures the calls that following 50 sessions needs, and the delay until their end is known.
//! Uses the service's limits and a paused clock.
//! `cargo bench --no-default-features --bench poller`

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not part of the package"
)]

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mde_live_response::auth::{AccessToken, TokenCache, TokenSource};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud};
use mde_live_response::emulator::{Emulator, ROLES, Route, ScriptOutcome, Settings};
use mde_live_response::error::Result;
use mde_live_response::limits::QuotaRegistry;
use mde_live_response::model::Command;
use mde_live_response::operation::Operation;
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::session::{Sessions, SubmitRequest};

const SESSIONS: usize = 50;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    for clients in [1, 8] {
        runtime.block_on(measure(clients));
    }
}

struct EmulatorTokenSource(Emulator);

impl TokenSource for EmulatorTokenSource {
    fn fetch(&self, _claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        std::future::ready(Ok(AccessToken::new(Secret::new(self.0.token_with(ROLES)), None)))
            .boxed()
    }

    fn describe(&self) -> String {
        "the emulator".to_owned()
    }
}

fn client(emulator: &Emulator, quotas: &Arc<QuotaRegistry>) -> Arc<Sessions> {
    let clock = Clock::new();
    let options = ClientOptions::new(Cloud::default(), Some(&emulator.url())).unwrap();
    let tokens =
        TokenCache::new(Arc::new(EmulatorTokenSource(emulator.clone())), None, clock).unwrap();
    let pipeline =
        Pipeline::new(options, Arc::new(emulator.clone()), tokens, quotas.clone(), clock);
    Arc::new(Sessions::new(Arc::new(pipeline)))
}

/// Runs 50 sessions of 330 to 599 s at once, by this many clients that share a store.
async fn measure(clients: usize) {
    let emulator = Emulator::new(Settings { machines: SESSIONS, ..Settings::default() }).unwrap();
    let quotas = Arc::new(QuotaRegistry::default());
    let clients: Vec<_> = (0..clients).map(|_| client(&emulator, &quotas)).collect();
    let runs = emulator.machine_ids().into_iter().enumerate().map(|(at, machine_id)| {
        let (sessions, script) = (clients[at % clients.len()].clone(), format!("s{at}.ps1"));
        let duration = 330.0 + (at * 37 % 270) as f64;
        emulator.on_script(&script, ScriptOutcome { duration, ..ScriptOutcome::default() });
        let submit = SubmitRequest {
            machine_id,
            commands: vec![Command::run_script(&script, None).unwrap()],
            comment: "a measurement".to_owned(),
            correlation_id: None,
            wait_if_busy: false,
        };
        tokio::spawn(async move {
            let session = sessions.submit(submit, None).await.unwrap();
            let ended = session.wait(None, None, None).await.unwrap();
            sessions.pipeline.clock.now() - ended.last_update_date_time_utc.unwrap().to_unix()
        })
    });
    let min_share = Arc::new(Mutex::new(1.0));
    let watching = tokio::spawn(watch_free_share(clients[0].clone(), min_share.clone()));
    let mut delays = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        delays.push(run.await.unwrap());
    }
    watching.abort();
    delays.sort_by(f64::total_cmp);
    let calls = emulator.requests();
    let lists = calls.iter().filter(|call| call.route == Route::ListMachineActions);
    let lists: Vec<f64> = lists.map(|call| call.time as f64 / 1e7).collect();
    let minutes = (lists[lists.len() - 1] - lists[0]) / 60.0;
    println!(
        "{SESSIONS} sessions, {} clients: {:.1} list calls a minute, at most {}; at least {:.0} % \
         of the list windows free; from an end to its result {:.2} s in the median, {:.2} s in the \
         95th percentile; {:?}",
        clients.len(),
        lists.len() as f64 / minutes,
        (0..lists.len())
            .map(|from| lists[from..].iter().take_while(|time| **time < lists[from] + 60.0).count())
            .max()
            .unwrap(),
        *min_share.lock().unwrap() * 100.0,
        delays[SESSIONS / 2],
        delays[SESSIONS * 95 / 100],
        emulator.violations()
    );
}

/// Reads the free share of the list windows every second, and keeps the smallest.
async fn watch_free_share(sessions: Arc<Sessions>, min_share: Arc<Mutex<f64>>) {
    loop {
        sessions.pipeline.clock.sleep(1.0).await;
        let Some(quota) = sessions.pipeline.quota_if_loaded() else { continue };
        let share = quota.window_usage(Operation::ListMachineActions).await.unwrap().free_share;
        let mut min_share = min_share.lock().unwrap();
        *min_share = share.min(*min_share);
    }
}
