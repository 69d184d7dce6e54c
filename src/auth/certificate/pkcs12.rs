//! Reads certificates and private keys from PKCS#12 (RFC 7292) as openssl, Windows and Key Vault
//! write it. The `pkcs12` and `cms` crates parse the structures.

use cms::content_info::ContentInfo;
use cms::encrypted_data::EncryptedData;
use der::asn1::{Any, ContextSpecific, ObjectIdentifier, OctetString};
use der::{Decode, Encode, SliceReader};
use pkcs12::authenticated_safe::AuthenticatedSafe;
use pkcs12::cert_type::CertBag;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use pkcs12::mac_data::MacData;
use pkcs12::pbe_params::EncryptedPrivateKeyInfo;
use pkcs12::pfx::Pfx;
use pkcs12::safe_bag::{SafeBag, SafeContents};
use pkcs12::{
    PKCS_12_CERT_BAG_OID, PKCS_12_KEY_BAG_OID, PKCS_12_PKCS8_KEY_BAG_OID,
    PKCS_12_SAFE_CONTENTS_BAG_OID,
};
use ring::hmac;
use zeroize::Zeroizing;

use super::decrypt::{self, bmp_password};
use super::{ParsedFile, PrivateKey, unusable, wrong_password};
use crate::error::{Error, Result};
use crate::secret::Secret;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// How deep bags may be nested in bags.
const MAX_BAG_DEPTH: u8 = 4;

fn damaged<E>(_: E) -> Error {
    unusable(
        "it is neither PEM nor PKCS#12 in DER, or it is damaged",
        "give PEM or PKCS#12, with the private key",
    )
}

/// Reads every certificate and private key of a PKCS#12 file.
pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<ParsedFile> {
    // Not `from_der`: bytes after the structure are ignored, as openssl does.
    let pfx = SliceReader::new(data).and_then(|mut reader| Pfx::decode(&mut reader));
    let pfx = pfx.map_err(damaged)?;
    if pfx.auth_safe.content_type != DATA {
        return Err(damaged(()));
    }
    let content: OctetString = pfx.auth_safe.content.decode_as().map_err(damaged)?;
    if let Some(mac) = &pfx.mac_data {
        check_mac(mac, content.as_bytes(), password)?;
    }
    let mut file = ParsedFile::default();
    for part in AuthenticatedSafe::from_der(content.as_bytes()).map_err(damaged)? {
        let bags = decrypt_bags(&part, password)?;
        let bags = SafeContents::from_der(&bags).map_err(damaged)?;
        collect_bags(bags, password, MAX_BAG_DEPTH, &mut file)?;
    }
    Ok(file)
}

/// Reports a wrong password by the MAC. A MAC of another algorithm, such as PBMAC1, is skipped: a
/// key that does not match its certificate is refused in any case.
fn check_mac(mac: &MacData, content: &[u8], password: Option<&Secret>) -> Result<()> {
    // Writers encode an empty password as a NUL terminator or as no bytes at all.
    let given = bmp_password(password);
    let is_empty = given.len() == 2;
    let matches = mac_matches(mac, content, &given)? || is_empty && mac_matches(mac, content, &[])?;
    if matches { Ok(()) } else { Err(wrong_password(password)) }
}

fn mac_matches(mac: &MacData, content: &[u8], password: &[u8]) -> Result<bool> {
    let rounds = decrypt::check_rounds(mac.iterations)?;
    let salt = mac.mac_salt.as_bytes();
    let (algorithm, key) = match mac.mac.algorithm.oid {
        SHA_256 => (
            hmac::HMAC_SHA256,
            derive_key::<sha2::Sha256>(password, salt, Pkcs12KeyType::Mac, rounds, 32),
        ),
        SHA_1 => (
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            derive_key::<sha1::Sha1>(password, salt, Pkcs12KeyType::Mac, rounds, 20),
        ),
        _ => return Ok(true),
    };
    let key = Zeroizing::new(key);
    Ok(hmac::verify(&hmac::Key::new(algorithm, &key), content, mac.mac.digest.as_bytes()).is_ok())
}

/// Returns the DER of the bags in one part of the file, decrypted if needed.
fn decrypt_bags(part: &ContentInfo, password: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>> {
    match part.content_type {
        DATA => {
            let bags: OctetString = part.content.decode_as().map_err(damaged)?;
            Ok(Zeroizing::new(bags.into_bytes()))
        }
        ENCRYPTED_DATA => {
            let data: EncryptedData = part.content.decode_as().map_err(damaged)?;
            let info = data.enc_content_info;
            let ciphertext = info.encrypted_content.ok_or(()).map_err(damaged)?;
            decrypt::decrypt(&info.content_enc_alg, ciphertext.as_bytes(), password)
        }
        _ => Err(unusable(
            "it is encrypted for a recipient's key",
            "give one that is encrypted with a password",
        )),
    }
}

fn collect_bags(
    bags: SafeContents,
    password: Option<&Secret>,
    depth: u8,
    file: &mut ParsedFile,
) -> Result<()> {
    for SafeBag { bag_id, bag_value, .. } in bags {
        // Wiped when dropped: the value may be an unencrypted private key.
        let value = Zeroizing::new(bag_value);
        match bag_id {
            PKCS_12_KEY_BAG_OID => {
                let key = explicit::<Any>(&value)?.to_der().map_err(damaged)?;
                file.keys.push(PrivateKey::Pkcs8(Zeroizing::new(key)));
            }
            PKCS_12_PKCS8_KEY_BAG_OID => {
                let key = explicit::<EncryptedPrivateKeyInfo>(&value)?;
                file.keys.push(PrivateKey::Pkcs8(decrypt::decrypt_private_key(&key, password)?));
            }
            PKCS_12_CERT_BAG_OID => {
                let certificate = explicit::<CertBag>(&value).map(|bag| bag.cert_value);
                file.certificates.extend(certificate.map(OctetString::into_bytes).ok());
            }
            PKCS_12_SAFE_CONTENTS_BAG_OID if depth > 0 => {
                collect_bags(explicit(&value)?, password, depth - 1, file)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Decodes the value inside an explicit `[0]` tag.
fn explicit<T: for<'a> Decode<'a> + der::Tagged>(der: &[u8]) -> Result<T> {
    ContextSpecific::<T>::from_der(der).map(|tagged| tagged.value).map_err(damaged)
}
