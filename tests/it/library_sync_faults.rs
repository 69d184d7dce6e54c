//! `library.sync` while responses are lost, others change the library, and processes are killed.

use std::path::Path;

use mde_live_response::emulator::{Fault, RequestOutcome, Route};
use mde_live_response::error::Kind;
use mde_live_response::session::Sessions;

use crate::library_sync::{file, form, listed, plan, synced, try_sync, write};
use crate::support::{Fixture, HOUR, LOST_RESPONSES, TempDir, fault, sleep, within};

const FILES: [(&str, &str); 3] = [("a.sh", "1"), ("b.sh", "1"), ("c.sh", "1")];

fn names(files: &[(&str, &str)]) -> Vec<String> {
    files.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Starts a sync whose call of this route, the nth, waits for 30 seconds before it has an effect.
async fn stopped_at(
    fixture: &Fixture,
    sessions: &std::sync::Arc<Sessions>,
    folder: &Path,
    route: (&str, Route),
    nth: u32,
) -> tokio::task::JoinHandle<
    mde_live_response::error::Result<mde_live_response::library::LibraryPlan>,
> {
    let calls = fixture.request_count(route.1) + nth as usize;
    fixture.fault(route.0, Fault::delay(30.0), nth, 1);
    let (sessions, folder) = (sessions.clone(), folder.to_owned());
    let syncing = tokio::spawn(async move { try_sync(&sessions, &folder, true).await });
    while fixture.request_count(route.1) < calls {
        sleep(0.01).await;
    }
    syncing
}

/// Syncs the folder, and then gives two of its files descriptions.
async fn describe_two_files(fixture: &Fixture, folder: &Path) {
    write(folder, &FILES);
    synced(&fixture.sessions, folder).await;
    let settings = r#"{"files": {"a.sh": {"description": "A"}, "b.sh": {"description": "B"}}}"#;
    write(folder, &[("mde-library.json", settings)]);
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_a_change_is_settled_by_the_list() {
    for kind in LOST_RESPONSES {
        for (route, times) in [("upload", 1), ("upload", 2), ("delete", 1), ("libraryfiles", 1)] {
            let what = format!("{kind:?} {route} {times}");
            let fixture = Fixture::new();
            let folder = TempDir::new();
            write(&folder.0, &FILES);
            synced(&fixture.sessions, &folder.0).await;
            write(&folder.0, &[("a.sh", "2"), ("d.sh", "# New.\n")]);
            write(
                &folder.0,
                &[("mde-library.json", r#"{"files": {"b.sh": {"description": "B"}}}"#)],
            );
            std::fs::remove_file(folder.0.join("c.sh")).unwrap();
            fixture.fault(route, fault(kind), 1, times);
            let done = try_sync(&fixture.sessions, &folder.0, true).await;
            let done = done.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(done, plan([&["d.sh"], &["a.sh"], &["b.sh"], &["c.sh"], &[]]), "{what}");
            let again = synced(&fixture.sessions, &folder.0).await;
            assert_eq!(again.leave, ["a.sh", "b.sh", "d.sh"], "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_down_ends_the_sync_and_the_next_one_continues() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    fixture.fault("upload", Fault::status(503), 2, 3);
    let error = try_sync(&fixture.sessions, &folder.0, true).await.unwrap_err();
    assert_eq!((error.kind, error.status), (Kind::Service, Some(503)));
    assert!(error.message.ends_with("(1 of 3 changes were made)"), "{error}");
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), 4);
    let done = synced(&fixture.sessions, &folder.0).await;
    assert_eq!(done, plan([&["b.sh", "c.sh"], &[], &[], &[], &["a.sh"]]));
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_is_killed_between_uploads_is_continued() {
    for (nth, left) in [(1, 3), (2, 2), (3, 1)] {
        let fixture = Fixture::new();
        let folder = TempDir::new();
        write(&folder.0, &FILES);
        let first = fixture.sibling_client();
        let upload = ("upload", Route::UploadLibraryFile);
        stopped_at(&fixture, &first, &folder.0, upload, nth).await.abort();
        sleep(60.0).await;
        assert_eq!(listed(&fixture).await.len(), 3 - left, "{nth}");
        let done = synced(&fixture.sessions, &folder.0).await;
        assert_eq!((done.add.len(), done.leave.len()), (left, 3 - left), "{nth}");
        assert_eq!(listed(&fixture).await.len(), 3, "{nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_library_that_moves_during_the_sync_stops_it() {
    let list = ("libraryfiles", Route::ListLibraryFiles);
    // What someone does with which file, while the second list waits: before the first change.
    for (name, content, kind, changed) in [
        ("new.sh", Some("theirs"), Kind::AlreadyExists, "was uploaded in the library"),
        ("a.sh", Some("theirs"), Kind::AlreadyExists, "was changed in the library"),
        ("b.sh", Some("theirs"), Kind::AlreadyExists, "was changed in the library"),
        ("c.sh", Some("theirs"), Kind::AlreadyExists, "was changed in the library"),
        ("a.sh", None, Kind::NotFound, "was deleted from the library"),
        ("b.sh", None, Kind::NotFound, "was deleted from the library"),
    ] {
        let fixture = Fixture::new();
        let folder = TempDir::new();
        write(&folder.0, &FILES);
        synced(&fixture.sessions, &folder.0).await;
        write(&folder.0, &[("a.sh", "2"), ("new.sh", "1")]);
        std::fs::remove_file(folder.0.join("c.sh")).unwrap();
        let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, list, 2).await;
        let other = fixture.unrelated_client();
        match content {
            Some(content) => {
                other.pipeline.upload_library_file(&form(name, content, "hotfix")).await.unwrap();
            }
            None => other.pipeline.delete_library_file(name).await.unwrap(),
        }
        let before = listed(&fixture).await;
        let error = within(HOUR, syncing).await.unwrap().unwrap_err();
        assert_eq!(error.kind, kind, "{name} {error}");
        assert!(error.retryable && error.message.contains(changed), "{name} {error}");
        assert!(error.message.contains(name), "{name} {error}");
        assert!(error.message.contains("(0 of 3 changes"), "{name} {error}");
        assert_eq!(listed(&fixture).await, before, "{name} {content:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_someone_takes_over_before_it_is_described_is_not_touched() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    describe_two_files(&fixture, &folder.0).await;
    let list = ("libraryfiles", Route::ListLibraryFiles);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, list, 3).await;
    let other = fixture.unrelated_client();
    other.pipeline.upload_library_file(&form("b.sh", "1", "mine now")).await.unwrap();
    let error = within(HOUR, syncing).await.unwrap().unwrap_err();
    assert!(error.message.contains("\"b.sh\" was changed"), "{error}");
    assert!(error.message.ends_with("(1 of 2 changes were made)"), "{error}");
    assert_eq!(file(&fixture, "b.sh").await.description.unwrap(), "mine now");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cuts_descriptions_does_not_stop_the_sync() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    describe_two_files(&fixture, &folder.0).await;
    let upload = ("upload", Route::UploadLibraryFile);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, upload, 1).await;
    fixture.emulator.set_raw_property("a.sh", "description", Some("A [mlr".into())).unwrap();
    let done = within(HOUR, syncing).await.unwrap().unwrap();
    assert_eq!((done.describe, done.leave.len()), (vec!["a.sh".into(), "b.sh".into()], 1));
    assert_eq!(synced(&fixture.sessions, &folder.0).await.leave, names(&FILES));
}

#[tokio::test(start_paused = true)]
async fn a_library_that_moves_during_the_last_change_is_reported() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    synced(&fixture.sessions, &folder.0).await;
    write(&folder.0, &[("a.sh", "2")]);
    let upload = ("upload", Route::UploadLibraryFile);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, upload, 1).await;
    let other = fixture.unrelated_client();
    other.pipeline.upload_library_file(&form("b.sh", "theirs", "hotfix")).await.unwrap();
    let error = within(HOUR, syncing).await.unwrap().unwrap_err();
    assert!(error.message.contains("\"b.sh\" was changed"), "{error}");
    assert!(error.message.ends_with("(1 of 1 changes were made)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_file_that_the_sync_does_not_cover_does_not_stop_it() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    let list = ("libraryfiles", Route::ListLibraryFiles);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, list, 2).await;
    let other = fixture.unrelated_client();
    other.pipeline.upload_library_file(&form("other.sh", "x", "")).await.unwrap();
    other.pipeline.delete_library_file("helper.exe").await.unwrap();
    assert_eq!(within(HOUR, syncing).await.unwrap().unwrap().add, names(&FILES));
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_someone_else_right_before_ours_is_not_replaced() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    let upload = ("upload", Route::UploadLibraryFile);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, upload, 1).await;
    fixture.emulator.add_library_file("a.sh", b"theirs");
    let before = file(&fixture, "a.sh").await;
    let error = within(HOUR, syncing).await.unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::AlreadyExists);
    assert!(error.message.contains("\"a.sh\" was uploaded in the library"), "{error}");
    assert_eq!(file(&fixture, "a.sh").await, before);
}

#[tokio::test(start_paused = true)]
async fn the_same_sync_of_two_processes_makes_each_change_once() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &[("old.sh", "1"), ("older.sh", "1")]);
    synced(&fixture.sessions, &folder.0).await;
    for name in ["old.sh", "older.sh"] {
        std::fs::remove_file(folder.0.join(name)).unwrap();
    }
    write(&folder.0, &FILES);
    // All its files are new ones.
    write(&folder.0, &[("mde-library.json", "{}")]);
    let (one, two) = (fixture.unrelated_client(), fixture.unrelated_client());
    let (one, two) = tokio::join!(synced(&one, &folder.0), synced(&two, &folder.0));
    for plan in [&one, &two] {
        let mut all = [plan.add.clone(), plan.leave.clone()].concat();
        all.retain(|name| !name.starts_with("old"));
        all.sort();
        assert_eq!(all, names(&FILES), "{one:?} {two:?}");
    }
    let mut added = [one.add, two.add].concat();
    added.sort();
    assert_eq!(added, names(&FILES));
    let left = listed(&fixture).await;
    assert_eq!(left.iter().map(|file| file.file_name.clone()).collect::<Vec<_>>(), names(&FILES));
    let accepted = |route: Route, status| {
        let all = fixture.emulator.requests();
        let is_done = RequestOutcome::Status(status);
        all.iter().filter(|call| call.route == route && call.status == is_done).count()
    };
    // Two of the first sync, and each file once.
    assert_eq!(accepted(Route::UploadLibraryFile, 200), 2 + 3);
    assert_eq!(accepted(Route::DeleteLibraryFile, 204), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_another_process_was_faster_with_is_not_reported_as_ours() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    let upload = ("upload", Route::UploadLibraryFile);
    let slow = fixture.unrelated_client();
    let syncing = stopped_at(&fixture, &slow, &folder.0, upload, 1).await;
    assert_eq!(synced(&fixture.sessions, &folder.0).await.add, names(&FILES));
    let late = within(HOUR, syncing).await.unwrap().unwrap();
    assert_eq!(late, plan([&[], &[], &[], &[], &["a.sh", "b.sh", "c.sh"]]));
}

#[tokio::test(start_paused = true)]
async fn syncs_of_two_versions_never_mix_without_an_error() {
    for nth in 1..=3 {
        let fixture = Fixture::new();
        let temp = TempDir::new();
        let (old, new) = (temp.0.join("1").join("scripts"), temp.0.join("2").join("scripts"));
        write(&old, &FILES.map(|(name, _)| (name, "old")));
        write(&new, &FILES.map(|(name, _)| (name, "new")));
        let first = fixture.unrelated_client();
        let list = ("libraryfiles", Route::ListLibraryFiles);
        let syncing = stopped_at(&fixture, &first, &old, list, nth + 1).await;
        let done = try_sync(&fixture.sessions, &new, true).await.unwrap();
        assert_eq!(done.add.len() + done.replace.len(), 3, "{nth}");
        let error = within(HOUR, syncing).await.unwrap().unwrap_err();
        assert!(error.retryable && error.message.contains("during the sync"), "{nth} {error}");
        let left = synced(&fixture.sessions, &new).await;
        assert_eq!(left.leave, names(&FILES), "{nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_during_the_sync_is_not_uploaded() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &FILES);
    let list = ("libraryfiles", Route::ListLibraryFiles);
    let syncing = stopped_at(&fixture, &fixture.sessions, &folder.0, list, 2).await;
    write(&folder.0, &[("a.sh", "half")]);
    let error = within(HOUR, syncing).await.unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
    assert!(error.message.contains("a.sh changed during the sync"), "{error}");
    assert!(listed(&fixture).await.is_empty());
}
