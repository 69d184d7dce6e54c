//! The blobs that have a link, and the signatures of the links.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::emulator::blob::spooled_file::SpooledFile;
use crate::emulator::clock::Tick;
use crate::emulator::session::action::Content;
use crate::emulator::wire::compress::gzip;

/// Where a blob comes from: the index of the action, and that of the command in it.
pub type BlobSource = (u32, usize);

/// All blobs that have a link. A file is packed at its first download.
#[derive(Debug)]
pub struct ResultStore {
    key: [u8; 16],
    sources: HashMap<String, BlobSource>,
    packed: HashMap<String, PackedBlob>,
}

/// The bytes of a blob as they are served.
#[derive(Clone, Debug)]
pub enum PackedBlob {
    Bytes(Bytes),
    File(SpooledFile),
}

/// A file to pack without the lock.
pub struct PackJob {
    pub blob: String,
    pub content: Content,
    /// The name in the gzip header.
    pub name: Option<String>,
    pub gzip: bool,
}

impl ResultStore {
    pub fn new(key: [u8; 16]) -> Self {
        Self { key, sources: HashMap::new(), packed: HashMap::new() }
    }

    /// Forgets every blob. The key stays.
    pub fn clear(&mut self) {
        self.sources.clear();
        self.packed.clear();
    }

    pub fn add_link(&mut self, blob: String, source: BlobSource) {
        self.sources.insert(blob, source);
    }

    pub fn source(&self, blob: &str) -> Option<BlobSource> {
        self.sources.get(blob).copied()
    }

    pub fn packed(&self, blob: &str) -> Option<&PackedBlob> {
        self.packed.get(blob)
    }

    pub fn insert_packed(&mut self, blob: String, packed: PackedBlob) {
        self.packed.insert(blob, packed);
    }

    /// Signs a blob's name, the link's other parameters (`rest`) and its expiry.
    ///
    /// The first 8 bytes of the signature are the expiry in emulated time, XORed with a mask. The
    /// `se` parameter of the link is in wall time, which does not follow jumps of the clock.
    pub fn sign(&self, blob: &str, rest: &str, expires: Tick) -> String {
        let mask = self.digest(blob, "", 0);
        let mut signature = Vec::with_capacity(32);
        signature.extend(expires.to_le_bytes().iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
        signature.extend(self.digest(blob, rest, expires).iter().take(24));
        STANDARD.encode(signature)
    }

    /// Returns when a link expires, or `None` if the signature is not valid.
    pub fn verify(&self, blob: &str, rest: &str, signature: &str) -> Option<Tick> {
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
    /// Reads and packs the file. Slow: must run without the lock.
    pub fn run(&self) -> std::io::Result<PackedBlob> {
        let name = self.name.as_deref();
        match &self.content {
            Content::Bytes(bytes) if self.gzip => Ok(PackedBlob::Bytes(gzip(bytes, name).into())),
            Content::Bytes(bytes) => Ok(PackedBlob::Bytes(bytes.clone())),
            Content::Path(path) if self.gzip => SpooledFile::gzip(path, name).map(PackedBlob::File),
            Content::Path(path) => SpooledFile::open(path).map(PackedBlob::File),
        }
    }
}
