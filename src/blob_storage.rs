//! Results at the blob host: a link opened, without a token, and no redirect followed to anybody else.

use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use url::{Host, Url};

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::pipeline::Pipeline;
use crate::secret::SecretUrl;
use crate::transfer::{Blob, BlobRange};
use crate::transport::{Destination, Request, Response};

/// Redirects of one request; the service is not known to send any.
const MAX_REDIRECTS: usize = 3;
/// Labels that two storage accounts' hosts have in common at the least, as `blob.core.windows.net`.
const MIN_SHARED_LABELS: usize = 3;

impl Pipeline {
    /// Opens a result link. No token goes to its host.
    pub async fn open_link(&self, link: &SecretUrl, range: &BlobRange) -> Result<Blob> {
        let secure = link.expose().scheme() == "https" || self.options.endpoint.scheme() == "http";
        if !secure {
            return Err(untrusted_link(format!(
                "the result's link leads to {} unencrypted",
                link.host()
            )));
        }
        let (mut url, mut redirects) = (link.clone(), 0);
        loop {
            let response = self.send_to_blob_storage(url.clone(), range.headers()).await?;
            if !is_redirect(response.status) {
                return read_blob_response(response, &url, range);
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(untrusted_link(format!(
                    "{} redirects the result's link on and on",
                    link.host()
                )));
            }
            url = resolve_redirect(&url, response.header(LOCATION.as_str()))?;
        }
    }

    async fn send_to_blob_storage(&self, url: SecretUrl, headers: HeaderMap) -> Result<Response> {
        let request = Request {
            destination: Destination::Blob,
            method: Method::GET,
            url,
            headers,
            body: bytes::Bytes::new().into(),
            timeout: seconds_to_duration(self.options.request_timeout),
        };
        self.transport.send(request).await.map_err(|failure| {
            let mut error = failure.error.clone();
            error.kind = Kind::Download;
            error.with_source(failure.error)
        })
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn read_blob_response(response: Response, url: &SecretUrl, range: &BlobRange) -> Result<Blob> {
    let (status, host) = (response.status.as_u16(), url.host());
    if matches!(status, 200 | 206) {
        return Blob::from_response(response, range).ok_or_else(|| {
            let message = format!("{host} sent another part of the result than was asked for");
            Error::new(Kind::Download, message)
                .with_hint("a proxy on the way may be changing what it passes on")
        });
    }
    let mut error =
        Error::new(Kind::Download, format!("{host} answered {status} to the result's link"));
    error.status = Some(status);
    error.retryable = matches!(status, 403 | 404 | 408 | 429 | 500..=599);
    Err(error.with_hint("a link is good for 30 minutes; asking again makes a fresh one"))
}

/// Where a redirect leads, if that is the same kind of place.
fn resolve_redirect(from: &SecretUrl, location: Option<&str>) -> Result<SecretUrl> {
    // Where it leads to is told by its host alone: the rest may be signed.
    let to = location.and_then(|location| from.expose().join(location).ok());
    let Some(to) = to else {
        return Err(untrusted_link(format!(
            "{} redirects the result's link to no address",
            from.host()
        )));
    };
    if !is_same_storage_service(from.expose(), &to) {
        let (host, scheme) = (to.host_str().unwrap_or_default(), to.scheme());
        return Err(untrusted_link(format!(
            "{} redirects the result's link to {scheme}://{host}",
            from.host()
        )));
    }
    Ok(SecretUrl::from(to))
}

/// Whether both are, by the same scheme and port, one host, or accounts of one storage service.
fn is_same_storage_service(from: &Url, to: &Url) -> bool {
    if from.scheme() != to.scheme() || from.port_or_known_default() != to.port_or_known_default() {
        return false;
    }
    match (from.host(), to.host()) {
        (Some(Host::Domain(from)), Some(Host::Domain(to))) => {
            from == to || storage_service(from).is_some_and(|it| storage_service(to) == Some(it))
        }
        (from, to) => from.is_some() && from == to,
    }
}

/// A storage account's host without the account.
fn storage_service(host: &str) -> Option<&str> {
    host.split_once('.')
        .map(|(_, service)| service)
        .filter(|service| service.split('.').count() >= MIN_SHARED_LABELS)
}

fn untrusted_link(message: String) -> Error {
    Error::new(Kind::Download, message).not_retryable().with_hint(
        "nothing was fetched from there; a proxy or portal on the way may be answering in the service's place: ask those \
         who run it to let *.blob.core.windows.net through",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_redirect_may_lead() {
        let from = "https://store1.blob.core.windows.net/c/x?sig=a";
        for (to, allowed) in [
            ("https://store1.blob.core.windows.net/c/y?sig=b", true),
            ("https://store2.blob.core.windows.net/c/x?sig=a", true),
            ("/c/y", true),
            ("http://store1.blob.core.windows.net/c/x", false),
            ("https://store1.blob.core.windows.net:8443/c/x", false),
            ("https://blob.core.windows.net/c/x", false),
            ("https://store1.blob.core.windows.net.evil.test/", false),
            ("https://evil.test/store1.blob.core.windows.net", false),
            ("https://store1.file.core.windows.net/", false),
            ("https://169.254.169.254/metadata", false),
            ("https://[::1]/", false),
            ("file:///etc/passwd", false),
            ("//evil.test/", false),
            ("https://", false),
        ] {
            let from = SecretUrl::parse(from, "a link").unwrap();
            let led = resolve_redirect(&from, Some(to));
            assert_eq!(led.is_ok(), allowed, "{to}: {led:?}");
            if let Err(error) = led {
                assert!(
                    error.kind == Kind::Download
                        && !error.retryable
                        && !error.message.contains("sig="),
                    "{error}"
                );
            }
        }
        assert!(resolve_redirect(&SecretUrl::parse(from, "a link").unwrap(), None).is_err());
        let here = |port| Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
        assert!(
            is_same_storage_service(&here(1), &here(1))
                && !is_same_storage_service(&here(1), &here(2))
        );
        let flat = |host: &str| Url::parse(&format!("https://{host}/")).unwrap();
        assert!(
            !is_same_storage_service(&flat("a.example.test"), &flat("b.example.test")),
            "one owner is not told by two labels"
        );
    }
}
