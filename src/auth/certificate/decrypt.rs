//! Decrypts with a password: PBES2 (RFC 8018), and the 3DES of PKCS#12 that Windows writes by
//! default.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, KeyIvInit};
use der::asn1::AnyRef;
use der::referenced::OwnedToRef;
use der::{Decode, Tag, Tagged};
use pkcs5::EncryptionScheme;
use pkcs5::pbes2::PBES2_OID;
use pkcs12::PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC;
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use pkcs12::pbe_params::{EncryptedPrivateKeyInfo, Pkcs12PbeParams};
use sha1::Sha1;
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use super::{unusable, wrong_password};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// More rounds of a key derivation would block the caller for minutes.
const MAX_ROUNDS: i32 = 10_000_000;

fn unsupported_encryption(what: &str) -> Error {
    unusable(
        &format!("it is encrypted with {what}, which is not supported"),
        "convert it with a current openssl: openssl pkcs12 -legacy -in old.pfx -nodes -out \
         all.pem && openssl pkcs12 -export -in all.pem -out new.pfx",
    )
}

/// Refuses a number of key derivation rounds that is not between 1 and 10 million.
pub fn check_rounds(count: i32) -> Result<i32> {
    Some(count).filter(|count| (1..=MAX_ROUNDS).contains(count)).ok_or_else(|| {
        unusable(
            "its number of key derivation rounds is not between 1 and 10 million",
            "convert it with openssl",
        )
    })
}

/// Decrypts an `EncryptedPrivateKeyInfo` in DER.
pub fn decrypt_private_key_der(
    der: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    let info = EncryptedPrivateKeyInfo::from_der(der)
        .map_err(|_| unusable("its private key is damaged", "give the file as it was created"))?;
    decrypt_private_key(&info, password)
}

/// Returns the PKCS#8 key inside an `EncryptedPrivateKeyInfo`.
pub fn decrypt_private_key(
    info: &EncryptedPrivateKeyInfo,
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    decrypt(&info.encryption_algorithm, info.encrypted_data.as_bytes(), password)
}

/// Decrypts `ciphertext` with `password`; no password counts as an empty one.
pub fn decrypt(
    algorithm: &AlgorithmIdentifierOwned,
    ciphertext: &[u8],
    password: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = match algorithm.oid {
        PBES2_OID => decrypt_pbes2(algorithm, &mut buffer, password)?,
        PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC => {
            decrypt_triple_des(algorithm, &mut buffer, password)?
        }
        other => return Err(unsupported_encryption(&format!("the algorithm {other}"))),
    };
    buffer.truncate(length);
    // A wrong password leaves valid padding once in 256 times. A key and a list of bags are each
    // one SEQUENCE.
    let plaintext = AnyRef::from_der(&buffer);
    if plaintext.is_ok_and(|value| value.tag() == Tag::Sequence) {
        Ok(buffer)
    } else {
        Err(wrong_password(password))
    }
}

/// Decrypts in place and returns the length of the plaintext.
fn decrypt_pbes2(
    algorithm: &AlgorithmIdentifierOwned,
    buffer: &mut [u8],
    password: Option<&Secret>,
) -> Result<usize> {
    let scheme = EncryptionScheme::try_from(algorithm.owned_to_ref())
        .map_err(|_| unsupported_encryption("a cipher or function of PBES2"))?;
    let kdf = scheme.pbes2().and_then(|parameters| parameters.kdf.pbkdf2());
    let kdf = kdf.ok_or_else(|| unsupported_encryption("a function of PBES2 other than PBKDF2"))?;
    check_rounds(i32::try_from(kdf.iteration_count).unwrap_or(i32::MAX))?;
    let given = password.map(Secret::expose).unwrap_or_default();
    match scheme.decrypt_in_place(given, buffer) {
        Ok(plain) => Ok(plain.len()),
        Err(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed) => {
            Err(wrong_password(password))
        }
        Err(_) => Err(unsupported_encryption("a cipher of PBES2")),
    }
}

// No crate of the RustCrypto generation in use decrypts `pbeWithSHAAnd3-KeyTripleDES-CBC`, and
// the certificate export of Windows still defaults to it.
fn decrypt_triple_des(
    algorithm: &AlgorithmIdentifierOwned,
    buffer: &mut [u8],
    password: Option<&Secret>,
) -> Result<usize> {
    let parameters = algorithm.parameters.as_ref();
    let parameters: Pkcs12PbeParams = parameters
        .and_then(|parameters| parameters.decode_as().ok())
        .ok_or_else(|| unsupported_encryption("3DES without its parameters"))?;
    let rounds = check_rounds(parameters.iterations)?;
    let (given, salt) = (bmp_password(password), parameters.salt.as_bytes());
    let derive =
        |kind, length| Zeroizing::new(derive_key::<Sha1>(&given, salt, kind, rounds, length));
    let (key, iv) = (derive(Pkcs12KeyType::EncryptionKey, 24), derive(Pkcs12KeyType::Iv, 8));
    let wrong = || wrong_password(password);
    let cipher =
        cbc::Decryptor::<des::TdesEde3>::new_from_slices(&key, &iv).map_err(|_| wrong())?;
    Ok(cipher.decrypt_padded_mut::<Pkcs7>(buffer).map_err(|_| wrong())?.len())
}

/// Encodes a password as PKCS#12 does: UTF-16, big-endian, with a NUL terminator.
pub fn bmp_password(password: Option<&Secret>) -> Zeroizing<Vec<u8>> {
    let text = password.map(Secret::expose).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
    bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_be_bytes));
    bytes
}
