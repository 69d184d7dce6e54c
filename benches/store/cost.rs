//! Measures what one admission costs the caller while nobody waits.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::{Error, Result};
use mde_live_response::limits::Quota;
use mde_live_response::operation::Operation;

use super::floor::{FLOOR, Floor};
use super::servers::{Redis, TempDir, open};

const WORKER: &str = "MDE_STORE_BENCH";
const PROCESSES: usize = 8;
/// Admissions of each process that does not pause.
const ADMISSIONS_PER_PROCESS: usize = 2000;
/// Milliseconds of pause after each admission, and the number of admissions: 50 a second.
const BUSY: (u64, usize) = (20, 200);
/// The same at the rate that the service allows all eight together: 100 a minute ("Get machine by
/// ID API").
const ALLOWED: (u64, usize) = (4_800, 12);

pub async fn rows(folder: &TempDir, redis: Option<&Redis>) -> Result<()> {
    memory().await?;
    row("sqlite, alone", &timings(&folder.sqlite("alone.db"), ADMISSIONS_PER_PROCESS, 0).await?);
    processes(
        "sqlite, 8 processes without pauses",
        &folder.sqlite("eight.db"),
        (0, ADMISSIONS_PER_PROCESS),
    );
    processes("sqlite, 8 processes, 50 a second each", &folder.sqlite("pausing.db"), BUSY);
    processes("sqlite, 8 processes, 100 a minute together", &folder.sqlite("allowed.db"), ALLOWED);
    if let Some(redis) = redis {
        row("redis, alone", &timings(&redis.address(), ADMISSIONS_PER_PROCESS, 0).await?);
        processes(
            "redis, 8 processes without pauses",
            &redis.address(),
            (0, ADMISSIONS_PER_PROCESS),
        );
        processes("redis, 8 processes, 50 a second each", &redis.address(), BUSY);
    }
    Ok(())
}

/// The row of one kind of store, as `benches/peers` compares it: `sqlite`, `redis`, or either with
/// `floor ` before it.
pub fn shared(kind: &str, folder: &TempDir, redis: Option<&Redis>) {
    let name = format!("{kind}, 8 processes, 50 a second each");
    let (floor, kind) = kind.strip_prefix(FLOOR).map_or(("", kind), |kind| (FLOOR, kind));
    let address = match (kind, redis) {
        ("redis", Some(redis)) => redis.address(),
        _ => folder.sqlite("pausing.db"),
    };
    processes(&name, &format!("{floor}{address}"), BUSY);
}

/// Returns limits so wide that nobody waits, with as many calls counted as in the longest real
/// window.
fn generous_limits() -> Result<Limits> {
    Ok(Limits {
        read: vec![Rate::new(100_000, 0.1)?, Rate::new(1_000_000, 1.0)?],
        ..Limits::default()
    })
}

async fn quota(address: &str) -> Result<Quota> {
    let store = open(address, "cost", &generous_limits()?, None).await?;
    store.record_check(Default::default()).await?;
    let quota = Quota::new(store, Clock::new(), 30.0);
    drop(quota.admit_call(Operation::GetMachine).await?);
    Ok(quota)
}

/// Measures the mean of many admissions, because one is too short to time.
async fn memory() -> Result<()> {
    let quota = quota("memory:").await?;
    let (count, start) = (200_000, Instant::now());
    for _ in 0..count {
        drop(quota.admit_call(Operation::GetMachine).await?);
    }
    println!("{:42} {:>8.2}", "memory", start.elapsed().as_secs_f64() / f64::from(count) * 1e6);
    Ok(())
}

/// What is called again and again.
enum Subject {
    Admission(Quota),
    Floor(Floor),
}

impl Subject {
    async fn open(address: &str) -> Result<Self> {
        match address.strip_prefix(FLOOR) {
            Some(address) => Floor::open(address).await.map(Self::Floor),
            None => quota(address).await.map(Self::Admission),
        }
    }

    async fn call(&mut self) -> Result<()> {
        match self {
            Self::Admission(quota) => quota.admit_call(Operation::GetMachine).await.map(drop),
            Self::Floor(floor) => floor.call().await,
        }
    }
}

/// Returns the seconds that each call took, sorted. `pause`: milliseconds after each.
async fn timings(address: &str, count: usize, pause: u64) -> Result<Vec<f64>> {
    let subject = Subject::open(address).await?;
    // Spawned, because the client's calls run on a worker thread of the runtime too.
    let measured = tokio::spawn(measure(subject, count, pause)).await;
    measured.map_err(|error| Error::invalid(error.to_string()))?
}

async fn measure(mut subject: Subject, count: usize, pause: u64) -> Result<Vec<f64>> {
    let mut timings = Vec::with_capacity(count);
    // Processes that start together must not stay in step.
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=pause))).await;
    // The first second at that pace does not count: then the other processes still start, and take
    // the CPU for it.
    let warm_up = 1_000_u64.checked_div(pause).unwrap_or(0) as usize;
    for _ in 0..warm_up + count {
        let start = Instant::now();
        subject.call().await?;
        timings.push(start.elapsed().as_secs_f64());
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    if let Subject::Admission(quota) = subject {
        quota.store().flush().await?;
    }
    timings.drain(..warm_up);
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

fn spawn(address: &str, (pause, count): (u64, usize)) -> Option<Child> {
    let config = format!("{pause} {count} {address}");
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

/// One of the eight processes.
pub struct Worker {
    address: String,
    pause: u64,
    count: usize,
}

impl Worker {
    pub fn from_environment() -> Option<Self> {
        let config = std::env::var(WORKER).ok()?;
        let mut words = config.splitn(3, ' ');
        let (pause, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { address: words.next()?.to_owned(), pause, count })
    }

    pub async fn run(self) -> Result<()> {
        for seconds in timings(&self.address, self.count, self.pause).await? {
            println!("{seconds}");
        }
        Ok(())
    }
}
