//! Uploads to the library (page "upload-library"): the form, and checks before it is sent.

use std::fs::File;
use std::io;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::digest::{hex, sha256_hex};
use crate::error::{Error, Kind, Result};
use crate::transport::{BodyPart, RequestBody};

/// A file to upload to the library.
#[derive(Clone, Debug)]
pub struct LibraryUpload {
    pub file_name: String,
    pub content: BodyPart,
    pub description: String,
    /// None: the script takes no parameters.
    pub parameters_description: Option<String>,
    pub overwrite: bool,
}

impl LibraryUpload {
    /// Returns the fields of the form except the file.
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let word = |flag| if flag { "true" } else { "false" };
        let mut fields = vec![("Description", self.description.as_str())];
        fields.extend(
            self.parameters_description.as_deref().map(|text| ("ParametersDescription", text)),
        );
        // The service does not derive this flag from the description.
        fields.push(("HasParameters", word(self.parameters_description.is_some())));
        fields.push(("OverrideIfExists", word(self.overwrite)));
        fields
    }
}

/// Encodes the form as `multipart/form-data`. Returns the Content-Type and the body, which does not
/// copy the file.
pub fn encode_multipart(form: &LibraryUpload) -> (HeaderValue, RequestBody) {
    let fields = form.fields();
    let (boundary, content_type) = choose_boundary(form, &fields);
    let name = escape_file_name(&form.file_name);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let mut tail = String::new();
    for (name, value) in fields {
        tail += &format!(
            "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}"
        );
    }
    tail += &format!("\r\n--{boundary}--\r\n");
    let content =
        [BodyPart::Bytes(head.into()), form.content.clone(), BodyPart::Bytes(tail.into())];
    (content_type, content.into_iter().collect())
}

/// Chooses a boundary that does not occur in the content, and returns it with its Content-Type.
fn choose_boundary(form: &LibraryUpload, fields: &[(&str, &str)]) -> (String, HeaderValue) {
    // A file on disk is not searched: it is read only once, while it is sent. A random boundary
    // occurs in it with a chance of 1 in 2^122.
    let in_memory: &[u8] = match &form.content {
        BodyPart::Bytes(bytes) => bytes,
        BodyPart::File { .. } => &[],
    };
    loop {
        let boundary = format!("mde-live-response-{}", Uuid::new_v4().simple());
        let finder = memchr::memmem::Finder::new(&boundary);
        let mut contents = fields.iter().map(|(_, value)| value.as_bytes()).chain([in_memory]);
        if contents.any(|content| finder.find(content).is_some()) {
            continue;
        }
        if let Ok(content_type) =
            HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"))
        {
            return (boundary, content_type);
        }
    }
}

/// Escapes a file name inside quotes as browsers do.
fn escape_file_name(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// Refuses a file that is too large for the library, before it is sent.
pub fn check_size(length: u64, limit: u64, name: &str) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} has {length} bytes, and the library takes at most {limit} bytes"
    ))
    .with_hint(
        "make the file smaller; if your tenant has a higher limit, raise Limits.upload_size",
    ))
}

/// Returns the SHA-256 of the content to upload, in lower-case hex. Reads a file on a blocking
/// thread.
pub async fn sha256_of(content: &BodyPart) -> Result<String> {
    let content = content.clone();
    let hashing = tokio::task::spawn_blocking(move || match content {
        BodyPart::Bytes(bytes) => Ok(sha256_hex(&bytes)),
        BodyPart::File { path, .. } => {
            let mut digest = Sha256::new();
            let hashed = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut digest));
            hashed.map_err(|error| Error::io("read", &path, error))?;
            Ok(hex(&digest.finalize()))
        }
    });
    hashing.await.unwrap_or_else(|_| {
        Err(Error::new(Kind::ConnectionFailed, "the upload was cancelled: the process is exiting"))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn form() -> LibraryUpload {
        LibraryUpload {
            file_name: "triage.ps1".into(),
            content: BodyPart::Bytes(Bytes::from_static(b"\0\r\n--x--\r\nbytes")),
            description: "Sammelt Spuren für Müller".into(),
            parameters_description: Some("-Depth N".into()),
            overwrite: true,
        }
    }

    #[tokio::test]
    async fn the_form_has_all_fields() {
        let (content_type, body) = encode_multipart(&form());
        let body = body.bytes().await.unwrap();
        let boundary =
            content_type.to_str().unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        let parts: Vec<_> = text.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 7);
        assert_eq!((parts[0], parts[6]), ("", "--\r\n"));
        assert_eq!(
            parts[1],
            "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"triage.ps1\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n\0\r\n--x--\r\nbytes\r\n"
        );
        let field = |name: &str, value: &str| {
            format!("\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        assert_eq!(parts[2], field("Description", "Sammelt Spuren für Müller"));
        assert_eq!(parts[3], field("ParametersDescription", "-Depth N"));
        assert_eq!(parts[4], field("HasParameters", "true"));
        assert_eq!(parts[5], field("OverrideIfExists", "true"));
    }

    #[tokio::test]
    async fn a_form_without_parameters_and_with_a_hostile_file_name() {
        let form = LibraryUpload {
            file_name: "a\"\r\nX: y".into(),
            parameters_description: None,
            overwrite: false,
            ..form()
        };
        let (_, body) = encode_multipart(&form);
        let body = body.bytes().await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("filename=\"a%22%0D%0AX: y\"\r\n"));
        assert!(!text.contains("ParametersDescription"));
        assert!(text.contains("name=\"HasParameters\"\r\n\r\nfalse\r\n"));
        assert!(text.contains("name=\"OverrideIfExists\"\r\n\r\nfalse\r\n"));
    }

    #[test]
    fn sizes_are_checked() {
        assert!(check_size(20, 20, "a.ps1").is_ok());
        let error = check_size(21, 20, "a.ps1").unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest);
        assert!(
            error.message.contains("21")
                && error.message.contains("20")
                && error.message.contains("a.ps1")
        );
        assert!(error.hint.as_deref().unwrap().contains("Limits.upload_size"));
    }
}
