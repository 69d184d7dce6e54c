//! Decodes actions, to count its instructions: one entity, or a list of 10,000, any number of times.
//!
//! Run `cargo build --release --no-default-features --bench decode`, then
//! `valgrind --tool=callgrind target/release/deps/decode-* entity 1000`. The difference between two
//! counts is the cost of the calls. Without arguments it prints the time of a list.

use std::hint::black_box;
use std::time::Instant;

use mde_live_response::error::Result;
use mde_live_response::model::{MachineAction, decode_entity, decode_page};

/// The items of the longest page that the service sends.
const PAGE_ITEMS: usize = 10_000;
/// How often a list is decoded for its time.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let times = words.get(1).and_then(|times| times.parse().ok()).unwrap_or(1);
    match words.first().map(String::as_str) {
        Some("entity") => decode_entities(times),
        Some("list") => decode_lists(times),
        _ => print_times(),
    }
}

fn decode_entities(times: usize) -> Result<()> {
    let body = action(0);
    for _ in 0..times {
        black_box(decode_entity::<MachineAction>(black_box(body.as_bytes()))?);
    }
    Ok(())
}

fn decode_lists(times: usize) -> Result<()> {
    let body = list();
    for _ in 0..times {
        black_box(decode_page::<MachineAction>(black_box(body.as_bytes()))?);
    }
    Ok(())
}

fn print_times() -> Result<()> {
    let body = list();
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

fn list() -> String {
    let items: Vec<String> = (0..PAGE_ITEMS).map(action).collect();
    format!(r#"{{"@odata.context":"x","value":[{}]}}"#, items.join(","))
}

/// Returns an action as the service sends it, with three commands.
fn action(at: usize) -> String {
    let command = |index: usize, name: &str, key: &str, value: &str| {
        format!(
            r#"{{"index":{index},"startTime":"2026-03-10T14:37:20.1Z","endTime":"2026-03-10T14:37:31.0021Z","commandStatus":"Completed","errors":[],"command":{{"type":"{name}","params":[{{"key":"{key}","value":"{value}"}}]}}}}"#
        )
    };
    let commands = [
        command(0, "PutFile", "FileName", "helper.exe"),
        command(1, "RunScript", "ScriptName", "triage.ps1"),
        command(2, "GetFile", "Path", r"C:\\Temp\\triage.zip"),
    ];
    format!(
        r#"{{"id":"6b1d2c1e-93a4-4c1b-8f0e-{at:012x}","type":"LiveResponse","title":null,"requestor":"0f3c1d4e-1111-4222-8333-444455556666","requestorComment":"case 42 [mlr:0123456789abcdef]","status":"Succeeded","machineId":"9a0b1c2d3e4f5061728394a5b6c7{at:012x}","computerDnsName":"ws-eng-{at}.example.test","creationDateTimeUtc":"2026-03-10T14:36:51.8759111Z","lastUpdateDateTimeUtc":"2026-03-10T14:36:51.8759111Z","cancellationRequestor":null,"cancellationComment":null,"cancellationDateTimeUtc":null,"errorHResult":0,"scope":null,"externalId":null,"requestSource":"PublicApi","relatedFileInfo":null,"commands":[{}],"troubleshootInfo":null}}"#,
        commands.join(",")
    )
}
