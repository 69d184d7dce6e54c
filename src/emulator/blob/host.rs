//! The blob host: serves a result to anyone with a valid link (docs/service.md, section 7).

use std::collections::HashMap;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, LAST_MODIFIED,
};
use http::{Method, StatusCode};
use uuid::Uuid;

use crate::emulator::blob::ranges::range_reply;
use crate::emulator::blob::store::{PackJob, PackedBlob};
use crate::emulator::clock::{Tick, http_date};
use crate::emulator::control::switch_bounds::BLOB_ERRORS;
use crate::emulator::session::action::{Command, Step, StepResult};
use crate::emulator::session::script::transcript;
use crate::emulator::state::State;
use crate::emulator::wire::reply::{Reply, ReplyBody, azure_error, status};
use crate::emulator::wire::request::IncomingRequest;

impl State {
    /// Returns the file that must be packed before the blob at `path` can be served.
    pub fn pack_job(&self, path: &str) -> Option<PackJob> {
        let blob = path.rsplit('/').next()?;
        let step = self.step_of(blob)?;
        if self.results.packed(blob).is_some() {
            return None;
        }
        let (Some(StepResult::File(content)), Command::GetFile { path }) =
            (&step.result, &step.command)
        else {
            return None;
        };
        let name =
            path.rsplit(['\\', '/']).next().filter(|_| self.switches.gzip_name).map(str::to_owned);
        Some(PackJob {
            blob: blob.to_owned(),
            content: content.clone(),
            name,
            gzip: self.switches.gzip_files,
        })
    }

    /// Serves a request to the blob host.
    pub fn handle_blob(&mut self, request: &IncomingRequest, now: Tick) -> Reply {
        // Only the signed link gives access. A token sent here would leak to the storage account.
        if request.headers.contains_key(AUTHORIZATION) {
            self.log.violations.bearer_at_blob += 1;
        }
        let result = self.find_blob(request, now);
        let mut reply = self.with_storage_headers(result.unwrap_or_else(|error| *error));
        if request.method == Method::HEAD {
            reply.body = ReplyBody::Full(Bytes::new());
        }
        reply
    }

    fn find_blob(&self, request: &IncomingRequest, now: Tick) -> Result<Reply, Box<Reply>> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(azure_error(
                StatusCode::METHOD_NOT_ALLOWED,
                "UnsupportedHttpVerb",
                "The verb is not supported.",
            ));
        }
        if request.headers.contains_key(AUTHORIZATION) {
            let message = "Server failed to authenticate the request. The Authorization header is \
                           not valid here.";
            return Err(azure_error(StatusCode::FORBIDDEN, "AuthenticationFailed", message));
        }
        let blob = request.path.rsplit('/').next().unwrap_or("");
        let pairs: HashMap<_, _> = url::form_urlencoded::parse(request.query.as_bytes()).collect();
        let value = |name: &str| pairs.get(name).map_or("", AsRef::as_ref);
        let (se, disposition) = (value("se"), value("rscd"));
        let expires = self.results.verify(blob, &format!("{se}\n{disposition}"), value("sig"));
        if expires.is_none_or(|expires| expires <= now) {
            let message = "Server failed to authenticate the request. Make sure the value of \
                           Authorization header is formed correctly including the signature.";
            return Err(azure_error(
                status(self.switches.expired_link_status),
                "AuthenticationFailed",
                message,
            ));
        }
        if let Some(refusal) = self.blob_refusal() {
            return Err(refusal);
        }
        let packed = self.packed(blob).ok_or_else(|| {
            azure_error(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
        })?;
        let etag = format!("\"0x{}\"", blob.get(..16).unwrap_or(blob).to_uppercase());
        let ended = self.step_of(blob).and_then(|step| step.end);
        let modified = http_date(ended.unwrap_or(now));
        // HEAD asks for the properties of the whole blob.
        let ranges = self.switches.blob_ranges && request.method != Method::HEAD;
        let reply = range_reply(&packed, [&etag, &modified], &request.headers, ranges)?;
        let mut reply = reply
            .with_text(CONTENT_DISPOSITION, disposition)
            .with_text(ETAG, &etag)
            .with_text(LAST_MODIFIED, &modified);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        reply.headers.insert(
            HeaderName::from_static("x-ms-blob-type"),
            HeaderValue::from_static("BlockBlob"),
        );
        if self.switches.blob_content_encoding && self.switches.gzip_files {
            reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(reply)
    }

    /// Returns the error that a switch names, such as that of a storage account's firewall.
    fn blob_refusal(&self) -> Option<Box<Reply>> {
        let wanted = self.switches.blob_error.as_deref()?;
        let (code, number) = BLOB_ERRORS.into_iter().find(|(code, _)| *code == wanted)?;
        let message = "This request is not authorized to perform this operation.";
        Some(azure_error(status(number), code, message))
    }

    /// Adds the headers that each response of Azure Storage has, and that of no proxy has.
    pub fn with_storage_headers(&mut self, reply: Reply) -> Reply {
        let id = self.new_uuid().to_string();
        let length = match &reply.body {
            ReplyBody::Full(body) => body.len() as u64,
            ReplyBody::Spooled { start, end, .. } => end - start,
        };
        reply
            .with_text(HeaderName::from_static("x-ms-request-id"), &id)
            .with_text(HeaderName::from_static("x-ms-version"), "2020-06-12")
            .with_header(CONTENT_LENGTH, length.into())
    }

    /// Returns a blob's bytes: a file that was packed before, or a transcript, which is made here.
    fn packed(&self, blob: &str) -> Option<PackedBlob> {
        if let Some(packed) = self.results.packed(blob) {
            return Some(packed.clone());
        }
        // A transcript is small, and a switch may change its form, so it is made for each request.
        let step = self.step_of(blob)?;
        let (Some(StepResult::Script(outcome)), Command::RunScript { name, .. }) =
            (&step.result, &step.command)
        else {
            return None;
        };
        let id = Uuid::parse_str(blob).unwrap_or_default();
        Some(PackedBlob::Bytes(transcript(name, outcome, id, &self.switches)))
    }

    fn step_of(&self, blob: &str) -> Option<&Step> {
        let (action, step) = self.results.source(blob)?;
        self.actions.get(action)?.steps.get(step)
    }
}
