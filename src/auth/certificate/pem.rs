//! PEM: certificates and keys between lines that name them, other text around them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Key, ParsedFile, decrypt, unusable};
use crate::error::Result;
use crate::secret::Secret;

const BEGIN: &str = "-----BEGIN ";

pub fn is_pem(data: &[u8]) -> bool {
    memchr::memmem::find(data, BEGIN.as_bytes()).is_some()
}

pub fn parse(data: &[u8], password: Option<&Secret>) -> Result<ParsedFile> {
    let text =
        str::from_utf8(data).map_err(|_| unusable("it is not text", "give PEM or PKCS#12"))?;
    let mut contents = ParsedFile::default();
    for part in text.split(BEGIN).skip(1) {
        let Some((label, rest)) = part.split_once("-----") else { continue };
        let body = rest.split("-----END ").next().unwrap_or_default();
        match label {
            "CERTIFICATE" => contents.certificates.push(decode_base64(body)?.to_vec()),
            "PRIVATE KEY" => contents.keys.push(Key::Pkcs8(decode_base64(body)?)),
            "ENCRYPTED PRIVATE KEY" => {
                contents.keys.push(Key::Pkcs8(decrypt::decrypt_private_key(
                    &decode_base64(body)?,
                    password,
                )?));
            }
            "RSA PRIVATE KEY" if body.contains("ENCRYPTED") => {
                let hint = "write it anew: openssl pkcs8 -topk8 -in key.pem -out new.pem";
                return Err(unusable("its private key is encrypted in the old way of PEM", hint));
            }
            "RSA PRIVATE KEY" => contents.keys.push(Key::Pkcs1(decode_base64(body)?)),
            "EC PRIVATE KEY" => {
                return Err(unusable(
                    "its private key is none of RSA",
                    "Entra takes RSA keys alone",
                ));
            }
            _ => {}
        }
    }
    Ok(contents)
}

fn decode_base64(body: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|char| !char.is_ascii_whitespace()));
    let der = STANDARD.decode(base64.as_bytes()).map(Zeroizing::new);
    der.map_err(|_| unusable("its PEM is damaged", "give the file as it was made"))
}
