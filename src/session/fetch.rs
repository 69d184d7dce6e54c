//! One command's result, brought here over however many links and connections it takes.

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::secret::SecretUrl;
use crate::trace::LOG_TARGET;
use crate::transfer::{Blob, BlobRange, DecompressLimits, Download, Target};

/// Seconds between two requests for a result that lags behind the action's end: half a minute in all.
pub(super) const RESULT_RETRY_DELAYS: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 15.0];
/// Fresh links that are tried in a row: one may expire while it is being used.
const MAX_FRESH_LINKS: usize = 3;
/// Seconds before a download that broke off goes on, so often without getting on in between.
const RESUME_DELAYS: [f64; 6] = [0.2, 1.0, 2.0, 4.0, 8.0, 15.0];
/// Bytes that count as getting on.
const PROGRESS_BYTES: u64 = 64 << 10;
/// Seconds before its expiry that a link is not used any more.
const LINK_EXPIRY_MARGIN: f64 = 5.0;

/// The result of one command at the service, and the link to it while that is good.
pub(super) struct ResultSource<'a> {
    session: &'a Session,
    index: u32,
    /// How many of the lag's pauses are worth it.
    max_retries: usize,
    link: Option<SecretUrl>,
    /// That were had since the result was last open.
    links: usize,
}

impl<'a> ResultSource<'a> {
    pub(super) fn new(session: &'a Session, index: u32, max_retries: usize) -> Self {
        Self { session, index, max_retries, link: None, links: 0 }
    }

    /// Opens the result, with patience for one that lags behind and a fresh link for one that has expired.
    pub(super) async fn open(&mut self, range: &BlobRange) -> Result<Blob> {
        let clock = self.session.sessions.pipeline.clock;
        let mut delays = RESULT_RETRY_DELAYS.iter().take(self.max_retries);
        let now = clock.now();
        self.link = self
            .link
            .take()
            .filter(|link| link.expiry().is_none_or(|expiry| now + LINK_EXPIRY_MARGIN < expiry));
        self.links = 0;
        let mut reused = self.link.is_some();
        loop {
            let error = match self.try_open(range).await {
                Ok(blob) => return Ok(blob),
                Err(error) => error,
            };
            // An old link has no say in what a fresh one would do.
            if std::mem::take(&mut reused) && self.link.is_none() {
                continue;
            }
            let may_come = matches!(error.status, Some(400 | 403 | 404))
                && error.kind != Kind::PermissionDenied;
            let another = self.link.is_some() || self.links < MAX_FRESH_LINKS;
            match delays.next() {
                Some(pause) if (may_come || error.retryable) && another => {
                    clock.sleep(*pause).await
                }
                _ => return Err(error),
            }
        }
    }

    /// One try, by the link that there is, or a fresh one. A link that is refused is gone after it.
    async fn try_open(&mut self, range: &BlobRange) -> Result<Blob> {
        let (pipeline, id) = (&self.session.sessions.pipeline, &self.session.id);
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let link = pipeline.get_result_link(id, self.index).await?;
                self.links += 1;
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
    /// Brings the file that a GetFile collected to `target`, and goes on after a break where it broke off.
    pub(super) async fn fetch_file(
        &self,
        index: u32,
        remote_path: &str,
        target: Target,
    ) -> Result<CollectedFile> {
        let mut download = Download::open(target, remote_path, DecompressLimits::default()).await?;
        let mut source = ResultSource::new(self, index, RESULT_RETRY_DELAYS.len());
        let (mut pauses, mut before) = (RESUME_DELAYS.iter(), 0);
        while let Err(error) = resume_download(&mut download, &mut source).await? {
            let from = download.range().offset;
            if from >= before + PROGRESS_BYTES {
                (pauses, before) = (RESUME_DELAYS.iter(), from);
            }
            let Some(pause) = pauses.next() else { return Err(error) };
            log::warn!(target: LOG_TARGET, "{error}; going on in {pause} s");
            self.sessions.pipeline.clock.sleep(*pause).await;
        }
        download.finish().await
    }
}

/// Takes the rest of a result to its end. The inner error: it broke off, and may be gone on with.
async fn resume_download(
    download: &mut Download,
    source: &mut ResultSource<'_>,
) -> Result<Result<(), Error>> {
    let blob = match source.open(&download.range()).await {
        Ok(blob) => blob,
        // The blob is shorter than what was had of it, or is another.
        Err(error) if matches!(error.status, Some(412 | 416)) && download.range().offset > 0 => {
            download.restart().await?;
            return Ok(Err(error));
        }
        Err(error) => return Err(error),
    };
    match download.receive(blob).await {
        Err(error) if !download.is_resumable() => Err(error),
        other => Ok(other),
    }
}
