//! Results: links that expire, and the blob host behind them (facts.md, section 7).

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LAST_MODIFIED,
};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::emulator::blob::ranges::range_reply;
use crate::emulator::blob::spooled_file::SpooledFile;
use crate::emulator::clock::{Tick, format_time, seconds, ticks};
use crate::emulator::session::action::{Command, Content, Status, Step, StepResult};
use crate::emulator::session::script::{gzip, transcript};
use crate::emulator::state::{IncomingRequest, State};
use crate::emulator::wire::reply::{ApiError, Body, Reply, status};
use crate::emulator::write_json;

/// The blobs that links were given for, each packed when it is first asked for.
#[derive(Debug)]
pub struct Results {
    key: [u8; 16],
    blobs: HashMap<String, (u32, usize)>,
    packed: HashMap<String, Packed>,
}

#[derive(Clone, Debug)]
pub enum Packed {
    Bytes(Bytes),
    File(SpooledFile),
}

/// A file to be packed outside the lock.
pub struct PackJob {
    pub blob: String,
    content: Content,
    name: Option<String>,
    gzip: bool,
}

impl Results {
    pub fn new(key: [u8; 16]) -> Self {
        Self { key, blobs: HashMap::new(), packed: HashMap::new() }
    }

    pub fn insert_packed(&mut self, blob: String, packed: Packed) {
        self.packed.insert(blob, packed);
    }

    /// A signature over a blob and its expiry that also bears the expiry on the emulator's own clock.
    fn sign(&self, blob: &str, rest: &str, expires: Tick) -> String {
        let mask = self.digest(blob, "", 0);
        let mut signature = Vec::with_capacity(32);
        signature.extend(expires.to_le_bytes().iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        signature.extend(self.digest(blob, rest, expires).iter().take(24));
        STANDARD.encode(signature)
    }

    /// When a signed link expires, if the signature is ours.
    fn verify(&self, blob: &str, rest: &str, signature: &str) -> Option<Tick> {
        let decoded = STANDARD.decode(signature).ok()?;
        let mask = self.digest(blob, "", 0);
        let mut expires = [0_u8; 8];
        for (to, (byte, mask)) in expires.iter_mut().zip(decoded.iter().zip(&mask)) {
            *to = byte ^ mask;
        }
        let expires = Tick::from_le_bytes(expires);
        (self.sign(blob, rest, expires) == signature).then_some(expires)
    }

    fn digest(&self, blob: &str, rest: &str, expires: Tick) -> [u8; 32] {
        let hash = Sha256::new()
            .chain_update(self.key)
            .chain_update(blob)
            .chain_update([0])
            .chain_update(rest);
        hash.chain_update(expires.to_le_bytes()).finalize().into()
    }
}

impl PackJob {
    /// Reads and packs the file; slow, so done without the lock.
    pub fn run(&self) -> std::io::Result<Packed> {
        let name = self.name.as_deref();
        match &self.content {
            Content::Bytes(bytes) if self.gzip => Ok(Packed::Bytes(gzip(bytes, name).into())),
            Content::Bytes(bytes) => Ok(Packed::Bytes(bytes.clone())),
            Content::Path(path) if self.gzip => SpooledFile::gzip(path, name).map(Packed::File),
            Content::Path(path) => SpooledFile::open(path).map(Packed::File),
        }
    }
}

impl State {
    /// A link to the result of one command, valid 30 minutes (page "get-live-response-result").
    pub fn result_link(&mut self, id: &str, arguments: &str, now: Tick) -> Result<Reply, ApiError> {
        let action_index = self.find_action(id, now)?;
        let given = command_index(arguments)?;
        let Some(action) = self.actions.get(action_index) else {
            return Err(ApiError::not_found(id));
        };
        let known =
            usize::try_from(given).ok().and_then(|index| Some((index, action.steps.get(index)?)));
        let Some((index, step)) = known else {
            let message = format!(
                "Command index {given} is out of range: the action has {} commands.",
                action.steps.len()
            );
            return Err(ApiError::new(
                status(self.switches.out_of_range_status),
                "InvalidInput",
                message,
            ));
        };
        let is_available =
            action.ended.is_some_and(|ended| now >= ended + ticks(self.switches.result_lag))
                || (self.switches.result_lag <= 0.0
                    && action.status == Status::InProgress
                    && step.end.is_some());
        if !is_available || step.end.is_none() || step.result.is_none() {
            let message = format!("The result of command {index} of action {id} was not found");
            let number = status(self.switches.no_result_status);
            let code =
                if number == StatusCode::NOT_FOUND { "ResourceNotFound" } else { "InvalidInput" };
            return Err(ApiError::new(number, code, message));
        }
        let blob = blob_name(action.id, index);
        let link = self.signed_link(&blob, &output_name(action.id, index, step), now);
        self.results.blobs.insert(blob, (action_index, index));
        let mut out = self.open_odata_body("Edm.String");
        out.extend_from_slice(b",\"value\":");
        write_json(&mut out, &if self.switches.quoted_link { format!("\"{link}\"") } else { link });
        out.push(b'}');
        Ok(Reply::entity(StatusCode::OK, out))
    }

    /// The expiry that the link tells is the wall's; the one that counts is the emulator's own.
    fn signed_link(&self, blob: &str, output_name: &str, now: Tick) -> String {
        let lifetime = ticks(self.switches.link_life);
        let wall = self.wall_now + seconds(lifetime) / self.speed;
        let se = format_time(ticks(wall.ceil()));
        let disposition = format!("attachment; filename={output_name}");
        let signature = self.results.sign(blob, &format!("{se}\n{disposition}"), now + lifetime);
        let encode = |text: &str| {
            utf8_percent_encode(text, NON_ALPHANUMERIC)
                .to_string()
                .replace("%2D", "-")
                .replace("%2E", ".")
                .replace("%5F", "_")
        };
        format!(
            "{}/investigation-actions-data/{}/CustomPlaybookCommandOutput/{blob}?se={}&sp=rt&sv=2020-06-12&sr=b&rscd={}&sig={}",
            self.addresses.blob,
            self.tenant_id,
            encode(&se),
            encode(&disposition),
            encode(&signature),
        )
    }

    /// What has to be packed before a request to the blob host can be answered.
    pub fn pack_job(&self, path: &str) -> Option<PackJob> {
        let blob = path.rsplit('/').next()?;
        let (action_index, index) = self.results.blobs.get(blob)?;
        if self.results.packed.contains_key(blob) {
            return None;
        }
        let step = self.actions.get(*action_index)?.steps.get(*index)?;
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

    pub fn handle_blob(&mut self, request: &IncomingRequest, now: Tick) -> Reply {
        if request.headers.contains_key(AUTHORIZATION) {
            self.log.violations.bearer_at_blob += 1;
        }
        let result = self.find_blob(request, now);
        let mut reply = result.unwrap_or_else(|error| *error);
        let id = self.new_uuid().to_string();
        reply = reply.with_text(HeaderName::from_static("x-ms-request-id"), &id);
        reply.headers.insert(
            HeaderName::from_static("x-ms-version"),
            HeaderValue::from_static("2020-06-12"),
        );
        if request.method == Method::HEAD {
            reply.body = Body::Full(Bytes::new());
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
            let message = "Server failed to authenticate the request. The Authorization header is not valid here.";
            return Err(azure_error(StatusCode::FORBIDDEN, "AuthenticationFailed", message));
        }
        let blob = request.path.rsplit('/').next().unwrap_or("");
        let pairs: HashMap<_, _> = url::form_urlencoded::parse(request.query.as_bytes()).collect();
        let value = |name: &str| pairs.get(name).map_or("", AsRef::as_ref);
        let (se, disposition) = (value("se"), value("rscd"));
        let expires = self.results.verify(blob, &format!("{se}\n{disposition}"), value("sig"));
        if expires.is_none_or(|expires| expires <= now) {
            let message = "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.";
            return Err(azure_error(
                status(self.switches.expired_link_status),
                "AuthenticationFailed",
                message,
            ));
        }
        let packed = self.packed(blob).ok_or_else(|| {
            azure_error(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.")
        })?;
        let etag = format!("\"0x{}\"", blob.get(..16).unwrap_or(blob).to_uppercase());
        let reply = range_reply(&packed, &etag, &request.headers, self.switches.blob_ranges)?;
        let mut reply = reply.with_text(CONTENT_DISPOSITION, disposition).with_text(ETAG, &etag);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        reply
            .headers
            .insert(LAST_MODIFIED, HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
        reply.headers.insert(
            HeaderName::from_static("x-ms-blob-type"),
            HeaderValue::from_static("BlockBlob"),
        );
        if self.switches.blob_content_encoding && self.switches.gzip_files {
            reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(reply)
    }

    fn packed(&self, blob: &str) -> Option<Packed> {
        if let Some(packed) = self.results.packed.get(blob) {
            return Some(packed.clone());
        }
        let (action_index, index) = self.results.blobs.get(blob)?;
        let step = self.actions.get(*action_index)?.steps.get(*index)?;
        let (Some(StepResult::Script(outcome)), Command::RunScript { name, .. }) =
            (&step.result, &step.command)
        else {
            return None;
        };
        let id = Uuid::parse_str(blob).unwrap_or_default();
        Some(Packed::Bytes(transcript(name, outcome, id, &self.switches)))
    }
}

/// The number in `index=0`.
fn command_index(arguments: &str) -> Result<i64, ApiError> {
    let argument = arguments.split_once('=').filter(|(name, _)| name.trim() == "index");
    let (_, text) = argument.ok_or_else(|| {
        ApiError::bad_request(
            "MissingRequiredParameter",
            "The required parameter 'index' is missing.",
        )
    })?;
    let text = text.trim();
    text.parse().map_err(|_| {
        ApiError::bad_request("InvalidInput", format!("The index '{text}' is not a whole number."))
    })
}

/// 32 hexadecimal digits, other than the action's own.
fn blob_name(action: Uuid, index: usize) -> String {
    let digest = Sha256::new()
        .chain_update(action.as_bytes())
        .chain_update((index as u64).to_le_bytes())
        .finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The file name that the service tells (facts 7.1).
fn output_name(action: Uuid, index: usize, step: &Step) -> String {
    let extension = if matches!(step.command, Command::RunScript { .. }) { "json" } else { "gz" };
    format!("output_{action}_{index}.{extension}")
}

pub fn azure_error(status: StatusCode, code: &'static str, message: &str) -> Box<Reply> {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut reply = Reply::empty(status);
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply
        .headers
        .insert(HeaderName::from_static("x-ms-error-code"), HeaderValue::from_static(code));
    reply.body = Body::Full(body.into());
    Box::new(reply)
}
