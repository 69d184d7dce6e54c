//! Downloads that break off and continue, and blobs that change meanwhile.

use super::*;

#[tokio::test]
async fn a_broken_stream_is_a_retryable_error() {
    let temp_dir = TempDir::new();
    let cut = body(b"half a file", 4).chain(stream::iter([Err(reset())])).boxed();
    let error =
        save(cut, Target::Path(temp_dir.join("out")), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap_err();
    assert_eq!((error.kind, error.retryable), (Kind::Download, true));
    assert!(error.message.contains("store1.blob closed the connection: reset"), "{error}");
    assert!(temp_dir.names().is_empty());
}

#[tokio::test]
async fn another_body_continues_where_the_first_broke_off() {
    let (memory, content) = (MemorySink::default(), noise(2_000_000));
    let whole = gzip(&content, None);
    let mut download =
        Download::open(memory.target(), REMOTE_PATH, DecompressLimits::default()).await.unwrap();
    let cut = body(&whole[..whole.len() / 2], 10_000).chain(stream::iter([Err(reset())])).boxed();
    assert!(download.receive(blob_at(cut, 0, "\"1\"")).await.unwrap_err().retryable);
    let from = download.range().offset as usize;
    assert_eq!(from, whole.len() / 2, "every byte that arrived is kept");
    download.receive(blob_at(body(&whole[from..], 10_000), from as u64, "\"1\"")).await.unwrap();
    assert_eq!(download.finish().await.unwrap().sha256, sha256_hex(&content));
    assert_eq!(memory.bytes(), content);
}

#[tokio::test]
async fn a_changed_blob_restarts_a_file_and_fails_a_sink() {
    let (old, new) = (noise(300_000), noise(250_000));
    let cut = || body(&old, 10_000).chain(stream::iter([Err(reset())])).boxed();
    for (etags, from) in
        [(["\"1\"", "\"2\""], 0), (["\"1\"", "\"2\""], old.len()), (["W/\"1\"", "\"1\""], 0)]
    {
        let (temp_dir, memory) = (TempDir::new(), MemorySink::default());
        for (target, sink) in [(Target::Path(temp_dir.join("out")), false), (memory.target(), true)]
        {
            let mut download =
                Download::open(target, REMOTE_PATH, DecompressLimits::default()).await.unwrap();
            assert!(download.receive(blob_at(cut(), 0, etags[0])).await.is_err());
            let second =
                blob_at(body(new.get(from..).unwrap_or_default(), 9000), from as u64, etags[1]);
            let received = download.receive(second).await;
            if sink {
                assert!(received.is_err() && !download.is_resumable());
                continue;
            }
            if from > 0 {
                assert!(received.unwrap_err().retryable && download.is_resumable());
                assert_eq!(download.range(), BlobRange::default());
                download.receive(blob_at(body(&new, 9000), 0, etags[1])).await.unwrap();
            }
            assert_eq!(download.finish().await.unwrap().sha256, sha256_hex(&new));
            assert_eq!(fs::read(temp_dir.join("out")).unwrap(), new);
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_an_error_is_refused() {
    let content = noise(200_000);
    let mut download =
        Download::open(MemorySink::default().target(), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap();
    let short =
        Blob { length: Some(200_000), ..blob_at(body(&content[..150_000], 9000), 0, "\"1\"") };
    let error = download.receive(short).await.unwrap_err();
    assert!(error.message.contains("150000 bytes instead of 200000"), "{error}");
    assert!(download.is_damaged() && !download.is_resumable() && error.retryable);
    assert!(!download.discard().await.unwrap(), "the sink has bytes of it");
    let mut download =
        Download::open(MemorySink::default().target(), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap();
    let head = body(&content[..150_000], 9000).chain(stream::iter([Err(reset())])).boxed();
    let cut = Blob { length: Some(200_000), ..blob_at(head, 0, "\"1\"") };
    assert!(download.receive(cut).await.unwrap_err().message.contains("after 150000 bytes"));
    let whole = Blob { length: Some(200_000), ..blob_at(body(&content, 9000), 0, "\"1\"") };
    download.receive(whole).await.unwrap();
    assert_eq!(
        download.finish().await.unwrap().sha256,
        sha256_hex(&content),
        "a host without range requests sends the whole blob again"
    );
    let mut download =
        Download::open(MemorySink::default().target(), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap();
    let late = body(&content, 9000).chain(stream::iter([Err(reset())])).boxed();
    download.receive(Blob { length: Some(200_000), ..blob_at(late, 0, "\"1\"") }).await.unwrap();
    assert!(download.finish().await.is_ok(), "a break after the last byte does not matter");
}
