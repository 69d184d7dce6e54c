//! PKCS#12 (RFC 7292), as openssl, Windows and Key Vault write it.

use der::asn1::ObjectIdentifier;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use pkcs12::{
    PKCS_12_CERT_BAG_OID, PKCS_12_KEY_BAG_OID, PKCS_12_PKCS8_KEY_BAG_OID,
    PKCS_12_SAFE_CONTENTS_BAG_OID,
};
use ring::hmac;
use zeroize::Zeroizing;

use super::decrypt::{self, bmp_password};
use super::der_reader::DerReader;
use super::{Key, ParsedFile, unusable, wrong_password};
use crate::error::{Error, Result};
use crate::secret::Secret;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// Bags within bags.
const MAX_BAG_DEPTH: u8 = 4;

fn damaged() -> Error {
    unusable(
        "it is neither PEM nor PKCS#12 in DER, or it is damaged",
        "give PEM or PKCS#12, with the private key",
    )
}

pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<ParsedFile> {
    let (safe, mac) = parse_pfx(data).ok_or_else(damaged)?;
    if let Some(mac) = mac {
        mac.check(safe, password)?;
    }
    let mut contents = ParsedFile::default();
    let mut parts =
        DerReader::new(safe).and_then(|mut safe| safe.sequence()).ok_or_else(damaged)?;
    while let Some(mut part) = parts.sequence() {
        let bags = decrypt_bags(&mut part, password)?;
        collect_bags(&bags, password, MAX_BAG_DEPTH, &mut contents)?;
    }
    Ok(contents)
}

/// The authenticated content, and what it is authenticated by.
fn parse_pfx(data: &[u8]) -> Option<(&[u8], Option<Mac<'_>>)> {
    let mut pfx = DerReader::new(data)?.sequence()?;
    pfx.integer().filter(|version| *version == 3)?;
    let mut content = pfx.sequence()?;
    content.oid().filter(|kind| *kind == DATA)?;
    let safe = content.explicit()?.octet_string()?;
    Some((safe, pfx.sequence().and_then(Mac::parse)))
}

struct Mac<'a> {
    algorithm: ObjectIdentifier,
    digest: &'a [u8],
    salt: &'a [u8],
    iterations: u32,
}

impl<'a> Mac<'a> {
    fn parse(mut mac: DerReader<'a>) -> Option<Self> {
        let mut info = mac.sequence()?;
        let algorithm = info.sequence()?.oid()?;
        Some(Self {
            algorithm,
            digest: info.octet_string()?,
            salt: mac.octet_string()?,
            iterations: mac.integer().unwrap_or(1),
        })
    }

    /// Tells a wrong password apart. One of another algorithm, as PBMAC1, is left: a key that is not its certificate's
    /// is refused in any case.
    fn check(&self, safe: &[u8], password: Option<&Secret>) -> Result<()> {
        // An empty password may be no password at all, which is other bytes.
        let given = bmp_password(password);
        let none = given.len() == 2;
        let fits = self.mac_matches(safe, &given)? || none && self.mac_matches(safe, &[])?;
        if fits { Ok(()) } else { Err(wrong_password(password)) }
    }

    fn mac_matches(&self, safe: &[u8], password: &[u8]) -> Result<bool> {
        let iterations = decrypt::check_iterations(self.iterations)?;
        let (algorithm, key) = match self.algorithm {
            SHA_256 => (
                hmac::HMAC_SHA256,
                derive_key::<sha2::Sha256>(password, self.salt, Pkcs12KeyType::Mac, iterations, 32),
            ),
            SHA_1 => (
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                derive_key::<sha1::Sha1>(password, self.salt, Pkcs12KeyType::Mac, iterations, 20),
            ),
            _ => return Ok(true),
        };
        let key = Zeroizing::new(key);
        Ok(hmac::verify(&hmac::Key::new(algorithm, &key), safe, self.digest).is_ok())
    }
}

/// The bags of one part of the safe, decrypted where it is.
fn decrypt_bags(part: &mut DerReader<'_>, password: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>> {
    let kind = part.oid().ok_or_else(damaged)?;
    let mut content = part.explicit().ok_or_else(damaged)?;
    if kind == DATA {
        return content
            .octet_string()
            .map(|bags| Zeroizing::new(bags.to_vec()))
            .ok_or_else(damaged);
    }
    if kind != ENCRYPTED_DATA {
        return Err(unusable(
            "it is encrypted for a recipient's key",
            "give one that is encrypted by a password",
        ));
    }
    let mut encrypted = || {
        let mut data = content.sequence()?;
        data.integer()?;
        let mut info = data.sequence()?;
        info.oid()?;
        Some((info.next()?.encoded, info.next()?.value))
    };
    let (algorithm, ciphertext) = encrypted().ok_or_else(damaged)?;
    decrypt::decrypt_content(algorithm, ciphertext, password)
}

fn collect_bags(
    bags: &[u8],
    password: Option<&Secret>,
    depth: u8,
    contents: &mut ParsedFile,
) -> Result<()> {
    let mut bags = DerReader::new(bags).and_then(|mut bags| bags.sequence()).ok_or_else(damaged)?;
    while let Some(mut bag) = bags.sequence() {
        let (kind, value) = bag.oid().zip(bag.next()).ok_or_else(damaged)?;
        match kind {
            PKCS_12_KEY_BAG_OID => {
                contents.keys.push(Key::Pkcs8(Zeroizing::new(value.value.to_vec())))
            }
            PKCS_12_PKCS8_KEY_BAG_OID => {
                contents
                    .keys
                    .push(Key::Pkcs8(decrypt::decrypt_private_key(value.value, password)?));
            }
            PKCS_12_CERT_BAG_OID => {
                contents.certificates.extend(certificate(value.value).map(<[u8]>::to_vec));
            }
            PKCS_12_SAFE_CONTENTS_BAG_OID if depth > 0 => {
                collect_bags(value.value, password, depth - 1, contents)?
            }
            _ => {}
        }
    }
    Ok(())
}

fn certificate(bag: &[u8]) -> Option<&[u8]> {
    let mut bag = DerReader::new(bag)?.sequence()?;
    bag.oid()?;
    bag.explicit()?.octet_string()
}
