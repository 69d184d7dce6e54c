//! Decompression of a payload while it arrives. The payload is a gzip of the file, or the file
//! itself.

use std::io::Write;

use flate2::write::GzDecoder;
use sha2::{Digest, Sha256};

use super::target::Output;
use crate::digest::hex;
use crate::error::{Error, Kind, Result};
use crate::model::PayloadFormat;

/// Bytes at the start of a payload that decide its format.
const SNIFF_LENGTH: usize = 64;

/// Returns the format of a payload that starts with `head`.
fn sniff(head: &[u8]) -> PayloadFormat {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head {
        [0x1f, 0x8b, ..] => PayloadFormat::Gzip,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => PayloadFormat::Zip,
        _ if text.starts_with(b"{") || text.starts_with(b"[") => PayloadFormat::Json,
        _ => PayloadFormat::Other,
    }
}

/// Limits on the size of a file, because a hostile machine chooses what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Bytes of the decompressed file. Default: 4 GiB. The service collects files of up to 3 GB
    /// (docs/service.md, section 11).
    pub size: u64,
    /// Decompressed bytes for each compressed byte. Default: 500. A gzip of zeros has 1,030, and
    /// files that people collect have less than 100.
    pub ratio: u64,
    /// Decompressed bytes below which the ratio does not matter. Default: 64 MiB, because small
    /// files of zeros are common and harmless.
    pub ratio_min_size: u64,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self { size: 4 << 30, ratio: 500, ratio_min_size: 64 << 20 }
    }
}

/// Decompresses a payload that comes in pieces of any size.
pub(super) struct Decompressor {
    state: DecodeState,
    head: Vec<u8>,
    received: u64,
    /// The digest of a gzip payload. Other payloads are the file itself, which is hashed anyway.
    digest: Option<Sha256>,
    /// The file name in the gzip header.
    name: Option<Vec<u8>>,
}

enum DecodeState {
    /// The format is not known yet: no byte has arrived, or only this one.
    Undetermined(Option<u8>),
    Plain,
    GzipMember(Box<GzDecoder<Vec<u8>>>),
    /// After a gzip member: padding, another member, or the end.
    BetweenMembers,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Self {
            state: DecodeState::Undetermined(None),
            head: Vec::new(),
            received: 0,
            digest: None,
            name: None,
        }
    }

    pub(super) fn payload(&self) -> PayloadFormat {
        sniff(&self.head)
    }

    /// Returns the number of payload bytes so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the digest of the payload, or none if it is the digest of the file.
    pub(super) fn sha256(self) -> Option<String> {
        self.digest.map(|digest| hex(&digest.finalize()))
    }

    /// Returns the original file name from the first gzip member.
    pub(super) fn original_name(&self) -> Option<String> {
        // RFC 1952 says Latin-1, but today's programs write UTF-8.
        let bytes = self.name.as_deref()?;
        Some(match std::str::from_utf8(bytes) {
            Ok(name) => name.to_owned(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        })
    }

    /// Takes bytes from `input` until its end, or until the output is full. Returns how many.
    pub(super) fn push(&mut self, input: &[u8], file: &mut DecompressedFile) -> Result<usize> {
        let missing = SNIFF_LENGTH.saturating_sub(self.head.len()).min(input.len());
        self.head.extend_from_slice(input.get(..missing).unwrap_or_default());
        let DecodeState::Undetermined(first) = self.state else {
            return self.decompress(input, file);
        };
        // A gzip starts with two magic bytes.
        if self.head.len() < 2 {
            self.state = DecodeState::Undetermined(first.or(input.first().copied()));
            return Ok(input.len());
        }
        let gzip = self.payload() == PayloadFormat::Gzip;
        (self.state, self.digest) = if gzip {
            (DecodeState::BetweenMembers, Some(Sha256::new()))
        } else {
            (DecodeState::Plain, None)
        };
        self.decompress(first.as_slice(), file)?;
        self.decompress(input, file)
    }

    fn decompress(&mut self, input: &[u8], file: &mut DecompressedFile) -> Result<usize> {
        let mut left = input;
        while !left.is_empty() && !file.output.is_full() {
            let taken = match &mut self.state {
                DecodeState::Undetermined(_) | DecodeState::Plain => left.len(),
                // Some programs pad a gzip with zeros.
                DecodeState::BetweenMembers => left.iter().take_while(|byte| **byte == 0).count(),
                DecodeState::GzipMember(member) => {
                    member.write(left).map_err(|error| file.corrupt_error(&error))?
                }
            };
            let (read, rest) = left.split_at_checked(taken).unwrap_or((left, &[]));
            self.received += read.len() as u64;
            match &mut self.state {
                DecodeState::Undetermined(_) | DecodeState::Plain => {
                    file.write(self.received, read)?
                }
                DecodeState::BetweenMembers if !rest.is_empty() => {
                    self.state = DecodeState::GzipMember(Box::new(GzDecoder::new(Vec::new())))
                }
                DecodeState::BetweenMembers => {}
                // The decoder takes no more bytes after the trailer of its member.
                DecodeState::GzipMember(_) if taken == 0 => self.end_member(file)?,
                DecodeState::GzipMember(member) => file.drain(self.received, member)?,
            }
            left = rest;
        }
        let used = input.len() - left.len();
        if let Some(digest) = &mut self.digest {
            digest.update(input.get(..used).unwrap_or_default());
        }
        Ok(used)
    }

    /// Handles the end of the payload. A gzip that is cut short is an error.
    pub(super) fn finish(&mut self, file: &mut DecompressedFile) -> Result<()> {
        match &mut self.state {
            DecodeState::Undetermined(first) => {
                let head = *first;
                self.state = DecodeState::Plain;
                self.received = head.as_slice().len() as u64;
                file.write(self.received, head.as_slice())
            }
            DecodeState::GzipMember(_) => self.end_member(file),
            DecodeState::Plain | DecodeState::BetweenMembers => Ok(()),
        }
    }

    /// Checks the length and the CRC at the end of a gzip member.
    fn end_member(&mut self, file: &mut DecompressedFile) -> Result<()> {
        let DecodeState::GzipMember(member) = &mut self.state else { return Ok(()) };
        let ended = member.try_finish();
        file.drain(self.received, member)?;
        ended.map_err(|error| file.corrupt_error(&error))?;
        if self.name.is_none() {
            self.name = Some(
                member.header().and_then(|header| header.filename()).unwrap_or_default().to_owned(),
            );
        }
        self.state = DecodeState::BetweenMembers;
        Ok(())
    }
}

/// The decompressed file: counts, hashes and writes the bytes, within the limits.
pub(super) struct DecompressedFile {
    pub(super) output: Output,
    remote_path: String,
    limits: DecompressLimits,
    size: u64,
    digest: Sha256,
    is_damaged: bool,
}

impl DecompressedFile {
    pub(super) fn new(output: Output, remote_path: &str, limits: DecompressLimits) -> Self {
        let remote_path = remote_path.to_owned();
        Self { output, remote_path, limits, size: 0, digest: Sha256::new(), is_damaged: false }
    }

    /// Returns whether the payload was damaged: it must be received again from its start.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    pub(super) fn set_damaged(&mut self) {
        self.is_damaged = true;
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        (self.size, self.digest, self.is_damaged) = (0, Sha256::new(), false);
        self.output.restart()
    }

    pub(super) fn into_parts(self) -> (Output, u64, String) {
        (self.output, self.size, hex(&self.digest.finalize()))
    }

    /// Writes what the decoder has decompressed so far, 32 KiB at most.
    fn drain(&mut self, compressed: u64, member: &mut GzDecoder<Vec<u8>>) -> Result<()> {
        let decompressed = member.get_mut();
        if !decompressed.is_empty() {
            self.write(compressed, decompressed)?;
            decompressed.clear();
        }
        Ok(())
    }

    /// Writes `data`, the latest bytes of a file that has taken `compressed` payload bytes so far.
    fn write(&mut self, compressed: u64, data: &[u8]) -> Result<()> {
        self.size += data.len() as u64;
        let DecompressLimits { size, ratio, ratio_min_size } = self.limits;
        if self.size > size {
            return Err(self.limit_error(&format!("is larger than {size} bytes")));
        }
        if self.size > ratio_min_size && self.size > compressed.saturating_mul(ratio) {
            return Err(self.limit_error(&format!(
                "decompresses to more than {ratio} times its compressed size, like a gzip bomb"
            )));
        }
        self.digest.update(data);
        self.output.write(data)
    }

    fn limit_error(&self, what: &str) -> Error {
        Error::new(Kind::Download, format!("the file {} {what}", self.remote_path))
            .not_retryable()
            .with_hint(
                "no part of it was kept; if you need the file, run a script that compresses or \
                 splits it on the machine, and collect the parts",
            )
    }

    fn corrupt_error(&mut self, error: &std::io::Error) -> Error {
        self.is_damaged = true;
        let path = &self.remote_path;
        Error::new(Kind::Download, format!("the result of {path} is truncated or damaged: {error}"))
            .not_retryable()
            .with_hint("no part of it was kept; collect the file again in a new session")
    }
}
