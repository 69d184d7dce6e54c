//! What comes is what the machine had, or an error.

use super::*;

#[tokio::test]
async fn a_gzip_comes_out_as_the_file_it_holds() {
    let (temp_dir, content) = (TempDir::new(), noise(1_000_000));
    let folder = temp_dir.join("new/deeper");
    let target = Target::Folder { folder: folder.clone(), index: 2 };
    let file = save_bytes(&gzip(&content, Some(b"triage.zip")), 60_000, target).await.unwrap();
    let path = folder.join("2_triage.zip");
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(file.path.as_deref(), path.to_str());
    assert_eq!(
        (file.remote_path.as_str(), file.size, file.sha256),
        (REMOTE_PATH, 1_000_000, sha256_hex(&content))
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn what_is_no_gzip_comes_as_it_is() {
    for content in [&b""[..], b"\x1f", b"x", b"\x1e\x8b", b"PK\x03\x04 zip", b"{\"a\": 1}"] {
        for chunk in [1, 2, 100] {
            let memory = MemorySink::default();
            let file = save_bytes(content, chunk, memory.target()).await.unwrap();
            assert_eq!(
                (memory.bytes(), file.size, file.path),
                (content.to_vec(), content.len() as u64, None)
            );
            assert_eq!(file.sha256, sha256_hex(content));
        }
    }
}

#[tokio::test]
async fn members_and_padding() {
    let two =
        [gzip(b"one ", Some(b"first.txt")), gzip(b"", None), gzip(b"two", Some(b"second.txt"))]
            .concat();
    let padded = [two.clone(), vec![0; 700]].concat();
    let apart = [gzip(b"one ", Some(b"first.txt")), vec![0; 5], gzip(b"two", None)].concat();
    for (index, payload) in [two, padded, apart].iter().enumerate() {
        for chunk in [1, 3, 5000] {
            let temp_dir = TempDir::new();
            let file = save_bytes(payload, chunk, temp_dir.folder(index)).await.unwrap();
            assert_eq!(fs::read(file.path.unwrap()).unwrap(), b"one two");
            assert_eq!(temp_dir.names(), [format!("{index}_first.txt")]);
        }
    }
}

#[tokio::test]
async fn cut_short_at_any_byte_or_damaged_leaves_nothing() {
    let (temp_dir, content) = (TempDir::new(), noise(300));
    let whole = gzip(&content, Some(b"a.txt"));
    let mut payloads: Vec<Vec<u8>> =
        (2..whole.len()).map(|length| whole[..length].to_vec()).collect();
    for back in [1, 5] {
        let mut wrong = whole.clone();
        let at = wrong.len() - back;
        wrong[at] ^= 1;
        payloads.push(wrong);
    }
    payloads.push([&whole[..], b"garbage"].concat());
    payloads.push([&whole[..], &whole[..20]].concat());
    payloads.push(b"\x1f\x8b\x00 not deflate".to_vec());
    payloads.push([&gzip(b"", None)[..10], &[0xff; 40]].concat());
    for payload in payloads {
        for chunk in [1, 4096] {
            let error =
                save_bytes(&payload, chunk, Target::Path(temp_dir.join("out"))).await.unwrap_err();
            assert_eq!((error.kind, error.retryable), (Kind::Download, false), "{payload:x?}");
            assert!(error.message.contains(REMOTE_PATH) && error.hint.is_some());
            assert!(temp_dir.names().is_empty());
        }
    }
}

#[tokio::test]
async fn bombs_are_refused() {
    let temp_dir = TempDir::new();
    let zeros = vec![0; 2 << 20];
    let bomb = gzip(&zeros, None).repeat(3);
    let limits = [
        (DecompressLimits { ratio_min_size: 3 << 20, ..DecompressLimits::default() }, "gzip bomb"),
        (DecompressLimits { size: 1000, ..DecompressLimits::default() }, "1000 bytes"),
        (
            DecompressLimits { size: (4 << 20) + 1, ratio: u64::MAX, ratio_min_size: 0 },
            "4194305 bytes",
        ),
    ];
    for (limits, said) in limits {
        let error = save(body(&bomb, bomb.len()), temp_dir.folder(0), REMOTE_PATH, limits)
            .await
            .unwrap_err();
        assert_eq!((error.kind, error.retryable), (Kind::Download, false));
        assert!(error.message.contains(said) && error.hint.is_some(), "{error}");
    }
    assert!(temp_dir.names().is_empty());
    let harmless = save_bytes(&bomb, 1000, temp_dir.folder(0)).await.unwrap();
    assert_eq!(harmless.size, 6 << 20, "a few zeros are no bomb");
    let plain = DecompressLimits { size: 1 << 30, ratio: 1, ratio_min_size: 0 };
    assert!(
        save(body(&zeros, 100_000), MemorySink::default().target(), REMOTE_PATH, plain)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_broken_stream_is_worth_another_try() {
    let temp_dir = TempDir::new();
    let cut = body(b"half a file", 4).chain(stream::iter([Err(reset())])).boxed();
    let error =
        save(cut, Target::Path(temp_dir.join("out")), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap_err();
    assert_eq!((error.kind, error.retryable), (Kind::Download, true));
    assert!(error.message.contains("store1.blob broke the connection off: reset"), "{error}");
    assert!(temp_dir.names().is_empty());
}

#[tokio::test]
async fn another_body_goes_on_where_the_first_broke_off() {
    let (memory, content) = (MemorySink::default(), noise(2_000_000));
    let whole = gzip(&content, None);
    let mut download =
        Download::open(memory.target(), REMOTE_PATH, DecompressLimits::default()).await.unwrap();
    let cut = body(&whole[..whole.len() / 2], 10_000).chain(stream::iter([Err(reset())])).boxed();
    assert!(download.receive(blob_at(cut, 0, "\"1\"")).await.unwrap_err().retryable);
    let from = download.range().offset as usize;
    assert_eq!(from, whole.len() / 2, "every byte that came is kept");
    download.receive(blob_at(body(&whole[from..], 10_000), from as u64, "\"1\"")).await.unwrap();
    assert_eq!(download.finish().await.unwrap().sha256, sha256_hex(&content));
    assert_eq!(memory.bytes(), content);
}

#[tokio::test]
async fn what_came_is_told_beside_what_it_holds() {
    let content = b"{\"a\": 1}";
    let packed = gzip(content, Some(b"..\\a.json"));
    let file = save_bytes(&packed, 1, MemorySink::default().target()).await.unwrap();
    assert_eq!((file.payload, file.name.as_str()), (PayloadFormat::Gzip, "a.json"));
    assert_eq!(
        (file.received_size, file.received_sha256),
        (packed.len() as u64, sha256_hex(&packed))
    );
    assert_eq!((file.size, file.sha256), (content.len() as u64, sha256_hex(content)));
    for (content, payload) in [
        (&content[..], PayloadFormat::Json),
        (b"\xef\xbb\xbf \r\n[]", PayloadFormat::Json),
        (b"PK\x03\x04...", PayloadFormat::Zip),
        (b"PK\x05\x06", PayloadFormat::Zip),
        (b"PK", PayloadFormat::Other),
        (b"", PayloadFormat::Other),
        (b"{", PayloadFormat::Json),
        (b"MZ\x90", PayloadFormat::Other),
    ] {
        let file = save_bytes(content, 3, MemorySink::default().target()).await.unwrap();
        assert_eq!((file.payload, file.name.as_str()), (payload, "a.txt"), "{content:?}");
        assert_eq!((file.received_size, &file.received_sha256), (file.size, &file.sha256));
    }
}

#[tokio::test]
async fn a_blob_that_changed_is_fetched_anew_into_a_file_and_refused_for_a_sink() {
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
async fn a_body_that_ends_early_without_a_word_is_not_the_file() {
    let content = noise(200_000);
    let mut download =
        Download::open(MemorySink::default().target(), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap();
    let short =
        Blob { length: Some(200_000), ..blob_at(body(&content[..150_000], 9000), 0, "\"1\"") };
    assert!(download.receive(short).await.unwrap_err().message.contains("after 150000 bytes"));
    let whole = Blob { length: Some(200_000), ..blob_at(body(&content, 9000), 0, "\"1\"") };
    download.receive(whole).await.unwrap();
    assert_eq!(
        download.finish().await.unwrap().sha256,
        sha256_hex(&content),
        "a host without ranges sends all of it again"
    );
    let mut download =
        Download::open(MemorySink::default().target(), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap();
    let late = body(&content, 9000).chain(stream::iter([Err(reset())])).boxed();
    download.receive(Blob { length: Some(200_000), ..blob_at(late, 0, "\"1\"") }).await.unwrap();
    assert!(download.finish().await.is_ok(), "a break after the last byte breaks nothing");
}

/// A gzip of a gigabyte of zeros, in 64 members: a megabyte on the wire.
fn gigabyte_of_zeros() -> Body {
    let member = Bytes::from(gzip(&vec![0; 16 << 20], None));
    stream::iter(vec![member; 64]).map(Ok).boxed()
}

/// Counts what it takes, and how much at once.
#[derive(Clone, Default)]
struct CountingSink(Arc<Mutex<(u64, usize)>>);

impl Sink for CountingSink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        let mut gauge = self.0.lock().unwrap();
        *gauge = (gauge.0 + data.len() as u64, gauge.1.max(data.len()));
        std::future::ready(Ok(())).boxed()
    }
}

#[tokio::test]
async fn a_gigabyte_of_zeros_is_refused_and_never_held() {
    let temp_dir = TempDir::new();
    let error =
        save(gigabyte_of_zeros(), temp_dir.folder(0), REMOTE_PATH, DecompressLimits::default())
            .await
            .unwrap_err();
    assert!(
        error.kind == Kind::Download && !error.retryable && error.message.contains("gzip bomb"),
        "{error}"
    );
    assert!(temp_dir.names().is_empty());
    let gauge = CountingSink::default();
    save(
        gigabyte_of_zeros(),
        Target::Sink(Box::new(gauge.clone())),
        REMOTE_PATH,
        DecompressLimits::default(),
    )
    .await
    .unwrap_err();
    let (taken, largest) = *gauge.0.lock().unwrap();
    assert!(taken <= 65 << 20, "{taken} bytes went on before it was refused");
    assert!(largest <= 512 << 10, "{largest} bytes were held at once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_file(
        members in prop::collection::vec(prop::collection::vec(0..8u8, 0..3000), 1..4),
        cuts in prop::collection::vec(1..700usize, 1..8),
    ) {
        let payload: Vec<u8> = members.iter().flat_map(|member| gzip(member, None)).collect();
        let content = members.concat();
        let mut chunks = Vec::new();
        let mut rest = &payload[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunks.push(Ok(Bytes::copy_from_slice(chunk)));
            rest = after;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let memory = MemorySink::default();
        let saving = save(stream::iter(chunks).boxed(), memory.target(), REMOTE_PATH, DecompressLimits::default());
        let file = runtime.block_on(saving).unwrap();
        prop_assert_eq!(file.sha256, sha256_hex(&content));
        prop_assert_eq!(memory.bytes(), content);
    }
}

/// Past the batches, which join small chunks: the decoder's own state at every boundary.
fn decompress_in_pieces(payload: &[u8], piece: usize) -> Result<(Vec<u8>, Option<String>)> {
    let memory = MemorySink::default();
    let (output, _) = target::Output::open(memory.target())?;
    let mut file = payload::DecompressedFile::new(output, REMOTE_PATH, DecompressLimits::default());
    let mut decompressor = payload::Decompressor::new();
    for piece in payload.chunks(piece) {
        assert_eq!(decompressor.push(piece, &mut file)?, piece.len());
    }
    decompressor.finish(&mut file)?;
    assert_eq!(decompressor.received(), payload.len() as u64);
    let name = decompressor.original_name();
    assert_eq!(decompressor.sha256(), (payload.len() > 1).then(|| sha256_hex(payload)));
    Ok((file.output.take().to_vec(), name))
}

#[test]
fn the_decoder_stops_and_goes_on_at_any_byte() {
    let content = noise(2000);
    let first = gzip(&content, Some(b"first.txt"));
    let payload =
        [&first[..], &[0; 3], &gzip(b"", None), &gzip(b"end", Some(b"second.txt"))].concat();
    let expected = ([&content[..], b"end"].concat(), Some("first.txt".to_owned()));
    for piece in (1..40).chain([500, payload.len()]) {
        assert_eq!(decompress_in_pieces(&payload, piece).unwrap(), expected);
    }
    for at in 0..payload.len() {
        let (head, tail) = payload.split_at(at);
        let cut = decompress_in_pieces(head, 1);
        let between = at < 2 || (first.len()..=first.len() + 3).contains(&at);
        assert!(cut.is_ok() == (between || is_member_end(tail)), "cut at {at}");
    }
}

/// Whether what follows a cut is the last member from its start.
fn is_member_end(tail: &[u8]) -> bool {
    tail == gzip(b"end", Some(b"second.txt"))
}
