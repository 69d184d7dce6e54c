//! Many tenants in one process.

use std::sync::Arc;
use std::time::Instant;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{Settings, Switches};

use crate::fixture::{CALL, client, emulator_with, start};

/// Runs 200 tenants in one process, each with its own client, limits and fleet. Then runs the
/// slowest of them alone.
pub async fn tenants() {
    let quotas = Arc::default();
    let one = async |seed: u64| {
        let (machines, switches) = (100, Switches { log_size: 1, ..Switches::default() });
        // The seed makes each emulator another tenant.
        let emulator = emulator_with(Settings { machines, seed, switches, ..Settings::default() });
        let sessions = client(&emulator, &quotas, "memory:", &Limits::default(), CALL);
        let began = sessions.pipeline.clock.now();
        let fleet = start(&sessions, emulator.machine_ids()).await;
        let outcomes = fleet.outcomes().await.unwrap();
        assert!(outcomes.len() == machines && emulator.violations() == Default::default());
        sessions.pipeline.clock.now() - began
    };
    let started = Instant::now();
    let together = futures_util::future::join_all((1..=200).map(&one)).await;
    let took = started.elapsed().as_secs_f64();
    let (slowest, seed) =
        together.into_iter().zip(1..).max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
    let alone = one(seed).await;
    println!("\n200 tenants at once, 100 machines each");
    println!("  the slowest takes {slowest:.0} s, and alone {alone:.0} s (bound: the same)");
    println!("  {took:.1} s of one core in total");
}
