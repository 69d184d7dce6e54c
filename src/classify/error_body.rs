//! Reads the body of an error response.

use serde_json::{Map, Value};

use crate::model::ArgumentRedactor;
use crate::text::sanitize;

/// The error that a response body describes. The service sends
/// `{"error": {"code", "message", "target"}}`.
#[derive(Debug, Default)]
pub(super) struct ErrorBody {
    pub code: Option<String>,
    pub message: Option<String>,
    pub target: Option<String>,
    /// What is wrong with the body, if it does not have the format of the service.
    pub format_error: Option<String>,
    /// The body is not empty and not JSON, so it does not come from the service.
    pub not_json: bool,
}

impl ErrorBody {
    /// Reads a body of any format.
    pub fn parse(body: &[u8]) -> Self {
        Self::parse_without(body, &ArgumentRedactor::default())
    }

    /// Reads a body, and removes the arguments of the call from its texts.
    pub fn parse_without(body: &[u8], arguments: &ArgumentRedactor) -> Self {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if body.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Self { format_error: Some("an empty body".to_owned()), ..Self::default() };
        }
        // A truncated body is reported as such: it points to the connection, not to the service.
        match serde_json::from_slice(body) {
            Ok(value) => Self::from_json(&value, body, arguments),
            Err(error) if error.is_eof() => Self::not_json("truncated JSON", body, arguments),
            Err(_) => Self::not_json("a body that is not JSON", body, arguments),
        }
    }

    fn not_json(what: &str, body: &[u8], arguments: &ArgumentRedactor) -> Self {
        let format_error = Some(quote_body(what, body, arguments));
        Self { format_error, not_json: true, ..Self::default() }
    }

    fn from_json(value: &Value, body: &[u8], arguments: &ArgumentRedactor) -> Self {
        let field = |object: &Map<String, Value>, name: &str, limit: usize| {
            field(object.get(name)?, limit, arguments)
        };
        // Some gateways send the message alone, as a JSON string.
        if value.is_string() {
            return Self::from_parts(None, self::field(value, 1000, arguments));
        }
        let empty = Map::new();
        let top = value.as_object().unwrap_or(&empty);
        let error = match top.get("error") {
            Some(Value::Object(error)) => error,
            // The format of the login host: `error` is the code, the message is beside it.
            Some(Value::String(_)) => {
                return Self::from_parts(
                    field(top, "error", 100),
                    field(top, "error_description", 1000),
                );
            }
            _ => top,
        };
        let message = field(error, "message", 1000).or_else(|| field(error, "Message", 1000));
        let mut error_body = Self::from_parts(field(error, "code", 100), message);
        error_body.target = field(error, "target", 200);
        if error_body.code.is_none() && error_body.message.is_none() {
            error_body.format_error =
                Some(quote_body("JSON without error.code and error.message", body, arguments));
        }
        error_body
    }

    fn from_parts(code: Option<String>, message: Option<String>) -> Self {
        Self { code, message, ..Self::default() }
    }

    /// Returns whether the message contains `words`, which are in lower case.
    pub fn message_contains(&self, words: &str) -> bool {
        self.message.as_deref().is_some_and(|message| message.to_ascii_lowercase().contains(words))
    }
}

fn field(value: &Value, limit: usize, arguments: &ArgumentRedactor) -> Option<String> {
    let text = match value {
        Value::String(text) => shown(text, limit, arguments),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Returns `text` without arguments, cut to `limit` characters. The cut comes last: a part of an
/// argument would not be found.
fn shown(text: &str, limit: usize, arguments: &ArgumentRedactor) -> String {
    if arguments.is_empty() {
        return sanitize(text, limit);
    }
    sanitize(&arguments.redact(&sanitize(text, ArgumentRedactor::MAX_SEARCHED)), limit)
}

fn quote_body(what: &str, body: &[u8], arguments: &ArgumentRedactor) -> String {
    match shown(&String::from_utf8_lossy(body), 200, arguments) {
        text if text.is_empty() => format!("{what} ({} bytes)", body.len()),
        text => format!("{what}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_format_of_an_error_is_read() {
        let error_body =
            ErrorBody::parse(br#"{"error":{"code":"A","message":"b\u0000 c","target":"t"}}"#);
        assert_eq!(
            (
                error_body.code.as_deref(),
                error_body.message.as_deref(),
                error_body.target.as_deref()
            ),
            (Some("A"), Some("b c"), Some("t"))
        );
        let error_body =
            ErrorBody::parse(br#"{"error":"invalid_scope","error_description":"AADSTS70011: no"}"#);
        assert_eq!(
            (error_body.code.as_deref(), error_body.message.as_deref()),
            (Some("invalid_scope"), Some("AADSTS70011: no"))
        );
        let error_body = ErrorBody::parse(b"\xef\xbb\xbf{\"error\":{\"code\":429}}");
        assert_eq!((error_body.code.as_deref(), error_body.format_error), (Some("429"), None));
        assert_eq!(
            ErrorBody::parse(br#"{"Message":"no such route"}"#).message.as_deref(),
            Some("no such route")
        );
    }

    #[test]
    fn any_other_body_is_described() {
        for (body, format_error) in [
            (&b""[..], "an empty body"),
            (b" \r\n\0", "an empty body"),
            (
                b"<html>\r\n<h1>Bad  Gateway</h1>",
                "a body that is not JSON: <html> <h1>Bad Gateway</h1>",
            ),
            (br#"{"error":{"code":"Int"#, r#"truncated JSON: {"error":{"code":"Int"#),
            (b"null", "JSON without error.code and error.message: null"),
            (b"[1]", "JSON without error.code and error.message: [1]"),
            (
                br#"{"error":{"code":null,"message":[]}}"#,
                r#"JSON without error.code and error.message: {"error":{"code":null,"message":[]}}"#,
            ),
            (b"\x1f\x8b\xff\xfe", "a body that is not JSON (4 bytes)"),
        ] {
            assert_eq!(ErrorBody::parse(body).format_error.as_deref(), Some(format_error));
        }
        assert!(ErrorBody::parse(&b"[".repeat(100_000)).not_json);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            ErrorBody::parse(&body);
        }
    }
}
