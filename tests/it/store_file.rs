//! A SQLite file that is deleted, replaced, restored or moved, also while it is open.

use std::path::Path;
use std::sync::Arc;

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::error::Kind;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::{ListedActions, Store, StoreSettings};

use super::store_support::*;

async fn open(path: &Path) -> Arc<dyn Store> {
    let key = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let settings = StoreSettings::new(&key, &Limits::default(), Clock::new());
    open_with(&Address::Sqlite(path.to_owned()), settings).await.unwrap()
}

async fn open_checked(path: &Path) -> Arc<dyn Store> {
    let store = open(path).await;
    store.record_check(ListedActions::default()).await.unwrap();
    store
}

async fn remember(store: &Arc<dyn Store>, machine: &str) {
    store.get_or_create_intent(key(machine), Vec::new(), String::new()).await.unwrap();
}

async fn knows(store: &Arc<dyn Store>, machine: &str) -> bool {
    store.get_intent(key(machine)).await.unwrap().is_some()
}

fn files(path: &Path) -> [std::path::PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| format!("{}{end}", path.display()).into())
}

/// Returns a store file that was closed, in a folder of its own.
async fn backup(folder: &TempDir, machine: &str) -> std::path::PathBuf {
    let path = folder.file("backup.db");
    remember(&open_checked(&path).await, machine).await;
    path
}

#[tokio::test]
async fn a_deleted_file_is_named_and_never_an_io_error() {
    let folder = TempDir::new();
    let path = folder.file("s.db");
    let store = open_checked(&path).await;
    remember(&store, "a").await;
    let away = folder.file("away.db");
    std::fs::rename(&path, &away).unwrap();
    let error = store.get_intent(key("a")).await.unwrap_err();
    assert!(error.kind == Kind::State && error.message.contains("deleted or moved"), "{error:?}");
    std::fs::rename(&away, &path).unwrap();
    assert!(knows(&store, "a").await, "it is back");
    assert!(!store.needs_check().await.unwrap());
    for file in files(&path) {
        std::fs::remove_file(file).unwrap();
    }
    assert!(store.get_intent(key("a")).await.is_err());
    // Another process starts a new file, and then this one follows it.
    let newcomer = open_checked(&path).await;
    remember(&newcomer, "b").await;
    assert!(knows(&store, "b").await && !knows(&store, "a").await);
}

#[tokio::test]
async fn a_file_that_was_replaced_while_open_is_checked() {
    let folder = TempDir::new();
    let path = folder.file("s.db");
    let other = backup(&folder, "b").await;
    let store = open_checked(&path).await;
    remember(&store, "a").await;
    std::fs::rename(&other, &path).unwrap();
    let error = store.get_intent(key("a")).await.unwrap_err();
    assert!(error.message.contains("-wal"), "{error:?}");
    for file in &files(&path)[1..] {
        std::fs::remove_file(file).unwrap();
    }
    assert!(knows(&store, "b").await && !knows(&store, "a").await);
    assert!(store.needs_check().await.unwrap());
    remember(&store, "c").await;
    drop(store);
    assert!(knows(&open(&path).await, "c").await, "the new file was written, and not damaged");
}

#[tokio::test]
async fn a_file_that_was_restored_in_place_while_open_is_checked() {
    let folder = TempDir::new();
    let path = folder.file("s.db");
    let store = open_checked(&path).await;
    remember(&store, "a").await;
    let other = rusqlite::Connection::open(&path).unwrap();
    let last: f64 = other.query_row("SELECT last FROM time", [], |row| row.get(0)).unwrap();
    remember(&store, "b").await;
    assert!(!store.needs_check().await.unwrap());
    // A backup tool that writes the older pages through SQLite has this effect.
    other.execute("DELETE FROM intents WHERE machine = 'b'", []).unwrap();
    other.execute("UPDATE time SET last = ?", [last]).unwrap();
    assert!(knows(&store, "a").await && !knows(&store, "b").await);
    assert!(store.needs_check().await.unwrap());
    // The list may not have the newest submits yet, so the id of a known intent is looked for too.
    store.record_check(ListedActions::default()).await.unwrap();
    let found = store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(found.since_state_loss.is_some_and(|seconds| seconds < 30.0), "{found:?}");
}

#[tokio::test]
async fn a_copy_is_not_the_file_that_was_checked() {
    let folder = TempDir::new();
    let (path, copy) = (folder.file("s.db"), folder.file("copy.db"));
    drop(open_checked(&path).await);
    assert!(!open(&path).await.needs_check().await.unwrap(), "it was used just now");
    std::fs::copy(&path, &copy).unwrap();
    assert!(open(&copy).await.needs_check().await.unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let store = open(&path).await;
    assert!(store.needs_check().await.unwrap());
    store.record_check(ListedActions::default()).await.unwrap();
    let found = store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    assert!(found.since_state_loss.is_some(), "the copy may be an old one: {found:?}");
}

#[tokio::test]
async fn a_file_without_a_recent_entry_is_checked() {
    let folder = TempDir::new();
    let path = folder.file("s.db");
    drop(open_checked(&path).await);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE time SET last = last - 100", []).unwrap();
    drop(connection);
    assert!(open(&path).await.needs_check().await.unwrap());
}

#[tokio::test]
async fn the_file_of_another_program_is_not_touched() {
    let folder = TempDir::new();
    let path = folder.file("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    drop(other);
    let before = std::fs::read(&path).unwrap();
    let key = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let settings = StoreSettings::new(&key, &Limits::default(), Clock::new());
    let refused = open_with(&Address::Sqlite(path.clone()), settings).await.err().unwrap();
    assert!(refused.message.contains("another program"), "{refused:?}");
    assert!(std::fs::read(&path).unwrap() == before && !files(&path)[1].exists());
}
