//! Reads one command's result from blob storage. Renews the link and resumes the download.

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::pipeline::is_access_blocked;
use crate::secret::SecretUrl;
use crate::trace::LOG_TARGET;
use crate::transfer::{Blob, BlobRange, DecompressLimits, Download, Target};

/// Seconds between two requests for a result that is not there yet, 30.5 in all: results appear
/// later than the end of the action.
pub(super) const RESULT_RETRY_DELAYS: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 15.0];
/// New links to try in a row: a link may expire while it is in use.
const MAX_FRESH_LINKS: usize = 3;
/// Seconds before an interrupted download resumes. The list starts again after each progress.
const RESUME_DELAYS: [f64; 6] = [0.2, 1.0, 2.0, 4.0, 8.0, 15.0];
/// Received bytes that count as progress.
const PROGRESS_BYTES: u64 = 64 << 10;
/// Seconds before a result is fetched again that was not the result, or a damaged one.
pub(super) const REFETCH_DELAYS: [f64; 3] = [1.0, 4.0, 15.0];
/// A link that expires within this many seconds is not used.
const LINK_EXPIRY_MARGIN: f64 = 5.0;

/// The result of one command in blob storage, and a link to it while the link is valid.
pub(super) struct ResultBlob<'a> {
    session: &'a Session,
    index: u32,
    /// How many of `RESULT_RETRY_DELAYS` to use.
    max_retries: usize,
    link: Option<SecretUrl>,
    /// Links that were fetched since `open` was called.
    fetched_links: usize,
}

impl<'a> ResultBlob<'a> {
    pub(super) fn new(session: &'a Session, index: u32, max_retries: usize) -> Self {
        Self { session, index, max_retries, link: None, fetched_links: 0 }
    }

    /// Opens the result. Waits for one that is not there yet, and renews a link that has expired.
    pub(super) async fn open(&mut self, range: &BlobRange) -> Result<Blob> {
        let clock = self.session.sessions.pipeline.clock;
        // A long download may outlast its link, so each `open` checks the expiry again.
        let mut delays = RESULT_RETRY_DELAYS.iter().take(self.max_retries);
        let now = clock.now();
        self.link = self
            .link
            .take()
            .filter(|link| link.expiry().is_none_or(|expiry| now + LINK_EXPIRY_MARGIN < expiry));
        self.fetched_links = 0;
        let mut reused = self.link.is_some();
        loop {
            let error = match self.try_open(range).await {
                Ok(blob) => return Ok(blob),
                Err(error) => error,
            };
            // If an old link fails, a new one may still work: try that immediately.
            if std::mem::take(&mut reused) && self.link.is_none() {
                continue;
            }
            // Until the result is there, the service answers with one of these statuses.
            let may_appear = matches!(error.status, Some(400 | 403 | 404))
                && error.kind != Kind::PermissionDenied
                && !is_access_blocked(&error);
            // A blocked host was waited for already, maybe for another command.
            let hosts = &self.session.sessions.pipeline.result_hosts;
            let is_blocked = self
                .link
                .as_ref()
                .is_some_and(|link| hosts.recent_failure(link.host(), clock.now()).is_some());
            if is_blocked {
                return Err(error);
            }
            let has_next_link = self.link.is_some() || self.fetched_links < MAX_FRESH_LINKS;
            match delays.next() {
                Some(pause) if (may_appear || error.retryable) && has_next_link => {
                    clock.sleep(*pause).await
                }
                _ => return Err(error),
            }
        }
    }

    /// Makes the next `open` fetch a new link.
    pub(super) fn drop_link(&mut self) {
        self.link = None;
    }

    /// Tries once, with the known link or a new one. Drops a link that the storage refused.
    async fn try_open(&mut self, range: &BlobRange) -> Result<Blob> {
        let (pipeline, id) = (&self.session.sessions.pipeline, &self.session.id);
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = pipeline.get_result_link(id, self.index).await?;
                self.fetched_links += 1;
                link
            }
        };
        let opened = pipeline.open_link(&link, range).await;
        let refused = opened.as_ref().is_err_and(|error| matches!(error.status, Some(400..=499)));
        self.link = Some(link).filter(|_| !refused);
        opened
    }
}

impl Session {
    /// Downloads the file of a GetFile command to `target`. Resumes after an interruption.
    pub(super) async fn fetch_file(
        &self,
        index: u32,
        remote_path: &str,
        target: Target,
    ) -> Result<CollectedFile> {
        let mut download = Download::open(target, remote_path, DecompressLimits::default()).await?;
        let mut result = ResultBlob::new(self, index, RESULT_RETRY_DELAYS.len());
        let (mut pauses, mut before) = (RESUME_DELAYS.iter(), 0);
        let mut refetches = REFETCH_DELAYS.iter();
        while let Err(error) = resume_download(&mut download, &mut result).await? {
            if download.is_damaged() {
                let Some(pause) = refetches.next() else { return Err(error) };
                if !download.discard().await? {
                    return Err(error);
                }
                log::warn!(target: LOG_TARGET, "{error}; fetching it again in {pause} s");
                result.drop_link();
                self.sessions.pipeline.clock.sleep(*pause).await;
                continue;
            }
            let from = download.range().offset;
            if from >= before + PROGRESS_BYTES {
                (pauses, before) = (RESUME_DELAYS.iter(), from);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            log::warn!(target: LOG_TARGET, "{error}; resuming in {pause} s");
            self.sessions.pipeline.clock.sleep(*pause).await;
        }
        download.finish().await
    }
}

/// Downloads the rest of a result. The inner error means that the download can be resumed.
async fn resume_download(
    download: &mut Download,
    result: &mut ResultBlob<'_>,
) -> Result<Result<(), Error>> {
    let blob = match result.open(&download.range()).await {
        Ok(blob) => blob,
        // The blob changed, or is shorter than the bytes that were received: start again.
        Err(error) if matches!(error.status, Some(412 | 416)) && download.range().offset > 0 => {
            download.restart().await?;
            return Ok(Err(error));
        }
        Err(error) => return Err(error),
    };
    let received = match download.receive(blob).await {
        Ok(()) => download.verify().await,
        Err(error) => Err(error),
    };
    match received {
        Err(error) if !download.is_resumable() && !download.is_damaged() => Err(error),
        other => Ok(other),
    }
}
