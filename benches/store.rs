//! Measures the stores: how strict and how full a window is, and what one admission costs.
//!
//! Run `cargo bench --no-default-features --bench store`. For one part, add `-- strictness`, `--
//! throughput` or `-- cost`. An admission is a place in the queue, the decision, and the end of the
//! call.

#[path = "store/cost.rs"]
mod cost;
#[path = "store/floor.rs"]
mod floor;
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
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let chosen = arguments.next();
    let is_chosen = |part: &str| chosen.as_ref().is_none_or(|chosen| chosen == part);
    let folder = servers::TempDir::new()?;
    let redis = servers::Redis::start(&folder);
    if let (Some("shared"), Some(kind)) = (chosen.as_deref(), arguments.next()) {
        cost::shared(&kind, &folder, redis.as_ref());
        return Ok(());
    }
    runtime.block_on(async {
        if is_chosen("strictness") {
            println!("{:42} {:>14}", "strictness", "windows broken");
            oracle::rows(&folder, redis.as_ref()).await?;
        }
        if is_chosen("throughput") {
            println!("{:42} {:>14}", "throughput of a queue never empty", "of the maximum");
            throughput::rows(&folder, redis.as_ref()).await?;
        }
        if is_chosen("cost") {
            println!(
                "{:42} {:>8} {:>8} {:>8}",
                "cost of one admission, us", "mean", "median", "p99"
            );
            cost::rows(&folder, redis.as_ref()).await?;
        }
        Ok(())
    })
}
