//! Which file the store is, and how far this process has seen it. A file that was deleted, replaced
//! or restored is another one.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Identifies the file and its -wal file, which exists while the file is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIdentity {
    pub main: String,
    pub wal: String,
}

impl FileIdentity {
    /// Returns `None` if there is no file.
    pub fn read(path: &Path) -> Option<Self> {
        let main = identify(&std::fs::metadata(path).ok()?);
        let wal = std::fs::metadata(wal_path(path)).map(|it| identify(&it)).unwrap_or_default();
        Some(Self { main, wal })
    }
}

/// The time of the last entry that this process knows. A file whose last entry is older is an older
/// copy.
#[derive(Default)]
pub struct SeenTime(AtomicU64);

impl SeenTime {
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::SeqCst))
    }

    pub fn set(&self, time: f64) {
        self.0.store(time.to_bits(), Ordering::SeqCst);
    }
}

fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn identify(metadata: &Metadata) -> String {
    // An inode is used again soon after its file was deleted, so the birth is part of it.
    let birth = metadata.created().map(to_seconds).unwrap_or_default();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        format!("{}:{}:{birth}", metadata.dev(), metadata.ino())
    }
    #[cfg(not(unix))]
    birth.to_string()
}

/// Returns when the file's content or its inode was last changed, in seconds of the wall clock.
pub fn changed_at(path: &Path) -> f64 {
    let Ok(metadata) = std::fs::metadata(path) else { return 0.0 };
    let modified = metadata.modified().map(to_seconds).unwrap_or_default();
    #[cfg(unix)]
    {
        // A copy may keep the time of its content, but not that of its inode.
        use std::os::unix::fs::MetadataExt;
        modified.max(metadata.ctime() as f64 + metadata.ctime_nsec() as f64 / 1e9)
    }
    #[cfg(not(unix))]
    modified
}

fn to_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or_default()
}
