//! Encryption by a password: PBES2 (RFC 8018), and the 3DES of PKCS#12 that Windows writes unless told otherwise.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use der::asn1::ObjectIdentifier;
use pkcs5::EncryptionScheme;
use pkcs12::PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::der_reader::DerReader;
use super::{unusable, wrong_password};
use crate::error::{Error, Result};
use crate::secret::Secret;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
/// More would hold the caller up for minutes.
const MAX_ITERATIONS: u32 = 10_000_000;

fn unsupported_encryption(what: &str) -> Error {
    unusable(
        &format!("it is encrypted by {what}, which is not read here"),
        "write it anew with a current openssl: openssl pkcs12 -legacy -in old.pfx -nodes -out all.pem && \
         openssl pkcs12 -export -in all.pem -out new.pfx",
    )
}

pub fn check_iterations(count: u32) -> Result<i32> {
    let fit = i32::try_from(count).ok().filter(|_| (1..=MAX_ITERATIONS).contains(&count));
    fit.ok_or_else(|| {
        unusable("it asks for an absurd number of rounds", "write it anew with openssl")
    })
}

/// The key of an `EncryptedPrivateKeyInfo`.
pub fn decrypt_private_key(der: &[u8], password: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>> {
    let parts = || {
        let mut info = DerReader::new(der)?.sequence()?;
        Some((info.next()?.encoded, info.octet_string()?))
    };
    let (algorithm, ciphertext) =
        parts().ok_or_else(|| unusable("its private key is damaged", "give it as it was made"))?;
    decrypt_content(algorithm, ciphertext, password)
}

/// `algorithm`: an `AlgorithmIdentifier` in DER.
pub fn decrypt_content(
    algorithm: &[u8],
    ciphertext: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    let kind = DerReader::new(algorithm).and_then(|mut walk| walk.sequence()?.oid());
    let buffer = Zeroizing::new(ciphertext.to_vec());
    match kind {
        Some(PBES2) => pbes2(algorithm, buffer, password),
        Some(PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC) => {
            triple_des(algorithm, buffer, password)
        }
        Some(other) => Err(unsupported_encryption(&format!("the algorithm {other}"))),
        None => Err(unsupported_encryption("no algorithm that can be told")),
    }
}

fn pbes2(
    algorithm: &[u8],
    mut buffer: Zeroizing<Vec<u8>>,
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    let scheme = EncryptionScheme::try_from(algorithm)
        .map_err(|_| unsupported_encryption("a cipher or function of PBES2"))?;
    let kdf = scheme.pbes2().and_then(|parameters| parameters.kdf.pbkdf2());
    check_iterations(
        kdf.ok_or_else(|| unsupported_encryption("a function of PBES2 other than PBKDF2"))?
            .iteration_count,
    )?;
    let given = password.map(Secret::expose).unwrap_or_default();
    let length = match scheme.decrypt_in_place(given, &mut buffer) {
        Ok(plain) => plain.len(),
        Err(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed) => {
            return Err(wrong_password(password));
        }
        Err(_) => return Err(unsupported_encryption("a cipher of PBES2")),
    };
    buffer.truncate(length);
    Ok(buffer)
}

fn triple_des(
    algorithm: &[u8],
    mut buffer: Zeroizing<Vec<u8>>,
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    let parameters = || {
        let mut algorithm = DerReader::new(algorithm)?.sequence()?;
        algorithm.oid()?;
        let mut parameters = algorithm.sequence()?;
        Some((parameters.octet_string()?, parameters.integer()?))
    };
    let (salt, count) =
        parameters().ok_or_else(|| unsupported_encryption("3DES without its parameters"))?;
    let (password_bytes, count) = (bmp_password(password), check_iterations(count)?);
    let derive = |kind, length| {
        Zeroizing::new(derive_key::<Sha1>(&password_bytes, salt, kind, count, length))
    };
    let (key, iv) = (derive(Pkcs12KeyType::EncryptionKey, 24), derive(Pkcs12KeyType::Iv, 8));
    let wrong = || wrong_password(password);
    let cipher =
        cbc::Decryptor::<des::TdesEde3>::new_from_slices(&key, &iv).map_err(|_| wrong())?;
    let length = cipher.decrypt_padded_mut::<Pkcs7>(&mut buffer).map_err(|_| wrong())?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// A password as PKCS#12 counts it: UTF-16, big end first, with its NUL.
pub fn bmp_password(password: Option<&Secret>) -> Zeroizing<Vec<u8>> {
    let text = password.map(Secret::expose).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
    bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes));
    bytes
}
