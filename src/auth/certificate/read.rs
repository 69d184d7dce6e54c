//! DER, one element after the other.

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode, Header, Reader, SliceReader, Tag};

/// What stands in a constructed element, or in a file.
pub struct Walk<'a>(SliceReader<'a>);

pub struct Element<'a> {
    pub tag: Tag,
    /// With tag and length.
    pub whole: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> Walk<'a> {
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
        let whole = self.0.read_slice((head + header.length).ok()?).ok()?;
        let value = whole.get(usize::try_from(head).ok()?..)?;
        Some(Element { tag: header.tag, whole, value })
    }

    pub fn sequence(&mut self) -> Option<Self> {
        self.next().filter(|element| element.tag == Tag::Sequence)?.inside()
    }

    /// What stands in a `[0]`.
    pub fn explicit(&mut self) -> Option<Self> {
        self.next().filter(Element::is_context)?.inside()
    }

    pub fn octets(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|element| element.tag == Tag::OctetString).map(|element| element.value)
    }

    pub fn oid(&mut self) -> Option<ObjectIdentifier> {
        ObjectIdentifier::from_der(self.next()?.whole).ok()
    }

    pub fn number(&mut self) -> Option<u32> {
        u32::from_der(self.next()?.whole).ok()
    }
}

impl<'a> Element<'a> {
    pub fn inside(&self) -> Option<Walk<'a>> {
        Walk::new(self.value)
    }

    pub fn is_context(&self) -> bool {
        matches!(self.tag, Tag::ContextSpecific { .. })
    }
}

/// The public key of a certificate, as its subject's `BIT STRING` holds it.
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut body = Walk::new(certificate)?.sequence()?.sequence()?;
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
