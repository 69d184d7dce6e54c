//! `library.sync`: what it makes of a folder and of the library.

use std::path::Path;

use mde_live_response::emulator::Route;
use mde_live_response::error::{Kind, Result};
use mde_live_response::library::{LibraryPlan, ensure, sync};
use mde_live_response::model::LibraryFile;
use mde_live_response::session::Sessions;
use mde_live_response::transfer::LibraryUpload;
use mde_live_response::transport::BodyPart;

use crate::support::{Fixture, HOUR, TempDir, within};

pub async fn try_sync(sessions: &Sessions, folder: &Path, delete: bool) -> Result<LibraryPlan> {
    let (pipeline, local_files) = (&sessions.pipeline, &sessions.local_files);
    within(HOUR, sync(pipeline, local_files, folder, delete, false)).await
}

pub async fn synced(sessions: &Sessions, folder: &Path) -> LibraryPlan {
    let plan = try_sync(sessions, folder, true).await;
    plan.unwrap_or_else(|error| panic!("{error:?}"))
}

pub fn write(folder: &Path, files: &[(&str, &str)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

pub async fn listed(fixture: &Fixture) -> Vec<LibraryFile> {
    let own = ["echo.ps1", "helper.exe"];
    let files = fixture.unrelated_client().pipeline.list_library_files().await.unwrap();
    files.into_iter().filter(|file| !own.contains(&file.file_name.as_str())).collect()
}

pub async fn file(fixture: &Fixture, name: &str) -> LibraryFile {
    let files = listed(fixture).await;
    files.into_iter().find(|file| file.file_name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// An upload of someone else.
pub fn form(name: &str, content: &'static str, description: &str) -> LibraryUpload {
    LibraryUpload {
        file_name: name.to_owned(),
        content: BodyPart::Bytes(content.into()),
        description: description.to_owned(),
        parameters_description: None,
        overwrite: true,
    }
}

pub fn plan(kinds: [&[&str]; 5]) -> LibraryPlan {
    let [add, replace, describe, delete, leave] =
        kinds.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let others = ["echo.ps1", "helper.exe"].map(str::to_owned).to_vec();
    LibraryPlan { add, replace, describe, delete, leave, others, conflicts: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn a_sync_adds_replaces_describes_and_deletes_on_any_host() {
    let fixture = Fixture::new();
    let temp = TempDir::new();
    let folder = temp.0.join("scripts");
    write(&folder, &[("a.sh", "# One.\nid"), ("b.exe", "MZ1"), ("c.ps1", "'c'"), ("d", "")]);
    let first = synced(&fixture.sessions, &folder).await;
    assert_eq!(first, plan([&["a.sh", "b.exe", "c.ps1", "d"], &[], &[], &[], &[]]));
    let a = file(&fixture, "a.sh").await;
    let start: String = a.sha256.clone().unwrap().chars().take(16).collect();
    assert_eq!(a.description.unwrap(), format!("One. [mlr:sync:scripts:{start}]"));
    assert_eq!((a.has_parameters, a.parameters_description), (Some(false), None));

    // Another process, with a fresh store, on a host where the folder is elsewhere.
    let other = fixture.unrelated_client();
    let there = temp.0.join("elsewhere").join("scripts");
    write(&there, &[("a.sh", "# One.\nid"), ("b.exe", "MZ2"), ("d", ""), ("e.ps1", "'e'")]);
    let settings = r#"{"files": {"d": {"description": "A flag.", "parameters_description": "N"}}}"#;
    write(&there, &[("mde-library.json", settings)]);
    let expected = plan([&["e.ps1"], &["b.exe"], &["d"], &["c.ps1"], &["a.sh"]]);
    let (pipeline, local_files) = (&other.pipeline, &other.local_files);
    let uploads = fixture.request_count(Route::UploadLibraryFile);
    let planned = within(HOUR, sync(pipeline, local_files, &there, true, true)).await.unwrap();
    assert_eq!(planned, expected);
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), uploads);
    assert_eq!(fixture.request_count(Route::DeleteLibraryFile), 0);
    assert_eq!(synced(&other, &there).await, expected);
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), uploads + 3);
    let names: Vec<_> = listed(&fixture).await.into_iter().map(|file| file.file_name).collect();
    assert_eq!(names, ["a.sh", "b.exe", "d", "e.ps1"]);
    let d = file(&fixture, "d").await;
    assert!(d.description.unwrap().starts_with("A flag. [mlr:sync:scripts:"));
    assert_eq!((d.has_parameters, d.parameters_description.as_deref()), (Some(true), Some("N")));
    let lists = fixture.request_count(Route::ListLibraryFiles);
    assert_eq!(
        synced(&other, &there).await,
        plan([&[], &[], &[], &[], &["a.sh", "b.exe", "d", "e.ps1"]])
    );
    // In step: one list, and no change.
    assert_eq!(fixture.request_count(Route::ListLibraryFiles), lists + 1);
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), uploads + 3);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn without_delete_nothing_is_deleted() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &[("a.sh", "id"), ("b.sh", "ls")]);
    synced(&fixture.sessions, &folder.0).await;
    std::fs::remove_file(folder.0.join("a.sh")).unwrap();
    let kept = try_sync(&fixture.sessions, &folder.0, false).await.unwrap();
    assert_eq!(kept, plan([&[], &[], &[], &[], &["a.sh", "b.sh"]]));
    std::fs::remove_file(folder.0.join("b.sh")).unwrap();
    write(&folder.0, &[("mde-library.json", "{}")]);
    let emptied = synced(&fixture.sessions, &folder.0).await;
    assert_eq!(emptied, plan([&[], &[], &[], &["a.sh", "b.sh"], &[]]));
    assert!(listed(&fixture).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_of_others_are_never_touched() {
    let fixture = Fixture::new();
    let temp = TempDir::new();
    let (folder, other) = (temp.0.join("ours"), temp.0.join("theirs"));
    write(&other, &[("of-other-sync.sh", "1"), ("both.sh", "theirs")]);
    synced(&fixture.sessions, &other).await;
    let pipeline = &fixture.sessions.pipeline;
    for form in [
        form("same.sh", "same", "uploaded by hand"),
        form("different.sh", "theirs", "uploaded by hand"),
        form("forged.sh", "theirs", "[mlr:sync:ours:ba7816bf8f01cfea]"),
    ] {
        pipeline.upload_library_file(&form).await.unwrap();
    }
    let files = [("same.sh", "same"), ("different.sh", "ours"), ("forged.sh", "ours")];
    write(&folder, &files);
    write(&folder, &[("both.sh", "ours"), ("replaced.sh", "1"), ("gone.sh", "1")]);
    let first = synced(&fixture.sessions, &folder).await;
    assert_eq!(
        (first.add, first.leave),
        (vec!["gone.sh".into(), "replaced.sh".into()], vec!["same.sh".into()])
    );
    // Someone replaces a file, keeps its description, and takes it over so.
    let kept = file(&fixture, "replaced.sh").await.description.unwrap();
    pipeline.upload_library_file(&form("replaced.sh", "hotfix", &kept)).await.unwrap();
    pipeline.upload_library_file(&form("gone.sh", "1", "mine now")).await.unwrap();
    let before = listed(&fixture).await;
    write(&folder, &[("replaced.sh", "2")]);
    for name in ["gone.sh", "same.sh"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    let second = synced(&fixture.sessions, &folder).await;
    let changes = [second.add, second.replace, second.describe, second.delete, second.leave];
    assert!(changes.iter().all(Vec::is_empty), "{changes:?}");
    let mut all: Vec<_> = before.iter().map(|file| file.file_name.clone()).collect();
    all.extend(["echo.ps1", "helper.exe"].map(str::to_owned));
    all.sort();
    assert_eq!(second.others, all);
    assert_eq!(second.conflicts, ["both.sh", "different.sh", "forged.sh", "replaced.sh"]);
    assert_eq!(listed(&fixture).await, before);
}

#[tokio::test(start_paused = true)]
async fn without_hashes_the_mark_says_which_content_is_there() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &[("a.sh", "id"), ("b.sh", "ls")]);
    fixture.emulator.add_library_file("c.sh", b"theirs");
    fixture.emulator.set_raw_property("libraryfiles", "sha256", None).unwrap();
    synced(&fixture.sessions, &folder.0).await;
    write(&folder.0, &[("b.sh", "ls -l"), ("c.sh", "ours")]);
    let plan = synced(&fixture.sessions, &folder.0).await;
    assert_eq!((plan.leave, plan.replace), (vec!["a.sh".to_owned()], vec!["b.sh".to_owned()]));
    assert_eq!(plan.others, ["c.sh", "echo.ps1", "helper.exe"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_keeps_the_capitals_of_the_library() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &[("Triage.sh", "1")]);
    synced(&fixture.sessions, &folder.0).await;
    std::fs::remove_file(folder.0.join("Triage.sh")).unwrap();
    write(&folder.0, &[("triage.sh", "2")]);
    assert_eq!(synced(&fixture.sessions, &folder.0).await.replace, ["Triage.sh"]);
    assert_eq!(synced(&fixture.sessions, &folder.0).await.leave, ["Triage.sh"]);
    assert_eq!(listed(&fixture).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ensure_updates_a_changed_description_and_keeps_the_mark() {
    let fixture = Fixture::new();
    let folder = TempDir::new();
    write(&folder.0, &[("a.sh", "# Collects.\nid")]);
    synced(&fixture.sessions, &folder.0).await;
    let again = |description: &str| LibraryUpload {
        overwrite: false,
        ..form("a.sh", "# Collects.\nid", description)
    };
    let pipeline = &fixture.sessions.pipeline;
    for (description, changed) in
        [("", false), ("Collects.", false), ("Collects it.", true), ("Collects it.", false)]
    {
        let file = within(HOUR, ensure(pipeline, again(description))).await.unwrap();
        assert_eq!(file.changed, Some(changed), "{description}");
    }
    let described = file(&fixture, "a.sh").await.description.unwrap();
    assert!(described.starts_with("Collects it. [mlr:sync:"), "{described}");
    assert_eq!(synced(&fixture.sessions, &folder.0).await.describe, ["a.sh"]);
    let other = LibraryUpload { overwrite: false, ..form("a.sh", "other", "x") };
    let error = within(HOUR, ensure(pipeline, other)).await.unwrap_err();
    assert_eq!(error.kind, Kind::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_shares_no_file_with_its_collection_deletes_nothing() {
    let fixture = Fixture::new();
    let temp = TempDir::new();
    let (mine, theirs) = (temp.0.join("my/scripts"), temp.0.join("their/scripts"));
    write(&mine, &[("a.sh", "a"), ("b.sh", "b")]);
    write(&theirs, &[("c.sh", "c")]);
    synced(&fixture.sessions, &theirs).await;
    let uploads = fixture.request_count(Route::UploadLibraryFile);
    let error = try_sync(&fixture.sessions, &mine, true).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest, "{error}");
    assert!(error.message.contains("another folder of the same name"), "{error}");
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), uploads);
    // A dry run shows what it would do. Without delete, both are in the collection.
    let (pipeline, local_files) = (&fixture.sessions.pipeline, &fixture.sessions.local_files);
    let dry = within(HOUR, sync(pipeline, local_files, &mine, true, true)).await.unwrap();
    assert_eq!(dry.delete, ["c.sh"]);
    try_sync(&fixture.sessions, &mine, false).await.unwrap();
    // A name of its own makes two collections. Settings also confirm that the files are its own.
    write(&mine, &[("mde-library.json", "{}")]);
    assert_eq!(synced(&fixture.sessions, &mine).await.delete, ["c.sh"]);
}
