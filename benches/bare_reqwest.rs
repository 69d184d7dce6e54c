//! What a status read costs a Rust program of one thread, for `benches/peers`. Reads URL, TOKEN and
//! COUNT from the environment; prints microseconds of CPU per read.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement, not part of the package"
)]

use std::env::var;

use serde_json::Value;

/// Returns the CPU time of this thread, the only one that works. Linux has it in nanoseconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

async fn read(client: &reqwest::Client, url: &str, token: &str) {
    let response = client.get(url).bearer_auth(token).send().await.unwrap();
    let body = response.error_for_status().unwrap().bytes().await.unwrap();
    let action: Value = serde_json::from_slice(&body).unwrap();
    assert!(action["id"].is_string());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench` runs every benchmark, also without the server that this one needs.
    let (Ok(url), Ok(token), Ok(count)) = (var("URL"), var("TOKEN"), var("COUNT")) else { return };
    let count: u32 = count.parse().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..50 {
        read(&client, &url, &token).await;
    }
    let before = cpu_seconds();
    for _ in 0..count {
        read(&client, &url, &token).await;
    }
    println!("{:.2}", (cpu_seconds() - before) / f64::from(count) * 1e6);
}
