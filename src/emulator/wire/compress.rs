//! Compression of responses and of collected files.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::emulator::control::switches::Compression;

/// How a response is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Zlib,
    RawDeflate,
    Gzip,
}

impl Coding {
    /// Returns the preferred coding if `accepted` (Accept-Encoding) allows it, else gzip if
    /// allowed.
    pub fn choose(accepted: &str, preferred: Compression) -> Option<Self> {
        let accepts = |coding: &str| {
            accepted.split(',').any(|item| {
                let (name, weight) = item.split_once(';').unwrap_or((item, ""));
                name.trim().eq_ignore_ascii_case(coding)
                    && !matches!(weight.trim(), "q=0" | "q=0.0")
            })
        };
        match preferred {
            Compression::None => None,
            Compression::Deflate if accepts("deflate") => Some(Self::Zlib),
            Compression::RawDeflate if accepts("deflate") => Some(Self::RawDeflate),
            _ => accepts("gzip").then_some(Self::Gzip),
        }
    }

    /// Returns the value of Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib | Self::RawDeflate => "deflate",
            Self::Gzip => "gzip",
        }
    }
}

pub fn compress(body: &[u8], coding: Coding) -> Bytes {
    // Errors are ignored here: writing to memory cannot fail.
    match coding {
        Coding::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Level::fast());
            let _ = encoder.write_all(body);
            encoder.finish().unwrap_or_default().into()
        }
        Coding::RawDeflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Level::fast());
            let _ = encoder.write_all(body);
            encoder.finish().unwrap_or_default().into()
        }
        Coding::Gzip => gzip(body, None).into(),
    }
}

/// Returns `content` as a gzip stream, with a file name in its header if one is given.
pub fn gzip(content: &[u8], name: Option<&str>) -> Vec<u8> {
    let mut encoder = gzip_encoder(Vec::new(), name);
    // Writing to memory cannot fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// Returns an encoder that writes a gzip stream to `to`.
pub fn gzip_encoder<W: Write>(to: W, name: Option<&str>) -> GzEncoder<W> {
    let mut builder = flate2::GzBuilder::new();
    if let Some(name) = name {
        // A NUL ends the name in the header, and the builder panics on one.
        builder = builder.filename(name.replace('\0', ""));
    }
    builder.write(to, Level::fast())
}
