//! A file outside the store that gets its name when it is complete.

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

use crate::writer::random;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file in the making. It has no name, so nothing is left of it if this process is killed. Where the file system has
/// no such files, it has one that no other process chooses, and is removed if it is not completed.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    target: PathBuf,
    named: Option<PathBuf>,
}

impl NewFile {
    /// A file with the permission bits `mode` that will be called `target`.
    ///
    /// # Errors
    /// No file can be made in that directory.
    pub fn of(target: &Path, mode: u32) -> io::Result<Self> {
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(mode);
        let (file, named) = match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
            Ok(file) => (file, None),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {
                let name = temporary(target);
                (options.create_new(true).open(&name)?, Some(name))
            }
            Err(error) => return Err(error),
        };
        Ok(NewFile { file, target: target.to_owned(), named })
    }

    /// The file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Its name, once it is complete.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The file is complete: it is written to the disk, and gets its name in place of a file that has it.
    ///
    /// # Errors
    /// It cannot be written to the disk, or the directory cannot be changed.
    pub fn complete(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let name = match self.named.clone() {
            Some(name) => name,
            // A link replaces no file, and a rename needs a name.
            None => {
                let name = temporary(&self.target);
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(AT_FDCWD, own.as_str(), AT_FDCWD, &name, AtFlags::AT_SYMLINK_FOLLOW)?;
                self.named.insert(name).clone()
            }
        };
        fs::rename(name, &self.target)?;
        self.named = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = &self.named {
            let _ = fs::remove_file(name);
        }
    }
}

/// A name beside `target`.
fn temporary(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{:016x}.tmp", random()));
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn it_replaces_a_file_and_leaves_nothing_when_it_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        fs::write(&target, "old").unwrap();
        drop(NewFile::of(&target, 0o600).unwrap());
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), names()), ("old", 1));
        let mut new = NewFile::of(&target, 0o600).unwrap();
        new.file().write_all(b"new").unwrap();
        // A kill at this point leaves no more than there was.
        assert!(new.named.is_some() || names() == 1);
        new.complete().unwrap();
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), names()), ("new", 1));
        assert!(NewFile::of(&directory.path().join("none/file"), 0o600).is_err());
    }
}
