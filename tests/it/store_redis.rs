//! A Redis server that is unusable, down, intermittent, or lost its data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::limits::{AdmissionError, Quota};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with, quota_keys};
use mde_live_response::state::store::{Store, StoreSettings};

use super::store_support::*;

/// Seconds of the only window.
const LENGTH: f64 = 1.5;

async fn open(address: &str, timeout: f64) -> Result<Arc<dyn Store>> {
    let key = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let rate = vec![Rate::new(3, LENGTH)?];
    let limits = Limits { submit: rate.clone(), read: rate, ..Limits::default() };
    let mut settings = StoreSettings::new(&key, &limits, Clock::new());
    settings.timeout = timeout;
    open_with(&Address::parse(address)?, settings).await
}

async fn refused(address: &str) -> Error {
    match open(address, 0.5).await {
        Err(error) => error,
        Ok(_) => panic!("{address} was opened"),
    }
}

fn quota(store: Arc<dyn Store>) -> Quota {
    Quota::new(store, Clock::new(), 1.0)
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let Some(redis) = Redis::start(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    let error = refused(&redis.address()).await;
    assert!(error.kind == Kind::State && !error.retryable, "{error:?}");
    assert!(
        error.message.contains("allkeys-lru")
            && error.hint.as_ref().unwrap().contains("noeviction"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_without_persistence_is_warned_about() {
    let Some(redis) = Redis::start(&[]) else { return };
    assert_eq!(open(&redis.address(), 2.0).await.unwrap().notices()[0].code, "redis-aof");
    let Some(redis) = Redis::start(&["--appendonly", "yes"]) else { return };
    assert!(open(&redis.address(), 2.0).await.unwrap().notices().is_empty());
}

#[tokio::test]
async fn an_unreachable_server_is_reported_in_time() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    redis.kill();
    let started = Instant::now();
    let error = refused(&redis.address()).await;
    assert!(
        error.kind == Kind::State && error.retryable && started.elapsed() < Duration::from_secs(3),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_password_is_never_printed() {
    let Some(redis) = Redis::start(&["--requirepass", "hunter2"]) else { return };
    let right = redis.address().replace("127", ":hunter2@127");
    let store = open(&right, 2.0).await.unwrap();
    assert!(!store.address().contains("hunter2"));
    let error = refused(&right.replace("hunter2", "hunter3")).await;
    assert!(!format!("{error:?}").contains("hunter3") && !error.retryable, "{error:?}");
    let error = refused(&redis.address()).await;
    assert!(error.hint.as_ref().unwrap().contains("password"), "{error:?}");
}

#[tokio::test]
async fn a_user_needs_the_right_password_and_permissions() {
    let Some(redis) = Redis::start(&[
        "--user default off",
        "--user me on >hunter2 ~mlr:* +eval +evalsha +script|load +info +smembers +@read +@write \
         +time",
        "--user reader on >hunter2 ~mlr:* +@read +time +info +evalsha +eval +script|load",
    ]) else {
        return;
    };
    let address_for = |user: &str, password: &str| {
        redis.address().replace("//", &format!("//{user}:{password}@"))
    };
    let store = open(&address_for("me", "hunter2"), 2.0).await.unwrap();
    store.record_check(Default::default()).await.unwrap();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    for address in [address_for("me", "hunter3"), address_for("nobody", "hunter2"), redis.address()]
    {
        let error = refused(&address).await;
        let hint = error.hint.clone().unwrap_or_default();
        assert!(
            error.kind == Kind::State && !error.retryable && hint.contains("password"),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
    let reader = open(&address_for("reader", "hunter2"), 2.0).await.unwrap();
    let error = reader.block_window(READ, 1.0).await.unwrap_err();
    assert!(
        !error.retryable && error.hint.as_ref().is_some_and(|hint| hint.contains("mlr:*")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_store_of_another_version_is_refused() {
    let Some(redis) = Redis::start(&[]) else { return };
    open(&redis.address(), 2.0).await.unwrap();
    assert_eq!(quota_keys(&redis.address()).await.unwrap()[0].host, "api.test");
    let mut connection = redis::Client::open(redis.address())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("*:epoch").query_async(&mut connection).await.unwrap();
    let set: redis::RedisResult<i64> =
        redis::cmd("HSET").arg(&keys[0]).arg("version").arg("7").query_async(&mut connection).await;
    set.unwrap();
    let error = refused(&redis.address()).await;
    assert!(
        error.message.contains("version 7") && error.message.contains("version 1"),
        "{error:?}"
    );
}

#[tokio::test]
async fn unremoved_entries_expire_but_not_those_in_doubt() {
    let Some(redis) = Redis::start(&[]) else { return };
    let store = open(&redis.address(), 2.0).await.unwrap();
    store.record_check(Default::default()).await.unwrap();
    store.cache_status("x".into(), "{}".into()).await.unwrap();
    let mut connection = redis::Client::open(redis.address())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut ttl = async |pattern: &str| -> i64 {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
        redis::cmd("TTL").arg(&keys[0]).query_async(&mut connection).await.unwrap()
    };
    assert!(
        (3590..=3600).contains(&ttl("*:cached_statuses").await)
            && (3590..=3600).contains(&ttl("*:status_times").await)
    );
    let half_a_year = 180 * 86_400 - 10..=180 * 86_400;
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(half_a_year.contains(&ttl("*:intent:*").await));
    assert!(store.acquire_lease(key("a"), 7, 15.0).await.unwrap());
    let quota = quota(store.clone());
    tokio::time::sleep(Duration::from_secs_f64(LENGTH)).await;
    let admission = quota
        .admit_submit(slot_request("a", true))
        .await
        .unwrap_or_else(|error| panic!("{error:?}"));
    store.record_posted(key("a"), 7, true).await.unwrap();
    // -1: the key never expires, because the intent is in doubt.
    assert_eq!(ttl("*:intent:*").await, -1);
    admission.slot.disarm();
    store.record_action(key("a"), "x".into(), None).await.unwrap();
    assert!(half_a_year.contains(&ttl("*:intent:*").await));
    assert_eq!(ttl("*:epoch").await, -1);
}

#[tokio::test]
async fn an_intermittent_server_is_waited_for() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let store = open(&redis.address(), 5.0).await.unwrap();
    store.record_check(Default::default()).await.unwrap();
    let quota = quota(store.clone());
    for _ in 0..3 {
        drop(quota.admit_call(READ).await.unwrap());
    }
    store.flush().await.unwrap();
    redis.kill();
    let waiting = tokio::spawn(async move { quota.admit_call(READ).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(400)).await;
    redis.restart();
    waiting.await.unwrap().unwrap();
    assert!(store.get_intent(key("a")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_restarted_empty_counts_as_full_and_warns() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let store = open(&redis.address(), 5.0).await.unwrap();
    store.record_check(Default::default()).await.unwrap();
    let quota = quota(store.clone());
    for _ in 0..3 {
        drop(quota.admit_call(READ).await.unwrap());
    }
    store.flush().await.unwrap();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    let lost = Instant::now();
    // Nothing was saved, so the server comes back empty.
    redis.restart();
    let refused = quota.admit_submit(slot_request("a", true)).await.err();
    assert!(matches!(refused, Some(AdmissionError::SessionsUnknown)), "{refused:?}");
    let found = store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(
        !found.known && found.since_state_loss.is_some_and(|seconds| seconds < LENGTH),
        "{found:?}"
    );
    drop(quota.admit_call(READ).await.unwrap());
    assert!(lost.elapsed().as_secs_f64() >= LENGTH, "{:?}", lost.elapsed());
    store.record_check(Default::default()).await.unwrap();
    quota.admit_submit(slot_request("a", true)).await.unwrap_or_else(|error| panic!("{error:?}"));
}

#[tokio::test]
async fn an_older_process_reveals_lost_data_to_a_new_one() {
    let Some(redis) = Redis::start(&[]) else { return };
    let old = open(&redis.address(), 5.0).await.unwrap();
    old.record_check(Default::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs_f64(LENGTH)).await;
    let mut connection = redis::Client::open(redis.address())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    let newcomer = open(&redis.address(), 5.0).await.unwrap();
    old.window_usage(READ).await.unwrap();
    let refused = quota(newcomer).admit_submit(slot_request("a", true)).await.err();
    assert!(matches!(refused, Some(AdmissionError::SessionsUnknown)), "{refused:?}");
}
