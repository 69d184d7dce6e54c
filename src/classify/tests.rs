use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use Operation::*;

fn refused(operation: Operation, status: u16, body: &str) -> Error {
    let context = ErrorContext {
        action_id: Some("act-1".into()),
        machine_id: Some("m-1".into()),
        ..ErrorContext::new(operation)
    };
    error_from_response(
        &context,
        StatusCode::from_u16(status).unwrap(),
        &HeaderMap::new(),
        body.as_bytes(),
        0.0,
    )
}

fn coded(code: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"words","target":"t-1"}}}}"#)
}

#[test]
fn each_documented_code_has_its_kind() {
    let invalid = [
        "BadRequest",
        "ODataError",
        "InvalidInput",
        "InvalidRequestBody",
        "InvalidHashValue",
        "InvalidDomainName",
        "InvalidIpAddress",
        "InvalidUrl",
        "MaximumBatchSizeExceeded",
        "MissingRequiredParameter",
        "OsPlatformNotSupported",
        "ClientVersionNotSupported",
    ];
    let mut table: Vec<_> = invalid.map(|code| (400, code, Kind::InvalidRequest, false)).to_vec();
    table.extend([
        (400, "ActiveRequestAlreadyExists", Kind::MachineBusy, true),
        (409, "ActiveRequestAlreadyExists", Kind::MachineBusy, true),
        (400, "SomethingNew", Kind::Service, false),
        (401, "Unauthorized", Kind::Authentication, false),
        (403, "Forbidden", Kind::PermissionDenied, false),
        (403, "DisabledFeature", Kind::PermissionDenied, false),
        (403, "DisallowedOperation", Kind::PermissionDenied, false),
        (404, "NotFound", Kind::NotFound, false),
        (404, "ResourceNotFound", Kind::NotFound, false),
        (418, "Teapot", Kind::Service, false),
        (429, "TooManyRequests", Kind::Throttled, true),
        (429, "429", Kind::Throttled, true),
        (500, "InternalServerError", Kind::Service, true),
        (503, "Forbidden", Kind::Service, true),
        (302, "Found", Kind::Service, false),
    ]);
    for (status, code, kind, retryable) in table {
        let error = refused(RunLiveResponse, status, &coded(code));
        assert_eq!((error.kind, error.retryable), (kind, retryable), "{status} {code}");
        assert_eq!((error.code.as_deref(), error.status), (Some(code), Some(status)));
        let request_id = (status != 429).then_some("t-1");
        assert_eq!(error.request_id.as_deref(), request_id, "{status}");
        assert_eq!(
            (error.machine_id.as_deref(), error.action_id.as_deref()),
            (Some("m-1"), Some("act-1"))
        );
        assert!(error.hint.is_some());
    }
}

#[test]
fn the_message_is_a_sentence() {
    let body = r#"{"error":{"code":"ResourceNotFound","message":"Machine 9a0b was not found","target":"x"}}"#;
    let error = refused(RunLiveResponse, 404, body);
    assert_eq!(
        error.message,
        "could not submit a live response session to machine m-1: the service answered 404 ResourceNotFound: \
         Machine 9a0b was not found"
    );
    let error = refused(GetResultLink, 502, "<html>\n<b>Bad\u{202e} Gateway</b>");
    assert_eq!(
        error.message,
        "could not get the link of a command's result of machine action act-1: the service answered 502 with a body \
         that is not JSON: <html> <b>Bad Gateway</b>"
    );
    let context = ErrorContext {
        subject: Some("a\u{1b}b.ps1".into()),
        ..ErrorContext::new(DeleteLibraryFile)
    };
    let error = error_from_response(&context, StatusCode::NOT_FOUND, &HeaderMap::new(), b"", 0.0);
    assert_eq!(
        error.message,
        "could not delete from the library the file ab.ps1: the service answered 404 with an empty body"
    );
}

#[test]
fn a_foreign_body_is_a_service_error() {
    for (status, body) in
        [(400, ""), (400, "<html>"), (403, "<html>"), (403, r#"{"error":null}"#), (404, "<html>")]
    {
        let error = refused(GetMachineAction, status, body);
        assert_eq!((error.kind, error.retryable), (Kind::Service, false), "{status} {body}");
    }
    assert_eq!(refused(GetMachineAction, 404, "").kind, Kind::NotFound);
    assert_eq!(refused(GetMachineAction, 401, "<html>").kind, Kind::Authentication);
    assert_eq!(refused(GetMachineAction, 429, "<html>").kind, Kind::Throttled);
}

#[test]
fn the_hint_names_the_remedy() {
    let named = r#"{"error":{"code":"Forbidden","message":"lacks any of (Machine.Read.All, Machine.Scan)."}}"#;
    for (operation, status, body, cure) in [
        (GetResultLink, 403, named, "one of the permissions Machine.Read.All, Machine.Scan"),
        (RunLiveResponse, 403, &coded("Forbidden"), "the permission Machine.LiveResponse"),
        (
            ListMachines,
            403,
            &coded("Forbidden"),
            "one of the permissions Machine.Read.All, Machine.ReadWrite.All",
        ),
        (UploadLibraryFile, 403, &coded("Forbidden"), "the permission Library.Manage"),
        (RunLiveResponse, 403, &coded("DisabledFeature"), "Advanced features > Live Response"),
        (RunLiveResponse, 403, &coded("DisallowedOperation"), "remediation level"),
        (RunLiveResponse, 429, &coded("TooManyRequests"), "50 open sessions"),
        (
            RunLiveResponse,
            429,
            r#"{"error":{"message":"API calls quota exceeded!"}}"#,
            "10 submits a minute",
        ),
        (GetMachineAction, 429, "", "100 of these calls a minute"),
        (RunLiveResponse, 400, &coded("ActiveRequestAlreadyExists"), "on_busy"),
        (RunLiveResponse, 401, "", "fresh"),
        (GetMachine, 307, "", "redirect"),
    ] {
        let hint = refused(operation, status, body).hint.clone().unwrap();
        assert!(hint.contains(cure), "{hint}");
    }
}

#[test]
fn an_existing_file_and_a_large_file_have_their_kinds() {
    let body = r#"{"error":{"code":"BadRequest","message":"File x.ps1 Already Exists"}}"#;
    assert_eq!(refused(UploadLibraryFile, 400, body).kind, Kind::AlreadyExists);
    assert_eq!(refused(UploadLibraryFile, 409, body).kind, Kind::AlreadyExists);
    assert_eq!(refused(RunLiveResponse, 400, body).kind, Kind::InvalidRequest);
    assert_eq!(refused(UploadLibraryFile, 413, "<html>").kind, Kind::InvalidRequest);
}

#[test]
fn the_headers_complete_the_body() {
    let mut headers = HeaderMap::new();
    headers.insert("mise-correlation-id", HeaderValue::from_static("c-1"));
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let of = |status, body: &str| {
        error_from_response(
            &ErrorContext::new(ListMachines),
            status,
            &headers,
            body.as_bytes(),
            0.0,
        )
    };
    let error = of(StatusCode::TOO_MANY_REQUESTS, &coded("429"));
    assert_eq!((error.request_id.as_deref(), error.retry_after), (Some("c-1"), Some(7.0)));
    assert_eq!(error.message, "could not list machines: the service answered 429: words");
    let error = of(StatusCode::SERVICE_UNAVAILABLE, "");
    assert_eq!((error.request_id.as_deref(), error.retry_after), (Some("c-1"), Some(7.0)));
    assert_eq!(of(StatusCode::NOT_FOUND, &coded("NotFound")).request_id.as_deref(), Some("t-1"));
}

proptest! {
    #[test]
    fn no_response_panics(status in 100u16..1000, body in ".{0,300}", header in prop::collection::vec(0x20u8..0x7f, 0..40)) {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(&header).unwrap();
        for name in ["retry-after", "x-ms-retry-after-ms", "mise-correlation-id"] {
            headers.insert(name, value.clone());
        }
        for operation in Operation::ALL {
            let error = error_from_response(&ErrorContext::new(operation), StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes(), 1.8e9);
            prop_assert!(error.retry_after.is_none_or(|wait| (0.0..=3600.0).contains(&wait)));
            prop_assert!(!error.message.chars().any(char::is_control));
        }
    }
}
