//! The `multipart/form-data` body of an upload (docs/service.md, section 8).

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use multer::{Field, Multipart};

use crate::emulator::inventory::library::sha256;

/// A form with more parts is not read.
const MAX_PARTS: usize = 32;
/// Longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// The parts of an upload's form. Their names are not case-sensitive: the page writes `File`, and
/// its own sample `file`.
#[derive(Clone, Debug)]
pub struct UploadForm {
    pub file: Option<UploadedFile>,
    pub description: String,
    pub parameters: Option<String>,
    pub has_parameters: bool,
    pub overrides: bool,
}

#[derive(Clone, Debug)]
pub struct UploadedFile {
    pub name: Option<String>,
    pub length: u64,
    pub sha256: String,
}

impl UploadForm {
    /// Parses a form and hashes its file. Slow: must run without the lock.
    pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Self, String> {
        let parts = read_parts(boundary(headers)?, body.clone());
        // The whole body is in memory, so the parser never waits for more of it.
        parts.now_or_never().unwrap_or_else(|| Err("The form is cut short.".to_owned()))
    }
}

impl UploadedFile {
    async fn read(part: Field<'_>) -> Result<Self, String> {
        let name = part.file_name().map(str::to_owned);
        let disposition = part.headers().get(CONTENT_DISPOSITION);
        // The parser ignores a name that is not UTF-8, and the file would be stored as `file`.
        if name.is_none()
            && disposition.is_some_and(|value| str::from_utf8(value.as_bytes()).is_err())
        {
            return Err("The name of the file is not UTF-8.".to_owned());
        }
        let content = part.bytes().await.map_err(invalid)?;
        Ok(Self { name, length: content.len() as u64, sha256: sha256(&content) })
    }
}

fn boundary(headers: &HeaderMap) -> Result<String, String> {
    let content_type =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match multer::parse_boundary(content_type) {
        Ok(boundary) if (1..=MAX_BOUNDARY).contains(&boundary.len()) => Ok(boundary),
        Ok(_) | Err(multer::Error::NoBoundary) => {
            Err("The request's content type has no valid boundary.".to_owned())
        }
        Err(_) => Err("The request's content type is not multipart/form-data.".to_owned()),
    }
}

async fn read_parts(boundary: String, body: Bytes) -> Result<UploadForm, String> {
    let mut parts = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let (mut file, mut texts) = (None, HashMap::new());
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(invalid)? {
        count += 1;
        if count > MAX_PARTS {
            return Err(format!("The form has more than {MAX_PARTS} parts."));
        }
        let name = part.name().ok_or("A part of the form has no name.")?.to_ascii_lowercase();
        // Of several parts with the same name the first counts.
        if name != "file" {
            let content = part.bytes().await.map_err(invalid)?;
            texts.entry(name).or_insert_with(|| String::from_utf8_lossy(&content).into_owned());
        } else if file.is_none() {
            file = Some(UploadedFile::read(part).await?);
        }
    }
    // Python clients send `True`.
    let flag = |text: Option<String>| text.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    Ok(UploadForm {
        file,
        description: texts.remove("description").unwrap_or_default(),
        parameters: texts.remove("parametersdescription"),
        has_parameters: flag(texts.remove("hasparameters")),
        overrides: flag(texts.remove("overrideifexists")),
    })
}

fn invalid(error: multer::Error) -> String {
    format!("The form is not valid: {error}.")
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
        fn any_content_is_read(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (headers, body) =
                form(&[("Description", None, b"d"), ("File", Some("a.ps1"), &content)]);
            let form = UploadForm::parse(&headers, &body).unwrap();
            let file = form.file.unwrap();
            prop_assert_eq!(file.name.as_deref(), Some("a.ps1"));
            prop_assert_eq!(file.length, content.len() as u64);
            prop_assert_eq!(file.sha256, sha256(&content));
            prop_assert_eq!(form.description, "d");
        }

        #[test]
        fn no_body_makes_it_panic(
            content in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..200,
        ) {
            let (headers, body) = form(&[("file", Some("a"), &content)]);
            let _ = UploadForm::parse(&headers, &body.slice(..cut.min(body.len())));
            let _ = UploadForm::parse(&headers, &Bytes::from(content));
        }
    }

    #[test]
    fn a_form_that_is_cut_short_is_refused() {
        let (headers, body) = form(&[("file", Some("a"), b"content")]);
        for length in 0..body.len() - 4 {
            assert!(UploadForm::parse(&headers, &body.slice(..length)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_file_name_that_is_not_utf_8_is_refused() {
        let (headers, body) = form(&[("file", Some("name"), b"x")]);
        let mut body = body.to_vec();
        let at = body.windows(4).position(|text| text == b"name").unwrap();
        let at = at + body[at + 4..].windows(6).position(|text| text == b"\"name\"").unwrap() + 5;
        body[at] = 0xE9;
        assert!(UploadForm::parse(&headers, &body.into()).is_err());
    }
}
