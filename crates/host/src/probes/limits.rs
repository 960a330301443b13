//! Settings of the host and the session that decide whether there is room for a snapshot.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::Outcome;
use crate::finding::{Check, Detail, Judge, ensure_refused, ensure_value, missing, unknown};
use crate::procfile::number;
use crate::region::{PAGE, Region};
use crate::sys;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "overcommit",
        Level::Optional,
        "all",
        "mappings that a program reserved but never touched need no memory in an instance either",
        "with vm.overcommit_memory=2 large snapshots fail with ENOMEM although there is memory",
        overcommit,
    ),
    Probe::new(
        "address-space-limit",
        Level::Optional,
        "all",
        "an instance may map as much as the program had mapped",
        "snapshots larger than RLIMIT_AS fail with ENOMEM; the message names the limit",
        address_space_limit,
    ),
    Probe::new(
        "address-space-limit-effect",
        Level::Optional,
        "all",
        "shows what ENOMEM of mmap means, so that the message can name the limit",
        "messages about ENOMEM may name the wrong cause",
        limit_effect,
    ),
    Probe::new(
        "pid-and-user-limits",
        Level::Optional,
        "all",
        "many instances of one snapshot run at once",
        "starts beyond RLIMIT_NPROC fail with EAGAIN",
        process_limit,
    ),
];

/// **Symptom**: 64 GiB of MAP_NORESERVE memory can be mapped. **Sequence**: vm.overcommit_memory, one `mmap`.
/// **Kernels**: all; in mode 2 MAP_NORESERVE is ignored. **Workaround**: none; the message names the mode.
/// **Removable**: never.
fn overcommit() -> Check {
    const STRICT: u64 = 2;
    let file = sys::open(c"/proc/sys/vm/overcommit_memory", libc::O_RDONLY).or_unknown("cannot read the mode")?;
    let mut text = [0; 16];
    let got = sys::read(&file, &mut text).or_unknown("cannot read the mode")?;
    let mode = number(text[..got].trim_ascii(), 10).ok_or(unknown("the mode is no number", Detail::None))?;
    ensure_value(mode != STRICT, "vm.overcommit_memory is", mode)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let large = Region::map(None, 64 << 30, libc::PROT_READ | libc::PROT_WRITE, flags, None);
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).or_unknown("cannot read RLIMIT_AS")?;
    match large {
        Err(Errno::ENOMEM) if limit != RLIM_INFINITY => Err(unknown("RLIMIT_AS hides it, it is", Detail::Value(limit))),
        other => other.map(drop).or_missing("64 GiB cannot be reserved"),
    }
}

/// **Symptom**: RLIMIT_AS is unlimited. **Sequence**: getrlimit. **Kernels**: all. **Workaround**: `ulimit -v
/// unlimited`. **Removable**: never.
fn address_space_limit() -> Check {
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).or_unknown("cannot read RLIMIT_AS")?;
    ensure_value(soft == RLIM_INFINITY, "RLIMIT_AS is", soft)
}

/// **Symptom**: ENOMEM beyond the limit, also for MAP_NORESERVE and for read-only file mappings; success below.
/// **Sequence**: RLIMIT_AS = 32 GiB, map 1 MiB, map a page more than the limit. **Kernels**: all. **Workaround**: the
/// message compares the limit with the size of the snapshot. **Removable**: never.
fn limit_effect() -> Check {
    const LARGE: u64 = 32 << 30;
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).or_unknown("cannot read RLIMIT_AS")?;
    let limit = hard.min(LARGE);
    setrlimit(Resource::RLIMIT_AS, limit, limit).or_unknown("cannot set RLIMIT_AS")?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let map = |len| Region::map(None, len, libc::PROT_NONE, flags, None).map(drop);
    map(1 << 20).or_unknown("this process is larger than the limit already")?;
    ensure_refused(map(limit + PAGE), Errno::ENOMEM, "a mapping beyond RLIMIT_AS is not refused with ENOMEM")
}

/// **Symptom**: at least 256 processes are allowed. **Sequence**: getrlimit. **Kernels**: all. **Workaround**: `ulimit
/// -u`. **Removable**: never.
fn process_limit() -> Check {
    let (soft, _) = getrlimit(Resource::RLIMIT_NPROC).or_unknown("cannot read RLIMIT_NPROC")?;
    ensure_value(soft >= 256, "RLIMIT_NPROC is", soft)
}

/// See [`crate::store_filesystem`].
pub(crate) fn store_filesystem(directory: &Path) -> Outcome {
    let opened = CString::new(directory.as_os_str().as_bytes())
        .map_err(|_| Errno::EINVAL)
        .and_then(|path| Ok((sys::open(&path, libc::O_RDONLY | libc::O_DIRECTORY)?, path)));
    let result = opened.or_unknown("cannot open the directory").and_then(|(fd, path)| {
        let flags = sys::mount_flags(&fd).or_unknown("statvfs failed")?;
        if flags & libc::ST_NOEXEC != 0 {
            return Err(missing("the filesystem is mounted noexec", Detail::None));
        }
        match sys::open(&path, libc::O_TMPFILE | libc::O_RDWR) {
            Ok(file) => map_executable(&file),
            // If the store is read-only, or the filesystem lacks O_TMPFILE, the mount flags decide alone.
            Err(Errno::EROFS | Errno::EACCES | Errno::EPERM | Errno::EOPNOTSUPP | Errno::EISDIR) => Ok(()),
            other => other.map(drop).or_unknown("cannot create a file in the directory"),
        }
    });
    result.map_or_else(Outcome::from, |()| Outcome::Works)
}

fn map_executable(file: &OwnedFd) -> Check {
    sys::write_at(file, &[0xc3; PAGE as usize], 0).or_unknown("cannot write to a file in the directory")?;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let mapping = Region::map(None, PAGE, protection, libc::MAP_PRIVATE, Some((file, 0)));
    let mapping = mapping.or_missing("a file there cannot be mapped executable")?;
    ensure_value(mapping.peek(0) == 0xc3, "the mapping shows other bytes than the file", u64::from(mapping.peek(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_usable_a_file_and_nothing_are_not() {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        assert_eq!(store_filesystem(directory.path()), Outcome::Works);
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0, "something was left behind");
        assert!(matches!(store_filesystem(&directory.path().join("none")), Outcome::Unknown(_)));
        assert!(matches!(store_filesystem(Path::new("/proc/self/status")), Outcome::Unknown(_)));
    }

    #[test]
    fn a_noexec_mount_is_named() {
        // A child can mount one in its own namespaces, unless the host forbids those. The child's root shows the mount
        // to this process as long as the child lives.
        let script = "mount -t tmpfs -o noexec none /mnt && echo ready && exec sleep 60";
        let mut child = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("unshare is part of util-linux");
        let mut ready = [0; 5];
        let came_up = std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut ready).is_ok();
        let outcome = store_filesystem(&std::path::PathBuf::from(format!("/proc/{}/root/mnt", child.id())));
        child.kill().expect("ours");
        child.wait().expect("ours");
        if !came_up {
            assert!(std::env::var_os("SNAPFN_STRICT_TESTS").is_none(), "cannot mount anything in a user namespace");
            eprintln!("skipped: cannot mount anything in a user namespace here");
            return;
        }
        assert_eq!(outcome, Outcome::Missing("the filesystem is mounted noexec".to_owned()));
    }
}
