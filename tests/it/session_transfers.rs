//! Collected files that come here whole whatever breaks on the way, or not at all.

use mde_live_response::emulator::{Content, Fault, FaultKind, Route, Settings, Switches};
use mde_live_response::error::Kind;
use mde_live_response::model::{CollectedFile, Command};
use mde_live_response::session::{Piece, Session, Submit};
use mde_live_response::transfer::Target;

use crate::support::{HOUR, Scratch, World, fault, within};

const CUT: usize = 64 << 10;

/// Bytes that no gzip makes smaller.
fn noise(length: usize) -> Vec<u8> {
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

async fn collected(change: impl FnOnce(&mut Switches), content: &[u8]) -> (World, Session) {
    let mut switches = Switches::default();
    change(&mut switches);
    let world = World::with(Settings { switches, ..Settings::default() });
    world.emulator.put_remote_file("*", "C:\\memory.dmp", Content::Bytes(content.to_vec().into())).unwrap();
    let order = Submit { commands: vec![Command::get_file("C:\\memory.dmp").unwrap()], ..world.order() };
    let session = world.submit(order).await.unwrap();
    within(HOUR, session.result(None, None)).await.unwrap();
    (world, session)
}

fn truncated(keep: usize) -> Fault {
    Fault { keep: Some(keep), ..fault(FaultKind::Truncate) }
}

fn is_right(file: &CollectedFile, content: &[u8]) {
    assert_eq!(file.size, content.len() as u64);
    let saved = std::fs::read(file.path.as_ref().unwrap()).unwrap();
    assert!(saved == content, "another content");
}

#[tokio::test(start_paused = true)]
async fn a_download_that_is_cut_at_every_64_kib_goes_on_each_time() {
    for ranges in [true, false] {
        let length = if ranges { 16 << 20 } else { 2 << 20 };
        let content = noise(length);
        let (world, session) = collected(|switches| switches.blob_ranges = ranges, &content).await;
        let folder = Scratch::new();
        for (at, keep) in (CUT..length).step_by(CUT).enumerate() {
            // With ranges, each answer begins where the last one was cut.
            world.fault("blob", truncated(if ranges { CUT } else { keep }), at as u32 + 1, 1);
        }
        let file = within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
        is_right(&file, &content);
        assert_eq!(folder.files(), ["a"]);
        assert!(world.count(Route::Blob) >= length / CUT, "{} requests", world.count(Route::Blob));
        assert_eq!(world.count(Route::GetResultLink), 1, "a link that works is kept");
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn cut_at_any_64_kib_for_good_it_is_absent_and_cut_once_it_is_right() {
    let content = noise(16 << 20);
    let (world, session) = collected(|_| {}, &content).await;
    let folder = Scratch::new();
    for (at, keep) in (0..content.len()).step_by(CUT).enumerate() {
        // Every other cut is for good: the network carries nothing any more.
        let gone = at % 2 == 0;
        world.fault("blob", truncated(keep), 1, 1);
        if gone {
            world.fault("blob", fault(FaultKind::DropUnread), 2, 7);
        }
        let path = folder.0.join("a");
        let result = within(HOUR, session.download(0, Target::Path(path.clone()))).await;
        if gone {
            let error = result.unwrap_err();
            assert!(error.kind == Kind::Download && error.retryable, "{keep}: {error}");
            assert!(folder.files().is_empty(), "{keep}: {:?}", folder.files());
        } else {
            is_right(&result.unwrap(), &content);
            std::fs::remove_file(path).unwrap();
        }
    }
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_link_that_expires_while_the_file_comes_is_made_anew() {
    // The host may refuse it before its time, or it tells by itself that its time is over.
    for refused in [Some(403), Some(404), None] {
        let content = noise(1 << 20);
        let life = if refused.is_some() { 1800.0 } else { 0.05 };
        let (world, session) = collected(|switches| switches.link_life = life, &content).await;
        let folder = Scratch::new();
        world.fault("blob", truncated(700_000), 1, 1);
        if let Some(status) = refused {
            world.fault("blob", Fault::status(status), 2, 1);
        }
        let file = within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
        is_right(&file, &content);
        let blobs = if refused.is_some() { 3 } else { 2 };
        assert_eq!((world.count(Route::GetResultLink), world.count(Route::Blob)), (2, blobs), "{refused:?}");
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_goes_to_the_results_host() {
    let (world, session) = collected(|_| {}, b"evidence").await;
    let folder = Scratch::new();
    within(HOUR, session.download(0, Target::Path(folder.0.join("a")))).await.unwrap();
    let blob = world.emulator.blob_url();
    let called = world.wire.called.lock().unwrap().clone();
    let at_blob: Vec<_> = called.iter().filter(|(host, _)| blob.contains(host.as_str())).collect();
    assert!(!at_blob.is_empty());
    assert!(at_blob.iter().all(|(_, bearer)| !bearer), "{at_blob:?}");
    assert!(called.iter().any(|(_, bearer)| *bearer), "the API is given one");
}

#[tokio::test(start_paused = true)]
async fn a_stream_gives_the_file_and_then_what_it_is() {
    let content = noise(3_000_000);
    let (world, session) = collected(|_| {}, &content).await;
    world.fault("blob", truncated(1_000_000), 1, 1);
    let mut stream = session.stream(0);
    assert_eq!(world.count(Route::Blob), 0, "nothing before it is asked for");
    let (mut came, mut end) = (Vec::new(), None);
    while let Some(piece) = within(HOUR, stream.next()).await.unwrap() {
        match piece {
            Piece::Bytes(bytes) => came.extend_from_slice(&bytes),
            Piece::End(file) => end = Some(file),
        }
    }
    let file = end.unwrap();
    assert!(came == content);
    assert_eq!((file.size, file.path), (content.len() as u64, None));
    assert!(stream.next().await.unwrap().is_none(), "once");
}

#[tokio::test(start_paused = true)]
async fn a_stream_holds_the_network_back_and_ends_with_its_taker() {
    let content = noise(4 << 20);
    let (world, session) = collected(|_| {}, &content).await;
    let mut stream = session.stream(0);
    let first = within(HOUR, stream.next()).await.unwrap();
    assert!(matches!(first, Some(Piece::Bytes(bytes)) if bytes.len() <= 1 << 20));
    stream.close();
    assert!(stream.next().await.unwrap().is_none());
    let again = within(HOUR, session.stream(0).next()).await.unwrap();
    assert!(again.is_some(), "another stream begins anew");
    world.broke_nothing();
}
