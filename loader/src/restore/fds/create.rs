//! One descriptor from nothing.

use super::super::{RestoreError, Sources};
use super::{Context, calls};
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::snap::*;

/// [`Fd::source`] of a [`FD_PATH`] that names a FIFO.
pub(super) const FIFO: u32 = 1;
const O_ACCMODE: u32 = 3;
const O_RDWR: u32 = 2;
const O_NOCTTY: u32 = 0o400;
const O_DIRECT: u32 = 0o40000;
const O_NOATIME: u32 = 0o1000000;
/// O_EXCL: PIDFD_THREAD of a pidfd.
const O_EXCL: u32 = 0o200;
const TIOCGPTPEER: u64 = 0x5441;
const TIOCSPTLCK: u64 = 0x4004_5431;

impl<'a> Context<'a, '_> {
    pub(super) fn create(&self, index: usize, record: &Fd, streams: &[i32; 3]) -> Result<(), RestoreError<'a>> {
        let plan = self.plan;
        let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
        let cloexec = record.flags & sys::O_CLOEXEC;
        let to = self.number(record);
        let flags = record.flags | O_NOCTTY | sys::O_CLOEXEC;
        let made = match record.kind {
            FD_INHERIT if record.source == record.fd => {
                if cloexec != 0 {
                    let _ = sys::fcntl(to, calls::F_SETFD, 1);
                }
                return Ok(());
            }
            FD_INHERIT => {
                match streams.get(record.source as usize) {
                    Some(stream @ 0..) => sys::dup3(*stream, to, cloexec).map_err(fail("dup"))?,
                    _ => sys::close(to),
                }
                return Ok(());
            }
            FD_DUP => return sys::dup3(self.number_of(record.source), to, cloexec).map_err(fail("dup")),
            FD_CLOSED => {
                sys::close(to);
                return Ok(());
            }
            FD_PIPE | FD_SOCKETPAIR => return self.pair(index, record),
            FD_PATH => self.path(record)?,
            FD_REOPEN => {
                let from = self.number_of(record.source);
                let opened = calls::with_proc_path(from, |path| sys::openat(sys::AT_FDCWD, path, flags, 0));
                self.seek(record, opened.map_err(fail("opening it once more"))?)?
            }
            FD_DELETED | FD_MEMFD => self.seek(record, file(plan, index, record, self.sources)?)?,
            FD_EVENT => {
                let made = calls::eventfd(record.b | u64::from(sys::O_CLOEXEC)).map_err(fail("eventfd"))?;
                if record.a != 0 {
                    sys::write(made, &record.a.to_le_bytes()).map_err(fail("its count"))?;
                }
                made
            }
            FD_TIMER => {
                let made = calls::timerfd(record.a).map_err(fail("timerfd"))?;
                calls::set_timer(made, plan.bytes(record.data)).map_err(fail("its time"))?;
                made
            }
            FD_SIGNAL => calls::signalfd(record.a).map_err(fail("signalfd"))?,
            FD_EPOLL => calls::epoll().map_err(fail("epoll"))?,
            FD_INOTIFY => calls::inotify().map_err(fail("inotify"))?,
            FD_PIDFD_SELF => calls::pidfd_self(u64::from(record.flags & O_EXCL)).map_err(fail("pidfd"))?,
            FD_PTY if record.source as usize == index => {
                let made = sys::openat(sys::AT_FDCWD, c"/dev/ptmx", flags, 0)
                    .map_err(|errno| RestoreError::Path("cannot open", b"/dev/ptmx", errno))?;
                let unlocked = 0u32;
                calls::ioctl(made, TIOCSPTLCK, &raw const unlocked as u64).map_err(fail("unlocking the terminal"))?;
                made
            }
            FD_PTY => calls::ioctl(self.number_of(record.source), TIOCGPTPEER, u64::from(flags))
                .map_err(fail("its terminal"))? as i32,
            _ => self.socket(index, record)?,
        };
        self.place(made, record)
    }

    /// Both ends at once, when the first of them comes up.
    fn pair(&self, index: usize, record: &Fd) -> Result<(), RestoreError<'a>> {
        let Some(other) = self.plan.fds.get(record.source as usize).filter(|_| index < record.source as usize) else {
            return Ok(());
        };
        let fail = |errno| RestoreError::Fd(record.fd, "making the pair", errno);
        let [mut first, mut second] = match record.kind {
            FD_PIPE => {
                let packets = (record.flags | other.flags) & O_DIRECT;
                let [read, write] = calls::pipe(packets | sys::O_NONBLOCK | sys::O_CLOEXEC).map_err(fail)?;
                if record.flags & O_ACCMODE == 0 { [read, write] } else { [write, read] }
            }
            _ => calls::socket_pair(record.a).map_err(fail)?,
        };
        // Neither may be in the other's place.
        for end in [&mut first, &mut second] {
            let kept = calls::dup_above(*end, self.above()).map_err(fail)?;
            sys::close(*end);
            *end = kept;
        }
        self.place(first, record)?;
        self.place(second, other)
    }

    fn seek(&self, record: &Fd, fd: i32) -> Result<i32, RestoreError<'a>> {
        if record.offset != 0 {
            sys::lseek(fd, record.offset).map_err(|errno| RestoreError::Fd(record.fd, "lseek", errno))?;
        }
        Ok(fd)
    }

    fn path(&self, record: &Fd) -> Result<i32, RestoreError<'a>> {
        let path = CStr::from_bytes_with_nul(self.plan.bytes(record.path)).unwrap_or_default();
        let fail = |errno| RestoreError::Path("cannot open again", path.to_bytes(), errno);
        let open = |flags| sys::openat(sys::AT_FDCWD, path, flags | O_NOCTTY | sys::O_CLOEXEC, 0);
        let opened = if record.source == FIFO {
            // Opening an end of a FIFO waits for the other one; without O_NONBLOCK for ever, as nobody else runs here.
            let flags = record.flags | sys::O_NONBLOCK;
            match open(flags) {
                Err(Errno::NXIO) => {
                    let both = open((flags & !O_ACCMODE) | O_RDWR).map_err(fail)?;
                    let end = open(flags);
                    sys::close(both);
                    end
                }
                other => other,
            }
        } else {
            match open(record.flags) {
                // Only the owner may ask for O_NOATIME, and it makes no difference to what is read.
                Err(Errno::PERM) if record.flags & O_NOATIME != 0 => open(record.flags & !O_NOATIME),
                other => other,
            }
        };
        let opened = opened.map_err(fail)?;
        if record.b != 0 && calls::size_and_time(opened) != Ok((record.a, record.b)) {
            return Err(RestoreError::Changed(path.to_bytes()));
        }
        self.seek(record, opened)
    }
}

/// Makes the file of a [`FD_DELETED`] or [`FD_MEMFD`] record with its content, length and seals, open as the record
/// says (close-on-exec, at offset 0). Whoever maps it calls this, too.
pub(crate) fn file<'a>(plan: &Plan<'a>, index: usize, record: &Fd, sources: &Sources) -> Result<i32, RestoreError<'a>> {
    let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
    let made = if record.kind == FD_MEMFD {
        let name = CStr::from_bytes_with_nul(plan.bytes(record.data)).unwrap_or_default();
        calls::memfd(name, record.a).map_err(fail("memfd_create"))?
    } else {
        let directory = CStr::from_bytes_with_nul(plan.bytes(record.path)).unwrap_or_default();
        // Where that directory is gone, closed to us, or on a file system without O_TMPFILE: memory will do.
        calls::temporary_file(directory)
            .or_else(|_| calls::memfd(c"deleted", 0))
            .map_err(fail("making a temporary file"))?
    };
    let mut seals = 0;
    for step in plan.fd_steps.iter().filter(|step| step.fd as usize == index) {
        match step.kind {
            STEP_LENGTH => calls::set_length(made, step.a).map_err(fail("its length"))?,
            STEP_CONTENT => {
                let (source, offset) = step.content_source();
                let source = sources.fd(source);
                sys::lseek(made, step.a).map_err(fail("lseek"))?;
                let mut done = 0;
                while done < step.b {
                    match calls::copy(made, source, offset + done, step.b - done).map_err(fail("its content"))? {
                        0 => return Err(fail("its content")(Errno::IO)),
                        count => done += count as u64,
                    }
                }
            }
            STEP_SEAL => seals = step.a,
            _ => {}
        }
    }
    let mut open = made;
    if record.flags & O_ACCMODE != O_RDWR {
        let flags = record.flags | sys::O_CLOEXEC;
        open = calls::with_proc_path(made, |path| sys::openat(sys::AT_FDCWD, path, flags, 0))
            .map_err(fail("opening it once more"))?;
    } else {
        sys::lseek(made, 0).map_err(fail("lseek"))?;
    }
    if record.kind == FD_DELETED {
        calls::set_mode(made, record.a).map_err(fail("its permissions"))?;
    }
    if seals != 0 {
        sys::fcntl(made, calls::F_ADD_SEALS, seals).map_err(fail("its seals"))?;
    }
    if open != made {
        sys::close(made);
    }
    Ok(open)
}
