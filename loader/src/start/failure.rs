//! Why there is no instance: every message of `snaprun` and its exit status.

use super::args::UsageError;
use super::pool_client::PoolError;
use super::same_pid::SamePidError;
use super::stale::Reason;
use super::timens::TimensError;
use crate::restore::RestoreError;
use crate::runtime::print::Text;
use crate::runtime::sys::Errno;
use core::fmt;
use snapfn_format::FormatError;
use snapfn_format::snap::{FILE_HOST, File};
use snapfn_format::store::Untrusted;

/// Why there is no instance.
#[derive(Clone, Copy, Debug)]
pub enum Failure<'a> {
    /// The command line is wrong.
    Usage(UsageError),
    /// NAME is no name.
    Name,
    /// The image is missing and must not be pulled (`--local`).
    NotPulled,
    /// There is no `snaprepo` that could pull the image.
    Pull(Errno),
    /// The snapshot cannot be opened.
    NotFound(Errno),
    /// What NAME means is no file.
    NotRegular,
    /// The snapshot cannot be read.
    Unreadable(Errno),
    /// The plan is not valid.
    Format(FormatError),
    /// A file of the plan cannot be opened: its path.
    Missing(&'a File, &'a [u8], Errno),
    /// A file of the plan has another size: the one found.
    WrongSize(&'a File, u64),
    /// `--timens` is impossible here.
    Timens(TimensError),
    /// `--same-pid` is impossible here.
    SamePid(SamePidError),
    /// `--timing` is impossible here.
    Timing(Errno),
    /// The restore has failed.
    Restore(RestoreError<'a>),
    /// The restore has failed, and so has the ordinary start of the program of that path.
    Fallback(RestoreError<'a>, &'a [u8], Errno),
    /// Another user could have written a file of the store.
    Untrusted(Untrusted),
    /// The snapshot has memory that is writable and executable at once, and `--allow-wx` was not given.
    WritableCode,
    /// A file has changed of which the snapshot was made, and `--if-stale` demands that nothing is started.
    Stale(Reason),
    /// The same, and the ordinary start has failed.
    StaleFallback(Reason, Errno),
    /// A pool has no instance, or there is no pool.
    Pool(PoolError),
}

impl Failure<'_> {
    /// The exit status that goes with it.
    pub fn status(&self) -> i32 {
        match self {
            Failure::Name | Failure::NotPulled | Failure::Pull(_) => 127,
            Failure::NotFound(Errno::NOENT | Errno::NOTDIR) => 127,
            Failure::NotFound(_) | Failure::NotRegular => 126,
            Failure::Pool(error) => error.status(),
            _ => 125,
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(UsageError::NoName) => f.write_str("no snapshot named, see snaprun --help"),
            Failure::Usage(UsageError::UnknownOption(_)) => f.write_str("unknown option, see snaprun --help"),
            Failure::Usage(UsageError::Value(_)) => f.write_str("wants another value, see snaprun --help"),
            Failure::Usage(UsageError::NotTogether(which)) => write!(f, "{which}, see snaprun --help"),
            Failure::Usage(UsageError::Bind(_)) => f.write_str(
                "not of the form OLD=NEW with PORT, ADDRESS:PORT or unix:PATH, or too many, see snaprun --help",
            ),
            Failure::Stale(reason) => write!(f, "{reason}; make it again with snapshotter rebuild"),
            Failure::StaleFallback(reason, errno) => {
                write!(f, "{reason}; and its program cannot be started the ordinary way: {errno}")
            }
            Failure::Name => f.write_str("not a valid name, use NAME[:TAG] or a path"),
            Failure::NotPulled => f.write_str("not in the local store, leave out --local or run snaprepo pull"),
            Failure::Pull(errno) => write!(
                f,
                "not in the local store, and snaprepo, which would pull it, is neither beside snaprun nor in PATH ({errno})"
            ),
            Failure::NotFound(Errno::NOENT | Errno::NOTDIR) => {
                f.write_str("no such snapshot, see snaprepo ls or make one with snapshotter create")
            }
            Failure::NotFound(Errno::INVAL) => {
                f.write_str("the store's reference has an unknown form; run snaprepo verify")
            }
            Failure::NotFound(Errno::ACCES) => f.write_str(
                "permission denied; if the snapshot is another user's, its owner must make it with snapshotter create --share",
            ),
            Failure::NotFound(errno) => write!(f, "cannot open: {errno}, check the path and its permissions"),
            Failure::NotRegular => f.write_str("not a regular file, name a snapshot"),
            Failure::Unreadable(errno) => write!(f, "cannot read the snapshot: {errno}"),
            Failure::Format(FormatError::Magic(_)) => f.write_str(
                "not a snapshot: make one with snapshotter create -- PROGRAM ARGS…, then start it with snaprun NAME",
            ),
            Failure::Format(error) => write!(f, "{error}, make it again or run snaprepo verify"),
            Failure::Missing(file, path, errno) if file.kind == FILE_HOST => {
                let path = path.strip_suffix(b"\0").unwrap_or(path);
                write!(f, "{}, which the program has mapped: {errno}, it must be there and accessible", Text(path))
            }
            Failure::Missing(file, path, Errno::ACCES) => write!(
                f,
                "code segment file {} of {}: permission denied, its owner must make the snapshot with \
                 snapshotter create --share",
                file.digest,
                Text(path)
            ),
            Failure::Missing(file, path, errno) => {
                write!(f, "code segment file {} of {}: {errno}, make the snapshot again", file.digest, Text(path))
            }
            Failure::WrongSize(file, actual) => write!(
                f,
                "code segment file {} has {actual} bytes instead of {}, run snaprepo verify",
                file.digest, file.size
            ),
            Failure::Timens(error) => write!(f, "{error}"),
            Failure::SamePid(error) => write!(f, "{error}"),
            Failure::Timing(errno) => write!(f, "--timing: cannot run and watch a child: {errno}"),
            Failure::Restore(error @ RestoreError::Unfit(_)) => {
                write!(f, "{error}, make it here or with --cpu x86-64-v2, or use --fallback")
            }
            Failure::Restore(error) => write!(f, "{error}"),
            Failure::Fallback(error, exe, errno) => {
                write!(f, "{error}, and {} cannot be started instead: {errno}", Text(exe))
            }
            Failure::Untrusted(why) => write!(f, "a file of the store is not trusted: {why}"),
            Failure::WritableCode => f.write_str(
                "has memory that is writable and executable at once, start it with --allow-wx if its program needs that",
            ),
            Failure::Pool(error) => write!(f, "{error}"),
        }
    }
}
