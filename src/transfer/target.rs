//! Targets of downloads. An incomplete file never has the final name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::file_name;
use crate::error::{Error, Result};

/// Takes the bytes of a file in order, such as a Python file object. A write must not block the
/// thread that polls it.
pub trait Sink: Send + Sync {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>>;
}

/// Bytes buffered for a sink before decompression pauses.
const SINK_BUFFER_SIZE: usize = 512 << 10;

pub enum Target {
    /// A file with this path. An existing file is replaced.
    Path(PathBuf),
    /// A file `<index>_<name>` in a folder. The folder is created if it is missing.
    Folder { folder: PathBuf, index: usize },
    /// If the download fails, the sink keeps the bytes that it has taken.
    Sink(Box<dyn Sink>),
}

/// A target during the download.
pub(super) enum Output {
    File(TempFile),
    /// Bytes for a sink.
    Buffer(Vec<u8>),
}

impl Output {
    pub(super) fn open(target: Target) -> Result<(Self, Option<Box<dyn Sink>>)> {
        let temp = match target {
            Target::Path(path) => {
                check_is_file(&path)?;
                let folder = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                TempFile::create(folder.to_owned(), FinalPath::Path(path))?
            }
            Target::Folder { folder, index } => {
                fs::create_dir_all(&folder)
                    .map_err(|error| io_error("create the folder", &folder, error))?;
                TempFile::create(folder.clone(), FinalPath::Folder { folder, index })?
            }
            Target::Sink(sink) => return Ok((Self::Buffer(Vec::new()), Some(sink))),
        };
        Ok((Self::File(temp), None))
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<()> {
        match self {
            Self::File(temp) => temp.write(data),
            Self::Buffer(buffer) => {
                buffer.extend_from_slice(data);
                Ok(())
            }
        }
    }

    /// Returns whether the buffer must be taken before more is written.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Buffer(buffer) if buffer.len() >= SINK_BUFFER_SIZE)
    }

    /// Takes the bytes for the sink.
    pub(super) fn take(&mut self) -> Bytes {
        match self {
            Self::File(_) => Bytes::new(),
            Self::Buffer(buffer) => std::mem::take(buffer).into(),
        }
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        match self {
            Self::File(temp) => temp.restart(),
            Self::Buffer(buffer) => {
                buffer.clear();
                Ok(())
            }
        }
    }

    /// Makes the file durable under its final name. In a folder that is `name`, with its index.
    pub(super) fn finish(self, name: &str) -> Result<Option<PathBuf>> {
        match self {
            Self::File(temp) => temp.publish(name).map(Some),
            Self::Buffer(_) => Ok(None),
        }
    }
}

enum FinalPath {
    Path(PathBuf),
    Folder { folder: PathBuf, index: usize },
}

/// A file with a temporary name in the folder of its target. Unless it is published, dropping it
/// removes it.
pub(super) struct TempFile {
    /// None after it was closed.
    file: Option<File>,
    temp_path: PathBuf,
    folder: PathBuf,
    final_path: FinalPath,
    published: bool,
}

impl TempFile {
    fn create(folder: PathBuf, final_path: FinalPath) -> Result<Self> {
        let temp_path = folder.join(format!(".mde-live-response-{}.part", Uuid::new_v4().simple()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&temp_path)
            .map_err(|error| io_error("write", final_path.display_path(), error))?;
        Ok(Self { file: Some(file), temp_path, folder, final_path, published: false })
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data)
            .map_err(|error| io_error("write", self.final_path.display_path(), error))
    }

    fn restart(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(|error| io_error("write", self.final_path.display_path(), error))
    }

    fn publish(mut self, name: &str) -> Result<PathBuf> {
        let path = match &self.final_path {
            FinalPath::Path(path) => path.clone(),
            FinalPath::Folder { folder, index } => {
                folder.join(file_name::indexed_name(*index, name))
            }
        };
        // Synced before the rename: after a power failure, the final name never has missing
        // content.
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(|error| io_error("write", &path, error))?;
        }
        fs::rename(&self.temp_path, &path).map_err(|error| io_error("write", &path, error))?;
        self.published = true;
        sync_folder(&self.folder);
        Ok(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.published {
            // Windows cannot remove an open file.
            self.file = None;
            // No caller can get the error any more. The name shows what the file is.
            let _ = fs::remove_file(&self.temp_path);
        }
    }
}

impl FinalPath {
    fn display_path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Folder { folder, .. } => folder,
        }
    }
}

/// Refuses a path that is a folder or a device. Renaming over a device would replace it.
fn check_is_file(path: &Path) -> Result<()> {
    let Ok(found) = fs::metadata(path) else { return check_names_file(path) };
    if found.is_dir() {
        // Opening it gives the system's own error, with its errno.
        let error = OpenOptions::new().write(true).open(path).err();
        let error = error.unwrap_or_else(|| io::ErrorKind::IsADirectory.into());
        return Err(
            Error::io("write", path, error).with_hint("this is a folder: give the path of a file")
        );
    }
    if !found.is_file() {
        return Err(Error::invalid(format!("{} is not a plain file", path.display()))
            .with_hint("open it yourself, and give the file object"));
    }
    Ok(())
}

fn check_names_file(path: &Path) -> Result<()> {
    let separated = path.to_string_lossy().ends_with(std::path::is_separator);
    if path.file_name().is_some() && !separated {
        return Ok(());
    }
    Err(Error::invalid(format!("{:?} does not name a file", path.display().to_string()))
        .with_hint("give the path of a file, not of a folder"))
}

fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let hint = "the result stays at the service: free disk space or choose another folder, and \
                download it again";
    Error::io(doing, path, error).with_hint(hint)
}

/// Makes the new name survive a power failure, if the file system supports it.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
