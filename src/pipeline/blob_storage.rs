//! Opening result links at the blob storage: without a token, and without redirects to other
//! services.

use http::header::LOCATION;
use http::{HeaderMap, Method, StatusCode};
use url::{Host, Url};

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::pipeline::Pipeline;
use crate::secret::SecretUrl;
use crate::transfer::{Blob, BlobRange};
use crate::transport::{Destination, Request, Response};

/// The most redirects to follow for one link. It is not known that the service sends any.
const MAX_REDIRECTS: usize = 3;
/// Labels that the hosts of two storage accounts must share, as in `blob.core.windows.net`. Fewer
/// labels do not prove that one owner has both.
const MIN_SHARED_LABELS: usize = 3;

impl Pipeline {
    /// Opens a result link. The request has no token: the link is signed, and the host is not the
    /// API (docs/service.md, section 7).
    pub async fn open_link(&self, link: &SecretUrl, range: &BlobRange) -> Result<Blob> {
        // Plain HTTP only with an endpoint that is plain HTTP itself, such as the emulator.
        let secure = link.expose().scheme() == "https" || self.options.endpoint.scheme() == "http";
        if !secure {
            return Err(untrusted_link(format!(
                "the link of the result leads to {} without encryption",
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
                    "{} redirected the link of the result more than {MAX_REDIRECTS} times",
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
            let message = format!("{host} sent a different range of the result than requested");
            Error::new(Kind::Download, message)
                .with_hint("check whether a proxy changes the requests or the responses")
        });
    }
    let mut error =
        Error::new(Kind::Download, format!("{host} answered {status} to the link of the result"));
    error.status = Some(status);
    // 403 and 404 too: an expired link answers 403, and a fresh link may work.
    error.retryable = matches!(status, 403 | 404 | 408 | 429 | 500..=599);
    Err(error
        .with_hint("try again: a link is valid for 30 minutes, and a new try requests a new link"))
}

/// Returns the target of a redirect if it is in the same storage service.
fn resolve_redirect(from: &SecretUrl, location: Option<&str>) -> Result<SecretUrl> {
    // Errors name only the host of the target: its query may hold a signature.
    let to = location.and_then(|location| from.expose().join(location).ok());
    let Some(to) = to else {
        return Err(untrusted_link(format!(
            "{} redirected the link of the result without a valid address",
            from.host()
        )));
    };
    if !is_same_storage_service(from.expose(), &to) {
        let (host, scheme) = (to.host_str().unwrap_or_default(), to.scheme());
        return Err(untrusted_link(format!(
            "{} redirected the link of the result to {scheme}://{host}",
            from.host()
        )));
    }
    Ok(SecretUrl::from(to))
}

/// Returns whether two addresses have the same scheme, the same port, and the same host or storage
/// service.
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

/// Returns the host without its first label, which names the storage account.
fn storage_service(host: &str) -> Option<&str> {
    host.split_once('.')
        .map(|(_, service)| service)
        .filter(|service| service.split('.').count() >= MIN_SHARED_LABELS)
}

fn untrusted_link(message: String) -> Error {
    Error::new(Kind::Download, message).not_retryable().with_hint(
        "nothing was downloaded from there; a proxy or login portal may answer instead of the \
         service: ask its administrator to allow *.blob.core.windows.net",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_in_the_storage_service() {
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
            let resolved = resolve_redirect(&from, Some(to));
            assert_eq!(resolved.is_ok(), allowed, "{to}: {resolved:?}");
            if let Err(error) = resolved {
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
            "two shared labels do not prove one owner"
        );
    }
}
