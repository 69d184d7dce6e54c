//! A certificate and its private key, by which an application signs in.

mod decrypt;
mod der_reader;
mod pem;
mod pkcs12;

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::RSA_PSS_SHA256;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The key of one application, and which certificate it belongs to.
pub struct Certificate {
    key: KeyPair,
    /// base64url of the SHA-256 of the certificate's DER: `x5t#S256`.
    thumbprint: String,
}

/// What a file holds: keys as PKCS#8, or as PKCS#1 where it says so, and certificates, all DER.
#[derive(Default)]
struct ParsedFile {
    keys: Vec<Key>,
    certificates: Vec<Vec<u8>>,
}

enum Key {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
}

impl Certificate {
    /// Reads PEM or PKCS#12. `password` is that of the key or the container.
    pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<Self> {
        let contents = if pem::is_pem(data) {
            pem::parse(data, password)?
        } else {
            pkcs12::parse(data, password)?
        };
        let found = match contents.keys.as_slice() {
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
        let is_of_key = |der: &&Vec<u8>| {
            der_reader::public_key(der).is_some_and(|public| public == found.public().as_ref())
        };
        let own = contents.certificates.iter().find(is_of_key).ok_or_else(|| {
            let why = match contents.certificates.len() {
                0 => "it holds no certificate",
                _ => "no certificate in it is that of its private key",
            };
            unusable(
                why,
                "give certificate and private key in one file: PEM one after the other, or PKCS#12",
            )
        })?;
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(own)), key: found })
    }

    pub fn from_file(path: &Path, password: Option<&Secret>) -> Result<Self> {
        let data =
            std::fs::read(path).map_err(|error| Error::io("read the certificate", path, error))?;
        Self::parse(&Zeroizing::new(data), password).map_err(|mut error| {
            error.message = format!("{}: {}", path.display(), error.message);
            error
        })
    }

    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// RSA-PSS with SHA-256, as PS256 has it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).map_err(
            |_| Error::new(Kind::Authentication, "the certificate's key could not sign"),
        )?;
        Ok(signature)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.thumbprint)
    }
}

fn key_pair(key: &Key) -> Result<KeyPair> {
    let made = match key {
        Key::Pkcs8(der) => KeyPair::from_pkcs8(der),
        Key::Pkcs1(der) => KeyPair::from_der(der),
    };
    made.map_err(|why| {
        unusable(
            &format!("its private key is not fit ({why})"),
            "an RSA key of 2048 to 4096 bits is needed",
        )
    })
}

/// No word of what the file holds.
fn unusable(why: &str, hint: &str) -> Error {
    Error::invalid(format!("the certificate can't be used: {why}")).with_hint(hint)
}

fn wrong_password(password: Option<&Secret>) -> Error {
    match password {
        None => unusable("it is encrypted, and no password was given", "give its password"),
        Some(_) => unusable("the password is wrong, or the file is damaged", "check the password"),
    }
}
