//! Checks the path of the store. SQLite's locks do not work on a network file system.

use std::path::Path;

use crate::error::Result;
use crate::state::store_error::unusable_error;

/// Fails if the directory does not exist or is on a network file system, or if the path is a
/// directory.
pub fn check(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        let message = format!(
            "the state store {} can't be created: there is no directory {}",
            path.display(),
            directory.display()
        );
        return Err(unusable_error(
            message,
            "create the directory, or choose another with state=\"sqlite:///...\"",
        ));
    }
    if path.is_dir() {
        return Err(unusable_error(
            format!("the state store {} is a directory", path.display()),
            "use the path of a file in it",
        ));
    }
    match network_file_system(directory) {
        Some(name) => Err(unusable_error(
            format!(
                "the state store {} is on {name}, where SQLite's file locks do not work",
                path.display()
            ),
            "use a local disk, or state=\"redis://...\" to share it between machines",
        )),
        None => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn network_file_system(directory: &Path) -> Option<String> {
    let magic = rustix::fs::statfs(directory).ok()?.f_type;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directory = directory.canonicalize().ok()?;
    // The type of f_type differs by platform; the constants have 32 bits.
    network_name(magic as u64 & 0xffff_ffff, mount_type(&mounts, &directory).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_directory: &Path) -> Option<String> {
    None
}

/// Returns the name of a network file system, by its magic number (statfs(2)) or by its FUSE type.
#[cfg(any(target_os = "linux", test))]
fn network_name(magic: u64, mount_type: &str) -> Option<String> {
    const FUSE: u64 = 0x6573_5546;
    const REMOTE_FUSE: [&str; 8] =
        ["sshfs", "s3fs", "rclone", "glusterfs", "ceph", "davfs", "goofys", "gcsfuse"];
    let name = match magic {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x5346_414f => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        // FUSE also serves local file systems, such as NTFS.
        FUSE if REMOTE_FUSE.iter().any(|remote| mount_type.contains(remote)) => mount_type,
        _ => return None,
    };
    Some(name.to_owned())
}

/// Returns the file system type of the mount that holds `path`, from /proc/self/mountinfo
/// (proc(5)).
#[cfg(any(target_os = "linux", test))]
fn mount_type<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let parsed = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, file_system.split(' ').next()?))
    });
    // Mounts nest: the longest mount point is the innermost one.
    let holding = parsed.filter(|(point, _)| path.starts_with(point));
    holding.max_by_key(|(point, _)| point.len()).map(|(_, file_system)| file_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_recognized() {
        assert_eq!(network_name(0x6969, "nfs4").as_deref(), Some("NFS"));
        assert_eq!(network_name(0xfe53_4d42, "cifs").as_deref(), Some("SMB"));
        assert_eq!(network_name(0x6573_5546, "fuse.sshfs").as_deref(), Some("fuse.sshfs"));
        assert_eq!(network_name(0x6573_5546, "fuseblk"), None);
        assert_eq!(network_name(0xef53, "ext4"), None);
    }

    #[test]
    fn the_innermost_mount_is_used() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/sda rw\n40 21 0:5 / /mnt/far rw shared:1 - \
                      fuse.sshfs me@far: rw\n";
        assert_eq!(mount_type(mounts, Path::new("/mnt/far/x")), Some("fuse.sshfs"));
        assert_eq!(mount_type(mounts, Path::new("/mnt/farther")), Some("ext4"));
    }
}
