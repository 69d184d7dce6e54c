//! Distinguishes the two kinds of 429: too many calls, or too many sessions.

use http::HeaderMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::error_body::ErrorBody;
use crate::operation::Operation;

/// Seconds, the longest window of the service. A longer wait can only be a mistake.
const MAX_RETRY_AFTER: f64 = 3600.0;

/// The two kinds of 429.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Throttle {
    /// Too many calls: wait for this many seconds, if the response has a number.
    Rate { wait: Option<f64> },
    /// Too many open sessions: wait for one to end.
    SessionCap,
}

/// Classifies a 429. `now_wall` is the Unix time.
pub fn classify_throttle(
    operation: Operation,
    headers: &HeaderMap,
    body: &[u8],
    now_wall: f64,
) -> Throttle {
    throttle_from_body(operation, headers, &ErrorBody::parse(body), now_wall)
}

pub(super) fn throttle_from_body(
    operation: Operation,
    headers: &HeaderMap,
    error_body: &ErrorBody,
    now_wall: f64,
) -> Throttle {
    // The page documents one status for both. Responses to the rate limit are known: they have a
    // wait or these words. No response to the session cap is known (docs/service.md, section 10).
    let wait = retry_after(headers, error_body, now_wall);
    let names_rate = error_body.message_contains("quota exceeded")
        || error_body.message_contains("send requests again");
    if wait.is_some() || names_rate || operation != Operation::RunLiveResponse {
        Throttle::Rate { wait }
    } else {
        Throttle::SessionCap
    }
}

/// Returns the longest wait that headers and message ask for, in seconds.
pub(super) fn retry_after(
    headers: &HeaderMap,
    error_body: &ErrorBody,
    now_wall: f64,
) -> Option<f64> {
    let from_message = error_body
        .message
        .as_deref()
        .and_then(seconds_from_message)
        .map(|wait| wait.min(MAX_RETRY_AFTER));
    // The longest, since an earlier retry would be refused again.
    [retry_after_from_headers(headers, now_wall), from_message]
        .into_iter()
        .flatten()
        .reduce(f64::max)
}

/// Returns the longest wait that the headers ask for, in seconds. `now_wall` is the Unix time.
pub(crate) fn retry_after_from_headers(headers: &HeaderMap, now_wall: f64) -> Option<f64> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let retry_after = header("retry-after")
        .and_then(|text| parse_decimal(text).or_else(|| seconds_until(text, now_wall)));
    let milliseconds = header("x-ms-retry-after-ms").and_then(parse_decimal).map(|ms| ms / 1000.0);
    [retry_after, milliseconds]
        .into_iter()
        .flatten()
        .map(|wait| wait.min(MAX_RETRY_AFTER))
        .reduce(f64::max)
}

/// Parses digits with at most one point. Other notations of a float, such as `1e9`, are refused.
fn parse_decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

/// Returns the seconds until an HTTP date, which is an RFC 2822 date in GMT.
fn seconds_until(text: &str, now_wall: f64) -> Option<f64> {
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let seconds = date.unix_timestamp() as f64 - now_wall;
    seconds.is_finite().then(|| seconds.max(0.0))
}

/// Reads "You can send requests again in 8 seconds."
fn seconds_from_message(message: &str) -> Option<f64> {
    let lower = message.to_ascii_lowercase();
    // No captured 429 has the documented Retry-After (docs/service.md, section 10): the wait may be
    // in the message only.
    let (_, after) = lower.split_once("send requests again in ")?;
    let (digits, unit) = after.split_once(' ')?;
    parse_decimal(digits).filter(|_| unit.starts_with("second"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-11-23T10:00:00Z.
    const NOW: f64 = 1_795_428_000.0;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        pairs.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    fn of(operation: Operation, pairs: &[(&'static str, &str)], body: &str) -> Throttle {
        classify_throttle(operation, &headers(pairs), body.as_bytes(), NOW)
    }

    const RATE: &str = r#"{"error":{"code":"429","message":"API calls quota exceeded! Maximum allowed 30 per 00:01:00 for the key Destination+TenantID+AppID. You can send requests again in 8 seconds.","target":"TENANT_ID"}}"#;
    const CAP: &str =
        r#"{"error":{"code":"TooManyRequests","message":"Too many requests","target":"t"}}"#;

    #[test]
    fn the_rate_limit_differs_from_the_session_cap() {
        use Operation::{GetMachine, RunLiveResponse};
        let rate = |seconds| Throttle::Rate { wait: Some(seconds) };
        assert_eq!(of(RunLiveResponse, &[], RATE), rate(8.0));
        assert_eq!(of(RunLiveResponse, &[("retry-after", "12")], RATE), rate(12.0));
        assert_eq!(of(RunLiveResponse, &[("retry-after", "12")], ""), rate(12.0));
        assert_eq!(of(RunLiveResponse, &[("retry-after", "0")], CAP), rate(0.0));
        assert_eq!(of(RunLiveResponse, &[("x-ms-retry-after-ms", "1500")], CAP), rate(1.5));
        assert_eq!(
            of(RunLiveResponse, &[("retry-after", "Mon, 23 Nov 2026 10:00:30 GMT")], CAP),
            rate(30.0)
        );
        assert_eq!(
            of(RunLiveResponse, &[("retry-after", "Mon, 23 Nov 2026 09:00:00 GMT")], CAP),
            rate(0.0)
        );
        assert_eq!(of(RunLiveResponse, &[], CAP), Throttle::SessionCap);
        assert_eq!(of(RunLiveResponse, &[], "<html>"), Throttle::SessionCap);
        assert_eq!(of(GetMachine, &[], CAP), Throttle::Rate { wait: None });
        let quota = r#"{"error":{"message":"API calls Quota Exceeded!"}}"#;
        assert_eq!(of(RunLiveResponse, &[], quota), Throttle::Rate { wait: None });
    }

    #[test]
    fn invalid_waits_are_ignored() {
        let odd = [
            "-5",
            "NaN",
            "inf",
            "1e9",
            "1.2.3",
            ".",
            "",
            "zwölf",
            "\u{663}",
            "Mon, 99 Nov 2026 10:00:00 GMT",
        ];
        for value in odd {
            let pairs = [("retry-after", value), ("x-ms-retry-after-ms", value)];
            assert_eq!(
                of(Operation::GetMachine, &pairs, ""),
                Throttle::Rate { wait: None },
                "{value}"
            );
        }
        let huge = "9".repeat(400);
        assert_eq!(
            of(Operation::GetMachine, &[("retry-after", &huge)], ""),
            Throttle::Rate { wait: None }
        );
        let longest = Throttle::Rate { wait: Some(MAX_RETRY_AFTER) };
        assert_eq!(of(Operation::GetMachine, &[("retry-after", "99999999999")], ""), longest);
        assert_eq!(
            of(Operation::GetMachine, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], ""),
            longest
        );
        assert_eq!(
            classify_throttle(
                Operation::GetMachine,
                &headers(&[("retry-after", "Mon, 23 Nov 2026 10:00:30 GMT")]),
                b"",
                f64::NAN
            ),
            Throttle::Rate { wait: None }
        );
    }
}
