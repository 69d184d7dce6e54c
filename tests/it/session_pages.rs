//! Responses of result links that are no result: they never become one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mde_live_response::emulator::{Content, Route, ScriptOutcome, Switches, TranscriptForm};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::{RunOptions, SessionResult, StreamItem, SubmitRequest};
use mde_live_response::transfer::Target;
use mde_live_response::transport::Response;

use crate::support::{Fixture, HOUR, TempDir, run_script, within};

const FILE: &str = "C:\\evidence.bin";
const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Please sign in to the proxy</body></html>";

/// What arrives in place of the genuine response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Page {
    Html,
    /// A page that the proxy compressed.
    GzippedHtml,
    Empty,
    Half,
    /// The genuine headers, and half of the body.
    HalfWithHeaders,
    /// The genuine headers, and a page as the body.
    HtmlWithHeaders,
    Noise,
    GzipNoise,
    Json,
    NoContent,
}

const PAGES: [Page; 10] = [
    Page::Html,
    Page::GzippedHtml,
    Page::Empty,
    Page::Half,
    Page::HalfWithHeaders,
    Page::HtmlWithHeaders,
    Page::Noise,
    Page::GzipNoise,
    Page::Json,
    Page::NoContent,
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
}

fn headers_of(media_type: &str, length: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    header(&mut headers, "content-type", media_type);
    header(&mut headers, "content-length", &length.to_string());
    headers
}

impl Page {
    fn replace(self, genuine: HeaderMap, body: &[u8]) -> Response {
        let binary = "application/octet-stream";
        let noise: Vec<u8> =
            (0..body.len() as u32 + 40).map(|at| ((at * 7919) >> 3) as u8).collect();
        let half = body[..body.len() / 2].to_vec();
        let (headers, body) = match self {
            Self::Html => (headers_of("text/html; charset=utf-8", PAGE.len()), PAGE.to_vec()),
            Self::GzippedHtml => (headers_of("text/html", 1), gzip(PAGE)),
            Self::Empty | Self::NoContent => (headers_of(binary, 0), Vec::new()),
            Self::Half => (headers_of(binary, half.len()), half),
            Self::HalfWithHeaders => (genuine, half),
            Self::HtmlWithHeaders => (genuine, PAGE.to_vec()),
            Self::Noise => (headers_of(binary, noise.len()), noise),
            Self::GzipNoise => {
                let noise = [b"\x1f\x8b\x08\x00", &noise[..]].concat();
                (headers_of(binary, noise.len()), noise)
            }
            Self::Json => {
                let text = br#"{"error":{"code":"Blocked","message":"exit_code 0"}}"#.to_vec();
                (headers_of("application/json", text.len()), text)
            }
        };
        let status = if self == Self::NoContent { StatusCode::NO_CONTENT } else { StatusCode::OK };
        Response::from_bytes(status, headers, body)
    }
}

/// Replaces each response of the results' host for which `choose` returns a page. All genuine
/// responses have a Content-Length.
fn filter(fixture: &Fixture, choose: impl FnMut(usize) -> Option<Page> + Send + 'static) {
    let (count, choose) = (AtomicUsize::new(0), Arc::new(Mutex::new(choose)));
    *fixture.network.blob_filter.lock().unwrap() = Some(Box::new(move |response| {
        let page = (choose.lock().unwrap())(count.fetch_add(1, Ordering::SeqCst));
        async move {
            let (status, mut headers) = (response.status, response.headers.clone());
            let body = response.bytes(usize::MAX).await.unwrap();
            header(&mut headers, "content-length", &body.len().to_string());
            match page {
                Some(page) => page.replace(headers, &body),
                None => Response::from_bytes(status, headers, body),
            }
        }
        .boxed()
    }));
}

fn put_file(fixture: &Fixture, content: &[u8]) {
    fixture.emulator.put_remote_file("*", FILE, Content::Bytes(content.to_vec().into())).unwrap();
}

async fn run(fixture: &Fixture, commands: Vec<Command>, folder: &TempDir) -> SessionResult {
    let options = RunOptions { save_to: Some(folder.0.clone().into()), ..RunOptions::default() };
    fixture.run(SubmitRequest { commands, ..fixture.submit_args() }, options).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_page_in_place_of_a_transcript_is_never_ok() {
    for page in PAGES {
        for times in [1, 3, usize::MAX] {
            let (fixture, folder) = (Fixture::new(), TempDir::new());
            let outcome = ScriptOutcome { exit_code: Some(7), ..ScriptOutcome::default() };
            fixture.emulator.on_script("echo.ps1", outcome);
            filter(&fixture, move |at| (at < times).then_some(page));
            let result = run(&fixture, vec![run_script("echo.ps1")], &folder).await;
            let command = &result.commands[0];
            if times == usize::MAX {
                assert_eq!(result.reason, "fetch", "{page:?}: {}", result.message);
                let error = command.error.as_ref().unwrap();
                assert!(error.kind == Kind::Download && error.hint.is_some(), "{error:?}");
                assert_eq!(error.action_id.as_deref(), Some(result.action.id.as_str()));
                assert!(command.script.as_ref().is_none_or(|script| script.exit_code.is_none()));
            } else {
                assert_eq!(result.reason, "script", "{page:?}: {}", result.message);
                assert_eq!(command.script.as_ref().unwrap().exit_code, Some(7));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_place_of_a_file_never_gets_its_name() {
    let content: Vec<u8> = (0..40_000_u32).flat_map(|at| (at * 31).to_le_bytes()).collect();
    for packed in [true, false] {
        for page in PAGES {
            for times in [1, 3, usize::MAX] {
                let (fixture, folder) = (
                    Fixture::with_switches(|switches| switches.gzip_files = packed),
                    TempDir::new(),
                );
                put_file(&fixture, &content);
                filter(&fixture, move |at| (at < times).then_some(page));
                let result = run(&fixture, vec![Command::get_file(FILE).unwrap()], &folder).await;
                let what = format!("{page:?} {packed} {times}: {}", result.message);
                if times == usize::MAX {
                    assert_eq!(result.reason, "fetch", "{what}");
                    assert!(folder.files().is_empty(), "{what}: {:?}", folder.files());
                    assert!(result.commands[0].file.is_none());
                } else {
                    assert!(result.is_ok(), "{what}");
                    let path = result.commands[0].file.as_ref().unwrap().path.clone().unwrap();
                    assert!(std::fs::read(path).unwrap() == content, "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_in_the_middle_of_a_download_replaces_nothing() {
    let content: Vec<u8> = (0..40_000_u32).flat_map(|at| (at * 31).to_le_bytes()).collect();
    for page in [Page::Html, Page::Empty, Page::Noise, Page::GzipNoise, Page::Json] {
        let fixture = Fixture::with_switches(|switches| switches.gzip_files = false);
        put_file(&fixture, &content);
        let commands = vec![Command::get_file(FILE).unwrap()];
        let session =
            fixture.submit(SubmitRequest { commands, ..fixture.submit_args() }).await.unwrap();
        within(HOUR, session.result(None, None)).await.unwrap();
        let count = AtomicUsize::new(0);
        *fixture.network.blob_filter.lock().unwrap() = Some(Box::new(move |response| {
            let at = count.fetch_add(1, Ordering::SeqCst);
            async move {
                let (status, headers) = (response.status, response.headers.clone());
                let body = response.bytes(usize::MAX).await.unwrap();
                match at {
                    // The first connection breaks after half of the file.
                    0 => {
                        let half = body.slice(..body.len() / 2);
                        let error = mde_live_response::error::Error::new(
                            Kind::ConnectionFailed,
                            "the connection broke",
                        );
                        let failure = mde_live_response::transport::Failure { sent: true, error };
                        let chunks = [Ok(half), Err(failure)];
                        let body = Box::pin(futures_util::stream::iter(chunks));
                        Response { status, headers, body }
                    }
                    1 | 2 => page.replace(headers, &body),
                    _ => Response::from_bytes(status, headers, body),
                }
            }
            .boxed()
        }));
        // A stream cannot take back what its reader has, so a page must not make it start over.
        let (mut stream, mut received) = (session.stream(0), Vec::new());
        loop {
            match within(HOUR, stream.next()).await.unwrap() {
                Some(StreamItem::Bytes(bytes)) => received.extend_from_slice(&bytes),
                Some(StreamItem::End(file)) => assert_eq!(file.size, content.len() as u64),
                None => break,
            }
        }
        assert!(received == content, "{page:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn genuine_results_of_every_form_stay_good() {
    let forms = [
        TranscriptForm::Json,
        TranscriptForm::RawNewline,
        TranscriptForm::Bom,
        TranscriptForm::Gzip,
        TranscriptForm::Zip,
    ];
    for (form, packed, plain_store) in forms
        .into_iter()
        .flat_map(|form| [true, false].map(|packed| (form, packed)))
        .flat_map(|(form, packed)| [true, false].map(|plain| (form, packed, plain)))
    {
        let change = |switches: &mut Switches| {
            (switches.transcript_form, switches.gzip_files) = (form, packed);
        };
        let (fixture, folder) = (Fixture::with_switches(change), TempDir::new());
        put_file(&fixture, b"evidence");
        if plain_store {
            *fixture.network.blob_filter.lock().unwrap() = Some(Box::new(|response| {
                async move {
                    let (status, mut headers) = (response.status, response.headers.clone());
                    for name in ["x-ms-request-id", "x-ms-version", "x-ms-blob-type"] {
                        headers.remove(name);
                    }
                    let body = response.bytes(usize::MAX).await.unwrap();
                    header(&mut headers, "content-length", &body.len().to_string());
                    Response::from_bytes(status, headers, body)
                }
                .boxed()
            }));
        }
        let commands = vec![run_script("echo.ps1"), Command::get_file(FILE).unwrap()];
        let result = run(&fixture, commands, &folder).await;
        let what = format!("{form:?} {packed} {plain_store}: {}", result.message);
        assert!(result.is_ok(), "{what}");
        assert_eq!(fixture.request_count(Route::Blob), 2, "{what}: nothing is fetched twice");
    }
}

#[tokio::test(start_paused = true)]
async fn text_is_ok_only_with_the_marks_of_a_transcript() {
    let marked = "Transcript started, output file is C:\\x.txt\r\ndone\r\n";
    for (text, reason) in [(marked, "ok"), ("all fine", "fetch"), ("", "fetch")] {
        let (fixture, folder) = (Fixture::new(), TempDir::new());
        let raw = Some(text.as_bytes().to_vec().into());
        fixture.emulator.on_script("echo.ps1", ScriptOutcome { raw, ..ScriptOutcome::default() });
        let result = run(&fixture, vec![run_script("echo.ps1")], &folder).await;
        assert_eq!(result.reason, reason, "{text:?}: {}", result.message);
        let script = result.commands[0].script.as_ref().unwrap();
        assert_eq!((&script.raw[..], script.exit_code), (text.as_bytes(), None));
    }
}

/// A body that ends before its length is no result, even if its beginning has all the marks.
#[tokio::test(start_paused = true)]
async fn a_transcript_shorter_than_its_length_is_fetched_again() {
    let text = "Transcript started, output file is C:\\x.txt\r\nfirst\r\nlast\r\n";
    for times in [1, 3, usize::MAX] {
        let (fixture, folder) = (Fixture::new(), TempDir::new());
        let raw = Some(text.as_bytes().to_vec().into());
        fixture.emulator.on_script("echo.ps1", ScriptOutcome { raw, ..ScriptOutcome::default() });
        filter(&fixture, move |at| (at < times).then_some(Page::HalfWithHeaders));
        let result = run(&fixture, vec![run_script("echo.ps1")], &folder).await;
        if times == usize::MAX {
            assert_eq!(result.reason, "fetch", "{}", result.message);
        } else {
            assert!(result.is_ok(), "{times}: {}", result.message);
            assert_eq!(&result.commands[0].script.as_ref().unwrap().raw[..], text.as_bytes());
        }
    }
}

/// Two thousand results, about a third of all responses being pages.
#[tokio::test(start_paused = true)]
async fn random_pages_never_become_a_result() {
    let content: Vec<u8> = (0..3_000_u32).flat_map(|at| (at * 31).to_le_bytes()).collect();
    let (mut results, mut ok, mut failed) = (0, 0, 0);
    for seed in 0..50_u64 {
        let packed = seed % 2 == 0;
        let fixture = Fixture::with_switches(|switches| switches.gzip_files = packed);
        put_file(&fixture, &content);
        for code in 0..8 {
            let exit_code = Some(if seed % 4 < 2 { 0 } else { code });
            let outcome = ScriptOutcome { exit_code, ..ScriptOutcome::default() };
            fixture.emulator.on_script(&format!("s{code}.ps1"), outcome);
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        // Often several in a row, as from a proxy that needs a sign-in.
        let mut left = 0_usize;
        filter(&fixture, move |_| {
            if left == 0 && rng.u8(..4) == 0 {
                left = rng.usize(1..9);
            }
            left = left.saturating_sub(1);
            (left > 0).then(|| PAGES[rng.usize(..PAGES.len())])
        });
        for _ in 0..4 {
            let folder = TempDir::new();
            let mut commands: Vec<_> =
                (0..8).map(|code| run_script(&format!("s{code}.ps1"))).collect();
            commands.extend([(); 2].map(|()| Command::get_file(FILE).unwrap()));
            let result = run(&fixture, commands, &folder).await;
            results += result.commands.len();
            for (code, command) in result.commands[..8].iter().enumerate() {
                let expected = if seed % 4 < 2 { 0 } else { code as i64 };
                let exit_code = command.script.as_ref().and_then(|script| script.exit_code);
                let wanted = command.error.is_none().then_some(expected);
                assert_eq!(exit_code, wanted, "seed {seed}: {command:?}");
            }
            for name in folder.collected_files() {
                assert!(std::fs::read(folder.0.join(&name)).unwrap() == content, "{seed}: {name}");
            }
            let saved = result.commands.iter().filter(|command| command.file.is_some()).count();
            assert_eq!(folder.collected_files().len(), saved, "seed {seed}");
            let errors = result.errors().count();
            let expected = match (seed % 4 < 2, errors) {
                (true, 0) => "ok",
                (true, _) => "fetch",
                (false, _) => "script",
            };
            if errors == 0 || seed % 4 < 2 {
                assert_eq!(result.reason, expected, "seed {seed}: {}", result.message);
            }
            assert!(!result.is_ok() || errors == 0);
            ok += usize::from(result.is_ok());
            failed += errors;
        }
    }
    assert_eq!(results, 2000);
    assert!(ok > 20 && failed > 20, "both happen: {ok} ok, {failed} failed");
}

#[tokio::test(start_paused = true)]
async fn a_storage_account_that_refuses_this_network_is_not_asked_again() {
    for code in
        ["AuthorizationFailure", "AuthorizationSourceIPMismatch", "PublicAccessNotPermitted"]
    {
        let fixture = Fixture::new();
        *fixture.network.blob_filter.lock().unwrap() = Some(Box::new(move |response| {
            let mut headers = response.headers.clone();
            header(&mut headers, "x-ms-error-code", code);
            header(&mut headers, "x-ms-request-id", "1f2e");
            let refused = Response::from_bytes(StatusCode::FORBIDDEN, headers, "<Error/>");
            std::future::ready(refused).boxed()
        }));
        let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
        let error = result.commands[0].error.clone().unwrap();
        assert_eq!(result.reason, "fetch");
        assert_eq!(
            (error.code.as_deref(), error.request_id.as_deref(), error.status, error.retryable),
            (Some(code), Some("1f2e"), Some(403), false)
        );
        assert!(error.hint.as_ref().unwrap().contains("firewall of the storage account"));
        assert_eq!(fixture.request_count(Route::Blob), 1);
        assert_eq!(fixture.request_count(Route::GetResultLink), 1);
        let session = fixture.sessions.session(&result.action.id);
        let folder = TempDir::new();
        within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap_err();
        assert!(folder.files().is_empty());
    }
}
