//! What comes is what the machine had, or an error.

use super::*;

#[tokio::test]
async fn a_gzip_comes_out_as_the_file_it_holds() {
    let (scratch, content) = (Scratch::new(), noise(1_000_000));
    let folder = scratch.join("new/deeper");
    let target = Target::Folder { folder: folder.clone(), index: 2 };
    let file = saved(&gzip(&content, Some(b"triage.zip")), 60_000, target).await.unwrap();
    let path = folder.join("2_triage.zip");
    assert_eq!(fs::read(&path).unwrap(), content);
    assert_eq!(file.path.as_deref(), path.to_str());
    assert_eq!((file.remote_path.as_str(), file.size, file.sha256), (REMOTE, 1_000_000, sha256_hex(&content)));
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
            let memory = Memory::default();
            let file = saved(content, chunk, memory.target()).await.unwrap();
            assert_eq!((memory.bytes(), file.size, file.path), (content.to_vec(), content.len() as u64, None));
            assert_eq!(file.sha256, sha256_hex(content));
        }
    }
}

#[tokio::test]
async fn members_and_padding() {
    let two = [gzip(b"one ", Some(b"first.txt")), gzip(b"", None), gzip(b"two", Some(b"second.txt"))].concat();
    let padded = [two.clone(), vec![0; 700]].concat();
    let apart = [gzip(b"one ", Some(b"first.txt")), vec![0; 5], gzip(b"two", None)].concat();
    for (index, payload) in [two, padded, apart].iter().enumerate() {
        for chunk in [1, 3, 5000] {
            let scratch = Scratch::new();
            let file = saved(payload, chunk, scratch.folder(index)).await.unwrap();
            assert_eq!(fs::read(file.path.unwrap()).unwrap(), b"one two");
            assert_eq!(scratch.names(), [format!("{index}_first.txt")]);
        }
    }
}

#[tokio::test]
async fn cut_short_at_any_byte_or_damaged_leaves_nothing() {
    let (scratch, content) = (Scratch::new(), noise(300));
    let whole = gzip(&content, Some(b"a.txt"));
    let mut payloads: Vec<Vec<u8>> = (2..whole.len()).map(|length| whole[..length].to_vec()).collect();
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
            let error = saved(&payload, chunk, Target::Path(scratch.join("out"))).await.unwrap_err();
            assert_eq!((error.kind, error.retryable), (Kind::Download, false), "{payload:x?}");
            assert!(error.message.contains(REMOTE) && error.hint.is_some());
            assert!(scratch.names().is_empty());
        }
    }
}

#[tokio::test]
async fn bombs_are_refused() {
    let scratch = Scratch::new();
    let zeros = vec![0; 2 << 20];
    let bomb = gzip(&zeros, None).repeat(3);
    let limits = [
        (UnpackLimits { ratio_from: 3 << 20, ..UnpackLimits::default() }, "gzip bomb"),
        (UnpackLimits { size: 1000, ..UnpackLimits::default() }, "1000 bytes"),
        (UnpackLimits { size: (4 << 20) + 1, ratio: u64::MAX, ratio_from: 0 }, "4194305 bytes"),
    ];
    for (limits, said) in limits {
        let error = save(body(&bomb, bomb.len()), scratch.folder(0), REMOTE, limits).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (Kind::Download, false));
        assert!(error.message.contains(said) && error.hint.is_some(), "{error}");
    }
    assert!(scratch.names().is_empty());
    let harmless = saved(&bomb, 1000, scratch.folder(0)).await.unwrap();
    assert_eq!(harmless.size, 6 << 20, "a few zeros are no bomb");
    let plain = UnpackLimits { size: 1 << 30, ratio: 1, ratio_from: 0 };
    assert!(save(body(&zeros, 100_000), Memory::default().target(), REMOTE, plain).await.is_ok());
}

#[tokio::test]
async fn a_broken_stream_is_worth_another_try() {
    let scratch = Scratch::new();
    let cut = body(b"half a file", 4).chain(stream::iter([Err(reset())])).boxed();
    let error = save(cut, Target::Path(scratch.join("out")), REMOTE, UnpackLimits::default()).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (Kind::Download, true));
    assert!(error.message.contains("store1.blob broke the connection off: reset"), "{error}");
    assert!(scratch.names().is_empty());
}

#[tokio::test]
async fn another_body_goes_on_where_the_first_broke_off() {
    let (memory, content) = (Memory::default(), noise(2_000_000));
    let whole = gzip(&content, None);
    let mut download = Download::open(memory.target(), REMOTE, UnpackLimits::default()).await.unwrap();
    let cut = body(&whole[..whole.len() / 2], 10_000).chain(stream::iter([Err(reset())])).boxed();
    assert!(download.receive(cut).await.unwrap_err().retryable);
    let received = usize::try_from(download.received()).unwrap();
    assert!(received > 0 && received <= whole.len() / 2);
    download.receive(body(&whole[received..], 10_000)).await.unwrap();
    assert_eq!(download.received(), whole.len() as u64);
    assert_eq!(download.finish().await.unwrap().sha256, sha256_hex(&content));
    assert_eq!(memory.bytes(), content);
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
        let memory = Memory::default();
        let saving = save(stream::iter(chunks).boxed(), memory.target(), REMOTE, UnpackLimits::default());
        let file = runtime.block_on(saving).unwrap();
        prop_assert_eq!(file.sha256, sha256_hex(&content));
        prop_assert_eq!(memory.bytes(), content);
    }
}

/// Past the batches, which join small chunks: the decoder's own state at every boundary.
fn unpacked_piecewise(payload: &[u8], piece: usize) -> Result<(Vec<u8>, Option<String>)> {
    let memory = Memory::default();
    let output = target::Output::open(memory.target())?;
    let mut file = payload::Unpacked::new(output, REMOTE, UnpackLimits::default());
    let mut unpacker = payload::Unpacker::new();
    for piece in payload.chunks(piece) {
        unpacker.push(piece, &mut file)?;
    }
    unpacker.finish(&mut file)?;
    Ok((memory.bytes(), unpacker.name()))
}

#[test]
fn the_decoder_stops_and_goes_on_at_any_byte() {
    let content = noise(2000);
    let first = gzip(&content, Some(b"first.txt"));
    let payload = [&first[..], &[0; 3], &gzip(b"", None), &gzip(b"end", Some(b"second.txt"))].concat();
    let expected = ([&content[..], b"end"].concat(), Some("first.txt".to_owned()));
    for piece in (1..40).chain([500, payload.len()]) {
        assert_eq!(unpacked_piecewise(&payload, piece).unwrap(), expected);
    }
    for at in 0..payload.len() {
        let (head, tail) = payload.split_at(at);
        let cut = unpacked_piecewise(head, 1);
        let between = at < 2 || (first.len()..=first.len() + 3).contains(&at);
        assert!(cut.is_ok() == (between || is_member_end(tail)), "cut at {at}");
    }
}

/// Whether what follows a cut is the last member from its start.
fn is_member_end(tail: &[u8]) -> bool {
    tail == gzip(b"end", Some(b"second.txt"))
}
