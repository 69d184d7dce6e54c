//! What an admission costs, and how strict and how full a window is: cargo bench
//! --no-default-features --bench store and, for one part of it, strictness, throughput or cost
//! behind a --.
//!
//! An admission is a place in line, the decision, and the end of the call.

#[path = "store/cost.rs"]
mod cost;
#[path = "store/oracle.rs"]
mod oracle;
#[path = "store/servers.rs"]
mod servers;
#[path = "store/throughput.rs"]
mod throughput;

use mde_live_response::error::{Error, Result};

fn main() -> Result<()> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Error::invalid(error.to_string()))?;
    if let Some(worker) = cost::Worker::from_environment() {
        return runtime.block_on(worker.run());
    }
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let folder = servers::TempDir::new()?;
    let redis = servers::Redis::start(&folder);
    runtime.block_on(async {
        if wanted("strictness") {
            println!("{:42} {:>14}", "strictness", "windows broken");
            oracle::rows(&folder, redis.as_ref()).await?;
        }
        if wanted("throughput") {
            println!("{:42} {:>14}", "throughput of a queue never empty", "of the bound");
            throughput::rows(&folder, redis.as_ref()).await?;
        }
        if wanted("cost") {
            println!(
                "{:42} {:>8} {:>8} {:>8}",
                "cost of one admission, us", "mean", "median", "p99"
            );
            cost::rows(&folder, redis.as_ref()).await?;
        }
        Ok(())
    })
}
