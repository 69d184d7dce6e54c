//! The life of a session: facts.md, sections 5, 6 and 7.

use std::io::Read;
use std::time::Duration;

use mde_live_response::emulator::{Content, ScriptOutcome};
use serde_json::json;

use crate::emulator_support::{get_file, new, put_file, run_script};

/// Sections 5.2, 6.2, 6.6, 7: the page's own example from token to collected file.
#[tokio::test(start_paused = true)]
async fn a_session_from_submit_to_result() {
    let service = new();
    service.emulator.add_library_file("helper.exe", b"MZ");
    service.emulator.on_script("minidump.ps1", ScriptOutcome { stdout: "done\n".into(), ..ScriptOutcome::default() });
    let dump = Content::Bytes(vec![7_u8; 100_000].into());
    service.emulator.put_remote_file("ws-0001", r"C:\windows\TEMP\a.dmp.zip", dump).unwrap();
    let commands = json!([put_file("helper.exe"), run_script("minidump.ps1"), get_file(r"c:\Windows\temp\A.dmp.zip")]);
    let first = service.run(&service.machine(0), &commands, "case 42").await;
    assert_eq!(first.status, 201);
    let entity = first.json();
    assert_eq!(
        (entity["status"].as_str(), entity["commands"][0]["commandStatus"].as_str()),
        (Some("Pending"), Some("Created"))
    );
    assert_eq!(entity["commands"][1]["command"], commands[1]);
    let id = entity["id"].as_str().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let done = service.action(id).await;
    assert_eq!(done["status"], "Succeeded", "{done}");
    let link = service.link(id, 1).await.json()["value"].as_str().unwrap().to_owned();
    let transcript = service.blob(&link, &[]).await.json();
    assert_eq!((&transcript["script_name"], &transcript["exit_code"]), (&json!("minidump.ps1"), &json!(0)));
    let output = transcript["script_output"].as_str().unwrap();
    assert!(
        output.starts_with("Transcript started, output file is C:\\") && output.ends_with("done\n\0"),
        "{output:?}"
    );
    let link = service.link(id, 2).await.json()["value"].as_str().unwrap().to_owned();
    let packed = service.blob(&link, &[]).await;
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&packed.body[..]);
    decoder.read_to_end(&mut unpacked).unwrap();
    assert_eq!(decoder.header().unwrap().filename(), Some(&b"A.dmp.zip"[..]));
    assert_eq!(unpacked, vec![7_u8; 100_000]);
    assert_eq!(service.link(id, 0).await.status, 404, "PutFile has no result");
    let violations = service.emulator.violations();
    assert_eq!(violations, Default::default());
}
