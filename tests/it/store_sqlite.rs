//! The file: its mode, its place, its version, and a disk that is full.

use std::path::Path;
use std::sync::Arc;

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::sqlite::quota_keys;
use mde_live_response::state::store::{Settings, Store};

use super::store_support::*;

async fn open(path: &Path, pages: Option<u32>) -> Result<Arc<dyn Store>> {
    let quota = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let mut settings = Settings::new(&quota, &Limits::default(), Clock::new());
    settings.max_pages = pages;
    open_with(&Address::Sqlite(path.to_owned()), settings).await
}

async fn refused(path: &Path) -> Error {
    match open(path, None).await {
        Err(error) => {
            assert!(error.kind == Kind::State && error.hint.is_some(), "{error:?}");
            error
        }
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

#[tokio::test]
async fn what_is_kept_is_this_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    store.intent(key("a"), Vec::new(), String::new()).await.unwrap();
    for name in ["s.db", "s.db-wal", "s.db-shm"] {
        let mode = std::fs::metadata(folder.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(quota_keys(&folder.file("s.db")).unwrap()[0].tenant, "t");
}

#[tokio::test]
async fn what_is_no_store_is_refused_with_its_cure() {
    let folder = Folder::new();
    let missing = refused(&folder.file("no/such/s.db")).await;
    assert!(missing.message.contains("no directory"), "{missing:?}");
    assert!(refused(&folder.0).await.message.contains("is a directory"));
    assert!(refused(Path::new("/proc/s.db")).await.message.contains("can't be made"));
    std::fs::write(folder.file("text"), "hello, this is no database at all, and long enough to see").unwrap();
    assert!(refused(&folder.file("text")).await.message.contains("not a state store"));
    let other = rusqlite::Connection::open(folder.file("other")).unwrap();
    other.execute_batch("CREATE TABLE t (x); PRAGMA application_id = 5").unwrap();
    assert!(refused(&folder.file("other")).await.message.contains("another program"));
}

#[tokio::test]
async fn another_version_is_named_beside_ours() {
    let folder = Folder::new();
    drop(open(&folder.file("s.db"), None).await.unwrap());
    let connection = rusqlite::Connection::open(folder.file("s.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 7").unwrap();
    let error = refused(&folder.file("s.db")).await;
    assert!(error.message.contains("version 7") && error.message.contains("version 1"), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_passes() {
    let folder = Folder::new();
    let store = open(&folder.file("s.db"), Some(40)).await.unwrap();
    let mut full = None;
    for number in 0..200 {
        let key = key(&format!("m{number}"));
        match store.intent(key.clone(), Vec::new(), "x".repeat(2000)).await {
            Ok(_) => assert!(full.is_none()),
            Err(error) => {
                assert!(error.kind == Kind::State && error.retryable && error.message.contains("full"), "{error:?}");
                full = Some(key);
                break;
            }
        }
    }
    assert!(store.known_intent(full.unwrap()).await.unwrap().is_none(), "what failed was not half done");
    for number in 0..5 {
        store.withdraw(key(&format!("m{number}"))).await.unwrap();
    }
    store.intent(key("after"), Vec::new(), String::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_finds_it_closed_and_calls_made_meanwhile_wait() {
    let folder = Folder::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    store.intent(key("a"), Vec::new(), String::new()).await.unwrap();
    store.quiesce();
    let open_files =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    assert!(open_files.into_iter().all(|file| !file.starts_with(&folder.0)), "no descriptor is left to inherit");
    let meanwhile = tokio::spawn({
        let store = store.clone();
        async move { store.known_intent(key("a")).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!meanwhile.is_finished());
    store.reopen();
    assert!(meanwhile.await.unwrap().unwrap().is_some());
}
