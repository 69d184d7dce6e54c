//! Reads certificates and private keys from PEM.

use zeroize::Zeroizing;

use super::{ParsedFile, PrivateKey, decrypt, unusable};
use crate::error::Result;
use crate::secret::Secret;

/// Returns whether `data` has a PEM block.
pub fn is_pem(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"-----BEGIN ").is_some()
}

/// Reads every certificate and private key of a PEM file, and skips its other blocks.
pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<ParsedFile> {
    let text =
        str::from_utf8(data).map_err(|_| unusable("it is not text", "give PEM or PKCS#12"))?;
    let blocks = ::pem::parse_many(text)
        .map_err(|_| unusable("its PEM is damaged", "give the file as it was created"))?;
    let mut file = ParsedFile::default();
    for block in blocks {
        // The header `Proc-Type: 4,ENCRYPTED` of RFC 1421.
        let legacy_encryption =
            block.headers().get("Proc-Type").is_some_and(|value| value.contains("ENCRYPTED"));
        let label = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        match label.as_str() {
            "CERTIFICATE" => file.certificates.push(der.to_vec()),
            "PRIVATE KEY" => file.keys.push(PrivateKey::Pkcs8(der)),
            "ENCRYPTED PRIVATE KEY" => {
                let key = decrypt::decrypt_private_key_der(&der, password)?;
                file.keys.push(PrivateKey::Pkcs8(key));
            }
            "RSA PRIVATE KEY" if legacy_encryption => {
                return Err(unusable(
                    "its private key has the legacy PEM encryption",
                    "convert the key: openssl pkcs8 -topk8 -in key.pem -out new.pem",
                ));
            }
            "RSA PRIVATE KEY" => file.keys.push(PrivateKey::Pkcs1(der)),
            "EC PRIVATE KEY" => {
                return Err(unusable(
                    "its private key is not an RSA key",
                    "give an RSA key: Entra ID accepts no other",
                ));
            }
            _ => {}
        }
    }
    Ok(file)
}
