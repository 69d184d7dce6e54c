//! A store that is new, or that may have lost or rewound its memory, is held against the list.

use std::sync::Arc;

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::{ListedActions, OpenSession, Store, StoreSettings};

use super::store_support::*;

async fn open_as(address: &str, host: &str) -> Arc<dyn Store> {
    let key = QuotaKey { host: host.into(), tenant: "t".into(), application: "a".into() };
    let settings = StoreSettings::new(&key, &Limits::default(), Clock::new());
    open_with(&Address::parse(address).unwrap(), settings).await.unwrap()
}

fn sqlite_address(folder: &TempDir) -> String {
    format!("sqlite:///{}", folder.file("s.db").display())
}

async fn a_new_store_is_checked_once(address: &str) {
    let store = open_as(address, "api.test").await;
    assert!(store.needs_check().await.unwrap());
    let refused = submit(&store, 1, 0, slot_request("a", true)).await;
    assert!(refused.sessions_unknown && refused.granted.is_empty(), "{refused:?}");
    store.record_check(ListedActions::default()).await.unwrap();
    assert!(!store.needs_check().await.unwrap());
    let found = store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert_eq!(found.since_state_loss, None, "nothing was lost");
    let admitted = submit(&store, 1, 1, slot_request("b", true)).await;
    assert_eq!(admitted.granted.len(), 2, "nobody waits: {admitted:?}");
    let other = open_as(address, "api.test").await;
    assert!(!other.needs_check().await.unwrap(), "the store is in use");
    assert!(open_as(address, "other.test").await.needs_check().await.unwrap());
}

async fn what_the_list_shows_counts(address: &str) {
    let store = open_as(address, "api.test").await;
    store.record_check(ListedActions::default()).await.unwrap();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    store.record_action(key("a"), "KNOWN".into(), None).await.unwrap();
    let ids = ["known", "new", "old"].map(String::from).to_vec();
    assert_eq!(store.find_unknown_actions(ids.clone()).await.unwrap(), ["new", "old"]);
    let open = OpenSession { machine_id: "b".into(), action_id: "new".into(), lease: 900.0 };
    let unknown = vec![("new".into(), 20.0), ("old".into(), 2000.0)];
    store.record_check(ListedActions { unknown, open: vec![open] }).await.unwrap();
    assert!(store.find_unknown_actions(ids).await.unwrap().is_empty(), "reported once");
    assert_eq!(store.slots().await.unwrap()[0].action_id.as_deref(), Some("new"));
    let windows = store.snapshot().await.unwrap().windows;
    let window = windows.iter().find(|window| window.name == SUBMIT.name()).unwrap();
    assert_eq!(window.ended, 1, "the minute has one of them");
    let found = store.get_or_create_intent(key("c"), Vec::new(), String::new()).await.unwrap();
    assert!(found.since_state_loss.is_some_and(|seconds| seconds < 30.0), "{found:?}");
}

async fn other_names_of_the_service_are_taken_over(address: &str) {
    for (old, at) in [("localhost:81", "a"), ("[::1]:81", "b")] {
        let store = open_as(address, old).await;
        store.record_check(ListedActions::default()).await.unwrap();
        store.get_or_create_intent(key(at), Vec::new(), at.into()).await.unwrap();
        assert_eq!(submit(&store, 1, 0, slot_request(at, true)).await.granted.len(), 1);
        store.record_action(key(at), format!("on-{at}"), Some(900.0)).await.unwrap();
        store.record_unreliable_comments().await.unwrap();
    }
    open_as(address, "api.test").await;
    for _ in 0..2 {
        let store = open_as(address, "127.0.0.1:81").await;
        for at in ["a", "b"] {
            assert!(store.is_action_recorded(format!("on-{at}")).await.unwrap(), "{at}");
            assert_eq!(store.get_intent(key(at)).await.unwrap().unwrap().comment, at);
        }
        assert!(store.slots().await.unwrap().len() == 2);
        assert!(store.has_unreliable_comments().await.unwrap());
    }
    let hosts = mde_live_response::state::address::quota_keys(address).await.unwrap();
    let mut hosts: Vec<_> = hosts.into_iter().map(|key| key.host).collect();
    hosts.sort();
    assert_eq!(hosts, ["127.0.0.1:81", "api.test"]);
}

macro_rules! shared_suite {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let folder = TempDir::new();
                super::$case(&sqlite_address(&folder)).await;
            })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let Some(redis) = Redis::start(&[]) else { return };
                super::$case(&redis.address()).await;
            })*
        }
    };
}

shared_suite!(
    a_new_store_is_checked_once,
    what_the_list_shows_counts,
    other_names_of_the_service_are_taken_over,
);

#[tokio::test]
async fn redis_back_from_an_older_dump_is_checked() {
    let Some(mut redis) = Redis::start(&["--dbfilename", "dump.rdb"]) else { return };
    let store = open_as(&redis.address(), "api.test").await;
    store.record_check(ListedActions::default()).await.unwrap();
    redis.save().await;
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    redis.restart();
    assert!(store.get_intent(key("a")).await.unwrap().is_none(), "it has gone back");
    assert!(store.needs_check().await.unwrap());
}

#[tokio::test]
async fn a_new_process_notices_that_redis_was_restarted() {
    let Some(mut redis) = Redis::start(&["--dbfilename", "dump.rdb"]) else { return };
    let store = open_as(&redis.address(), "api.test").await;
    store.record_check(ListedActions::default()).await.unwrap();
    assert!(!open_as(&redis.address(), "api.test").await.needs_check().await.unwrap());
    redis.save().await;
    drop(store);
    redis.restart();
    let newcomer = open_as(&redis.address(), "api.test").await;
    assert!(newcomer.needs_check().await.unwrap(), "the dump may be an old one");
    newcomer.record_check(ListedActions::default()).await.unwrap();
    assert!(!open_as(&redis.address(), "api.test").await.needs_check().await.unwrap(), "once");
}

/// A replica that lagged has the same epoch and fewer operations.
#[tokio::test]
async fn redis_data_that_goes_back_without_a_restart_is_noticed() {
    let Some(redis) = Redis::start(&[]) else { return };
    let store = open_as(&redis.address(), "api.test").await;
    store.record_check(ListedActions::default()).await.unwrap();
    for _ in 0..5 {
        assert!(!store.needs_check().await.unwrap());
    }
    let mut connection = ::redis::Client::open(redis.address())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let keys: Vec<String> =
        ::redis::cmd("KEYS").arg("*:epoch").query_async(&mut connection).await.unwrap();
    let mut set = ::redis::cmd("HINCRBY");
    set.arg(&keys[0]).arg("count").arg(-3).exec_async(&mut connection).await.unwrap();
    assert!(store.needs_check().await.unwrap());
    store.record_check(ListedActions::default()).await.unwrap();
    assert!(!store.needs_check().await.unwrap(), "one check is enough");
    let found = store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(found.since_state_loss.is_some_and(|seconds| seconds < 30.0), "{found:?}");
}

#[tokio::test]
async fn the_eviction_policy_is_checked_again_after_a_reconnect() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes"]) else { return };
    let store = open_as(&redis.address(), "api.test").await;
    redis.set_option("--maxmemory-policy", "allkeys-lru");
    redis.restart();
    let error = store.get_intent(key("a")).await.unwrap_err();
    assert!(error.message.contains("allkeys-lru") && !error.retryable, "{error:?}");
}
