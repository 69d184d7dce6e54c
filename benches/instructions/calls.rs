//! The cases of a call: its admission, and the whole of it without the network.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use mde_live_response::auth::{StaticToken, TokenCache};
use mde_live_response::clock::Clock;
use mde_live_response::config::{ClientOptions, Cloud, Limits, Rate};
use mde_live_response::error::{Error, Result};
use mde_live_response::limits::{Quota, QuotaRegistry};
use mde_live_response::operation::Operation;
use mde_live_response::pipeline::Pipeline;
use mde_live_response::secret::Secret;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::StoreSettings;
use mde_live_response::transport::{Failure, LoggingTransport, Request, Response, Transport};

use crate::samples;

/// Seconds between two readings of the store's clock, in thousandths. With the real clock, a slow
/// machine would sync the file more often.
const CLOCK_STEP: u64 = 1;
/// A token with the claims `tid` and `appid`.
const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJ0aWQiOiJ0IiwiYXBwaWQiOiJhIn0.c2ln";

/// Admits calls one after the other, with a file that is deleted at the end.
pub fn admit_from_file(rounds: usize) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("mde-counts-{}", std::process::id()));
    let failed = |error: std::io::Error| Error::invalid(error.to_string());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let admitted = admit(rounds, &format!("sqlite:///{}", folder.join("state.db").display()));
    std::fs::remove_dir_all(&folder).map_err(failed)?;
    admitted
}

/// Admits calls one after the other. Each ends, and its end is written, before the next.
pub fn admit(rounds: usize, address: &str) -> Result<()> {
    block_on(async {
        let quota = open_quota(address).await?;
        for _ in 0..rounds {
            drop(black_box(quota.admit_call(Operation::GetMachineAction).await?));
            // Otherwise it would depend on the machine's speed whether the end of a call is
            // written alone or with the next admission.
            quota.store().flush().await?;
        }
        Ok(())
    })
}

async fn open_quota(address: &str) -> Result<Quota> {
    let key = QuotaKey { host: "h".into(), tenant: "t".into(), application: "a".into() };
    let milliseconds = AtomicU64::new(1_000_000);
    let mut settings = StoreSettings::new(&key, &generous_limits()?, Clock::new());
    settings.now =
        Some(Arc::new(move || milliseconds.fetch_add(CLOCK_STEP, Ordering::Relaxed) as f64 / 1e3));
    let store = open_with(&Address::parse(address)?, settings).await?;
    store.record_check(Default::default()).await?;
    Ok(Quota::new(store, Clock::new(), 30.0))
}

/// Returns limits so wide that nobody waits, with windows so short that few calls are counted.
fn generous_limits() -> Result<Limits> {
    Ok(Limits { read: vec![Rate::new(100_000, 0.1)?], ..Limits::default() })
}

/// Reads a status again and again: the whole call, except for the network.
pub fn read_statuses(rounds: usize) -> Result<()> {
    let mut options = ClientOptions::new(Cloud::default(), Some("https://api.example.test"))?;
    options.state = Secret::new("memory:");
    options.limits = generous_limits()?;
    let clock = Clock::new();
    let token = Arc::new(StaticToken::new(Secret::new(TOKEN), clock)?);
    let tokens = TokenCache::new(token, None, clock)?;
    let answer = Bytes::from(samples::action(0));
    let transport = LoggingTransport::wrap(SameAnswer(answer), clock);
    let pipeline =
        Pipeline::new(options, transport, tokens, Arc::new(QuotaRegistry::default()), clock);
    let id = samples::action_id(0);
    block_on(async {
        for _ in 0..rounds {
            black_box(pipeline.get_machine_action(&id).await?);
        }
        Ok(())
    })
}

/// A network on which every request gets the same answer.
struct SameAnswer(Bytes);

impl Transport for SameAnswer {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        black_box(request);
        let response = Response::from_bytes(StatusCode::OK, HeaderMap::new(), self.0.clone());
        std::future::ready(Ok(response)).boxed()
    }
}

/// Runs `work` on one thread, so that the count does not depend on how threads are scheduled.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Error::invalid(error.to_string()))?.block_on(work)
}
