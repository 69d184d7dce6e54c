//! Result links, transcripts and collected files (docs/service.md, section 7).

use std::io::Read;
use std::time::Duration;

use mde_live_response::emulator::{Content, ScriptOutcome, TranscriptForm};
use serde_json::{Value, json};

use crate::emulator_support::{Service, get_file, new_service, with_switches};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn script_lasting(duration: f64) -> ScriptOutcome {
    ScriptOutcome { duration, ..ScriptOutcome::default() }
}

async fn result_link(service: &Service, id: &str, index: usize) -> String {
    service.link(id, index).await.json()["value"].as_str().unwrap().to_owned()
}

/// Section 7.1: a link is valid for 30 minutes, another call renews it, and the blob host needs no
/// token.
#[tokio::test(start_paused = true)]
async fn links_expire() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(1.0));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    assert_eq!(service.link(&id, 0).await.status, 400, "not finished");
    sleep(5.0).await;
    assert_eq!(service.link(&id, 1).await.status, 400, "out of range");
    assert_eq!(service.link("X", 0).await.code(), "BadRequest");
    let response = service.link(&id, 0).await;
    assert!(response.json()["@odata.context"].as_str().unwrap().ends_with("$metadata#Edm.String"));
    let link = result_link(&service, &id, 0).await;
    assert!(
        link.contains("/CustomPlaybookCommandOutput/")
            && link.contains("&sp=rt&sv=2020-06-12&sr=b&rscd="),
        "{link}"
    );
    let blob = service.blob(&link, &[]).await;
    assert_eq!(
        blob.header("content-disposition"),
        format!("attachment; filename=output_{id}_0.json")
    );
    let forged = service.blob(&link.replace("sig=", "sig=A"), &[]).await;
    assert_eq!((forged.status, forged.header("x-ms-error-code")), (403, "AuthenticationFailed"));
    sleep(1799.0).await;
    assert_eq!(service.blob(&link, &[]).await.status, 200);
    sleep(2.0).await;
    let expired = service.blob(&link, &[]).await;
    assert_eq!((expired.status, expired.header("x-ms-error-code")), (403, "AuthenticationFailed"));
    assert!(String::from_utf8_lossy(&expired.body).contains("<Code>AuthenticationFailed</Code>"));
    assert_eq!(service.blob(&result_link(&service, &id, 0).await, &[]).await.status, 200);
    let token = format!("Bearer {}", service.token);
    service.blob(&result_link(&service, &id, 0).await, &[("authorization", &token)]).await;
    assert_eq!(service.emulator.violations().bearer_at_blob, 1);
}

/// Section 7.1 and section 15, row 15: an index that is not a number or out of range is a 400.
#[tokio::test(start_paused = true)]
async fn invalid_indexes_are_rejected() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(1.0));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(5.0).await;
    for (arguments, code, message) in [
        (
            "index=-1",
            "InvalidInput",
            "Command index -1 is out of range: the action has 1 commands.",
        ),
        ("index=1", "InvalidInput", "Command index 1 is out of range: the action has 1 commands."),
        ("index=x", "InvalidInput", "The index 'x' is not a whole number."),
        ("index=0.5", "InvalidInput", "The index '0.5' is not a whole number."),
        ("index=", "InvalidInput", "The index '' is not a whole number."),
        ("", "MissingRequiredParameter", "The required parameter 'index' is missing."),
        ("number=0", "MissingRequiredParameter", "The required parameter 'index' is missing."),
    ] {
        let response = service
            .get(&format!(
                "/api/machineactions/{id}/GetLiveResponseResultDownloadLink({arguments})"
            ))
            .await;
        assert_eq!((response.status, response.code().as_str()), (400, code), "{arguments}");
        assert_eq!(response.json()["error"]["message"], message);
    }
}

/// Section 7.1: a link expires by the emulator's clock, so `advance` expires it.
#[tokio::test(start_paused = true)]
async fn advance_ends_a_session_and_expires_a_link() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(500.0));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    service.emulator.advance(600.0);
    assert_eq!(service.action(&id).await["status"], "Succeeded");
    let link = result_link(&service, &id, 0).await;
    service.emulator.advance(1799.0);
    assert_eq!(service.blob(&link, &[]).await.status, 200);
    service.emulator.advance(2.0);
    assert_eq!(service.blob(&link, &[]).await.status, 403);
}

/// Section 7.2: every form in which clients received a transcript.
#[tokio::test(start_paused = true)]
async fn forms_of_a_transcript() {
    for form in [
        TranscriptForm::Json,
        TranscriptForm::RawNewline,
        TranscriptForm::Bom,
        TranscriptForm::Gzip,
        TranscriptForm::Zip,
        TranscriptForm::Text,
    ] {
        let service = with_switches(|s| s.transcript_form = form);
        service
            .emulator
            .on_script("a.ps1", ScriptOutcome { stdout: "one\ntwo".into(), ..script_lasting(1.0) });
        let id = service.submit(&service.machine(0), "a.ps1").await;
        sleep(5.0).await;
        let body = service.blob(&result_link(&service, &id, 0).await, &[]).await.body;
        let text = String::from_utf8_lossy(&body);
        let strict = serde_json::from_slice::<Value>(&body).is_ok();
        match form {
            TranscriptForm::Json => assert!(strict && text.contains(r#""script_errors":"""#)),
            TranscriptForm::RawNewline => assert!(!strict && text.contains("one\ntwo")),
            TranscriptForm::Bom => assert!(!strict && text.starts_with('\u{feff}')),
            TranscriptForm::Gzip => assert!(body.starts_with(&[0x1f, 0x8b])),
            TranscriptForm::Zip => assert!(body.starts_with(b"PK\x03\x04")),
            TranscriptForm::Text => assert_eq!(text, "one\ntwo"),
        }
    }
}

/// Section 7.3: a missing or empty file fails the command; a collected file supports ranges.
#[tokio::test(start_paused = true)]
async fn collected_files() {
    let service = new_service();
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8 ^ (i / 7919) as u8).collect();
    let file = std::env::temp_dir().join(format!("mde-emulator-test-{}", std::process::id()));
    std::fs::write(&file, &content).unwrap();
    let put = |path: &str, content| service.emulator.put_remote_file("*", path, content).unwrap();
    put("/var/big", Content::Path(file.clone()));
    put("/var/empty", Content::Bytes(bytes::Bytes::new()));
    for (at, path, why) in
        [(0, "/var/none", "not found"), (1, "/var/empty", "empty"), (2, "/VAR/big", "not found")]
    {
        let response =
            service.run(&service.machine(at), &json!([get_file(path)]), "c").await.json();
        sleep(5.0).await;
        let action = service.action(response["id"].as_str().unwrap()).await;
        assert!(action["commands"][0]["errors"][0].as_str().unwrap().contains(why), "{action}");
        assert_eq!(action["status"], "Failed");
    }
    let response =
        service.run(&service.machine(0), &json!([get_file("/var/big")]), "c").await.json();
    sleep(5.0).await;
    let link = result_link(&service, response["id"].as_str().unwrap(), 0).await;
    let whole = service.blob(&link, &[]).await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&whole.body[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == content, "the collected file has the same content");
    assert_eq!((whole.header("content-encoding"), whole.header("accept-ranges")), ("", "bytes"));
    let length = whole.body.len();
    for (range, expected) in [
        ("bytes=0-99", Some(0..100)),
        ("bytes=1000-", Some(1000..length)),
        ("bytes=-10", Some(length - 10..length)),
        ("bytes=500-99999999", Some(500..length)),
        ("bytes=99999999-", None),
    ] {
        let part = service.blob(&link, &[("range", range)]).await;
        let Some(expected) = expected else {
            assert_eq!(
                (part.status, part.header("content-range")),
                (416, format!("bytes */{length}").as_str())
            );
            continue;
        };
        assert_eq!(part.status, 206);
        let expected_range = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), expected_range);
        assert!(part.body[..] == whole.body[expected]);
    }
    service.emulator.set_switches(|s| s.blob_ranges = false);
    assert_eq!(service.blob(&link, &[("range", "bytes=0-9")]).await.status, 200);
    std::fs::remove_file(file).unwrap();
}

/// Section 15, row 18: whether the gzip header has the file name, and the blob a
/// `Content-Encoding`.
#[tokio::test(start_paused = true)]
async fn the_compression_of_a_collected_file() {
    const FNAME: u8 = 8;
    for (named, encoding) in [(true, ""), (false, "gzip")] {
        let service = with_switches(|switches| {
            switches.gzip_name = named;
            switches.blob_content_encoding = !named;
        });
        service.emulator.put_remote_file("*", "/var/a", Content::Bytes("a".into())).unwrap();
        let response =
            service.run(&service.machine(0), &json!([get_file("/var/a")]), "c").await.json();
        sleep(5.0).await;
        let link = result_link(&service, response["id"].as_str().unwrap(), 0).await;
        let blob = service.blob(&link, &[]).await;
        assert_eq!((blob.body[3] & FNAME != 0, blob.header("content-encoding")), (named, encoding));
    }
}
