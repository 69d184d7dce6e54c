use std::collections::VecDeque;
use std::sync::Mutex;

use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::*;
use crate::auth::tests::jwt;
use crate::error::Kind;
use crate::transport::{Destination, Failure, Request, Response};

const TENANT: &str = "11111111-2222-4333-8444-555555555555";
const SECRET: &str = "s3cr~t &=+/ä";

enum MockResponse {
    Status(u16, String),
    RetryAfter(u16, &'static str),
    Broken { sent: bool },
}

/// A login host that returns the given responses in order, and then repeats the last one.
#[derive(Default)]
struct MockTransport {
    answers: Mutex<VecDeque<MockResponse>>,
    requests: Mutex<Vec<Request>>,
}

impl Transport for MockTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.requests.lock().unwrap().push(request);
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(match &answer {
                MockResponse::Status(status, body) => MockResponse::Status(*status, body.clone()),
                MockResponse::RetryAfter(status, after) => MockResponse::RetryAfter(*status, after),
                MockResponse::Broken { sent } => MockResponse::Broken { sent: *sent },
            });
        }
        let full = |status, headers, body| {
            Ok(Response::from_bytes(StatusCode::from_u16(status).unwrap(), headers, body))
        };
        let result = match answer {
            MockResponse::Status(status, body) => full(status, HeaderMap::new(), body),
            MockResponse::RetryAfter(status, after) => full(
                status,
                HeaderMap::from_iter([(http::header::RETRY_AFTER, after.parse().unwrap())]),
                String::new(),
            ),
            MockResponse::Broken { sent } => Err(Failure {
                sent,
                error: Error::new(Kind::ConnectionFailed, "login.example.test broke off"),
            }),
        };
        std::future::ready(result).boxed()
    }
}

fn ok(answer: &serde_json::Value) -> MockResponse {
    MockResponse::Status(200, answer.to_string())
}

fn client() -> ApplicationConfig {
    ApplicationConfig {
        tenant_id: TENANT.into(),
        client_id: "app-1".into(),
        credential: ClientCredential::Secret(Secret::new(SECRET)),
        authority: "https://login.example.test/".into(),
        scope: "https://api.example.test/.default".into(),
    }
}

struct Login {
    script: Arc<MockTransport>,
    source: ApplicationTokenSource,
    clock: Clock,
}

fn login(answers: impl IntoIterator<Item = MockResponse>) -> Login {
    let script = Arc::new(MockTransport {
        answers: Mutex::new(answers.into_iter().collect()),
        ..MockTransport::default()
    });
    let clock = Clock::new();
    let source =
        ApplicationTokenSource::new(Arc::<MockTransport>::clone(&script), clock, client(), 30.0)
            .unwrap();
    Login { script, source, clock }
}

impl Login {
    fn request_count(&self) -> usize {
        self.script.requests.lock().unwrap().len()
    }

    async fn error(&self) -> Error {
        let error = self.source.fetch(None).await.unwrap_err();
        let printed = format!("{error} {error:?} {:?}", self.source);
        assert!(!printed.contains("s3cr"), "{printed}");
        error
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_requested_by_a_form() {
    let token = jwt(&json!({"tid": TENANT, "roles": ["Machine.LiveResponse"]}));
    let login =
        login([ok(&json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}))]);
    let got = login.source.fetch(None).await.unwrap();
    assert_eq!((got.secret.expose(), got.claims.tid.as_deref()), (token.as_str(), Some(TENANT)));
    assert!((got.expires_at - login.clock.now() - 3599.0).abs() < 0.1);
    let requests = login.script.requests.lock().unwrap();
    let request = &requests[0];
    assert_eq!(
        request.url.expose().as_str(),
        format!("https://login.example.test/{TENANT}/oauth2/v2.0/token")
    );
    assert_eq!(
        (request.destination, request.headers["content-type"].as_bytes()),
        (Destination::Login, &b"application/x-www-form-urlencoded"[..])
    );
    let form: Vec<(String, String)> =
        url::form_urlencoded::parse(&request.body.in_memory_bytes().unwrap())
            .into_owned()
            .collect();
    let expected = [
        ("client_id", "app-1"),
        ("scope", "https://api.example.test/.default"),
        ("client_secret", SECRET),
        ("grant_type", "client_credentials"),
    ];
    assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn expires_in_may_be_a_string_or_invalid() {
    for (expires_in, life) in [
        (json!("3599"), 3599.0),
        (json!(60.5), 60.5),
        (json!(-1), 3600.0),
        (json!("soon"), 3600.0),
        (json!(null), 3600.0),
    ] {
        let login = login([ok(&json!({"expires_in": expires_in, "access_token": "opaque"}))]);
        let got = login.source.fetch(None).await.unwrap();
        assert!((got.expires_at - login.clock.now() - life).abs() < 0.1, "{expires_in}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_keeps_the_login_hosts_message() {
    for (number, cure) in [
        (7_000_215, "its value, not its id"),
        (7_000_222, "expired"),
        (700_016, "client_id"),
        (90_002, "tenant_id"),
        (70_011, "/.default"),
    ] {
        for listed in [json!([number]), json!(null)] {
            let body = json!({
                "error": "invalid_client", "error_description": format!("AADSTS{number}: It's {SECRET}\r\nTrace ID: x"),
                "error_codes": listed, "trace_id": "t-1", "correlation_id": "c-1"
            });
            let login = login([MockResponse::Status(401, body.to_string())]);
            let error = login.error().await;
            assert_eq!(
                (error.kind, error.retryable, error.status),
                (Kind::Authentication, false, Some(401))
            );
            assert_eq!(
                (error.code.as_deref(), error.request_id.as_deref()),
                (Some(format!("AADSTS{number}").as_str()), Some("c-1"))
            );
            let message = format!(
                "could not get a token for application app-1 of tenant {TENANT}: the login host answered 401: \
                 AADSTS{number}: It's *** Trace ID: x"
            );
            assert_eq!(error.message, message);
            assert!(error.hint.as_deref().unwrap().contains(cure), "{error:?}");
            assert_eq!(login.request_count(), 1);
        }
    }
    let login = login([MockResponse::Status(
        400,
        json!({"error": "invalid_grant", "trace_id": "t-1"}).to_string(),
    )]);
    let error = login.error().await;
    assert_eq!(
        (error.code.as_deref(), error.request_id.as_deref()),
        (Some("invalid_grant"), Some("t-1"))
    );
}

#[tokio::test(start_paused = true)]
async fn any_other_response_is_an_authentication_error() {
    let echo = format!(
        "<html>{}",
        url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>()
    );
    for (status, body) in [
        (200, "<html>sign in"),
        (200, ""),
        (200, r#"{"access_token":"half"#),
        (200, r#"{"access_token":null}"#),
        (200, r#"{"access_token":"half\n"}"#),
        (302, ""),
        (400, "<html>"),
        (400, &echo),
        (403, "null"),
        (400, r#"{"error":{"code":1},"error_codes":"x"}"#),
    ] {
        let login = login([MockResponse::Status(status, body.to_owned())]);
        let error = login.error().await;
        assert_eq!(
            (error.kind, error.retryable, login.request_count()),
            (Kind::Authentication, false, 1),
            "{status} {body}"
        );
        assert!(!error.message.contains("half") && error.hint.is_some(), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried() {
    let token = || ok(&json!({"expires_in": 60, "access_token": "opaque"}));
    let login_503 = login([
        MockResponse::RetryAfter(503, "7"),
        MockResponse::Broken { sent: true },
        MockResponse::Broken { sent: false },
        token(),
    ]);
    let started = login_503.clock.now();
    login_503.source.fetch(None).await.unwrap();
    assert!(login_503.request_count() == 4 && login_503.clock.now() - started >= 7.0);

    let down = login([MockResponse::Status(503, "<html>".into())]);
    let error = down.error().await;
    assert_eq!(
        (error.kind, error.retryable, down.request_count()),
        (Kind::Authentication, true, 4)
    );

    let broken = login([MockResponse::Broken { sent: true }]);
    let error = broken.error().await;
    assert_eq!((error.kind, broken.request_count()), (Kind::ConnectionFailed, 4));
    assert!(error.message.starts_with("could not get a token for application app-1"), "{error}");

    let busy = login([MockResponse::RetryAfter(429, "600")]);
    let error = busy.error().await;
    assert_eq!((error.retry_after, error.retryable, busy.request_count()), (Some(600.0), true, 1));
}

#[tokio::test(start_paused = true)]
async fn invalid_settings_are_refused_before_any_request() {
    let script: Arc<dyn Transport> = Arc::new(MockTransport::default());
    let refused = |change: &dyn Fn(&mut ApplicationConfig)| {
        let mut client = client();
        change(&mut client);
        ApplicationTokenSource::new(Arc::clone(&script), Clock::new(), client, 30.0).map(drop)
    };
    for authority in [
        "login.example.test",
        "http://127.0.0.1:8080",
        "http://[::1]:8080/",
        "https://login.example.test",
    ] {
        refused(&|client| client.authority = authority.into()).unwrap();
    }
    for authority in [
        "",
        "http://login.example.test",
        "https://x/y",
        "https://x/?a",
        "https://u:p@x",
        "ftp://x",
        "https://",
    ] {
        assert_eq!(
            refused(&|client| client.authority = authority.into()).unwrap_err().kind,
            Kind::InvalidRequest,
            "{authority}"
        );
    }
    assert!(refused(&|client| client.tenant_id = "../x".into()).is_err());
    assert!(refused(&|client| client.client_id = " ".into()).is_err());
    assert!(
        refused(&|client| client.credential = ClientCredential::Secret(Secret::new(""))).is_err()
    );
    assert!(refused(&|client| client.scope = String::new()).is_err());
}
