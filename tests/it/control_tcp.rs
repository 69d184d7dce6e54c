//! The control over TCP: who may use it, and that it is apart from the service.

use std::io::ErrorKind;

use mde_live_response::emulator::{
    Emulator, Fault, FaultKind, Server, ServerSettings, Settings, serve_with,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start(change: impl FnOnce(&mut ServerSettings)) -> (Emulator, Server) {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let mut settings = ServerSettings::at("127.0.0.1");
    change(&mut settings);
    let server = serve_with(emulator.clone(), &settings).await.unwrap();
    (emulator, server)
}

/// Sends a request and returns the response.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    match stream.read_to_end(&mut response).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&response).into_owned()
}

async fn ask(server: &Server, target: &str, headers: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    raw(server.api_address(), &request).await
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_use_it() {
    let (_, server) = start(|settings| {
        settings.proxy = Some(0);
        settings.tls_names = vec!["mde.example.test".to_owned(), "*.lab.example.test".to_owned()];
    })
    .await;
    let port = server.api_address().port();
    for (headers, expected) in [
        ("host: 127.0.0.1:PORT\r\n", "200"),
        ("host: localhost\r\n", "200"),
        ("host: LocalHost:PORT\r\n", "200"),
        ("host: 127.1.2.3\r\n", "200"),
        ("host: [::1]:PORT\r\n", "200"),
        ("host: mde.example.test\r\n", "200"),
        ("host: MDE.example.test:PORT\r\n", "200"),
        ("host: a.lab.example.test\r\n", "200"),
        ("host: a.b.lab.example.test\r\n", "403"),
        ("host: lab.example.test\r\n", "403"),
        ("host: attacker.example\r\n", "403"),
        ("host: localhost.attacker.example\r\n", "403"),
        ("host: 127.0.0.1.attacker.example\r\n", "403"),
        ("host: 192.0.2.1\r\n", "403"),
        ("host: user@127.0.0.1\r\n", "403"),
        ("host: \r\n", "403"),
        ("", "403"),
        ("host: localhost\r\nhost: localhost\r\n", "403"),
        ("host: localhost\r\norigin: http://localhost\r\n", "200"),
        ("host: localhost:PORT\r\norigin: http://localhost:PORT\r\n", "200"),
        ("host: localhost:PORT\r\norigin: http://localhost:1\r\n", "403"),
        ("host: localhost\r\norigin: https://attacker.example\r\n", "403"),
        ("host: localhost\r\norigin: null\r\n", "403"),
        ("host: localhost\r\nsec-fetch-site: same-origin\r\n", "200"),
        ("host: localhost\r\nsec-fetch-site: none\r\n", "200"),
        ("host: localhost\r\nsec-fetch-site: same-site\r\n", "403"),
        ("host: localhost\r\nsec-fetch-site: cross-site\r\n", "403"),
    ] {
        let headers = headers.replace("PORT", &port.to_string());
        let response = ask(&server, "/__box/violations", &headers).await;
        assert_eq!(status(&response), expected, "{headers}{response}");
        assert_eq!(response.contains("\"rate\":0"), expected == "200", "{headers}{response}");
    }
    // A link of another site may open the page, and nothing else.
    let link = "host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-dest: ";
    for (target, kind, expected) in [
        ("/__box/", "document", "200"),
        ("/__box", "document", "200"),
        ("/__box/", "iframe", "403"),
        ("/__box/", "empty", "403"),
        ("/__box/requests", "document", "403"),
    ] {
        let response = ask(&server, target, &format!("{link}{kind}\r\n")).await;
        assert_eq!(status(&response), expected, "{target} {kind}");
    }
    let absolute = ask(&server, "http://attacker.example/__box/violations", "host: localhost\r\n");
    assert_eq!(status(&absolute.await), "403");
}

/// A refused request has no effect, and its body is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_has_no_effect() {
    let (emulator, server) = start(|_| {}).await;
    let body = r#"{"name": "a.example.test"}"#;
    let post = |headers: &str| {
        let length = body.len();
        format!(
            "POST /__box/machines HTTP/1.1\r\nhost: localhost\r\n{headers}\
             content-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    let refused = raw(server.api_address(), &post("origin: http://attacker.example\r\n")).await;
    assert_eq!((status(&refused), emulator.machine_ids().len()), ("403", 3));
    let accepted = raw(server.api_address(), &post("")).await;
    assert_eq!((status(&accepted), emulator.machine_ids().len()), ("201", 4));
}

/// Another host of the network, which connects to an address that is not loopback, is refused.
#[tokio::test(flavor = "multi_thread")]
async fn only_by_loopback() {
    let (_, server) = start(|settings| "0.0.0.0".clone_into(&mut settings.host)).await;
    let port = server.api_address().port();
    let ask = "GET /__box/violations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(([127, 0, 0, 1], port).into(), ask).await), "200");
    // No packet is sent: this asks the system for the address of this machine.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if socket.connect("192.0.2.1:9").is_err() {
        return; // The machine has loopback only.
    }
    let own = socket.local_addr().unwrap().ip();
    assert!(!own.is_loopback());
    assert_eq!(status(&raw((own, port).into(), ask).await), "403");
}

/// No token, no quota, no fault, no entry in the log.
#[tokio::test(flavor = "multi_thread")]
async fn apart_from_the_service() {
    let (emulator, server) = start(|_| {}).await;
    for path in ["other", "/__box/*"] {
        emulator.fault("*", path, Fault::new(FaultKind::DropBefore), 1, 100).unwrap();
    }
    emulator.set_switches(|switches| switches.fault_rate = 1.0);
    for _ in 0..120 {
        let response = ask(&server, "/__box/counters", "host: localhost\r\n").await;
        assert_eq!((status(&response), response.ends_with("{}")), ("200", true), "{response}");
    }
    assert!(emulator.requests().is_empty());
    // The API's own paths are what they were.
    let similar = ask(&server, "/__boxes", "host: localhost\r\n").await;
    assert_eq!((similar.as_str(), emulator.counters()["other"]), ("", 1));
}

/// Switched off, at the results' host and through the proxy, the paths are unknown ones.
#[tokio::test(flavor = "multi_thread")]
async fn not_served_elsewhere() {
    let (emulator, server) = start(|settings| settings.control = false).await;
    assert_eq!(status(&ask(&server, "/__box/counters", "host: localhost\r\n").await), "404");
    assert_eq!(emulator.counters()["other"], 1);
    let (emulator, server) = start(|settings| {
        settings.proxy = Some(0);
        settings.tls_names = vec!["mde.example.test".to_owned()];
    })
    .await;
    let get = "GET /__box/counters HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&raw(server.blob_address(), get).await), "403");
    assert_eq!(emulator.counters()["blob"], 1);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(server.ca_bundle().unwrap().as_bytes()).unwrap();
    let proxy = reqwest::Proxy::all(server.proxy_url().unwrap()).unwrap();
    let client =
        reqwest::Client::builder().proxy(proxy).tls_certs_only([authority]).build().unwrap();
    for host in ["api.security.microsoft.com", "mde.example.test"] {
        let url = format!("https://{host}/__box/counters");
        assert_eq!(client.get(url).send().await.unwrap().status(), 404, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large() {
    let (_, server) = start(|_| {}).await;
    let url = format!("http://{}/__box/scripts", server.api_address());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (size, expected) in [((32 << 20) + 1, 413), (32 << 20, 400)] {
        let response = client.post(&url).body(vec![b'x'; size]).send().await.unwrap();
        assert_eq!(response.status(), expected);
        let body = response.text().await.unwrap();
        assert!(body.starts_with(r#"{"error":{"code":""#), "{body}");
    }
}
