//! Writing `EXE.code` and `EXE.init` beside an executable.

use super::{CodeFile, SplitError, split_file};
use snapfn_format::init;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// `EXE.code`.
pub fn code_path(exe: &Path) -> PathBuf {
    with_suffix(exe, ".code")
}

/// `EXE.init`.
pub fn init_path(exe: &Path) -> PathBuf {
    with_suffix(exe, ".init")
}

/// Splits `exe` into `EXE.code` and `EXE.init` beside it. Each appears whole or not at all. After a failure neither is
/// there, since the files of an earlier split no longer belong to this executable. Files with these names that no split
/// has written stay.
pub fn split_output(exe: &Path) -> Result<(), SplitError> {
    let (code, init) = (code_path(exe), init_path(exe));
    let result = write_pair(exe, &code, &init);
    if result.is_err() {
        remove_output(exe);
    }
    result
}

/// Removes the files of an earlier split beside `exe`, so that none describes a program that is gone.
///
/// Files with these names may be of another kind: `daemon.init` may be the start script of a service. An init data file
/// has a magic number, and a code segment file counts as ours if an init data file is beside it.
pub fn remove_output(exe: &Path) {
    let (code, init) = (code_path(exe), init_path(exe));
    if is_ours(&init).unwrap_or(false) {
        // If this fails, the pair that stays does no harm: its digest of the executable does not match.
        let _ = fs::remove_file(code);
        let _ = fs::remove_file(init);
    }
}

fn write_pair(exe: &Path, code: &Path, init: &Path) -> Result<(), SplitError> {
    let split = split_file(exe)?;
    if !is_ours(init).map_err(|error| SplitError::io("cannot replace", init, error))?
        && let Some(foreign) = [init, code].into_iter().find(|path| path.symlink_metadata().is_ok())
    {
        return Err(SplitError::Foreign(foreign.to_owned()));
    }
    let code_temp = Temporary::create(code, |file| CodeFile::write_to(&split.code, file))?;
    let init_temp = Temporary::create(init, |mut file| file.write_all(&split.init))?;
    // The init data file goes first: it marks the pair, or what is left of it, as ours.
    init_temp.publish(init)?;
    code_temp.publish(code)
}

fn with_suffix(exe: &Path, suffix: &str) -> PathBuf {
    let mut path = exe.as_os_str().to_owned();
    path.push(OsStr::new(suffix));
    PathBuf::from(path)
}

/// Whether there is an init data file at `path`, so that it and the code segment file beside it may go.
fn is_ours(path: &Path) -> io::Result<bool> {
    // The type is checked before the file is opened, since to open a device may have any effect, and once more when it
    // is open.
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Ok(false),
        Ok(_) => {}
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut start = Vec::new();
    if file.metadata()?.is_file() {
        file.take(init::MAGIC.len() as u64).read_to_end(&mut start)?;
    }
    Ok(start == init::MAGIC)
}

/// A file beside its target, deleted unless published.
struct Temporary {
    path: PathBuf,
    published: bool,
}

impl Temporary {
    fn create(target: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> Result<Temporary, SplitError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The name is short, so that a target with the longest allowed name can have one, too.
        let path = target.with_file_name(format!(".snapfn-{}-{number}", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let file = file.map_err(|error| SplitError::io("cannot create", &path, error))?;
        let temporary = Temporary { path, published: false };
        match write(&file) {
            Ok(()) => Ok(temporary),
            Err(error) => Err(SplitError::io("cannot write", &temporary.path, error)),
        }
    }

    fn publish(mut self, target: &Path) -> Result<(), SplitError> {
        fs::rename(&self.path, target).map_err(|error| SplitError::io("cannot replace", target, error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = dir.path().join("daemon");
        let (code, init) = (code_path(&daemon), init_path(&daemon));
        remove_output(&daemon);
        for foreign in [&b"#!/bin/sh\n"[..], b"", b"SNAP"] {
            fs::write(&init, foreign).unwrap();
            fs::write(&code, "int main").unwrap();
            remove_output(&daemon);
            assert!(code.exists() && init.exists());
        }
        fs::write(&init, [&init::MAGIC[..], b"more"].concat()).unwrap();
        remove_output(&daemon);
        assert!(!code.exists() && !init.exists());
    }
}
