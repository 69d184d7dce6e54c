//! What one admission costs in each store: cargo bench --no-default-features --bench store
//!
//! An admission is a place in line, the decision, and the end of the call. The windows are so wide that nobody waits.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::Result;
use mde_live_response::limits::Quota;
use mde_live_response::operation::Operation;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::open;

const WORKER: &str = "MDE_STORE_BENCH";

fn main() -> Result<()> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| mde_live_response::error::Error::invalid(error.to_string()))?;
    if let Ok(address) = std::env::var(WORKER) {
        return runtime.block_on(async {
            println!("{}", admissions(&address, 400).await?.as_secs_f64() / 400.0);
            Ok(())
        });
    }
    runtime.block_on(async {
        let memory = admissions("memory:", 200_000).await?;
        println!("memory               {:8.2} us", memory.as_secs_f64() / 200_000.0 * 1e6);
        let folder = std::env::temp_dir().join(format!("mde-bench-{}", std::process::id()));
        let _ = std::fs::create_dir_all(&folder);
        let sqlite = format!("sqlite:///{}", folder.join("alone.db").display());
        let alone = admissions(&sqlite, 1000).await?;
        println!("sqlite, 1 process    {:8.1} us", alone.as_secs_f64() / 1000.0 * 1e6);
        processes(&folder);
        redis(&folder).await?;
        let _ = std::fs::remove_dir_all(&folder);
        Ok(())
    })
}

async fn admissions(address: &str, count: u32) -> Result<Duration> {
    let key = QuotaKey { host: "h".into(), tenant: "t".into(), application: "a".into() };
    let limits = Limits { read: vec![Rate::new(100_000, 0.1)?, Rate::new(4_000_000, 1.0)?], ..Limits::default() };
    let quota = Arc::new(Quota::new(open(address, &key, &limits, Clock::new()).await?, Clock::new(), 30.0));
    drop(quota.enter(Operation::GetMachine).await?);
    let start = Instant::now();
    for _ in 0..count {
        drop(quota.enter(Operation::GetMachine).await?);
    }
    quota.store().flush().await?;
    Ok(start.elapsed())
}

/// Eight at once on one file: the time of all, by the number of admissions, and the time that one of them sees.
fn processes(folder: &Path) {
    let address = format!("sqlite:///{}", folder.join("shared.db").display());
    let start = Instant::now();
    let workers: Vec<Child> = (0..8).filter_map(|_| spawn_worker(&address)).collect();
    let each: Vec<f64> = workers.into_iter().filter_map(seconds_of).collect();
    let wall = start.elapsed().as_secs_f64() / (each.len() * 400) as f64;
    let seen = each.iter().sum::<f64>() / each.len().max(1) as f64;
    println!("sqlite, 8 processes  {:8.1} us by throughput, {:.1} us as each sees it", wall * 1e6, seen * 1e6);
}

fn spawn_worker(address: &str) -> Option<Child> {
    Command::new(std::env::current_exe().ok()?).env(WORKER, address).stdout(Stdio::piped()).spawn().ok()
}

fn seconds_of(worker: Child) -> Option<f64> {
    String::from_utf8(worker.wait_with_output().ok()?.stdout).ok()?.trim().parse().ok()
}

async fn redis(folder: &PathBuf) -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_or(16379, |at| at.port());
    let server = Command::new("/usr/bin/redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut server) = server else {
        println!("redis                skipped: there is no /usr/bin/redis-server");
        return Ok(());
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let taken = admissions(&format!("redis://127.0.0.1:{port}/0"), 5000).await;
    let _ = server.kill();
    let _ = server.wait();
    println!("redis, loopback      {:8.1} us", taken?.as_secs_f64() / 5000.0 * 1e6);
    Ok(())
}
