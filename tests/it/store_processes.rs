//! Real processes that share a store and are killed at random.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::limits::{AdmissionError, Quota, QuotaRegistry};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::store::{IntentKey, SlotRequest};

use super::store_support::*;

const FOLDER: &str = "MDE_STORE_TEST_FOLDER";
const STORE: &str = "MDE_STORE_TEST_STORE";
const CALL_LEASE: f64 = 0.4;
const SESSION_LEASE: f64 = 1.0;

fn process_limits() -> Limits {
    let read = vec![Rate::new(30, 0.5).unwrap(), Rate::new(100, 2.0).unwrap()];
    Limits { submit: vec![Rate::new(10, 0.5).unwrap()], read, sessions: 5, ..Limits::default() }
}

async fn open(address: &str) -> Arc<Quota> {
    let key = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    QuotaRegistry::default()
        .get(address, &key, &process_limits(), Clock::new(), CALL_LEASE)
        .await
        .unwrap()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// One worker process. It reads and submits until it is killed, and logs each call.
#[test]
#[ignore = "started as a process by the tests below"]
fn worker() {
    let (Ok(folder), Ok(address)) = (std::env::var(FOLDER), std::env::var(STORE)) else { return };
    let folder = PathBuf::from(folder);
    let log = Arc::new(File::create(folder.join(format!("{}.log", std::process::id()))).unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let quota = open(&address).await;
        let reads = (0..3).map(|_| tokio::spawn(read_loop(quota.clone(), log.clone())));
        let reads: Vec<_> = reads.collect();
        submit_loop(&quota, &log).await;
        drop(reads);
    });
}

/// Writes the text in one call, so that a killed process leaves nothing partial.
fn write_line(mut log: &File, line: String) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

async fn read_loop(quota: Arc<Quota>, log: Arc<File>) {
    loop {
        let permit = quota.admit_call(READ).await.unwrap();
        let start = now();
        write_line(&log, format!("R {start}"));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
        write_line(&log, format!("r {start} {}", now()));
        drop(permit);
    }
}

async fn submit_loop(quota: &Arc<Quota>, log: &File) {
    loop {
        let machine_id = format!("m{}", fastrand::u8(0..8));
        let correlation_id = fastrand::u64(..).to_string();
        let key =
            IntentKey { machine_id: machine_id.clone(), correlation_id: correlation_id.clone() };
        let intent_lease = quota.begin_intent(&key, &[], "").await.unwrap().intent_lease.unwrap();
        let slot_request = SlotRequest {
            machine_id,
            correlation_id,
            lease: SESSION_LEASE,
            wait: fastrand::bool(),
        };
        let admission = match quota.admit_submit(slot_request).await {
            Ok(admission) => admission,
            Err(AdmissionError::MachineBusy(_)) => {
                quota.store().delete_unsent_intent(key).await.unwrap();
                continue;
            }
            Err(AdmissionError::SessionsUnknown) => {
                quota.record_check(Default::default()).await.unwrap();
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        intent_lease.record_posted(true).await.unwrap();
        let (start, machine) = (now(), &key.machine_id);
        write_line(log, format!("S {start} {machine}"));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20))).await;
        drop(admission.permit);
        admission.slot.disarm();
        quota
            .store()
            .record_action(key.clone(), key.correlation_id.clone(), Some(SESSION_LEASE))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..200))).await;
        write_line(log, format!("s {start} {} {machine}", now()));
        quota.close_session(&key.correlation_id).await.unwrap();
    }
}

fn start_worker(folder: &Path, address: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_processes::worker", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(STORE, address)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Returns the calls as (start, end, machine). The end is `None` if the process was killed.
fn calls(folder: &Path, open: &str, close: &str) -> Vec<(f64, Option<f64>, String)> {
    let mut calls: Vec<(f64, Option<f64>, String)> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let start: f64 = words.get(1).map_or(0.0, |start| start.parse().unwrap());
            if words[0] == open {
                calls.push((start, None, words.get(2).unwrap_or(&"").to_string()));
            } else if words[0] == close {
                let call =
                    calls.iter_mut().rfind(|(at, end, _)| *at == start && end.is_none()).unwrap();
                call.1 = Some(words[2].parse().unwrap());
            }
        }
    }
    calls.sort_by(|a, b| a.0.total_cmp(&b.0));
    calls
}

fn check_windows(calls: &[(f64, Option<f64>, String)], rates: &[Rate]) {
    for part in [0.0, 1.0, -1.0] {
        let stamp = |(start, end, _): &(f64, Option<f64>, String)| {
            let part = if part < 0.0 { fastrand::f64() } else { part };
            start + (end.unwrap_or(*start) - start) * part
        };
        let mut stamps: Vec<f64> = calls.iter().map(stamp).collect();
        stamps.sort_by(f64::total_cmp);
        for rate in rates {
            for (first, beyond) in stamps.iter().zip(stamps.iter().skip(rate.count as usize)) {
                assert!(
                    beyond - first >= rate.per,
                    "{} calls in {} s",
                    rate.count + 1,
                    beyond - first
                );
            }
        }
    }
}

#[tokio::test]
async fn eight_processes_killed_at_random_keep_the_limits() {
    let folder = TempDir::new();
    let address = format!("sqlite:///{}", folder.file("state.db").display());
    run_and_check_workers(&folder, &address).await;
    let connection = rusqlite::Connection::open(folder.file("state.db")).unwrap();
    let integrity: String =
        connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[tokio::test]
async fn eight_processes_on_redis_killed_at_random_keep_the_limits() {
    let Some(redis) = Redis::start(&[]) else { return };
    run_and_check_workers(&TempDir::new(), &redis.address()).await;
}

/// Kills the processes at the end of the test.
struct Workers(Vec<Child>);

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

async fn run_and_check_workers(folder: &TempDir, address: &str) {
    let mut started = Workers((0..8).map(|_| start_worker(&folder.0, address)).collect());
    let workers = &mut started.0;
    let (started_at, mut killed) = (Instant::now(), 0);
    let few = || calls(&folder.0, "R", "r").len() <= 100 || calls(&folder.0, "S", "s").len() <= 20;
    // On a slow machine the workers need more time for enough calls.
    while started_at.elapsed() < Duration::from_secs(8)
        || (few() && started_at.elapsed() < Duration::from_secs(90))
    {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..500))).await;
        let at = fastrand::usize(0..workers.len());
        assert!(workers[at].try_wait().unwrap().is_none(), "a worker exited by itself");
        workers[at].kill().unwrap();
        workers[at].wait().unwrap();
        workers[at] = start_worker(&folder.0, address);
        killed += 1;
    }
    drop(started);
    let (reads, submits) = (calls(&folder.0, "R", "r"), calls(&folder.0, "S", "s"));
    println!(
        "{} reads and {} submits of 8 processes, {killed} of them killed",
        reads.len(),
        submits.len()
    );
    assert!(reads.len() > 100 && submits.len() > 20, "{} {}", reads.len(), submits.len());
    check_windows(&reads, &process_limits().read);
    let posts: Vec<_> =
        submits.iter().map(|(start, _, machine)| (*start, None, machine.clone())).collect();
    check_windows(&posts, &process_limits().submit);
    check_sessions(&submits);
    let store = open(address).await.store().clone();
    // A process that died between its admission and its POST holds its slot for the call's lease
    // and 30 s.
    let longest = now() + CALL_LEASE + 30.0 + SESSION_LEASE;
    let slots = store.slots().await.unwrap();
    assert!(slots.iter().all(|slot| slot.until < longest), "every slot expires: {slots:?}");
}

/// Checks that at most five sessions run at once, and at most one on a machine.
///
/// The end of a killed process's session is unknown: it counts for its machine until its lease
/// ends, and not for the limit of five.
fn check_sessions(submits: &[(f64, Option<f64>, String)]) {
    for (at, (start, _, machine)) in submits.iter().enumerate() {
        let before =
            submits.iter().take(at).filter(|(_, end, _)| end.is_some_and(|end| end > *start));
        let open: Vec<&String> = before.map(|(_, _, machine)| machine).collect();
        assert!(open.len() < 5, "{} sessions at once", open.len() + 1);
        assert!(!open.contains(&machine), "two sessions on {machine}");
        let killed = submits.iter().take(at).find(|(earlier, end, on)| {
            end.is_none() && on == machine && start - earlier < SESSION_LEASE - 0.05
        });
        assert!(
            killed.is_none(),
            "a session started on {machine} while the session of a killed process ran: {killed:?}"
        );
    }
}
