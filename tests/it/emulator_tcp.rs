//! The emulator over TCP: invalid input, broken connections, TLS, and the documented curl
//! walkthrough.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use mde_live_response::emulator::{
    Emulator, Fault, FaultKind, RequestOutcome, Server, Settings, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(tls: bool) -> (Emulator, Server) {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let server = serve(emulator.clone(), "127.0.0.1", 0, tls).await.unwrap();
    (emulator, server)
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn send_raw(server: &Server, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.api_address()).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut response = Vec::new();
    match stream.read_to_end(&mut response).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&response).into_owned()
}

async fn machines(emulator: &Emulator) -> reqwest::Result<reqwest::Response> {
    http()
        .get(format!("{}/api/machines", emulator.url()))
        .bearer_auth(emulator.token())
        .send()
        .await
}

/// Input that is not HTTP gets an error, and the next client is served.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests() {
    let (emulator, server) = start(false).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    for (text, status) in [
        (&b"nonsense\r\n\r\n"[..], "400"),
        (b"GET / HTTP/9.9\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", ""),
        (b"POST /api/libraryfiles HTTP/1.1\r\ncontent-length: x\r\n\r\n", "400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\nconnection: close\r\n\r\nzz\r\n", ""),
        (long.as_bytes(), "4"),
        (many.as_bytes(), "431"),
    ] {
        let exchange = tokio::time::timeout(Duration::from_secs(5), send_raw(&server, text));
        let response = exchange.await.unwrap_or_default();
        let status_line = format!("HTTP/1.1 {status}");
        assert!(response.is_empty() || response.starts_with(&status_line), "{response}");
        assert_eq!(machines(&emulator).await.unwrap().status(), 200);
    }
}

/// Section 3.2: an entity is chunked and has `Vary`; an error has a `Content-Length`.
#[tokio::test(flavor = "multi_thread")]
async fn framing() {
    let (emulator, server) = start(false).await;
    let head = |path: &str| {
        let token = emulator.token();
        format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             accept-encoding: deflate\r\nconnection: close\r\n\r\n"
        )
    };
    let entity = send_raw(&server, head("/api/machines").as_bytes()).await.to_lowercase();
    for header in
        ["transfer-encoding: chunked", "content-encoding: deflate", "vary: accept-encoding"]
    {
        assert!(entity.contains(&format!("\r\n{header}\r\n")), "{header}: {entity}");
    }
    let error = send_raw(&server, head("/api/machines/nobody").as_bytes()).await.to_lowercase();
    assert!(
        error.contains("\r\ncontent-length: ") && !error.contains("transfer-encoding"),
        "{error}"
    );
}

/// A body of 100 MB gets the documented error, and the emulator keeps serving.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_100_mb() {
    let (emulator, _server) = start(false).await;
    let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    for (path, content_type) in [
        ("/api/libraryfiles", "multipart/form-data; boundary=b"),
        ("/api/machines/x/runliveresponse", "application/json"),
    ] {
        let pieces = futures_util::stream::iter(
            vec![piece.clone(); 100].into_iter().map(Ok::<_, std::io::Error>),
        );
        let response = http()
            .post(format!("{}{path}", emulator.url()))
            .bearer_auth(emulator.token())
            .header("content-type", content_type)
            .body(reqwest::Body::wrap_stream(pieces))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400);
        assert!(response.text().await.unwrap().contains("InvalidRequestBody"));
    }
    assert_eq!(machines(&emulator).await.unwrap().status(), 200);
}

/// A dropped connection closes, and a truncated body ends early.
#[tokio::test(flavor = "multi_thread")]
async fn faults_over_tcp() {
    let (emulator, _server) = start(false).await;
    for kind in [FaultKind::DropBefore, FaultKind::DropUnread, FaultKind::DropAfter] {
        emulator.fault("GET", "machines", Fault::new(kind), 1, 1).unwrap();
        assert!(machines(&emulator).await.is_err(), "{kind:?}");
    }
    emulator.fault("GET", "machines", Fault::new(FaultKind::Truncate), 1, 1).unwrap();
    let truncated = machines(&emulator).await.unwrap();
    assert_eq!(truncated.status(), 200);
    assert!(truncated.bytes().await.is_err());
    assert_eq!(machines(&emulator).await.unwrap().status(), 200);
}

/// The log shows that a client closed its connection before the response.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects() {
    let (emulator, _server) = start(false).await;
    emulator.fault("GET", "machines", Fault::delay(30.0), 1, 1).unwrap();
    let client = emulator.clone();
    let call = tokio::spawn(async move { machines(&client).await.map(drop) });
    wait_for_first_outcome(&emulator, RequestOutcome::InFlight).await;
    call.abort();
    wait_for_first_outcome(&emulator, RequestOutcome::Closed).await;
}

async fn wait_for_first_outcome(emulator: &Emulator, outcome: RequestOutcome) {
    for _ in 0..1000 {
        if emulator.requests().first().is_some_and(|request| request.status == outcome) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", emulator.requests());
}

/// A closed server accepts no connection and closes the open ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_server() {
    let (emulator, mut server) = start(false).await;
    let mut kept = TcpStream::connect(server.api_address()).await.unwrap();
    kept.write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0_u8; 8];
    kept.read_exact(&mut first).await.unwrap();
    server.close();
    let mut rest = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(5), kept.read_to_end(&mut rest)).await.unwrap();
    assert!(machines(&emulator).await.is_err());
}

/// On every interface, the emulator's URLs name the host of the request.
#[tokio::test(flavor = "multi_thread")]
async fn urls_name_the_host_of_the_request() {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let server = serve(emulator.clone(), "0.0.0.0", 0, false).await.unwrap();
    let port = server.api_address().port();
    let response = http()
        .get(format!("http://localhost:{port}/api/machines"))
        .bearer_auth(emulator.token())
        .send()
        .await
        .unwrap();
    let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(body["@odata.context"], format!("http://localhost:{port}/api/$metadata#Machines"));
}

/// TLS works with the run's own certificate authority only.
#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let (emulator, server) = start(true).await;
    assert!(
        emulator.url().starts_with("https://127.0.0.1:")
            && emulator.blob_url().starts_with("https://")
    );
    assert!(machines(&emulator).await.is_err());
    let authority = reqwest::Certificate::from_pem(server.ca_bundle().unwrap().as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let response = client
        .get(format!("{}/api/machines", emulator.url()))
        .bearer_auth(emulator.token())
        .send()
        .await;
    assert_eq!(response.unwrap().status(), 200);
}

/// The curl walkthrough of docs/emulator.md: token, upload, run, poll, link, download.
#[tokio::test(flavor = "multi_thread")]
async fn the_curl_walkthrough() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emulator.md")).unwrap();
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let (emulator, _server) = start(false).await;
    let folder = std::env::temp_dir().join(format!("mde-emulator-curl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = {
        let (emulator, folder) = (emulator.clone(), folder.clone());
        move || {
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script])
                .current_dir(folder)
                .env("URL", emulator.url())
                .env("LOGIN_URL", emulator.login_url())
                .env("TENANT_ID", emulator.tenant_id())
                .env("CLIENT_ID", emulator.client_id())
                .env("CLIENT_SECRET", emulator.client_secret())
                .env("NO_PROXY", "*")
                .output()
        }
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    let transcript: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("transcript.json")).unwrap()).unwrap();
    assert!(transcript["script_output"].as_str().unwrap().contains("hello.ps1"));
    assert_eq!(emulator.violations(), Default::default());
    std::fs::remove_dir_all(folder).unwrap();
}
