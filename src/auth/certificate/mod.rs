//! Reads the certificate and the private key that an application signs in with.

mod decrypt;
mod pem;
mod pkcs12;

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Decode;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PSS_SHA256;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// An RSA private key and the thumbprint of its certificate.
pub struct Certificate {
    key: KeyPair,
    /// base64url of the SHA-256 of the certificate's DER: the JWT header `x5t#S256`.
    thumbprint: String,
}

/// The private keys and certificates of a file, all in DER.
#[derive(Default)]
struct ParsedFile {
    keys: Vec<PrivateKey>,
    certificates: Vec<Vec<u8>>,
}

enum PrivateKey {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
}

impl Certificate {
    /// Reads PEM or PKCS#12. `password` decrypts the private key or the PKCS#12 file.
    pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<Self> {
        let file = if pem::is_pem(data) {
            pem::parse(data, password)?
        } else {
            pkcs12::parse(data, password)?
        };
        let key = match file.keys.as_slice() {
            [] => {
                return Err(unusable(
                    "it holds no private key",
                    "give certificate and private key in one file",
                ));
            }
            [key] => key_pair(key)?,
            _ => {
                return Err(unusable(
                    "it holds more than one private key",
                    "give one key and its certificate",
                ));
            }
        };
        // Matched by public key: a file may hold the certificates of the issuers too, in any
        // order, and PKCS#12 links keys to certificates by an optional attribute only.
        let matches_key =
            |der: &&Vec<u8>| public_key(der).is_some_and(|public| public == key.public().as_ref());
        let own = file.certificates.iter().find(matches_key).ok_or_else(|| {
            let why = match file.certificates.len() {
                0 => "it holds no certificate",
                _ => "no certificate in it matches its private key",
            };
            unusable(
                why,
                "give certificate and private key in one file: PEM one after the other, or PKCS#12",
            )
        })?;
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(own)), key })
    }

    /// Reads a PEM or PKCS#12 file.
    pub fn from_file(path: &Path, password: Option<&Secret>) -> Result<Self> {
        let data =
            std::fs::read(path).map_err(|error| Error::io("read the certificate", path, error))?;
        Self::parse(&Zeroizing::new(data), password).map_err(|mut error| {
            error.message = format!("{}: {}", path.display(), error.message);
            error
        })
    }

    /// Returns the certificate's SHA-256 thumbprint in base64url.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Signs `message` with RSA-PSS and SHA-256, which JWT calls PS256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).map_err(
            |_| Error::new(Kind::Authentication, "signing with the certificate's key failed"),
        )?;
        Ok(signature)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.thumbprint)
    }
}

fn key_pair(key: &PrivateKey) -> Result<KeyPair> {
    let parsed = match key {
        PrivateKey::Pkcs8(der) => KeyPair::from_pkcs8(der),
        PrivateKey::Pkcs1(der) => KeyPair::from_der(der),
    };
    parsed.map_err(|why| {
        unusable(
            &format!("its private key is not supported ({why})"),
            "give an RSA key of 2048 to 4096 bits",
        )
    })
}

/// Returns the subject's public key of a certificate in DER.
fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
    key.as_bytes().map(<[u8]>::to_vec)
}

// `why` never quotes the file: it may hold an unencrypted private key.
fn unusable(why: &str, hint: &str) -> Error {
    Error::invalid(format!("the certificate can't be used: {why}")).with_hint(hint)
}

fn wrong_password(password: Option<&Secret>) -> Error {
    match password {
        None => unusable("it is encrypted, and no password was given", "give its password"),
        Some(_) => unusable("the password is wrong, or the file is damaged", "check the password"),
    }
}
