//! Fetches the transcript of a script, and refuses what is none.

use super::Session;
use super::result_blob::{REFETCH_DELAYS, RESULT_RETRY_DELAYS, ResultBlob};
use crate::error::{Error, Kind, Result};
use crate::model::{ActionCommand, ScriptOutput};
use crate::trace::LOG_TARGET;
use crate::transfer::{Blob, BlobRange, Origin, is_markup};
use crate::transport::Response;

/// The longest transcript, in decompressed bytes. Collected files have no such limit.
const MAX_TRANSCRIPT_BYTES: usize = 64 << 20;
/// Retries for the transcript of a failed script. There may never be one, so the wait is shorter.
const FAILED_SCRIPT_RETRIES: usize = 3;

/// What the link of a script's result returned.
pub(super) struct FetchedTranscript {
    pub output: ScriptOutput,
    /// Why `output` is no transcript.
    pub objection: Option<Error>,
}

impl Session {
    /// Returns the transcript, or None if a failed script has none.
    pub(super) async fn fetch_transcript(
        &self,
        command: &ActionCommand,
    ) -> Result<Option<FetchedTranscript>> {
        let failed = command.status == "Failed";
        // Whether the service keeps a transcript of a failed script is not documented.
        let max_retries = if failed { FAILED_SCRIPT_RETRIES } else { RESULT_RETRY_DELAYS.len() };
        let mut blob = ResultBlob::new(self, command.index, max_retries);
        let mut refetches = REFETCH_DELAYS.iter();
        loop {
            let opened = match blob.open(&BlobRange::default()).await {
                Err(error) if failed && matches!(error.status, Some(400 | 404)) => return Ok(None),
                other => other?,
            };
            let fetched = read_transcript(opened, command).await;
            let problem = match &fetched {
                Ok(transcript) => transcript.objection.as_ref(),
                Err(error) => Some(error).filter(|error| error.retryable),
            };
            match (problem, refetches.next()) {
                (Some(problem), Some(pause)) => {
                    log::warn!(target: LOG_TARGET, "{problem}; fetching it again in {pause} s");
                    blob.drop_link();
                    self.sessions.pipeline.clock.sleep(*pause).await;
                }
                _ => return fetched.map(Some),
            }
        }
    }
}

/// Reads a transcript whole: it is text and fits in memory.
async fn read_transcript(blob: Blob, command: &ActionCommand) -> Result<FetchedTranscript> {
    let Blob { body, length, origin, .. } = blob;
    let response = Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body };
    let payload = response
        .bytes(MAX_TRANSCRIPT_BYTES)
        .await
        .map_err(|failure| interrupted_error(failure.error))?;
    let (received, name) = (payload.len(), command.command.param("ScriptName").unwrap_or_default());
    let is_whole = length.is_none_or(|length| length == received as u64);
    let head = payload.clone();
    let (output, is_transcript) = ScriptOutput::recognize(payload, name, MAX_TRANSCRIPT_BYTES)?;
    let objection = (!is_transcript || !is_whole).then(|| {
        let mut error = not_a_transcript(&head, &origin, command);
        // What the storage sends whole stays as it is.
        error.retryable = !(is_whole && origin.is_azure_storage()) || received == 0;
        error
    });
    Ok(FetchedTranscript { output, objection })
}

fn not_a_transcript(payload: &[u8], origin: &Origin, command: &ActionCommand) -> Error {
    let is_foreign = !origin.is_azure_storage() || is_markup(payload) || payload.is_empty();
    let message = format!(
        "the link of command {}, {}, answered with {} ({} bytes), which is not a transcript: \
         whether the script succeeded is not known",
        command.index,
        command.command,
        origin.describe_page(payload),
        payload.len()
    );
    Error::new(Kind::Download, message).with_hint(if is_foreign {
        "a proxy or firewall seems to answer in place of the results' host: ask its \
         administrators to allow *.blob.core.windows.net, then fetch the result again"
    } else {
        "`raw` has the bytes as they were received: read there what the script printed"
    })
}

fn interrupted_error(cause: Error) -> Error {
    let mut error =
        Error::new(Kind::Download, format!("the transcript was not read to its end: {cause}"))
            .with_hint("the service still has the result: fetch it again");
    error.retryable = cause.kind == Kind::ConnectionFailed;
    error.with_source(cause)
}
