//! The proxy: which hosts a tunnel reaches, what is refused, and input that is no CONNECT.

use std::io::ErrorKind;
use std::time::Duration;

use mde_live_response::emulator::{
    Emulator, RequestOutcome, Server, ServerSettings, Settings, serve_with,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const API: &str = "https://api.security.microsoft.com";
const LOGIN: &str = "https://login.microsoftonline.com";

async fn start(names: &[&str]) -> (Emulator, Server) {
    let emulator = Emulator::new(Settings::default()).unwrap();
    let tls_names = names.iter().map(|name| (*name).to_owned()).collect();
    let settings = ServerSettings { proxy: Some(0), tls_names, ..ServerSettings::at("127.0.0.1") };
    let server = serve_with(emulator.clone(), &settings).await.unwrap();
    (emulator, server)
}

/// A client that uses the proxy, and trusts the emulator's authority and nothing else.
fn through(server: &Server) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = reqwest::Certificate::from_pem(server.ca_bundle().unwrap().as_bytes()).unwrap();
    let proxy = reqwest::Proxy::all(server.proxy_url().unwrap()).unwrap();
    reqwest::Client::builder().proxy(proxy).tls_certs_only([authority]).build().unwrap()
}

async fn json(response: reqwest::Response) -> Value {
    let bytes = response.bytes().await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

/// Sends `text` to the proxy, and returns what it answers until it closes the connection.
async fn raw(server: &Server, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.proxy_address().unwrap()).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut response = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut response));
    match read.await.expect("the proxy closes the connection") {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&response).into_owned()
}

/// A session by the service's real host names: token, submit, poll, link, result.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_by_the_real_names() {
    let (emulator, server) = start(&[]).await;
    let http = through(&server);
    emulator.on_script("a.ps1", mde_live_response::emulator::Behaviour::Fixed(Default::default()));
    let form = format!(
        "client_id={}&client_secret={}&grant_type=client_credentials&resource={}",
        emulator.client_id(),
        emulator.client_secret(),
        "https%3A%2F%2Fapi.securitycenter.windows.com",
    );
    let url = format!("{LOGIN}/{}/oauth2/token", emulator.tenant_id());
    let answer = http
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let token = json(answer).await["access_token"].as_str().unwrap().to_owned();
    let get = |url: String| http.get(url).bearer_auth(&token).send();
    let machine = json(get(format!("{API}/api/machines/ws-0001")).await.unwrap()).await;
    assert_eq!(machine["@odata.context"], format!("{API}/api/$metadata#Machines/$entity"));
    let body = r#"{"Commands":[{"type":"RunScript","params":[{"key":"ScriptName",
        "value":"a.ps1"}]}],"Comment":"c"}"#;
    let path = format!("{API}/api/machines/{}/runliveresponse", machine["id"].as_str().unwrap());
    let submit = http.post(path).bearer_auth(&token).header("content-type", "application/json");
    let action = json(submit.body(body).send().await.unwrap()).await;
    let action = format!("{API}/api/machineactions/{}", action["id"].as_str().unwrap());
    emulator.advance(60.0);
    assert_eq!(json(get(action.clone()).await.unwrap()).await["status"], "Succeeded");
    let link = format!("{action}/GetLiveResponseResultDownloadLink(index=0)");
    let link = json(get(link).await.unwrap()).await["value"].as_str().unwrap().to_owned();
    // No storage account can have this name.
    assert!(
        link.starts_with("https://mde-live-response-emulator.blob.core.windows.net/"),
        "{link}"
    );
    assert_eq!(http.get(link).send().await.unwrap().status(), 200);
    assert_eq!(emulator.violations(), Default::default());
    // Without the proxy, the URLs are the server's own.
    assert!(emulator.url().starts_with("http://127.0.0.1:"));
}

/// Each host serves what it is for, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_serves_only_what_it_is_for() {
    let (emulator, server) = start(&["mde.example.test", "*.lab.example.test"]).await;
    let http = through(&server);
    let tenant = emulator.tenant_id();
    let discovery = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    for (url, status) in [
        (format!("{API}/api/machines"), 200),
        ("https://eu.api.security.microsoft.com/api/machines".to_owned(), 200),
        ("https://API-US.securitycenter.microsoft.com/api/machines".to_owned(), 200),
        ("https://api-gov.securitycenter.microsoft.us/api/machines".to_owned(), 200),
        (format!("{LOGIN}{discovery}"), 200),
        (format!("https://login.windows.net{discovery}"), 200),
        (format!("{API}{discovery}"), 404),
        (format!("{LOGIN}/api/machines"), 404),
        ("https://a.blob.core.windows.net/api/machines".to_owned(), 403),
        ("https://mde.example.test/api/machines".to_owned(), 200),
        (format!("https://x.lab.example.test{discovery}"), 200),
    ] {
        let answer = http.get(&url).bearer_auth(emulator.token()).send().await;
        assert_eq!(
            answer.unwrap_or_else(|error| panic!("{url}: {error:?}")).status(),
            status,
            "{url}"
        );
    }
}

/// The documents of the login host name the host that was asked, and the issuer of its cloud.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_by_the_real_names() {
    let (emulator, server) = start(&[]).await;
    let http = through(&server);
    let tenant = emulator.tenant_id();
    for (host, issuer) in [
        ("login.microsoftonline.com", "login.microsoftonline.com"),
        ("login.windows.net", "login.microsoftonline.com"),
        ("login.microsoftonline.us", "login.microsoftonline.us"),
    ] {
        let document = |path: String| async { json(http.get(path).send().await.unwrap()).await };
        let base = format!("https://{host}/{tenant}");
        let v2 = document(format!("{base}/v2.0/.well-known/openid-configuration")).await;
        assert_eq!(v2["issuer"], format!("https://{issuer}/{tenant}/v2.0"));
        assert_eq!(v2["token_endpoint"], format!("{base}/oauth2/v2.0/token"));
        let keys = document(v2["jwks_uri"].as_str().unwrap().to_owned()).await;
        assert_eq!(keys, serde_json::json!({"keys": []}));
        let v1 = document(format!("{base}/.well-known/openid-configuration")).await;
        assert_eq!(v1["issuer"], format!("https://sts.windows.net/{tenant}/"));
        assert_eq!(v1["token_endpoint"], format!("{base}/oauth2/token"));
        let asked = format!("https%3A%2F%2F{host}%2F{tenant}%2Foauth2%2Fv2.0%2Fauthorize");
        let path = "common/discovery/instance?api-version=1.1&authorization_endpoint";
        let instance = document(format!("https://{host}/{path}={asked}")).await;
        assert_eq!(
            instance["tenant_discovery_endpoint"],
            format!("{base}/v2.0/.well-known/openid-configuration")
        );
        let aliases = |entry: &Value| entry["aliases"].as_array().unwrap().clone();
        let all: Vec<Value> =
            instance["metadata"].as_array().unwrap().iter().flat_map(aliases).collect();
        assert!(all.contains(&host.into()), "{all:?}");
        // Entra does not know a login host of anybody else.
        let other = document(format!("https://{host}/{path}=https%3A%2F%2Fx.test%2Ft")).await;
        assert_eq!(other["error"], "invalid_instance");
    }
    let common = format!("{LOGIN}/common/v2.0/.well-known/openid-configuration");
    let common = json(http.get(common).send().await.unwrap()).await;
    assert_eq!(common["issuer"], format!("{LOGIN}/{{tenantid}}/v2.0"));
    let unknown = format!("{LOGIN}/contoso.example/v2.0/.well-known/openid-configuration");
    let unknown = http.get(unknown).send().await.unwrap();
    assert_eq!(unknown.status(), 400);
    assert_eq!(json(unknown).await["error"], "invalid_tenant");
}

/// What is not served gets a 403 that says what is, and the log shows what the client wanted.
#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_are_refused() {
    let (emulator, server) = start(&["mde.example.test"]).await;
    for (request, expected) in [
        ("CONNECT example.com:443", "example.com is not served by this proxy"),
        ("CONNECT graph.microsoft.com:443", "serves Defender's API (api.security.microsoft.com"),
        ("CONNECT blob.core.windows.net:443", ", and mde.example.test."),
        ("CONNECT 127.0.0.1:8899", "set NO_PROXY=localhost,127.0.0.1,::1"),
        ("CONNECT [::1]:8899", "set NO_PROXY=localhost,127.0.0.1,::1"),
        ("CONNECT api.security.microsoft.com:80", "is served at port 443 only"),
        ("CONNECT api.security.microsoft.com:65535", "is served at port 443 only"),
        ("GET http://example.com/x?secret=1", "example.com is not served by this proxy"),
        ("POST http://api.security.microsoft.com/api/x", "is served over https only"),
    ] {
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let response = raw(&server, head.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 403"), "{request}: {response}");
        assert!(response.contains(expected), "{request}: {response}");
        let logged = emulator.requests().pop().unwrap();
        let target = request.split(' ').nth(1).unwrap().split('?').next().unwrap();
        assert_eq!((logged.path.as_str(), logged.query.as_str()), (target, ""));
        assert_eq!(logged.status, RequestOutcome::Status(403));
    }
    assert_eq!(emulator.violations(), Default::default());
}

/// Input that is no valid request gets an error, and the next client is served.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests() {
    let (emulator, server) = start(&[]).await;
    let long = format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("CONNECT a:443 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    let huge = format!(
        "CONNECT api.security.microsoft.com:443 HTTP/1.1\r\na: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    let close = |target: &str| format!("{target} HTTP/1.1\r\nconnection: close\r\n\r\n");
    for (text, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("\x16\x03\x01\x02".to_owned(), "400"),
        ("CONNECT\r\n\r\n".to_owned(), "400"),
        (close("CONNECT "), "400"),
        (close("CONNECT /"), "400"),
        (close("CONNECT api.security.microsoft.com"), "400"),
        (close("CONNECT api.security.microsoft.com:"), "400"),
        (close("CONNECT api.security.microsoft.com:65536"), "400"),
        (close("CONNECT api.security.microsoft.com:x"), "400"),
        (close("CONNECT user:secret@api.security.microsoft.com:443"), "400"),
        (close("CONNECT :443"), "40"),
        (close("CONNECT [::1:443"), "400"),
        (close("CONNECT \u{e9}:443"), "40"),
        (close("GET /"), "400"),
        (close("OPTIONS *"), "400"),
        (long, "4"),
        (many, "431"),
        (huge, "431"),
    ] {
        let response = raw(&server, text.as_bytes()).await;
        let start = text.get(..40).unwrap_or(&text);
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{start}: {response}");
        assert!(!response.contains("secret"), "{response}");
    }
    let url = format!("{API}/api/machines");
    let answer = through(&server).get(url).bearer_auth(emulator.token()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// A tunnel in which no TLS is spoken closes, and so does each one when the server closes.
#[tokio::test(flavor = "multi_thread")]
async fn tunnels_end() {
    let (_emulator, mut server) = start(&[]).await;
    let connect = "CONNECT api.security.microsoft.com:443 HTTP/1.1\r\n\r\n";
    // What follows the head at once belongs to the tunnel.
    let response = raw(&server, format!("{connect}GET / HTTP/1.1\r\n\r\n").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(!response.contains("content-length"), "{response}");
    let mut open = TcpStream::connect(server.proxy_address().unwrap()).await.unwrap();
    open.write_all(connect.as_bytes()).await.unwrap();
    let mut head = [0; 8];
    open.read_exact(&mut head).await.unwrap();
    server.close();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), open.read_to_end(&mut rest)).await;
    // It may end with a reset.
    let _ = end.expect("the tunnel ends");
}

/// A client that sends its head slowly, or none, is cut off after 30 seconds.
#[tokio::test(start_paused = true)]
async fn a_slow_head() {
    let (_emulator, server) = start(&[]).await;
    for text in
        ["", "CONNECT api.security", "CONNECT api.security.microsoft.com:443 HTTP/1.1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.proxy_address().unwrap()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let started = tokio::time::Instant::now();
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        let _ = tokio::time::timeout(Duration::from_secs(60), read).await;
        assert!(started.elapsed() <= Duration::from_secs(31), "{:?}", started.elapsed());
        assert!(started.elapsed() >= Duration::from_secs(29), "{:?}", started.elapsed());
    }
}
