//! Opening result links at the blob storage: without a token, and without redirects to other
//! services.

use http::header::LOCATION;
use http::{HeaderMap, Method};
use url::{Host, Url};

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::pipeline::Pipeline;
use crate::secret::SecretUrl;
use crate::transfer::{Blob, BlobRange, Origin};
use crate::transport::{Destination, Failure, Request, Response};

/// The most redirects to follow for one link. It is not known that the service sends any.
const MAX_REDIRECTS: usize = 3;
/// Labels that the hosts of two storage accounts must share, as in `blob.core.windows.net`. Fewer
/// labels do not prove that one owner has both.
const MIN_SHARED_LABELS: usize = 3;
/// Codes of a storage account that refuses this network (docs/service.md, section 19). A new link
/// does not help.
const BLOCKED_CODES: [&str; 3] =
    ["AuthorizationFailure", "AuthorizationSourceIPMismatch", "PublicAccessNotPermitted"];
const BLOCKED_HINT: &str = "the storage account refuses this network or this kind of access: ask \
    its administrators to allow the address of this computer in the firewall of the storage \
    account, or run from a network that it allows; the result stays at the service";
const UNREACHED_HINT: &str = "results come from another host than the API: allow \
    *.blob.core.windows.net in the firewall, or set a proxy that allows it (proxy=, HTTPS_PROXY); \
    the result stays at the service: fetch it later with session(action_id).result()";

impl Pipeline {
    /// Opens a result link. The request has no token: the link is signed, and the host is not the
    /// API (docs/service.md, section 7).
    pub async fn open_link(&self, link: &SecretUrl, range: &BlobRange) -> Result<Blob> {
        self.check_encrypted(link)?;
        let (mut url, mut redirects) = (link.clone(), 0);
        loop {
            let response = self.send_to_blob_storage(url.clone(), range.headers()).await?;
            if !matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
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

    /// Sends one request for a result link, and returns the response whatever its status is.
    pub async fn request_link(&self, link: &SecretUrl, headers: HeaderMap) -> Result<Response> {
        self.check_encrypted(link)?;
        self.send_to_blob_storage(link.clone(), headers).await
    }

    fn check_encrypted(&self, link: &SecretUrl) -> Result<()> {
        // Plain HTTP only with an endpoint that is plain HTTP itself, such as the emulator.
        if link.expose().scheme() == "https" || self.options.endpoint.scheme() == "http" {
            return Ok(());
        }
        let message = format!("the link of the result leads to {} without encryption", link.host());
        Err(untrusted_link(message))
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
        let (host, now) = (request.url.host().to_owned(), self.clock.now());
        // A session may have ten results: the time-out of a blocked host is waited for once.
        if let Some(error) = self.result_hosts.recent_failure(&host, now) {
            return Err(error);
        }
        match self.transport.send(request).await {
            Ok(response) => {
                if is_from_store(&response) {
                    self.result_hosts.record_answer(&host);
                }
                Ok(response)
            }
            Err(failure) => {
                let error = connection_error(failure, self.result_hosts.has_answered(&host));
                self.result_hosts.record_failure(&host, &error, self.clock.now());
                Err(error)
            }
        }
    }
}

/// Returns whether the response comes from a store, and not from a proxy on the way.
fn is_from_store(response: &Response) -> bool {
    let has = |name| response.header(name).is_some();
    if response.status.is_success() {
        return Origin::from_headers(&response.headers).is_store();
    }
    has("x-ms-error-code") || has("x-ms-version")
}

/// Returns whether the storage account refuses this network, which a new link does not change.
pub fn is_access_blocked(error: &Error) -> bool {
    error.kind == Kind::Download
        && error.code.as_deref().is_some_and(|code| BLOCKED_CODES.contains(&code))
}

fn connection_error(failure: Failure, has_answered: bool) -> Error {
    let mut error = failure.error.clone();
    error.kind = Kind::Download;
    if !has_answered {
        let hint = error.hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default();
        error.hint = Some(hint + UNREACHED_HINT);
    }
    error.with_source(failure.error)
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
    error.code = response.header("x-ms-error-code").map(printable);
    error.request_id = response.header("x-ms-request-id").map(printable);
    let code = error.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    error.message += &code;
    if is_access_blocked(&error) {
        return Err(error.not_retryable().with_hint(BLOCKED_HINT));
    }
    // 403 and 404 too: an expired link answers 403, and a fresh link may work.
    error.retryable = matches!(status, 200..=399 | 403 | 404 | 408 | 429 | 500..=599);
    Err(error
        .with_hint("try again: a link is valid for 30 minutes, and a new try requests a new link"))
}

/// Returns the plain characters of a header's value, at most 100.
fn printable(value: &str) -> String {
    value.chars().filter(char::is_ascii_graphic).take(100).collect()
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
