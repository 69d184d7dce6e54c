//! Targets: where files are saved, and that no temporary files are left.

use super::*;

async fn wait_until_empty(temp_dir: &TempDir) {
    for _ in 0..200 {
        if temp_dir.names().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("files are left: {:?}", temp_dir.names());
}

#[tokio::test]
async fn a_dropped_download_leaves_no_file() {
    let temp_dir = TempDir::new();
    for ready in [0, 10, 200_000, 2_000_000] {
        let stalled = body(&noise(ready), 50_000).chain(stream::pending()).boxed();
        let saving = save(
            stalled,
            Target::Path(temp_dir.join("out")),
            REMOTE_PATH,
            DecompressLimits::default(),
        );
        assert!(tokio::time::timeout(Duration::from_millis(50), saving).await.is_err());
        wait_until_empty(&temp_dir).await;
    }
    let never_polled =
        save(body(b"x", 1), temp_dir.folder(0), REMOTE_PATH, DecompressLimits::default());
    drop(never_polled);
    assert!(temp_dir.names().is_empty());
}

#[tokio::test]
async fn a_target_that_cannot_be_written_fails_before_the_first_byte() {
    let temp_dir = TempDir::new();
    let file = temp_dir.join("file");
    fs::write(&file, b"kept").unwrap();
    let unread = || stream::once(async { panic!("the body was read") }).boxed();
    for target in [
        Target::Path(file.join("below a file")),
        Target::Path(temp_dir.join("no such folder/out")),
        Target::Path(temp_dir.0.clone()),
        Target::Folder { folder: file.join("x"), index: 0 },
        Target::Folder { folder: file.clone(), index: 0 },
    ] {
        let error =
            save(unread(), target, REMOTE_PATH, DecompressLimits::default()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Io, "{error}");
        assert!(error.os_error.is_some() && error.path.is_some() && error.hint.is_some());
    }
    if cfg!(unix) {
        let error = save(
            unread(),
            Target::Path("/dev/null".into()),
            REMOTE_PATH,
            DecompressLimits::default(),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
    for nameless in [PathBuf::new(), temp_dir.join("folder/")] {
        let error =
            save(unread(), Target::Path(nameless), REMOTE_PATH, DecompressLimits::default())
                .await
                .unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
    assert_eq!(
        (temp_dir.names(), fs::read(&file).unwrap()),
        (vec!["file".to_owned()], b"kept".to_vec())
    );
}

#[tokio::test]
async fn an_existing_file_is_only_replaced_by_a_complete_one() {
    let temp_dir = TempDir::new();
    let path = temp_dir.join("out");
    fs::write(&path, b"old").unwrap();
    let whole = gzip(b"new", None);
    save_bytes(&whole[..12], 1, Target::Path(path.clone())).await.unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    save_bytes(&whole, 1, Target::Path(path.clone())).await.unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), temp_dir.names()),
        (b"new".to_vec(), vec!["out".to_owned()])
    );
}

#[tokio::test]
async fn a_hostile_name_stays_in_the_folder() {
    for (name, expected) in [
        (&b"../../../etc/passwd"[..], "0_passwd"),
        (b"/etc/shadow", "0_shadow"),
        (b"C:\\Windows\\System32\\x.dll", "0_x.dll"),
        (b"..", "0_a.txt"),
        (b"", "0_a.txt"),
        (b"\x1b[2J\r\nCON", "0_[2JCON"),
        (b"NUL.txt", "0__NUL.txt"),
        (b"caf\xe9.txt", "0_caf\u{e9}.txt"),
        ("gr\u{fc}n\u{202e}.txt".as_bytes(), "0_gr\u{fc}n.txt"),
    ] {
        let temp_dir = TempDir::new();
        save_bytes(&gzip(b"x", Some(name)), 7, temp_dir.folder(0)).await.unwrap();
        assert_eq!(temp_dir.names(), [expected]);
    }
    let temp_dir = TempDir::new();
    let file = save_bytes(&gzip(b"x", Some(&[b'a'; 4096])), 100, temp_dir.folder(0)).await.unwrap();
    assert_eq!(Path::new(&file.path.unwrap()).file_name().unwrap().len(), 202);
}

#[tokio::test]
async fn an_error_of_the_sink_is_returned() {
    struct Full;
    impl Sink for Full {
        fn write(&mut self, _: Bytes) -> BoxFuture<'_, Result<()>> {
            std::future::ready(Err(Error::new(Kind::Caller, "write() raised"))).boxed()
        }
    }
    let stalled = body(&noise(500_000), 50_000).chain(stream::pending()).boxed();
    let saving =
        save(stalled, Target::Sink(Box::new(Full)), REMOTE_PATH, DecompressLimits::default());
    let error = tokio::time::timeout(Duration::from_secs(20), saving).await.unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Caller);
}

#[test]
fn two_hundred_downloads_share_four_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let temp_dir = TempDir::new();
        let content = noise(300_000);
        let payload = gzip(&content, None);
        // No download can end before all have started, so a download that kept its thread would
        // block the test forever.
        let barrier = Arc::new(tokio::sync::Barrier::new(200));
        let downloads = (0..200).map(|index| {
            let (head, tail) = payload.split_at(payload.len() / 2);
            let barrier = barrier.clone();
            let gate = stream::once(async move {
                barrier.wait().await;
                Ok(Bytes::new())
            });
            let body = body(head, 9000).chain(gate).chain(body(tail, 9000)).boxed();
            save(body, temp_dir.folder(index), REMOTE_PATH, DecompressLimits::default())
        });
        let all = futures_util::future::join_all(downloads);
        let files = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        assert!(files.into_iter().all(|file| file.unwrap().sha256 == sha256_hex(&content)));
        assert_eq!(temp_dir.names().len(), 200);
    });
}
