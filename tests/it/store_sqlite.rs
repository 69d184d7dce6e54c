//! The SQLite file: its mode, location and version, and a full disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::sqlite::quota_keys;
use mde_live_response::state::store::{DeferredWrite, Store, StoreSettings};

use super::store_support::*;

async fn open(path: &Path, pages: Option<u32>) -> Result<Arc<dyn Store>> {
    let quota = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let mut settings = StoreSettings::new(&quota, &Limits::default(), Clock::new());
    settings.max_pages = pages;
    open_with(&Address::Sqlite(path.to_owned()), settings).await
}

/// A file system mounted for the test, if it may mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let done = Command::new("mount").args(arguments).arg(path).stderr(Stdio::null()).status();
        if done.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        println!("skipped: no permission to mount a file system");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(
            Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success()
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
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
async fn files_are_private_to_this_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    for name in ["s.db", "s.db-wal", "s.db-shm"] {
        let mode = std::fs::metadata(folder.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(quota_keys(&folder.file("s.db")).unwrap()[0].tenant, "t");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_with_a_hint() {
    let folder = TempDir::new();
    let missing = refused(&folder.file("no/such/s.db")).await;
    assert!(missing.message.contains("no directory"), "{missing:?}");
    assert!(refused(&folder.0).await.message.contains("is a directory"));
    assert!(refused(Path::new("/proc/s.db")).await.message.contains("can't be created"));
    std::fs::write(
        folder.file("text"),
        "hello, this is no database at all, and long enough to see",
    )
    .unwrap();
    assert!(refused(&folder.file("text")).await.message.contains("not a state store"));
    let other = rusqlite::Connection::open(folder.file("other")).unwrap();
    other.execute_batch("CREATE TABLE t (x); PRAGMA application_id = 5").unwrap();
    assert!(refused(&folder.file("other")).await.message.contains("another program"));
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let folder = TempDir::new();
    drop(open(&folder.file("s.db"), None).await.unwrap());
    let connection = rusqlite::Connection::open(folder.file("s.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 7").unwrap();
    let error = refused(&folder.file("s.db")).await;
    assert!(
        error.message.contains("version 7") && error.message.contains("version 1"),
        "{error:?}"
    );
}

/// Root can write to any file, except on a file system mounted read-only.
#[tokio::test]
async fn a_read_only_store_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new();
    drop(open(&folder.file("s.db"), None).await.unwrap());
    let _mounted = Mounted::tmpfs(&folder.file("small"), "size=1m");
    let Some(mounted) = &_mounted else {
        std::fs::set_permissions(folder.file("s.db"), PermissionsExt::from_mode(0o400)).unwrap();
        assert!(refused(&folder.file("s.db")).await.message.contains("can't be"));
        return;
    };
    let path = mounted.0.join("s.db");
    drop(open(&path, None).await.unwrap());
    mounted.remount("ro");
    assert!(refused(&path).await.message.contains("can't be"));
    assert!(refused(&mounted.0.join("new.db")).await.message.contains("can't be created"));
}

/// Uses a real full file system. Where none can be mounted, the test with limited pages must do.
#[tokio::test]
async fn a_full_file_system_is_reported() {
    let folder = TempDir::new();
    let Some(mounted) = Mounted::tmpfs(&folder.file("small"), "size=1m") else { return };
    let store = open(&mounted.0.join("s.db"), None).await.unwrap();
    let mut failed = None;
    for number in 0..2000 {
        let made = store
            .get_or_create_intent(key(&format!("m{number}")), Vec::new(), "x".repeat(2000))
            .await;
        if let Err(error) = made {
            assert!(error.kind == Kind::State && error.retryable, "{error:?}");
            failed = Some(number);
            break;
        }
    }
    let failed = failed.expect("a disk of one megabyte gets full");
    mounted.remount("size=8m");
    assert!(
        store.get_intent(key(&format!("m{failed}"))).await.unwrap().is_none(),
        "the failed write left nothing behind"
    );
    assert!(store.get_intent(key("m0")).await.unwrap().is_some(), "earlier writes are kept");
    store.get_or_create_intent(key("after"), Vec::new(), String::new()).await.unwrap();
}

/// A power cut may undo calls, so they are counted.
#[tokio::test]
async fn calls_that_a_power_cut_may_undo_are_counted() {
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    assert_eq!(read(&store, 1, [0]).await.granted.len(), 1);
    drop(store);
    let connection = rusqlite::Connection::open(folder.file("s.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE quotas SET boot = 'the boot before'; UPDATE time SET clock_id = \
                        'the boot before'",
        )
        .unwrap();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    let answer = read(&store, 1, [1]).await;
    assert!(answer.granted.is_empty(), "{answer:?}");
    let view = store.window_usage(READ).await.unwrap();
    assert!(
        view.free_share == 0.0 && view.wait > 59.0 && view.wait < 61.0,
        "the minute is full, the hour is not: {view:?}"
    );
    drop(store);
    let windows = open(&folder.file("s.db"), None).await.unwrap().snapshot().await.unwrap().windows;
    let window = windows.iter().find(|window| window.name == READ.name()).unwrap();
    assert_eq!(window.running + window.ended, 101, "they are counted once");
}

#[tokio::test]
async fn a_deferred_write_is_done_soon() {
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    assert_eq!(read(&store, 1, [0]).await.granted.len(), 1);
    store.defer(DeferredWrite::EndCall(READ, ticket(1, 0)));
    let other = rusqlite::Connection::open(folder.file("s.db")).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let written = || -> bool {
        let running = "SELECT count(*) FROM calls, time WHERE ends > last";
        other.query_row(running, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    };
    while !written() {
        assert!(std::time::Instant::now() < deadline, "the deferred write was not done in time");
        tokio::task::yield_now().await;
    }
}

/// The next admission writes the end of a call, and the call counts from when it ended.
#[tokio::test]
async fn a_call_counts_from_its_end_and_not_from_when_the_end_was_written() {
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    assert_eq!(read(&store, 1, [0]).await.granted.len(), 1);
    let other = rusqlite::Connection::open(folder.file("s.db")).unwrap();
    let query = |sql: &str| other.query_row(sql, [], |row| row.get::<_, f64>(0)).unwrap();
    let started = query("SELECT last FROM time");
    store.defer(DeferredWrite::EndCall(READ, ticket(1, 0)));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(read(&store, 1, [1]).await.granted.len(), 1);
    let ended = query("SELECT min(ends) FROM calls");
    let now = query("SELECT last FROM time");
    assert!(started <= ended && ended <= now - 0.199, "{started} {ended} {now}");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_recovers() {
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), Some(40)).await.unwrap();
    let mut full = None;
    for number in 0..200 {
        let key = key(&format!("m{number}"));
        match store.get_or_create_intent(key.clone(), Vec::new(), "x".repeat(2000)).await {
            Ok(_) => assert!(full.is_none()),
            Err(error) => {
                assert!(
                    error.kind == Kind::State && error.retryable && error.message.contains("full"),
                    "{error:?}"
                );
                full = Some(key);
                break;
            }
        }
    }
    assert!(
        store.get_intent(full.unwrap()).await.unwrap().is_none(),
        "the failed write left nothing behind"
    );
    for number in 0..5 {
        store.delete_unsent_intent(key(&format!("m{number}"))).await.unwrap();
    }
    store.get_or_create_intent(key("after"), Vec::new(), String::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_closes_the_file_and_calls_wait() {
    let folder = TempDir::new();
    let store = open(&folder.file("s.db"), None).await.unwrap();
    store.get_or_create_intent(key("a"), Vec::new(), String::new()).await.unwrap();
    store.quiesce();
    let open_files = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    assert!(
        open_files.into_iter().all(|file| !file.starts_with(&folder.0)),
        "no file is open that a child would inherit"
    );
    let meanwhile = tokio::spawn({
        let store = store.clone();
        async move { store.get_intent(key("a")).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!meanwhile.is_finished());
    store.reopen();
    assert!(meanwhile.await.unwrap().unwrap().is_some());
}
