//! DER, one element after the other.

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode, Header, Reader, SliceReader, Tag};

/// What stands in a constructed element, or in a file.
pub struct DerReader<'a>(SliceReader<'a>);

pub struct Element<'a> {
    pub tag: Tag,
    /// With tag and length.
    pub encoded: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> DerReader<'a> {
    pub fn new(der: &'a [u8]) -> Option<Self> {
        SliceReader::new(der).ok().map(Self)
    }

    pub fn next(&mut self) -> Option<Element<'a>> {
        if self.0.is_finished() {
            return None;
        }
        let mut ahead = self.0.clone();
        let header = Header::decode(&mut ahead).ok()?;
        let head = header.encoded_len().ok()?;
        let encoded = self.0.read_slice((head + header.length).ok()?).ok()?;
        let value = encoded.get(usize::try_from(head).ok()?..)?;
        Some(Element { tag: header.tag, encoded, value })
    }

    pub fn sequence(&mut self) -> Option<Self> {
        self.next().filter(|element| element.tag == Tag::Sequence)?.contents_reader()
    }

    /// What stands in a `[0]`.
    pub fn explicit(&mut self) -> Option<Self> {
        self.next().filter(Element::is_context)?.contents_reader()
    }

    pub fn octet_string(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == Tag::OctetString).map(|element| element.value)
    }

    pub fn oid(&mut self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_der(self.next()?.encoded).ok()
    }

    pub fn integer(&mut self) -> Option<u32> {
        u32::from_der(self.next()?.encoded).ok()
    }
}

impl<'a> Element<'a> {
    pub fn contents_reader(&self) -> Option<DerReader<'a>> {
        DerReader::new(self.value)
    }

    pub fn is_context(&self) -> bool {
        matches!(self.tag, Tag::ContextSpecific { .. })
    }
}

/// The public key of a certificate, as its subject's `BIT STRING` holds it.
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut body = DerReader::new(certificate)?.sequence()?.sequence()?;
    if body.next()?.is_context() {
        body.next()?; // serial number, after the version
    }
    for _ in ["signature", "issuer", "validity", "subject"] {
        body.next()?;
    }
    let mut info = body.sequence()?;
    info.next()?;
    info.next().filter(|element| element.tag == Tag::BitString)?.value.strip_prefix(&[0])
}
