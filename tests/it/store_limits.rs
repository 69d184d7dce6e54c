//! Queues and leases as the clients of one process use them, with the clock paused.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::limits::{AdmissionError, Quota, QuotaRegistry};
use mde_live_response::model::Command;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::open;

use super::store_support::*;
use super::support::{sleep, within};

fn quota_key() -> QuotaKey {
    QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() }
}

async fn quota(limits: &Limits, clock: Clock) -> Arc<Quota> {
    Arc::new(Quota::new(open("memory:", &quota_key(), limits, clock).await.unwrap(), clock, 60.0))
}

fn ten_a_minute() -> Limits {
    let rate = vec![Rate::new(10, 60.0).unwrap()];
    Limits { read: rate.clone(), submit: rate, sessions: 2, ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn a_busy_window_reaches_its_rate() {
    let clock = Clock::new();
    let quota = quota(&ten_a_minute(), clock).await;
    let start = clock.now();
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiters: Vec<_> = (0..1000)
        .map(|number| {
            let (quota, order) = (quota.clone(), order.clone());
            tokio::spawn(async move {
                let permit = quota.admit_call(READ).await.unwrap();
                order.lock().unwrap().push(number);
                clock.sleep(0.5).await;
                drop(permit);
            })
        })
        .collect();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let (taken, bound) = (clock.now() - start, 99.0 * 60.5 + 0.5);
    assert!(taken >= bound && taken < bound / 0.99, "took {taken} s, expected at least {bound} s");
    assert!(order.lock().unwrap().is_sorted(), "first come, first served");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_blocks_nobody() {
    let clock = Clock::new();
    let quota =
        quota(&Limits { read: vec![Rate::new(1, 10.0).unwrap()], ..ten_a_minute() }, clock).await;
    drop(quota.admit_call(READ).await.unwrap());
    let start = clock.now();
    let impatient = tokio::time::timeout(std::time::Duration::from_secs(5), quota.admit_call(READ));
    let (timed_out, second) = tokio::join!(impatient, quota.admit_call(READ));
    assert!(timed_out.is_err());
    drop(second.unwrap());
    assert!((clock.now() - start - 10.0).abs() < 0.1);
    quota.block_window(READ, 100.0).await.unwrap();
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(99), quota.admit_call(READ))
            .await
            .is_err()
    );
    assert!((quota.expected_wait(READ) - 1.0).abs() < 0.1, "{}", quota.expected_wait(READ));
    drop(quota.admit_call(READ).await.unwrap());
    assert!((clock.now() - start - 110.0).abs() < 0.2);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_freed_is_taken_at_once() {
    let clock = Clock::new();
    let quota = quota(&ten_a_minute(), clock).await;
    for machine in ["a", "b"] {
        quota
            .admit_submit(slot_request(machine, false))
            .await
            .unwrap_or_else(|error| panic!("{error:?}"))
            .slot
            .disarm();
        quota
            .store()
            .record_action(key(machine), format!("on-{machine}"), Some(1000.0))
            .await
            .unwrap();
    }
    let mut other = slot_request("a", false);
    other.correlation_id = "another".into();
    let refused = quota.admit_submit(other).await.err();
    assert!(
        matches!(&refused, Some(AdmissionError::MachineBusy(Some(action))) if action == "on-a"),
        "{refused:?}"
    );
    let waiting = tokio::spawn({
        let quota = quota.clone();
        async move { quota.admit_submit(slot_request("c", true)).await }
    });
    clock.sleep(50.0).await;
    assert!(!waiting.is_finished());
    let freed = clock.now();
    quota.close_session("on-b").await.unwrap();
    let admission = waiting.await.unwrap().unwrap_or_else(|error| panic!("{error:?}"));
    assert!(clock.now() - freed < 0.01);
    drop(admission);
    assert_eq!(
        quota.store().slots().await.unwrap().len(),
        1,
        "the submit was not sent, and its slot is free"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_intent_is_submitted_by_one_at_a_time() {
    let quota = quota(&ten_a_minute(), Clock::new()).await;
    let commands = vec![Command::run_script("a.ps1", None).unwrap()];
    let (at_once, started) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let submits: Vec<_> = (0..20)
        .map(|_| {
            let (quota, commands, at_once, started) =
                (quota.clone(), commands.clone(), at_once.clone(), started.clone());
            tokio::spawn(async move {
                let begun = quota.begin_intent(&key("a"), &commands, "why").await.unwrap();
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                tokio::time::sleep(std::time::Duration::from_secs(40)).await;
                if begun.found.intent.action_id.is_none() {
                    started.fetch_add(1, Ordering::SeqCst);
                    quota.store().record_action(key("a"), "x".into(), Some(9.0)).await.unwrap();
                }
                at_once.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    for submit in submits {
        submit.await.unwrap();
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
    let other = quota.begin_intent(&key("a"), &[], "why").await.unwrap();
    assert!(other.intent_lease.is_none() && other.found.intent.commands == commands);
}

#[tokio::test(start_paused = true)]
async fn memory_outlives_its_clients() {
    let quotas = QuotaRegistry::default();
    let limits = ten_a_minute();
    let open =
        async || quotas.get("memory:", &quota_key(), &limits, Clock::new(), 60.0).await.unwrap();
    let clock = Clock::new();
    let began = clock.now();
    for number in 0..12 {
        let quota = open().await;
        drop(quota.admit_call(READ).await.unwrap());
        let late = clock.now() - began >= 60.0;
        assert_eq!(late, number >= 10, "call {number} of a window of ten a minute");
    }
    let store = open().await.store().clone();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    store.cache_status("x".into(), "{}".into()).await.unwrap();
    drop(store);
    let store = open().await.store().clone();
    assert!(store.get_intent(key("a")).await.unwrap().is_some());
    assert!(store.cached_status("x".into(), 60.0).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_went_with_its_client_blocks_nobody() {
    let quotas = QuotaRegistry::default();
    let limits = ten_a_minute();
    let open =
        async || quotas.get("memory:", &quota_key(), &limits, Clock::new(), 60.0).await.unwrap();
    let quota = open().await;
    for _ in 0..10 {
        drop(quota.admit_call(READ).await.unwrap());
    }
    let waiting = async || drop(quota.admit_call(READ).await);
    tokio::select! { () = waiting() => panic!("admitted"), () = sleep(1.0) => {} }
    drop(quota);
    let quota = open().await;
    within(70, quota.admit_call(READ)).await.unwrap();
}

#[tokio::test]
async fn memory_of_unused_keys_is_bounded() {
    let quotas = QuotaRegistry::default();
    let open = async |tenant: String| {
        let key = QuotaKey { tenant, ..quota_key() };
        quotas.get("memory:", &key, &ten_a_minute(), Clock::new(), 60.0).await.unwrap()
    };
    let intents = async |tenant: &str| {
        open(tenant.into()).await.store().snapshot().await.unwrap().intents.len()
    };
    let used = open("used".into()).await;
    for number in 0..100 {
        let quota = open(number.to_string()).await;
        quota.store().get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    }
    used.store().get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert_eq!((intents("used").await, intents("99").await, intents("3").await), (1, 1, 0));
}

#[tokio::test]
async fn clients_of_a_process_share_one_quota() {
    let quotas = QuotaRegistry::default();
    let get = async |tenant: &str| {
        let key = QuotaKey { tenant: tenant.into(), ..quota_key() };
        quotas.get("memory:", &key, &ten_a_minute(), Clock::new(), 60.0).await.unwrap()
    };
    let (one, two, other) = (get("t").await, get("t").await, get("u").await);
    assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
}
