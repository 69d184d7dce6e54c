//! Checks that a download is the whole result, and the errors if it is not.

use bytes::Bytes;

use super::Download;
use crate::error::{Error, Kind, Result};
use crate::transfer::origin::Origin;

/// The first bytes of a gzip stream (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

const PAGE_HINT: &str = "a proxy or firewall seems to answer in place of the results' host: ask its \
    administrators to allow *.blob.core.windows.net; the result stays at the service, download it \
    again";

impl Download {
    /// Refuses a body that does not start like the result.
    pub(super) fn check_start(&mut self, first_batch: &Bytes) -> Result<()> {
        if self.received == 0 && !first_batch.is_empty() {
            // A damaged gzip may have lost the mark of a gzip, and would pass for a plain file.
            let is_gzip = first_batch.starts_with(&GZIP_MAGIC);
            if self.was_gzip && !is_gzip {
                return Err(self.page_error("other data than before"));
            }
            let is_from_store = self.origin.as_ref().is_some_and(Origin::is_azure_storage);
            self.was_gzip = is_gzip && is_from_store;
        }
        let origin = self.origin.as_ref().filter(|_| self.received == 0 && !first_batch.is_empty());
        match origin.and_then(|origin| origin.reject_file(first_batch, self.length)) {
            Some(what) => Err(self.page_error(&what)),
            None => Ok(()),
        }
    }

    /// Refuses a body that ended early without an error. HTTP reports a connection that breaks, so
    /// these bytes were not sent by the store that named the length.
    pub(super) fn check_length(&mut self) -> Result<()> {
        match self.length {
            Some(length) if self.received < length => {
                self.reject_payload(&format!("{} bytes instead of {length}", self.received))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the received payload is a whole result. Afterwards the download is
    /// [damaged](Self::is_damaged) if it is not.
    pub async fn verify(&mut self) -> Result<()> {
        self.end_payload().await?;
        let origin = self.origin.clone().unwrap_or(Origin::TRUSTED);
        match (self.received, self.length) {
            (0, length) => match origin.reject_file(b"", length) {
                Some(what) => self.reject_payload(&what),
                None => Ok(()),
            },
            (received, Some(length)) if received > length => {
                self.reject_payload(&format!("{received} bytes instead of {length}"))
            }
            _ => Ok(()),
        }
    }

    fn reject_payload(&mut self, what: &str) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.file.set_damaged();
        }
        Err(self.page_error(what))
    }

    /// Adds to the error of a damaged payload what its sender may be.
    pub(super) fn damaged_error(&self, mut error: Error) -> Error {
        if self.origin.as_ref().is_some_and(|origin| !origin.is_azure_storage()) {
            error.retryable = true;
            return error.with_hint(PAGE_HINT);
        }
        error
    }

    pub(super) fn page_error(&self, what: &str) -> Error {
        let message = format!(
            "the link of {} answered with {what}, which is not the result",
            self.remote_path
        );
        let mut error = Error::new(Kind::Download, message).with_hint(PAGE_HINT);
        error.retryable = true;
        error
    }

    pub(super) fn interrupted_error(&self, why: &str) -> Error {
        let message = format!(
            "the download of {} broke off after {} bytes: {why}",
            self.remote_path, self.received
        );
        let mut error = Error::new(Kind::Download, message)
            .with_hint("the result stays at the service: download it again");
        error.retryable = true;
        error
    }
}
