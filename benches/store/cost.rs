//! What one admission costs where nobody waits, as the one who asks sees it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::{Error, Result};
use mde_live_response::limits::Quota;
use mde_live_response::operation::Operation;

use super::servers::{Redis, TempDir, open};

const WORKER: &str = "MDE_STORE_BENCH";
const PROCESSES: usize = 8;
/// Admissions of each process that never rests.
const ADMISSIONS_PER_PROCESS: usize = 2000;
/// Milliseconds of rest after each admission, and how many: 50 a second, and what the service lets
/// eight do together, 100 a minute ("Get machine by ID API").
const BUSY: (u64, usize) = (20, 200);
const ALLOWED: (u64, usize) = (4_800, 12);

pub async fn rows(folder: &TempDir, redis: Option<&Redis>) -> Result<()> {
    memory().await?;
    row("sqlite, alone", &admissions(&folder.sqlite("alone.db"), ADMISSIONS_PER_PROCESS, 0).await?);
    processes(
        "sqlite, 8 processes that never rest",
        &folder.sqlite("eight.db"),
        (0, ADMISSIONS_PER_PROCESS),
    );
    processes("sqlite, 8 processes, each 50 a second", &folder.sqlite("resting.db"), BUSY);
    processes("sqlite, 8 processes, 100 a minute in all", &folder.sqlite("allowed.db"), ALLOWED);
    if let Some(redis) = redis {
        row("redis, alone", &admissions(&redis.address(), ADMISSIONS_PER_PROCESS, 0).await?);
        processes(
            "redis, 8 processes that never rest",
            &redis.address(),
            (0, ADMISSIONS_PER_PROCESS),
        );
        processes("redis, 8 processes, each 50 a second", &redis.address(), BUSY);
    }
    Ok(())
}

/// Windows so wide that nobody waits, and as many calls in them as the service's longest has.
fn generous_limits() -> Result<Limits> {
    Ok(Limits {
        read: vec![Rate::new(100_000, 0.1)?, Rate::new(1_000_000, 1.0)?],
        ..Limits::default()
    })
}

async fn quota(address: &str) -> Result<Quota> {
    let store = open(address, "cost", &generous_limits()?, None).await?;
    store.record_open_sessions(Vec::new()).await?;
    let quota = Quota::new(store, Clock::new(), 30.0);
    drop(quota.admit_call(Operation::GetMachine).await?);
    Ok(quota)
}

/// Too short to be timed one by one.
async fn memory() -> Result<()> {
    let quota = quota("memory:").await?;
    let (count, start) = (200_000, Instant::now());
    for _ in 0..count {
        drop(quota.admit_call(Operation::GetMachine).await?);
    }
    println!("{:42} {:>8.2}", "memory", start.elapsed().as_secs_f64() / f64::from(count) * 1e6);
    Ok(())
}

/// Seconds that each took, in order of size, with a rest of so many milliseconds after each.
async fn admissions(address: &str, count: usize, rest: u64) -> Result<Vec<f64>> {
    let quota = quota(address).await?;
    // On a worker of the runtime, where the client's calls are.
    let measured = tokio::spawn(measure(quota, count, rest)).await;
    measured.map_err(|error| Error::invalid(error.to_string()))?
}

async fn measure(quota: Quota, count: usize, rest: u64) -> Result<Vec<f64>> {
    let mut timings = Vec::with_capacity(count);
    // Processes that were started together do not go on asking together.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=rest))).await;
    for _ in 0..count {
        let start = Instant::now();
        drop(quota.admit_call(Operation::GetMachine).await?);
        timings.push(start.elapsed().as_secs_f64());
        if rest > 0 {
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    }
    quota.store().flush().await?;
    timings.sort_by(f64::total_cmp);
    Ok(timings)
}

fn row(name: &str, sorted: &[f64]) {
    let at =
        |part: f64| sorted.get((sorted.len() as f64 * part) as usize).copied().unwrap_or(0.0) * 1e6;
    let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64 * 1e6;
    println!("{name:42} {mean:>8.0} {:>8.0} {:>8.0}", at(0.5), at(0.99));
}

fn processes(name: &str, address: &str, pace: (u64, usize)) {
    let workers: Vec<Child> = (0..PROCESSES).filter_map(|_| spawn(address, pace)).collect();
    let mut timings: Vec<f64> = workers.into_iter().flat_map(read_timings).collect();
    timings.sort_by(f64::total_cmp);
    row(name, &timings);
}

fn spawn(address: &str, (rest, count): (u64, usize)) -> Option<Child> {
    let config = format!("{rest} {count} {address}");
    Command::new(std::env::current_exe().ok()?)
        .env(WORKER, config)
        .stdout(Stdio::piped())
        .spawn()
        .ok()
}

fn read_timings(worker: Child) -> Vec<f64> {
    let output = worker.wait_with_output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().filter_map(|line| line.parse().ok()).collect()
}

/// One of the eight.
pub struct Worker {
    address: String,
    rest: u64,
    count: usize,
}

impl Worker {
    pub fn from_environment() -> Option<Self> {
        let config = std::env::var(WORKER).ok()?;
        let mut words = config.splitn(3, ' ');
        let (rest, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { address: words.next()?.to_owned(), rest, count })
    }

    pub async fn run(self) -> Result<()> {
        for seconds in admissions(&self.address, self.count, self.rest).await? {
            println!("{seconds}");
        }
        Ok(())
    }
}
