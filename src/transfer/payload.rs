//! What a blob holds, unpacked on the way: a gzip of the file, or the file itself.

use std::io::Write;

use flate2::write::GzDecoder;
use sha2::{Digest, Sha256};

use super::hex;
use super::target::Output;
use crate::error::{Error, Kind, Result};
use crate::model::PayloadFormat;

/// So many bytes tell what a payload is.
const SNIFF_LENGTH: usize = 64;

pub fn sniff(head: &[u8]) -> PayloadFormat {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head {
        [0x1f, 0x8b, ..] => PayloadFormat::Gzip,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => PayloadFormat::Zip,
        _ if text.starts_with(b"{") || text.starts_with(b"[") => PayloadFormat::Json,
        _ => PayloadFormat::Other,
    }
}

/// What a machine may make us write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Bytes of the unpacked file. The default is 4 GiB; the service collects files of up to 3 GB.
    pub size: u64,
    /// Unpacked bytes to a packed one. The default is 500: a gzip of zeros has 1,030, files that people collect under 100.
    pub ratio: u64,
    /// Bytes before the ratio counts. The default is 64 MiB, since small files of zeros are harmless and common.
    pub ratio_min_size: u64,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self { size: 4 << 30, ratio: 500, ratio_min_size: 64 << 20 }
    }
}

/// Takes a payload in pieces of any size and hands on the file that it holds.
pub(super) struct Decompressor {
    state: DecodeState,
    head: Vec<u8>,
    received: u64,
    /// Of a gzip as it comes; what is no gzip is the file itself, whose digest is made anyway.
    digest: Option<Sha256>,
    /// The file's name in the gzip header.
    name: Option<Vec<u8>>,
}

enum DecodeState {
    /// No byte came, or the one that is told here.
    Undetermined(Option<u8>),
    Plain,
    GzipMember(Box<GzDecoder<Vec<u8>>>),
    /// After a member: padding, another member, or the end.
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

    /// Bytes of the payload.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The digest of the payload, where it is another than the file's.
    pub(super) fn sha256(self) -> Option<String> {
        self.digest.map(|digest| hex(&digest.finalize()))
    }

    /// The original name, of the gzip's first member.
    pub(super) fn original_name(&self) -> Option<String> {
        // RFC 1952 says Latin-1; what writes gzip today writes UTF-8.
        let bytes = self.name.as_deref()?;
        Some(match std::str::from_utf8(bytes) {
            Ok(name) => name.to_owned(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        })
    }

    /// Takes from `input` until its end or until the output is full, and says how much it took.
    pub(super) fn push(&mut self, input: &[u8], file: &mut DecompressedFile) -> Result<usize> {
        let missing = SNIFF_LENGTH.saturating_sub(self.head.len()).min(input.len());
        self.head.extend_from_slice(input.get(..missing).unwrap_or_default());
        let DecodeState::Undetermined(first) = self.state else {
            return self.decompress(input, file);
        };
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

    pub(super) fn finish(&mut self, file: &mut DecompressedFile) -> Result<()> {
        match &mut self.state {
            DecodeState::Undetermined(first) => {
                let head = first.as_slice();
                self.received = head.len() as u64;
                file.write(self.received, head)
            }
            DecodeState::GzipMember(_) => self.end_member(file),
            DecodeState::Plain | DecodeState::BetweenMembers => Ok(()),
        }
    }

    /// Checks the member's end: its length and its CRC.
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

/// The file as it is unpacked: counted, hashed and written.
pub(super) struct DecompressedFile {
    pub(super) output: Output,
    remote_path: String,
    limits: DecompressLimits,
    size: u64,
    digest: Sha256,
}

impl DecompressedFile {
    pub(super) fn new(output: Output, remote_path: &str, limits: DecompressLimits) -> Self {
        Self { output, remote_path: remote_path.to_owned(), limits, size: 0, digest: Sha256::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        (self.size, self.digest) = (0, Sha256::new());
        self.output.restart()
    }

    pub(super) fn into_parts(self) -> (Output, u64, String) {
        (self.output, self.size, hex(&self.digest.finalize()))
    }

    /// Hands on what the decoder has unpacked by now, which is 32 KiB at most.
    fn drain(&mut self, packed: u64, member: &mut GzDecoder<Vec<u8>>) -> Result<()> {
        let unpacked = member.get_mut();
        if !unpacked.is_empty() {
            self.write(packed, unpacked)?;
            unpacked.clear();
        }
        Ok(())
    }

    /// Writes `data`, which is there once `packed` bytes of the payload have been read.
    fn write(&mut self, packed: u64, data: &[u8]) -> Result<()> {
        self.size += data.len() as u64;
        let DecompressLimits { size, ratio, ratio_min_size } = self.limits;
        if self.size > size {
            return Err(self.limit_error(&format!("is larger than {size} bytes")));
        }
        if self.size > ratio_min_size && self.size > packed.saturating_mul(ratio) {
            return Err(self.limit_error(&format!(
                "unpacks to more than {ratio} times what was sent, as a gzip bomb does"
            )));
        }
        self.digest.update(data);
        self.output.write(data)
    }

    fn limit_error(&self, what: &str) -> Error {
        Error::new(Kind::Download, format!("the file {} {what}", self.remote_path)).not_retryable().with_hint(
            "nothing of it was kept; if the file is wanted all the same, have a script pack or split it on the machine, and collect that",
        )
    }

    fn corrupt_error(&self, error: &std::io::Error) -> Error {
        let path = &self.remote_path;
        Error::new(Kind::Download, format!("the result of {path} is cut short or damaged: {error}"))
            .not_retryable()
            .with_hint("nothing of it was kept; collect the file again in a new session")
    }
}
