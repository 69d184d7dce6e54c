//! Payload formats, damaged payloads and gzip bombs.

use super::*;

#[tokio::test]
async fn a_gzip_is_saved_as_the_file_inside() {
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
async fn other_payloads_are_saved_unchanged() {
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
async fn gzip_members_and_padding() {
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
async fn a_truncated_or_damaged_gzip_leaves_no_file() {
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
async fn gzip_bombs_are_refused() {
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
    for (limits, expected) in limits {
        let error = save(body(&bomb, bomb.len()), temp_dir.folder(0), REMOTE_PATH, limits)
            .await
            .unwrap_err();
        assert_eq!((error.kind, error.retryable), (Kind::Download, false));
        assert!(error.message.contains(expected) && error.hint.is_some(), "{error}");
    }
    assert!(temp_dir.names().is_empty());
    let harmless = save_bytes(&bomb, 1000, temp_dir.folder(0)).await.unwrap();
    assert_eq!(harmless.size, 6 << 20, "a small file of zeros is no bomb");
    let plain = DecompressLimits { size: 1 << 30, ratio: 1, ratio_min_size: 0 };
    assert!(
        save(body(&zeros, 100_000), MemorySink::default().target(), REMOTE_PATH, plain)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_payload_is_described_beside_the_file() {
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

/// A gzip of a gigabyte of zeros, in 64 members: about a megabyte when compressed.
fn gigabyte_of_zeros() -> TestBody {
    let member = Bytes::from(gzip(&vec![0; 16 << 20], None));
    stream::iter(vec![member; 64]).map(Ok).boxed()
}

/// Records the bytes in total, and in the largest write.
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
async fn a_gigabyte_of_zeros_is_refused_and_never_in_memory() {
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
    assert!(taken <= 65 << 20, "{taken} bytes were written before it was refused");
    assert!(largest <= 512 << 10, "{largest} bytes were in memory at once");
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
        let body = stream::iter(chunks).boxed();
        let saving = save(body, memory.target(), REMOTE_PATH, DecompressLimits::default());
        let file = runtime.block_on(saving).unwrap();
        prop_assert_eq!(file.sha256, sha256_hex(&content));
        prop_assert_eq!(memory.bytes(), content);
    }
}

/// Feeds the decompressor directly: batches would join the small pieces.
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
fn the_decompressor_can_pause_at_any_byte() {
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

/// Returns whether the rest after a cut is exactly the last member.
fn is_member_end(tail: &[u8]) -> bool {
    tail == gzip(b"end", Some(b"second.txt"))
}
