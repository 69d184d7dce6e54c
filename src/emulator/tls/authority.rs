//! The certificate authority that signs the emulator's certificates: one for each run, or one that
//! stays in a folder.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

use crate::emulator::tls::files;
use crate::error::{Error, Kind, Result};

/// The argument that names the folder, for errors.
const FOLDER: &str = "ca_folder";
const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate that an [`Authority`] has signed, and its key.
pub struct SignedCertificate {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Returns a new authority, which nothing keeps.
    pub fn of_this_run() -> Result<Self> {
        let key = KeyPair::generate().map_err(not_created)?;
        let params = authority_params("mde-live-response emulator's authority of this run")?;
        let pem = params.self_signed(&key).map_err(not_created)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Returns the authority of a folder. Creates the folder, the authority's certificate
    /// (`ca.pem`) and its key (`ca-key.pem`) if they do not exist.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        if folder.as_os_str().is_empty() {
            return Err(Error::invalid(format!("{FOLDER} is empty; give a folder")));
        }
        std::fs::create_dir_all(folder).map_err(|error| {
            let folder = files::shown(folder);
            Error::invalid(format!("{FOLDER}: the folder {folder} cannot be created: {error}"))
        })?;
        let key_path = folder.join(KEY_FILE);
        let mut key_file = files::open_or_create(FOLDER, &key_path)?;
        // Of two emulators that start at once, one creates the authority, and both use it. A file
        // system without locks has only no such protection.
        let _ = key_file.lock();
        let mut text = files::read_key(FOLDER, &key_path, &mut key_file)?;
        if text.is_empty() {
            text = Zeroizing::new(KeyPair::generate().map_err(not_created)?.serialize_pem());
            files::write_key(FOLDER, &key_path, &mut key_file, &text)?;
        }
        let key = KeyPair::from_pem(&text).map_err(|_| {
            files::unusable(FOLDER, &key_path, "it is not a private key in PEM").with_hint(REMOVE)
        })?;
        let params = authority_params("mde-live-response emulator's authority")?;
        let path = folder.join(CERTIFICATE_FILE);
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pem = params.self_signed(&key).map_err(not_created)?.pem();
                files::write_whole(FOLDER, &path, &pem)?;
                pem
            }
            Err(error) => return Err(files::unusable(FOLDER, &path, error)),
        };
        let authority = Self { issuer: Issuer::new(params, key), pem };
        authority.check(&path)?;
        Ok(authority)
    }

    /// Returns the authority's certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns a new certificate for `names`, which are host names and IP addresses.
    pub fn sign(&self, names: Vec<String>) -> Result<SignedCertificate> {
        let signed = || -> std::result::Result<_, rcgen::Error> {
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, "mde-live-response emulator");
            // Python's ssl module in strict mode (3.13 and later) requires this extension.
            params.use_authority_key_identifier_extension = true;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            // The serial number follows from the key. Clients refuse two certificates of one
            // authority with the same number, so each one has a key of its own.
            let key = KeyPair::generate()?;
            Ok((params.signed_by(&key, &self.issuer)?, key))
        };
        let (certificate, key) = signed().map_err(not_created)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| {
            let message = format!("failed to use the key of the emulator's certificate: {error}");
            Error::new(Kind::Service, message)
        })?;
        Ok(SignedCertificate { certificate: certificate.der().clone(), key })
    }

    /// Checks that a client that trusts `ca.pem` accepts what the key signs.
    fn check(&self, path: &Path) -> Result<()> {
        let unusable = |why: &str| files::unusable(FOLDER, path, why).with_hint(REMOVE);
        let authority = CertificateDer::from_pem_slice(self.pem.as_bytes())
            .map_err(|_| unusable("it is not a certificate in PEM"))?;
        let anchor = webpki::anchor_from_trusted_cert(&authority)
            .map_err(|_| unusable("it is not the certificate of an authority"))?;
        let signed = self.sign(vec!["localhost".to_owned()])?;
        let verified = EndEntityCert::try_from(&signed.certificate).and_then(|certificate| {
            let algorithms = webpki::ALL_VERIFICATION_ALGS;
            let usage = KeyUsage::server_auth();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1 << 31));
            let anchors = [anchor];
            certificate
                .verify_for_usage(algorithms, &anchors, &[], now, usage, None, None)
                .map(|_| ())
        });
        verified.map_err(|_| unusable("its key is not the one beside it, ca-key.pem"))
    }
}

const REMOVE: &str =
    "give another folder, or remove both ca.pem and ca-key.pem to get a new authority";

/// Returns the parameters of an authority with this name.
fn authority_params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(not_created)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn not_created(error: rcgen::Error) -> Error {
    Error::new(Kind::Service, format!("failed to create the emulator's certificate: {error}"))
}
