//! Measures how much of the maximum throughput a window reaches while its queue is never empty.
//!
//! A call counts until one window after its end, so the maximum is N calls in the length of the
//! window plus the mean duration of a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::{Error, Result};
use mde_live_response::limits::Quota;
use mde_live_response::operation::Operation;

use super::servers::{Redis, TempDir, open};

/// Calls allowed in one window.
const COUNT: u32 = 20;
/// Seconds of the window.
const LENGTH: f64 = 2.0;
/// Seconds of one call.
const CALL: f64 = 0.1;
/// Windows to measure after the first.
const ROUNDS: u32 = 10;

pub async fn rows(folder: &TempDir, redis: Option<&Redis>) -> Result<()> {
    row("memory", "memory:").await?;
    row("sqlite", &folder.sqlite("throughput.db")).await?;
    match redis {
        Some(redis) => row("redis", &redis.address()).await,
        None => Ok(()),
    }
}

async fn row(name: &str, address: &str) -> Result<()> {
    let limits = Limits { read: vec![Rate::new(COUNT, LENGTH)?], ..Limits::default() };
    let store = open(address, "throughput", &limits, None).await?;
    store.record_check(Default::default()).await?;
    let quota = Arc::new(Quota::new(store, Clock::new(), 30.0));
    drop(quota.admit_call(Operation::GetMachine).await?);
    tokio::time::sleep(Duration::from_secs_f64(LENGTH + 0.1)).await;
    let start = Instant::now();
    let calls = (0..COUNT * (ROUNDS + 1)).map(|_| {
        let quota = quota.clone();
        tokio::spawn(async move {
            let permit = quota.admit_call(Operation::GetMachine).await?;
            let (started_at, start_of_call) = (start.elapsed().as_secs_f64(), Instant::now());
            tokio::time::sleep(Duration::from_secs_f64(CALL)).await;
            drop(permit);
            Ok::<_, Error>((started_at, start_of_call.elapsed().as_secs_f64()))
        })
    });
    let (mut last, mut total, mut count) = (0.0_f64, 0.0, 0_u32);
    for call in calls.collect::<Vec<_>>() {
        let (started_at, took) =
            call.await.map_err(|error| Error::invalid(error.to_string()))??;
        (last, total, count) = (last.max(started_at), total + took, count + 1);
    }
    let mean = total / f64::from(count);
    // The calls of the first window start at once, those of the last after ROUNDS windows.
    let shortest = f64::from(ROUNDS) * (LENGTH + mean);
    println!(
        "{:42} {:>13.2}%",
        format!("{name}, {COUNT} in {LENGTH} s, {mean:.3} s a call"),
        100.0 * shortest / last
    );
    Ok(())
}
