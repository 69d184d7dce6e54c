//! The emulator's certificates: further names, an authority that stays, and certificates from
//! files.

use std::path::{Path, PathBuf};

use mde_live_response::emulator::{Emulator, Server, ServerSettings, Settings, serve_with};
use mde_live_response::error::{Error, Kind};

/// A folder of one test, which is removed after it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mde-tls-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a private file.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

async fn start(settings: &ServerSettings) -> Result<(Emulator, Server), Error> {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let server = serve_with(emulator.clone(), settings).await?;
    Ok((emulator, server))
}

async fn failure(settings: &ServerSettings) -> Error {
    let error = start(settings).await.map(drop).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest, "{error}");
    error
}

fn with_folder(folder: &Path) -> ServerSettings {
    let ca_folder = Some(folder.to_owned());
    ServerSettings { tls: true, ca_folder, ..ServerSettings::at("127.0.0.1") }
}

/// Whether a client that trusts `authority` alone reaches the server as `name`.
async fn is_trusted(server: &Server, emulator: &Emulator, authority: &str, name: &str) -> bool {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([authority])
        .resolve(name, server.api_address())
        .build()
        .unwrap();
    let url = format!("https://{name}:{}/api/machines", server.api_address().port());
    client.get(url).bearer_auth(emulator.token()).send().await.is_ok_and(|r| r.status() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn further_names() {
    let tls_names = vec!["api.securitycenter.microsoft.com".into(), "*.example.test".into()];
    let settings = ServerSettings { tls: true, tls_names, ..ServerSettings::at("127.0.0.1") };
    let (emulator, server) = start(&settings).await.unwrap();
    let authority = server.ca_bundle().unwrap();
    for (name, expected) in [
        ("api.securitycenter.microsoft.com", true),
        ("x.example.test", true),
        ("localhost", true),
        ("api.security.microsoft.com", false),
    ] {
        assert_eq!(is_trusted(&server, &emulator, authority, name).await, expected, "{name}");
    }
}

/// An authority in a folder is created once: a client that trusts it reaches every later emulator.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_stays() {
    let folder = Folder::new("stays");
    let path = folder.0.join("deep/er");
    let (_, first) = start(&with_folder(&path)).await.unwrap();
    let authority = first.ca_bundle().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(path.join("ca.pem")).unwrap(), authority);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(path.join("ca-key.pem")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let (emulator, second) = start(&with_folder(&path)).await.unwrap();
    assert!(is_trusted(&second, &emulator, &authority, "localhost").await);
    // A certificate that was lost is made again from the key: what clients trust stays valid.
    std::fs::remove_file(path.join("ca.pem")).unwrap();
    let (emulator, third) = start(&with_folder(&path)).await.unwrap();
    assert!(is_trusted(&third, &emulator, &authority, "localhost").await);
    let files = std::fs::read_dir(&path).unwrap().count();
    assert_eq!(files, 2, "only the certificate and its key");
    let (emulator, other) = start(&with_folder(&folder.0.join("other"))).await.unwrap();
    assert!(!is_trusted(&other, &emulator, &authority, "localhost").await);
}

/// Emulators that start at once with a new folder get one authority.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_many_starts() {
    let folder = Folder::new("many");
    let path = folder.0.join("ca");
    let starts: Vec<_> = (0..16)
        .map(|_| {
            let settings = with_folder(&path);
            tokio::spawn(async move { start(&settings).await.unwrap() })
        })
        .collect();
    let mut authorities = Vec::new();
    for start in starts {
        authorities.push(start.await.unwrap().1.ca_bundle().unwrap().to_owned());
    }
    authorities.dedup();
    assert_eq!(authorities.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_cannot_be_used() {
    let folder = Folder::new("unusable");
    let file = folder.write("file", "x");
    let new = |name: &str| folder.0.join(name);
    let made = |name: &str| {
        let path = new(name);
        async move {
            drop(start(&with_folder(&path)).await.unwrap());
            path
        }
    };
    let error = failure(&with_folder(&file.join("ca"))).await;
    assert!(
        error.message.starts_with("ca_folder: the folder \"")
            && error.message.contains("cannot be created"),
        "{error}"
    );
    failure(&with_folder(&file)).await;

    let broken_key = made("broken-key").await;
    std::fs::write(broken_key.join("ca-key.pem"), "nonsense").unwrap();
    let error = failure(&with_folder(&broken_key)).await;
    assert!(
        error.message.contains("ca-key.pem\" cannot be used: it is not a private key"),
        "{error}"
    );

    let broken = made("broken").await;
    std::fs::write(broken.join("ca.pem"), "nonsense").unwrap();
    let error = failure(&with_folder(&broken)).await;
    assert!(error.message.contains("ca.pem\" cannot be used: it is not a certificate"), "{error}");
    std::fs::write(broken.join("ca.pem"), [0xff, 0xfe]).unwrap();
    failure(&with_folder(&broken)).await;

    let (one, other) = (made("one").await, made("other").await);
    std::fs::copy(other.join("ca.pem"), one.join("ca.pem")).unwrap();
    let error = failure(&with_folder(&one)).await;
    assert!(error.message.contains("its key is not the one beside it"), "{error}");
    assert!(error.hint.clone().unwrap_or_default().contains("remove both"));

    #[cfg(unix)]
    {
        let open = made("open").await;
        for mode in [0o640, 0o604, 0o644] {
            set_mode(&open.join("ca-key.pem"), mode);
            let error = failure(&with_folder(&open)).await;
            assert!(error.message.contains(&format!("its mode is {mode:o}")), "{error}");
            assert!(error.hint.clone().unwrap_or_default().contains("chmod 600"));
        }
    }
}

/// A certificate of one's own, with the key of another, a broken one, and so on.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_from_files() {
    let folder = Folder::new("files");
    let pair = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let path = folder.write(&format!("{name}.pem"), &certificate);
        (path, folder.write(&format!("{name}.key"), &key.serialize_pem()), certificate)
    };
    let (certificate, key, pem) = pair("one");
    let (_, other_key, _) = pair("other");
    let with = |certificate: &Path, key: &Path| ServerSettings {
        tls: true,
        certificate: Some((certificate.to_owned(), key.to_owned())),
        ..ServerSettings::at("127.0.0.1")
    };
    let (emulator, server) = start(&with(&certificate, &key)).await.unwrap();
    assert_eq!(server.ca_bundle(), None);
    assert!(is_trusted(&server, &emulator, &pem, "localhost").await);
    let text = folder.write("text.pem", "nonsense");
    let damaged = folder
        .write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = folder.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = folder.0.join("missing");
    for (certificate, key, expected) in [
        (&certificate, &other_key, "other.key\" cannot be used: it is not the key of \""),
        (&text, &key, "text.pem\" cannot be used: it has no certificate"),
        (&damaged, &key, "damaged.pem\" cannot be used: it is not a certificate"),
        (&missing, &key, "missing\" cannot be used: No such file"),
        (&certificate, &missing, "missing\" cannot be used: No such file"),
        (&certificate, &text, "text.pem\" cannot be used: it has no private key in PEM"),
        (&certificate, &certificate, "one.pem\" cannot be used: it has no private key in PEM"),
        (&certificate, &encrypted, "encrypted.key\" cannot be used: it is encrypted"),
        (&folder.0, &key, "cannot be used: Is a directory"),
    ] {
        let error = failure(&with(certificate, key)).await;
        assert!(error.message.starts_with("certificate: \""), "{error}");
        assert!(error.message.contains(expected), "{error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
    #[cfg(unix)]
    {
        set_mode(&key, 0o644);
        let error = failure(&with(&certificate, &key)).await;
        assert!(error.message.contains("others can read this private key, its mode is 644"));
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_together() {
    let plain = || ServerSettings::at("127.0.0.1");
    let pair = Some((PathBuf::from("a"), PathBuf::from("b")));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (settings, expected) in [
        (
            ServerSettings { certificate: pair.clone(), ..plain() },
            "certificate has no effect without tls",
        ),
        (
            ServerSettings { tls_names: names(&["a"]), ..plain() },
            "tls_names has no effect without tls or proxy",
        ),
        (
            ServerSettings { ca_folder: Some("a".into()), ..plain() },
            "ca_folder has no effect without tls or proxy",
        ),
        (
            ServerSettings { tls: true, ca_folder: Some("a".into()), certificate: pair, ..plain() },
            "ca_folder has no effect without proxy, because certificate replaces",
        ),
        (
            ServerSettings { tls: true, tls_names: names(&["a b"]), ..plain() },
            "tls_names has \"a b\", which is not the name of a host",
        ),
        (ServerSettings { tls: true, tls_names: names(&[""]), ..plain() }, "tls_names has \"\""),
        (ServerSettings { tls: true, tls_names: names(&["a:443"]), ..plain() }, "\"a:443\""),
        (ServerSettings { tls: true, tls_names: names(&["*"]), ..plain() }, "\"*\""),
        (ServerSettings { tls: true, tls_names: names(&["a.*.test"]), ..plain() }, "\"a.*.test\""),
        (ServerSettings { tls: true, tls_names: names(&["\u{e9}.test"]), ..plain() }, "\u{e9}"),
        (
            ServerSettings { proxy: Some(0), tls_names: names(&["a"; 101]), ..plain() },
            "tls_names has 101 names; it may have 100",
        ),
    ] {
        let error = failure(&settings).await;
        assert!(error.message.contains(expected), "{error}");
    }
}
