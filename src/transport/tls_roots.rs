//! Loads the trusted certificate authorities, and notices when their files change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, Result};

/// The files that hold the authorities, as they were at one moment. If the files change, the
/// value that is read afterwards is another one.
///
/// The store of Windows and of macOS is not a file: it counts as unchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct RootFiles {
    bundle: Option<PathBuf>,
    versions: Vec<FileVersion>,
}

/// The path of a file or directory, and what shows that it has changed.
#[derive(Clone, Debug, PartialEq)]
struct FileVersion {
    path: PathBuf,
    /// None if the file cannot be read.
    version: Option<(SystemTime, u64, u64)>,
}

impl RootFiles {
    /// Finds the system's authorities and those of `bundle`, or else of REQUESTS_CA_BUNDLE.
    pub fn find(bundle: Option<&Path>) -> Self {
        let bundle = bundle.map(PathBuf::from).or_else(|| env_path("REQUESTS_CA_BUNDLE"));
        let mut versions = Vec::new();
        let named = [env_path("SSL_CERT_FILE"), env_path("SSL_CERT_DIR")];
        if named == [None, None] {
            versions.extend(system_paths().into_iter().map(FileVersion::read));
        }
        for path in named.into_iter().flatten().chain(bundle.clone()) {
            // The directory of the system has hundreds of files. Its tools replace files and never
            // write into them, which changes the time of the directory.
            if !is_of_the_system(&path) {
                versions.extend(list_files(&path).into_iter().map(FileVersion::read));
            }
            versions.push(FileVersion::read(path));
        }
        Self { bundle, versions }
    }

    /// Loads the authorities. If there are none although they are `needed`, that is an error.
    pub fn load(&self, needed: bool) -> Result<RootCertStore> {
        let native = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A malformed root of the system is skipped, as other TLS clients do.
        roots.add_parsable_certificates(native.certs);
        if let Some(path) = &self.bundle {
            add_bundle(&mut roots, path)?;
        }
        // Reported here: a TLS handshake would fail with a less helpful message.
        if roots.is_empty() && needed {
            let why = native
                .errors
                .first()
                .map_or_else(|| "the store is empty".to_owned(), ToString::to_string);
            return Err(Error::invalid(format!(
                "no certificate authorities could be loaded: {why}"
            ))
            .with_hint(
                "install the ca-certificates of the system, correct SSL_CERT_FILE, or give a PEM \
                 file in ca_bundle",
            ));
        }
        Ok(roots)
    }
}

impl FileVersion {
    fn read(path: PathBuf) -> Self {
        let version = std::fs::metadata(&path).ok().and_then(|metadata| {
            Some((metadata.modified().ok()?, metadata.len(), file_number(&metadata)))
        });
        Self { path, version }
    }
}

#[cfg(unix)]
fn file_number(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(all(unix, not(target_os = "macos")))]
fn system_paths() -> Vec<PathBuf> {
    let found = openssl_probe::probe();
    found.cert_file.into_iter().chain(found.cert_dir).collect()
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn system_paths() -> Vec<PathBuf> {
    Vec::new()
}

#[cfg(all(unix, not(target_os = "macos")))]
fn is_of_the_system(path: &Path) -> bool {
    openssl_probe::candidate_cert_dirs().any(|directory| directory == path)
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn is_of_the_system(_: &Path) -> bool {
    false
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the files of a directory, sorted; none if `path` is a file.
fn list_files(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Adds a file of certificates, or every such file of a directory as OpenSSL and requests do.
fn add_bundle(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    if !path.is_dir() {
        return add_file(roots, path);
    }
    std::fs::read_dir(path)
        .map_err(|error| Error::invalid(format!("CA bundle {}: {error}", path.display())))?;
    // A directory of certificates also holds other files, such as revocation lists.
    let added = list_files(path).iter().filter(|file| add_file(roots, file).is_ok()).count();
    if added == 0 {
        return Err(Error::invalid(format!(
            "CA bundle {}: no file of the directory holds a certificate",
            path.display()
        ))
        .with_hint("give a file of PEM certificates, or a directory of such files"));
    }
    Ok(())
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let unusable = |why: String| {
        Error::invalid(format!("CA bundle {}: {why}", path.display()))
            .with_hint("give a file of PEM certificates")
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| unusable("it is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    for certificate in certificates {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(format!("it holds a malformed certificate: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_in(directory: &Path) -> usize {
        let files = RootFiles::find(Some(directory));
        files.versions.iter().filter(|version| version.path.starts_with(directory)).count()
    }

    #[test]
    fn the_files_of_a_named_directory_are_watched() {
        let directory = std::env::temp_dir().join(format!("mlr-roots-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("a.pem"), "one").unwrap();
        let before = RootFiles::find(Some(&directory));
        assert_eq!(paths_in(&directory), 2);
        std::fs::write(directory.join("a.pem"), "another").unwrap();
        assert_ne!(RootFiles::find(Some(&directory)), before);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn of_the_directory_of_the_system_only_its_own_time_is_read() {
        for directory in openssl_probe::candidate_cert_dirs() {
            let files = RootFiles::find(Some(directory));
            let own =
                files.versions.iter().filter(|version| version.path.parent() == Some(directory));
            // SSL_CERT_FILE or REQUESTS_CA_BUNDLE may name a file in it.
            assert!(own.count() <= 2, "{}", directory.display());
        }
    }
}
