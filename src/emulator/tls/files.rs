//! Reads and writes the files of certificates and keys.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Returns the error of a file that cannot be used. `argument` is the argument that named it.
pub fn unusable(argument: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{argument}: {} cannot be used: {why}", shown(path)))
}

/// Returns a path for a message, in quotes.
pub fn shown(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Opens a file to read it. If it does not exist, creates it for its owner alone.
pub fn open_or_create(argument: &str, path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // The folder may be one that can only be read, with an authority in it.
    let opened = options.open(path).or_else(|error| File::open(path).map_err(|_| error));
    opened.map_err(|error| unusable(argument, path, error))
}

/// Reads a private key. Refuses it if others than its owner can read the file.
pub fn read_key(argument: &str, path: &Path, file: &mut File) -> Result<Zeroizing<String>> {
    check_mode(argument, path, file)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(|error| unusable(argument, path, error))?;
    Ok(text)
}

/// Writes a private key into the empty file that [`open_or_create`] returned.
pub fn write_key(argument: &str, path: &Path, file: &mut File, text: &str) -> Result<()> {
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| unusable(argument, path, error))
}

#[cfg(unix)]
fn check_mode(argument: &str, path: &Path, file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| unusable(argument, path, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let why = format!("others can read this private key, its mode is {mode:03o}");
    Err(unusable(argument, path, why).with_hint(format!("run chmod 600 {}", shown(path))))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the other systems")]
fn check_mode(_: &str, _: &Path, _: &File) -> Result<()> {
    Ok(())
}

/// Writes a file as a whole: another process sees all of it or nothing.
pub fn write_whole(argument: &str, path: &Path, text: &str) -> Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&part);
        unusable(argument, path, error)
    })
}
