//! What `run` and `result` save, and the manifest that they write.

use std::path::Path;

use mde_live_response::digest::sha256_hex;
use mde_live_response::emulator::{Content, ScriptOutcome};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::{RunOptions, SaveTo, SessionResult, SubmitRequest};
use serde_json::Value;

use crate::support::{Fixture, HOUR, TempDir, run_script, within};

const FILE: &str = "/tmp/a.txt";

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.emulator.put_remote_file("*", FILE, Content::Bytes("evidence".into())).unwrap();
    let outcome = ScriptOutcome { stdout: "done\n".to_owned(), ..ScriptOutcome::default() };
    fixture.emulator.on_script("echo.ps1", outcome);
    fixture
}

fn submit(fixture: &Fixture) -> SubmitRequest {
    let commands = vec![run_script("echo.ps1"), Command::get_file(FILE).unwrap()];
    SubmitRequest { commands, ..fixture.submit_args() }
}

fn save_to(folder: &TempDir, transcripts: bool) -> SaveTo {
    SaveTo { folder: folder.0.clone(), transcripts }
}

async fn run(fixture: &Fixture, save_to: SaveTo) -> SessionResult {
    let options = RunOptions { save_to: Some(save_to), ..RunOptions::default() };
    fixture.run(submit(fixture), options).await.unwrap()
}

/// Returns the entries of the manifest, and checks their files and their chain.
fn read_manifest(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let mut previous = "0".repeat(64);
    let mut entries = Vec::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["previous"], previous.as_str());
        let content = std::fs::read(folder.join(entry["path"].as_str().unwrap())).unwrap();
        assert_eq!(entry["sha256"], sha256_hex(&content).as_str());
        assert_eq!(entry["size"], content.len());
        previous = sha256_hex(line.as_bytes());
        entries.push(entry);
    }
    entries
}

#[tokio::test(start_paused = true)]
async fn a_run_on_one_machine_writes_the_manifest() {
    let (fixture, folder) = (fixture(), TempDir::new());
    let result = run(&fixture, save_to(&folder, false)).await;
    assert!(result.is_ok(), "{}", result.message);
    let [entry] = &read_manifest(&folder.0)[..] else { panic!("one line for one file") };
    assert_eq!(entry["run_id"], Value::Null);
    assert_eq!(entry["action_id"], result.action.id.as_str());
    assert_eq!((&entry["command"], &entry["remote_path"]), (&1.into(), &FILE.into()));
    assert_eq!(entry.get("script_name"), None);
    assert_eq!(folder.files().len(), 2, "{:?}", folder.files());

    // The same session again, by its id: the same file, and no second line.
    let session = fixture.sessions.session(&result.action.id);
    let again = within(HOUR, session.result(None, Some(&save_to(&folder, false)))).await.unwrap();
    assert!(again.is_ok());
    assert_eq!(read_manifest(&folder.0).len(), 1);
    // Without a folder there is none.
    let result = fixture.run(submit(&fixture), RunOptions::default()).await.unwrap();
    assert!(result.is_ok() && folder.files().len() == 2);
}

#[tokio::test(start_paused = true)]
async fn transcripts_are_saved_as_they_were_received_if_asked() {
    let (fixture, folder) = (fixture(), TempDir::new());
    let result = run(&fixture, save_to(&folder, true)).await;
    assert!(result.is_ok(), "{}", result.message);
    let [script, file] = &read_manifest(&folder.0)[..] else { panic!("a line for each") };
    assert_eq!(
        (&script["remote_path"], &script["script_name"]),
        (&Value::Null, &"echo.ps1".into())
    );
    assert_eq!(file["remote_path"], FILE);
    let path = script["path"].as_str().unwrap();
    assert!(path.ends_with("/0_echo.ps1.transcript.json"), "{path}");
    let saved = std::fs::read(folder.0.join(path)).unwrap();
    assert_eq!(saved, result.commands[0].script.as_ref().unwrap().raw);

    // A later call may ask for them.
    let (other, session) = (TempDir::new(), fixture.sessions.session(&result.action.id));
    for (transcripts, lines) in [(false, 1), (true, 2), (true, 2)] {
        let save_to = save_to(&other, transcripts);
        within(HOUR, session.result(None, Some(&save_to))).await.unwrap();
        assert_eq!(read_manifest(&other.0).len(), lines);
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_cannot_be_written_is_the_error_of_each_saved_file() {
    let (fixture, folder) = (fixture(), TempDir::new());
    std::fs::create_dir(folder.0.join("manifest.jsonl")).unwrap();
    let result = run(&fixture, save_to(&folder, false)).await;
    assert_eq!(result.reason, "fetch", "{}", result.message);
    let error = result.commands[1].error.as_ref().unwrap();
    assert_eq!(error.kind, Kind::Io);
    assert!(error.message.contains("saved, but not in the manifest"), "{}", error.message);
    assert_eq!(error.action_id.as_deref(), Some(result.action.id.as_str()));
    assert!(result.commands[0].error.is_none(), "nothing of the script was saved");
    assert!(result.commands[1].file.is_some() && result.commands[0].script.is_some());
    // Once it can be written, the next call repairs it.
    std::fs::remove_dir(folder.0.join("manifest.jsonl")).unwrap();
    let session = fixture.sessions.session(&result.action.id);
    let again = within(HOUR, session.result(None, Some(&save_to(&folder, false)))).await.unwrap();
    assert!(again.is_ok(), "{}", again.message);
    assert_eq!(read_manifest(&folder.0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transcript_that_cannot_be_saved_is_the_error_of_its_command() {
    let (fixture, folder) = (fixture(), TempDir::new());
    let session = fixture.submit(submit(&fixture)).await.unwrap();
    let taken = folder.0.join("taken");
    std::fs::write(&taken, b"").unwrap();
    let save_to = SaveTo { folder: taken, transcripts: true };
    let result = within(HOUR, session.result(None, Some(&save_to))).await.unwrap();
    for command in &result.commands {
        assert_eq!(command.error.as_ref().unwrap().kind, Kind::Io);
    }
    assert!(result.commands[0].script.is_some(), "the output itself is there");
}

#[tokio::test(start_paused = true)]
async fn runs_at_the_same_time_write_one_manifest() {
    let (fixture, folder) = (fixture(), TempDir::new());
    let machines = fixture.emulator.machine_ids();
    let runs = machines.iter().map(|machine_id| {
        let submit = SubmitRequest { machine_id: machine_id.clone(), ..submit(&fixture) };
        let options = RunOptions { save_to: Some(save_to(&folder, true)), ..RunOptions::default() };
        fixture.run(submit, options)
    });
    let results = futures_util::future::join_all(runs).await;
    assert!(results.into_iter().all(|result| result.unwrap().is_ok()));
    assert_eq!(read_manifest(&folder.0).len(), machines.len() * 2);
}
