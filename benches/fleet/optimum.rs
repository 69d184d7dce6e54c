//! Compares the duration of a run with the shortest that the limits allow.

use std::sync::Arc;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{NewMachine, RequestOutcome, Route};
use mde_live_response::fleet::Cursor;

use crate::fixture::{CALL, SCRIPT, client, emulator, start};

struct Run {
    /// Seconds from the start to the outcome of the last reachable machine.
    reachable: f64,
    end: f64,
    /// The number of sessions that ended, successful or not.
    results: usize,
    /// When each submit arrived, in seconds from the start.
    submits: Vec<f64>,
    accepted: usize,
    /// When the last machine was tried for the first time.
    untried_until: f64,
    calls: usize,
    /// The longest script, in seconds.
    longest: f64,
    /// The mean duration of a script, in seconds.
    mean: f64,
    has_violations: bool,
}

async fn run(machines: usize, offline: f64) -> Run {
    let limits = Limits::default();
    let emulator = emulator(0, limits.clone(), 10_000_000);
    let mut rng = fastrand::Rng::with_seed(7);
    for number in 0..machines {
        let machine = NewMachine::named(format!("m-{number:06}.example.test"));
        let machine = if rng.f64() < offline { machine.offline() } else { machine };
        emulator.add_machine(machine).unwrap();
    }
    let sessions = client(&emulator, &Arc::default(), "memory:", &limits, CALL);
    let clock = sessions.pipeline.clock;
    let began = clock.now();
    let fleet = start(&sessions, emulator.machine_ids()).await;
    let mut cursor = Cursor::default();
    let (mut reachable, mut end, mut results): (f64, f64, usize) = (0.0, 0.0, 0);
    while let Some(outcome) = fleet.next(&mut cursor).await.unwrap() {
        end = end.max(outcome.ended - began);
        results += usize::from(fleet.results().load(outcome.row).await.unwrap().is_some());
        if outcome.reason != "timed_out" {
            reachable = reachable.max(outcome.ended - began);
        }
    }
    let requests = emulator.requests();
    let posts: Vec<_> = requests.iter().filter(|it| it.route == Route::RunLiveResponse).collect();
    let submits: Vec<f64> = posts.iter().map(|it| it.time as f64 / 1e7 - began).collect();
    let mut tried = std::collections::HashSet::new();
    let untried_until = posts
        .iter()
        .zip(&submits)
        .filter(|(it, _)| tried.insert(it.path.clone()))
        .map(|(_, at)| *at);
    let untried_until = untried_until.fold(0.0, f64::max);
    let links =
        requests.iter().filter(|it| matches!(it.route, Route::GetResultLink | Route::Blob)).count();
    let lengths: Vec<f64> = emulator
        .machine_ids()
        .iter()
        .map(|id| {
            SCRIPT.start
                + fastrand::Rng::with_seed(u64::from_str_radix(&id[..15], 16).unwrap()).f64()
                    * 270.0
        })
        .collect();
    Run {
        reachable,
        end,
        results,
        accepted: posts.iter().filter(|it| it.status == RequestOutcome::Status(201)).count(),
        submits,
        untried_until,
        calls: requests.len() - links,
        longest: lengths.iter().copied().fold(0.0, f64::max),
        mean: lengths.iter().sum::<f64>() / machines as f64,
        has_violations: emulator.violations() != Default::default(),
    }
}

/// Returns when the last submit can be sent at the earliest, within the rate and the slots.
fn optimal_seconds(machines: usize, mean: f64) -> f64 {
    let windows = ((machines - 1) / 10) as f64 * (60.0 + CALL);
    windows.max(machines as f64 * mean / 50.0)
}

pub async fn measure(machines: usize, offline: f64, compare: bool) {
    let run = run(machines, offline).await;
    let last = run.submits.last().copied().unwrap_or_default();
    println!("\n{machines} machines, {:.0} % of them offline without notice", offline * 100.0);
    println!("  the end after {:.0} s, {} results", run.end, run.results);
    println!("  violations: {} (bound: none)", if run.has_violations { "yes" } else { "none" });
    if compare {
        let alone = ((machines as f64 * (1.0 - offline)) as usize).max(1);
        let alone = optimal_seconds(alone, run.mean) + run.longest;
        let gaps = run
            .submits
            .windows(2)
            .filter(|pair| pair[1] <= run.untried_until)
            .map(|pair| pair[1] - pair[0]);
        println!(
            "  the reachable ended after {:.0} s, alone at best {alone:.0} s: {:.3} \
             (bound: 1.10 for 5 %)",
            run.reachable,
            run.reachable / alone
        );
        println!("  the end after the last submit: {:.0} s (bound: 7,200 s)", run.end - last);
        println!(
            "  longest time without a submit while an untried machine waits: {:.0} s (bound: 600 s)",
            gaps.fold(0.0, f64::max)
        );
        println!("  submits per machine: {:.2}", run.accepted as f64 / machines as f64);
    } else {
        let bound = optimal_seconds(machines, run.mean);
        println!(
            "  the last submit after {last:.0} s, at best {bound:.0} s: {:.4} (bound: 1.01)",
            last / bound
        );
        println!(
            "  the end after it: {:.0} s (bound: the longest session, {:.0} s, and a poll)",
            run.end - last,
            run.longest
        );
        println!("  calls per session: {:.2} (bound: 4)", run.calls as f64 / machines as f64);
    }
}
