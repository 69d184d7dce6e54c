//! `multipart/form-data`, as an upload sends it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// More parts than this are refused.
const MAX_PARTS: usize = 32;

pub struct Form(Vec<Part>);

pub struct Part {
    name: String,
    pub file_name: Option<String>,
    pub content: Bytes,
}

impl Form {
    /// The part of that name, whatever its case: the page writes `File`, its own sample `file`.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.0.iter().find(|part| part.name.eq_ignore_ascii_case(name))
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.part(name).map(|part| String::from_utf8_lossy(&part.content).into_owned())
    }
}

pub fn parse_form(headers: &HeaderMap, body: &Bytes) -> Result<Form, String> {
    let content_type =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err("The request's content type is not multipart/form-data.".to_owned());
    }
    let boundary =
        parameter(parameters, "boundary").filter(|text| !text.is_empty() && text.len() <= 70);
    let boundary = boundary.ok_or("The request's content type has no boundary.")?;
    split_parts(body, &boundary)
}

fn split_parts(body: &Bytes, boundary: &str) -> Result<Form, String> {
    let cut_short = || "The form is cut short.".to_owned();
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let first = delimiter.get(2..).unwrap_or_default();
    let mut at = find(body, first, 0).ok_or("The form has no part.")? + first.len();
    let mut parts = Vec::new();
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok(Form(parts));
        }
        if parts.len() == MAX_PARTS {
            return Err(format!("The form has more than {MAX_PARTS} parts."));
        }
        let head_end = find(body, b"\r\n\r\n", at).ok_or_else(cut_short)?;
        let content_start = head_end + 4;
        // The empty part's content ends where the line break of its head begins.
        let end = find(body, &delimiter, content_start - 2).ok_or_else(cut_short)?;
        let head = String::from_utf8_lossy(body.get(at..head_end).unwrap_or_default()).into_owned();
        parts.push(parse_part(&head, body.slice(content_start.min(end)..end))?);
        at = end + delimiter.len();
    }
}

fn parse_part(head: &str, content: Bytes) -> Result<Part, String> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let parameters =
        disposition.and_then(|value| value.split_once(';')).map_or("", |(_, rest)| rest);
    let name = parameter(parameters, "name").ok_or("A part of the form has no name.")?;
    Ok(Part { name, file_name: parameter(parameters, "filename"), content })
}

/// A parameter's value, quoted or not.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim();
        let (value, left) = value(after.trim_start());
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left;
    }
}

fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.trim().to_owned(), rest);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, quoted.get(at + 1..).unwrap_or("")),
            _ => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

fn find(body: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let finder = body.get(from..)?;
    let first = *wanted.first()?;
    let mut at = 0;
    while let Some(rest) = finder.get(at..) {
        let step = rest.iter().position(|byte| *byte == first)?;
        at += step;
        if finder.get(at..)?.starts_with(wanted) {
            return Some(from + at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (HeaderMap, Bytes) {
        let mut body = Vec::new();
        for (name, file_name, content) in parts {
            let file_name =
                file_name.map_or(String::new(), |name| format!("; filename=\"{name}\""));
            let head = format!(
                "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n"
            );
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b0undary--\r\n");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=b0undary".parse().unwrap());
        (headers, body.into())
    }

    proptest! {
        #[test]
        fn any_bytes_come_through(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (headers, body) = form(&[("Description", None, b"d"), ("file", Some("a.ps1"), &content)]);
            let form = parse_form(&headers, &body).unwrap();
            let part = form.part("File").unwrap();
            prop_assert_eq!(part.file_name.as_deref(), Some("a.ps1"));
            prop_assert_eq!(&part.content[..], &content[..]);
            prop_assert_eq!(form.text("description").unwrap(), "d");
        }

        #[test]
        fn no_bytes_break_it(content in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let (headers, body) = form(&[("file", Some("a"), &content)]);
            let _ = parse_form(&headers, &body.slice(..cut.min(body.len())));
            let _ = parse_form(&headers, &Bytes::from(content));
        }
    }
}
