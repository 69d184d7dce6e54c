//! Measures the time to decode the longest list of actions that the service sends, and to free it.
//!
//! `make counts` counts the instructions of the same.

#[path = "instructions/samples.rs"]
mod samples;

use std::time::Instant;

use mde_live_response::error::Result;
use mde_live_response::model::{MachineAction, decode_page};

/// The items of the longest page that the service sends.
const PAGE_ITEMS: usize = 10_000;
/// How often the list is decoded.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let body = samples::list(PAGE_ITEMS);
    println!("a list of {PAGE_ITEMS} actions, {:.1} MB, ms", body.len() as f64 / 1e6);
    println!("{:>10} {:>10}", "decode", "drop");
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let page = decode_page::<MachineAction>(body.as_bytes())?;
        let decoded = started.elapsed();
        drop(page);
        let dropped = started.elapsed() - decoded;
        println!("{:10.1} {:10.1}", decoded.as_secs_f64() * 1e3, dropped.as_secs_f64() * 1e3);
    }
    Ok(())
}
