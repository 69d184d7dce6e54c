//! The same machines, run as other tools do it.

use std::time::Duration;

use http::{HeaderMap, Method};
use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{Emulator, ROLES, RequestOutcome, Route};
use mde_live_response::secret::SecretUrl;
use mde_live_response::transport::{Destination, Request, RequestBody, Transport};
use serde_json::Value;

use crate::fixture::{CALL, DelayedTransport, emulator};

/// Runs ten machines at a time, polls each session every 15 s, and tries each call once. The next
/// ten start when these are over.
pub async fn measure(machines: usize) {
    let limits = Limits::default();
    let emulator = emulator(machines, limits.clone(), 10_000_000);
    let clock = Clock::new();
    let began = clock.now();
    let ids = emulator.machine_ids();
    let mut results = 0;
    for ten in ids.chunks(10) {
        let loops = ten.iter().map(|id| run_session(&emulator, id));
        results += futures_util::future::join_all(loops).await.into_iter().flatten().count();
    }
    let calls = emulator.requests();
    let links =
        calls.iter().filter(|it| matches!(it.route, Route::GetResultLink | Route::Blob)).count();
    println!("\n{machines} machines, as other tools do it: ten at a time, each polled every 15 s");
    println!("  the end after {:.0} s, {results} results", clock.now() - began);
    println!("  calls per session: {:.2}", (calls.len() - links) as f64 / machines as f64);
    println!(
        "  refused by a limit: {}",
        calls.iter().filter(|it| it.status == RequestOutcome::Status(429)).count()
    );
    println!("  outcomes before the last: none are reported");
}

/// Runs one session. Returns none if any call was refused.
async fn run_session(emulator: &Emulator, id: &str) -> Option<()> {
    let body = serde_json::json!({"Comment": "a measurement", "Commands": [
        {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]},
    ]});
    let path = format!("/api/machines/{id}/runliveresponse");
    let started = send_call(emulator, Method::POST, &path, Some(body)).await?;
    let action = format!("/api/machineactions/{}", started["id"].as_str()?);
    loop {
        tokio::time::sleep(Duration::from_secs(15)).await;
        let now = send_call(emulator, Method::GET, &action, None).await?;
        if !["Pending", "InProgress"].contains(&now["status"].as_str()?) {
            break;
        }
    }
    let link = format!("{action}/GetLiveResponseResultDownloadLink(index=0)");
    send_call(emulator, Method::GET, &link, None).await.map(drop)
}

async fn send_call(
    emulator: &Emulator,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Option<Value> {
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", emulator.token_with(ROLES));
    headers.insert("authorization", bearer.parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(&body).unwrap());
    let request = Request {
        destination: Destination::Service,
        method,
        url: SecretUrl::parse(&format!("{}{path}", emulator.url()), "a call").unwrap(),
        headers,
        body: RequestBody::from(body),
        timeout: Duration::from_secs(30),
    };
    let response = DelayedTransport(emulator.clone(), CALL).send(request).await.ok()?;
    let is_success = response.status.is_success();
    let body = response.bytes(1 << 20).await.ok()?;
    is_success.then(|| serde_json::from_slice(&body).unwrap())
}
