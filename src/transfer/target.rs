//! Where a collected file goes. A half file never bears the final name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::file_name;
use crate::error::{Error, Result};

/// What takes a file's bytes in order, as a file object of Python's. It holds none of the core's threads while it does.
pub trait Sink: Send + Sync {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>>;
}

/// So much is held for a sink before unpacking stops.
const SINK_BUFFER_SIZE: usize = 256 << 10;

pub enum Target {
    /// This very file; one that is there is replaced.
    Path(PathBuf),
    /// `<index>_<name>` in a folder, which is made if it is not there.
    Folder { folder: PathBuf, index: usize },
    /// Nothing is put back if the download fails half-way.
    Sink(Box<dyn Sink>),
}

/// A target that is being written.
pub(super) enum Output {
    File(TempFile),
    /// For a sink.
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
                TempFile::create(folder.to_owned(), Destination::Path(path))?
            }
            Target::Folder { folder, index } => {
                fs::create_dir_all(&folder)
                    .map_err(|error| io_error("create the folder", &folder, error))?;
                TempFile::create(folder.clone(), Destination::Folder { folder, index })?
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

    /// Whether what is held has to be taken before more is written.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Buffer(buffer) if buffer.len() >= SINK_BUFFER_SIZE)
    }

    /// What a sink is to have.
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

    /// Makes the file durable under its name, which is `name` in a folder; says where it is.
    pub(super) fn finish(self, name: &str) -> Result<Option<PathBuf>> {
        match self {
            Self::File(temp) => temp.publish(name).map(Some),
            Self::Buffer(_) => Ok(None),
        }
    }
}

enum Destination {
    Path(PathBuf),
    Folder { folder: PathBuf, index: usize },
}

/// A file under a temporary name beside its target. Dropped before it is published, it is gone.
pub(super) struct TempFile {
    /// None once it is closed.
    file: Option<File>,
    temp_path: PathBuf,
    folder: PathBuf,
    destination: Destination,
    published: bool,
}

impl TempFile {
    fn create(folder: PathBuf, destination: Destination) -> Result<Self> {
        let temp_path = folder.join(format!(".mde-live-response-{}.part", Uuid::new_v4().simple()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&temp_path)
            .map_err(|error| io_error("write", destination.display_path(), error))?;
        Ok(Self { file: Some(file), temp_path, folder, destination, published: false })
    }

    fn write(&mut self, data: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data)
            .map_err(|error| io_error("write", self.destination.display_path(), error))
    }

    fn restart(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(|error| io_error("write", self.destination.display_path(), error))
    }

    fn publish(mut self, name: &str) -> Result<PathBuf> {
        let path = match &self.destination {
            Destination::Path(path) => path.clone(),
            Destination::Folder { folder, index } => {
                folder.join(file_name::indexed_name(*index, name))
            }
        };
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
            // Windows removes no open file.
            self.file = None;
            // Nobody is left to be told; the name says what the file is.
            let _ = fs::remove_file(&self.temp_path);
        }
    }
}

impl Destination {
    fn display_path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Folder { folder, .. } => folder,
        }
    }
}

/// A rename would put a plain file in the place of a folder or a device.
fn check_is_file(path: &Path) -> Result<()> {
    let Ok(found) = fs::metadata(path) else { return check_names_file(path) };
    if found.is_dir() {
        // Asked to write it, the system has its own error for a folder, errno and all.
        let error = OpenOptions::new().write(true).open(path).err();
        let error = error.unwrap_or_else(|| io::ErrorKind::IsADirectory.into());
        return Err(
            Error::io("write", path, error).with_hint("it is a folder: give the path of a file")
        );
    }
    if !found.is_file() {
        return Err(Error::invalid(format!("{} is not a plain file", path.display()))
            .with_hint("open it and give the file object"));
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
    let hint = "the result stays with the service: free the disk, or choose another place, and download it again";
    Error::io(doing, path, error).with_hint(hint)
}

/// Makes the new name outlast a power cut, where the file system can.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}
