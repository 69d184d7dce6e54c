//! What a blob holds, unpacked on the way: a gzip of the file, or the file itself.

use std::io::Write;

use flate2::write::GzDecoder;
use sha2::{Digest, Sha256};

use super::hex;
use super::target::Output;
use crate::error::{Error, Kind, Result};

/// What a payload is, told by its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Gzip,
    Other,
}

pub fn sniff(head: &[u8]) -> Payload {
    if head.starts_with(b"\x1f\x8b") { Payload::Gzip } else { Payload::Other }
}

/// What a machine may make us write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of the unpacked file. The default is 4 GiB; the service collects files of up to 3 GB.
    pub size: u64,
    /// Unpacked bytes to a packed one. The default is 500: a gzip of zeros has 1,030, files that people collect under 100.
    pub ratio: u64,
    /// Bytes before the ratio counts. The default is 64 MiB, since small files of zeros are harmless and common.
    pub ratio_from: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { size: 4 << 30, ratio: 500, ratio_from: 64 << 20 }
    }
}

/// Takes a payload in pieces of any size and hands on the file that it holds.
pub(super) struct Unpacker {
    form: Form,
    packed: u64,
    /// The file's name in the gzip header.
    name: Option<Vec<u8>>,
}

enum Form {
    /// Fewer bytes came than tell the form.
    Unknown(Vec<u8>),
    Plain,
    Member(Box<GzDecoder<Vec<u8>>>),
    /// After a member: padding, another member, or the end.
    Between,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self { form: Form::Unknown(Vec::new()), packed: 0, name: None }
    }

    /// The original name, of the gzip's first member.
    pub(super) fn name(&self) -> Option<String> {
        // RFC 1952 says Latin-1; what writes gzip today writes UTF-8.
        let bytes = self.name.as_deref()?;
        Some(match std::str::from_utf8(bytes) {
            Ok(name) => name.to_owned(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        })
    }

    pub(super) fn push(&mut self, input: &[u8], file: &mut Unpacked) -> Result<()> {
        let Form::Unknown(head) = &mut self.form else { return self.unpack(input, file) };
        head.extend_from_slice(input);
        if head.len() < 2 {
            return Ok(());
        }
        let head = std::mem::take(head);
        self.form = match sniff(&head) {
            Payload::Gzip => Form::Between,
            Payload::Other => Form::Plain,
        };
        self.unpack(&head, file)
    }

    fn unpack(&mut self, mut input: &[u8], file: &mut Unpacked) -> Result<()> {
        while !input.is_empty() {
            let taken = match &mut self.form {
                Form::Unknown(_) | Form::Plain => input.len(),
                Form::Between => input.iter().take_while(|byte| **byte == 0).count(),
                Form::Member(member) => member.write(input).map_err(|error| file.broken(&error))?,
            };
            let (read, rest) = input.split_at_checked(taken).unwrap_or((input, &[]));
            self.packed += read.len() as u64;
            match &mut self.form {
                Form::Unknown(_) | Form::Plain => file.write(self.packed, read)?,
                Form::Between if !rest.is_empty() => self.form = Form::Member(Box::new(GzDecoder::new(Vec::new()))),
                Form::Between => {}
                Form::Member(_) if taken == 0 => self.end_member(file)?,
                Form::Member(member) => file.drain(self.packed, member)?,
            }
            input = rest;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, file: &mut Unpacked) -> Result<()> {
        match &mut self.form {
            Form::Unknown(head) => file.write(head.len() as u64, head),
            Form::Member(_) => self.end_member(file),
            Form::Plain | Form::Between => Ok(()),
        }
    }

    /// Checks the member's end: its length and its CRC.
    fn end_member(&mut self, file: &mut Unpacked) -> Result<()> {
        let Form::Member(member) = &mut self.form else { return Ok(()) };
        let ended = member.try_finish();
        file.drain(self.packed, member)?;
        ended.map_err(|error| file.broken(&error))?;
        if self.name.is_none() {
            self.name = Some(member.header().and_then(|header| header.filename()).unwrap_or_default().to_owned());
        }
        self.form = Form::Between;
        Ok(())
    }
}

/// The file as it is unpacked: counted, hashed and written.
pub(super) struct Unpacked {
    pub(super) output: Output,
    remote_path: String,
    limits: UnpackLimits,
    size: u64,
    digest: Sha256,
}

impl Unpacked {
    pub(super) fn new(output: Output, remote_path: &str, limits: UnpackLimits) -> Self {
        Self { output, remote_path: remote_path.to_owned(), limits, size: 0, digest: Sha256::new() }
    }

    pub(super) fn size_and_sha256(self) -> (Output, u64, String) {
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
        let UnpackLimits { size, ratio, ratio_from } = self.limits;
        if self.size > size {
            return Err(self.refused(&format!("is larger than {size} bytes")));
        }
        if self.size > ratio_from && self.size > packed.saturating_mul(ratio) {
            return Err(self.refused(&format!("unpacks to more than {ratio} times what was sent, as a gzip bomb does")));
        }
        self.digest.update(data);
        self.output.write(data)
    }

    fn refused(&self, what: &str) -> Error {
        Error::new(Kind::Download, format!("the file {} {what}", self.remote_path)).not_retryable().with_hint(
            "nothing of it was kept; if the file is wanted all the same, have a script pack or split it on the machine, and collect that",
        )
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        let path = &self.remote_path;
        Error::new(Kind::Download, format!("the result of {path} is cut short or damaged: {error}"))
            .not_retryable()
            .with_hint("nothing of it was kept; collect the file again in a new session")
    }
}
