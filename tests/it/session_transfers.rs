//! Tests that a collected file is downloaded completely or not at all, for every interruption.

use mde_live_response::emulator::{Content, Fault, FaultKind, Route, Settings, Switches};
use mde_live_response::error::Kind;
use mde_live_response::model::{CollectedFile, Command};
use mde_live_response::session::{Session, StreamItem, SubmitRequest};
use mde_live_response::transfer::Target;

use crate::support::{Fixture, HOUR, TempDir, fault, within};

const CUT: usize = 64 << 10;

/// Returns bytes that gzip cannot compress.
fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

async fn collected(change: impl FnOnce(&mut Switches), content: &[u8]) -> (Fixture, Session) {
    let mut switches = Switches::default();
    change(&mut switches);
    let fixture = Fixture::with_settings(Settings { switches, ..Settings::default() });
    fixture
        .emulator
        .put_remote_file("*", "C:\\memory.dmp", Content::Bytes(content.to_vec().into()))
        .unwrap();
    let order = SubmitRequest {
        commands: vec![Command::get_file("C:\\memory.dmp").unwrap()],
        ..fixture.submit_args()
    };
    let session = fixture.submit(order).await.unwrap();
    within(HOUR, session.result(None, None)).await.unwrap();
    (fixture, session)
}

fn truncated(keep: usize) -> Fault {
    Fault { keep: Some(keep), ..fault(FaultKind::Truncate) }
}

fn assert_complete(file: &CollectedFile, content: &[u8]) {
    assert_eq!(file.size, content.len() as u64);
    let saved = std::fs::read(file.path.as_ref().unwrap()).unwrap();
    assert!(saved == content, "the content differs");
}

#[tokio::test(start_paused = true)]
async fn a_download_that_is_cut_at_every_64_kib_resumes_each_time() {
    for ranges in [true, false] {
        let length = if ranges { 16 << 20 } else { 2 << 20 };
        let content = random_bytes(length);
        let (fixture, session) =
            collected(|switches| switches.blob_ranges = ranges, &content).await;
        let folder = TempDir::new();
        for (at, keep) in (CUT..length).step_by(CUT).enumerate() {
            // With ranges, each response starts where the last one was cut.
            fixture.fault("blob", truncated(if ranges { CUT } else { keep }), at as u32 + 1, 1);
        }
        let file =
            within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
        assert_complete(&file, &content);
        assert_eq!(folder.files(), ["a"]);
        assert!(
            fixture.request_count(Route::Blob) >= length / CUT,
            "{} requests",
            fixture.request_count(Route::Blob)
        );
        assert_eq!(fixture.request_count(Route::GetResultLink), 1, "a valid link is reused");
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_download_that_cannot_resume_leaves_no_file_and_one_cut_is_resumed() {
    let content = random_bytes(16 << 20);
    let (fixture, session) = collected(|_| {}, &content).await;
    let folder = TempDir::new();
    for (at, keep) in (0..content.len()).step_by(CUT).enumerate() {
        // After every second cut the network stays down.
        let stays_down = at % 2 == 0;
        fixture.fault("blob", truncated(keep), 1, 1);
        if stays_down {
            fixture.fault("blob", fault(FaultKind::DropUnread), 2, 7);
        }
        let path = folder.0.join("a");
        let result = within(HOUR, session.download(0, Target::Path(path.clone()))).await;
        if stays_down {
            let error = result.unwrap_err();
            assert!(error.kind == Kind::Download && error.retryable, "{keep}: {error}");
            assert!(folder.files().is_empty(), "{keep}: {:?}", folder.files());
        } else {
            assert_complete(&result.unwrap(), &content);
            std::fs::remove_file(path).unwrap();
        }
    }
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_link_that_expires_during_the_download_is_renewed() {
    // The host may refuse the link early, or the link itself says that it has expired.
    for refused in [Some(403), Some(404), None] {
        let content = random_bytes(1 << 20);
        let life = if refused.is_some() { 1800.0 } else { 0.05 };
        let (fixture, session) = collected(|switches| switches.link_life = life, &content).await;
        let folder = TempDir::new();
        fixture.fault("blob", truncated(700_000), 1, 1);
        if let Some(status) = refused {
            fixture.fault("blob", Fault::status(status), 2, 1);
        }
        let file =
            within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
        assert_complete(&file, &content);
        let blobs = if refused.is_some() { 3 } else { 2 };
        assert_eq!(
            (fixture.request_count(Route::GetResultLink), fixture.request_count(Route::Blob)),
            (2, blobs),
            "{refused:?}"
        );
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_goes_to_the_results_host() {
    let (fixture, session) = collected(|_| {}, b"evidence").await;
    let folder = TempDir::new();
    within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
    let blob = fixture.emulator.blob_url();
    let called = fixture.network.called_hosts.lock().unwrap().clone();
    let at_blob: Vec<_> = called.iter().filter(|(host, _)| blob.contains(host.as_str())).collect();
    assert!(!at_blob.is_empty());
    assert!(at_blob.iter().all(|(_, bearer)| !bearer), "{at_blob:?}");
    assert!(called.iter().any(|(_, bearer)| *bearer), "the API gets a token");
}

#[tokio::test(start_paused = true)]
async fn a_stream_yields_the_file_then_its_metadata() {
    let content = random_bytes(3_000_000);
    let (fixture, session) = collected(|_| {}, &content).await;
    fixture.fault("blob", truncated(1_000_000), 1, 1);
    let mut stream = session.stream(0);
    assert_eq!(fixture.request_count(Route::Blob), 0, "no request before the first chunk");
    let (mut received, mut end) = (Vec::new(), None);
    while let Some(item) = within(HOUR, stream.next()).await.unwrap() {
        match item {
            StreamItem::Bytes(bytes) => received.extend_from_slice(&bytes),
            StreamItem::End(file) => end = Some(file),
        }
    }
    let file = end.unwrap();
    assert!(received == content);
    assert_eq!((file.size, file.path), (content.len() as u64, None));
    assert!(stream.next().await.unwrap().is_none(), "the metadata comes once");
}

#[tokio::test(start_paused = true)]
async fn a_stream_applies_backpressure_and_ends_with_its_consumer() {
    let content = random_bytes(4 << 20);
    let (fixture, session) = collected(|_| {}, &content).await;
    let mut stream = session.stream(0);
    let first = within(HOUR, stream.next()).await.unwrap();
    assert!(matches!(first, Some(StreamItem::Bytes(bytes)) if bytes.len() <= 1 << 20));
    stream.close();
    assert!(stream.next().await.unwrap().is_none());
    let again = within(HOUR, session.stream(0).next()).await.unwrap();
    assert!(again.is_some(), "a new stream starts again");
    fixture.assert_no_violations();
}
