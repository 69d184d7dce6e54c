//! Content codings of answers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::{DeflateEncoder, ZlibEncoder};

use crate::emulator::control::switches::Compression;
use crate::emulator::session::script::gzip;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Zlib,
    RawDeflate,
    Gzip,
}

impl Coding {
    /// The coding that is preferred among those accepted.
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

    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib | Self::RawDeflate => "deflate",
            Self::Gzip => "gzip",
        }
    }
}

/// Writing to memory cannot fail.
pub fn compress(body: &[u8], coding: Coding) -> Bytes {
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
