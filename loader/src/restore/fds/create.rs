//! Makes one descriptor.

use super::super::{RestoreError, Sources};
use super::{Context, calls};
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::snap::*;

const O_ACCMODE: u32 = 3;
pub(super) const O_NOCTTY: u32 = 0o400;
const O_NOATIME: u32 = 0o1000000;
/// O_EXCL: PIDFD_THREAD of a pidfd.
const O_EXCL: u32 = 0o200;
const TIOCSPTLCK: u64 = 0x4004_5431;

impl<'a> Context<'a, '_> {
    pub(super) fn create(&self, index: usize, record: &Fd, streams: &[i32; 3]) -> Result<(), RestoreError<'a>> {
        let plan = self.plan;
        let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
        let cloexec = record.flags & sys::O_CLOEXEC;
        let to = self.number(record);
        let flags = record.flags | O_NOCTTY | sys::O_CLOEXEC;
        let Some(descriptor) = record.descriptor() else { return Ok(()) };
        let made = match descriptor {
            Descriptor::Inherited { stream } if stream == record.fd => {
                if cloexec != 0 {
                    let _ = sys::fcntl(to, calls::F_SETFD, calls::FD_CLOEXEC);
                }
                return Ok(());
            }
            Descriptor::Inherited { stream } => {
                match streams.get(stream as usize) {
                    Some(stream @ 0..) => sys::dup3(*stream, to, cloexec).map_err(fail("dup"))?,
                    _ => sys::close(to),
                }
                return Ok(());
            }
            Descriptor::Duplicate { of } => return sys::dup3(self.number_of(of), to, cloexec).map_err(fail("dup")),
            Descriptor::Closed => {
                sys::close(to);
                return Ok(());
            }
            Descriptor::Pipe { other } => return self.pair(index, record, other, None),
            Descriptor::SocketPair { other, kind } => return self.pair(index, record, other, Some(kind)),
            Descriptor::Path { offset, unchanged, fifo } => self.path(record, offset, unchanged, fifo)?,
            Descriptor::Reopened { of, offset } => {
                let from = self.number_of(of);
                let opened = calls::with_proc_path(from, |path| sys::openat(sys::AT_FDCWD, path, flags, 0));
                seek(record, offset, opened.map_err(fail("opening it once more"))?)?
            }
            Descriptor::Deleted { offset, .. } | Descriptor::Memory { offset, .. } => {
                seek(record, offset, file(plan, index, record, self.sources)?)?
            }
            // In its place until the threads exist: see `of_threads`.
            Descriptor::OfThread { .. } => {
                let place = sys::O_PATH | sys::O_CLOEXEC;
                sys::openat(sys::AT_FDCWD, c"/proc/thread-self", place, 0).map_err(fail("its place"))?
            }
            Descriptor::Event { count, flags } => {
                let made = calls::eventfd(flags | u64::from(sys::O_CLOEXEC)).map_err(fail("eventfd"))?;
                if count != 0 {
                    sys::write(made, &count.to_le_bytes()).map_err(fail("its count"))?;
                }
                made
            }
            Descriptor::Timer { clock } => {
                let made = calls::timerfd(clock).map_err(fail("timerfd"))?;
                calls::set_timer(made, plan.bytes(record.data)).map_err(fail("its time"))?;
                made
            }
            Descriptor::Signal { mask } => calls::signalfd(mask).map_err(fail("signalfd"))?,
            Descriptor::Epoll => calls::epoll().map_err(fail("epoll"))?,
            Descriptor::Inotify => calls::inotify().map_err(fail("inotify"))?,
            Descriptor::OwnPidfd => calls::pidfd_self(u64::from(record.flags & O_EXCL)).map_err(fail("pidfd"))?,
            Descriptor::Terminal { master } if master as usize == index => {
                let made = sys::openat(sys::AT_FDCWD, c"/dev/ptmx", flags, 0)
                    .map_err(|errno| RestoreError::Path("cannot open", b"/dev/ptmx", errno))?;
                let unlocked = 0u32;
                calls::ioctl(made, TIOCSPTLCK, &raw const unlocked as u64).map_err(fail("unlocking the terminal"))?;
                made
            }
            Descriptor::Terminal { master } => {
                calls::ioctl(self.number_of(master), calls::TIOCGPTPEER, u64::from(flags))
                    .map_err(fail("its terminal"))? as i32
            }
            Descriptor::Socket { family, kind, protocol } => self.socket(index, record, (family, kind, protocol))?,
        };
        self.place(made, record)
    }

    /// Makes both ends at once, at the first of them: of a pipe, or of a socket pair of that type.
    fn pair(&self, index: usize, record: &Fd, other: u32, socket_type: Option<u64>) -> Result<(), RestoreError<'a>> {
        let Some(other) = self.plan.fds.get(other as usize).filter(|_| index < other as usize) else {
            return Ok(());
        };
        let fail = |errno| RestoreError::Fd(record.fd, "making the pair", errno);
        let [mut first, mut second] = match socket_type {
            None => {
                let packets = (record.flags | other.flags) & sys::O_DIRECT;
                let [read, write] = calls::pipe(packets | sys::O_NONBLOCK | sys::O_CLOEXEC).map_err(fail)?;
                if record.flags & O_ACCMODE == 0 { [read, write] } else { [write, read] }
            }
            Some(kind) => calls::socket_pair(kind).map_err(fail)?,
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

    fn path(
        &self,
        record: &Fd,
        offset: u64,
        unchanged: Option<Unchanged>,
        fifo: bool,
    ) -> Result<i32, RestoreError<'a>> {
        let path = CStr::from_bytes_with_nul(self.plan.bytes(record.path)).unwrap_or_default();
        let fail = |errno| RestoreError::Path("cannot open again", path.to_bytes(), errno);
        let open = |flags| sys::openat(sys::AT_FDCWD, path, flags | O_NOCTTY | sys::O_CLOEXEC, 0);
        let opened = if fifo {
            // Opening an end of a FIFO waits for the other one; without O_NONBLOCK for ever, as no other thread runs
            // here.
            let flags = record.flags | sys::O_NONBLOCK;
            match open(flags) {
                Err(Errno::NXIO) => {
                    let both = open((flags & !O_ACCMODE) | sys::O_RDWR).map_err(fail)?;
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
        if unchanged.is_some_and(|file| !sys::fstat(opened).is_ok_and(|now| is_unchanged(file, &now))) {
            return Err(RestoreError::Changed(path.to_bytes()));
        }
        seek(record, offset, opened)
    }
}

pub(super) fn seek<'a>(record: &Fd, offset: u64, fd: i32) -> Result<i32, RestoreError<'a>> {
    if offset != 0 {
        sys::lseek(fd, offset).map_err(|errno| RestoreError::Fd(record.fd, "lseek", errno))?;
    }
    Ok(fd)
}

/// Makes the file of a [`Descriptor::Deleted`] or [`Descriptor::Memory`] record with its content, length and seals,
/// open as the record says (close-on-exec, at offset 0). The code that maps it calls this, too.
pub(crate) fn file<'a>(plan: &Plan<'a>, index: usize, record: &Fd, sources: &Sources) -> Result<i32, RestoreError<'a>> {
    let fail = |what| move |errno| RestoreError::Fd(record.fd, what, errno);
    let descriptor = record.descriptor();
    let made = if let Some(Descriptor::Memory { flags, .. }) = descriptor {
        let name = CStr::from_bytes_with_nul(plan.bytes(record.data)).unwrap_or_default();
        calls::memfd(name, flags).map_err(fail("memfd_create"))?
    } else {
        let directory = CStr::from_bytes_with_nul(plan.bytes(record.path)).unwrap_or_default();
        // The directory may be removed, not writable, or on a file system without O_TMPFILE: then a memfd replaces the
        // file.
        calls::temporary_file(directory)
            .or_else(|_| calls::memfd(c"deleted", 0))
            .map_err(fail("making a temporary file"))?
    };
    let mut seals = 0;
    let mut times = None;
    for step in plan.fd_steps.iter().filter(|step| step.fd as usize == index) {
        match step.step() {
            Some(Step::Length(len)) => calls::set_length(made, len).map_err(fail("its length"))?,
            Some(Step::Content { to, len, from }) => {
                sys::lseek(made, to).map_err(fail("lseek"))?;
                let mut done = 0;
                while done < len {
                    let copied = calls::copy(made, sources.fd(from.file), from.offset + done, len - done);
                    match copied.map_err(fail("its content"))? {
                        0 => return Err(fail("its content")(Errno::IO)),
                        count => done += count as u64,
                    }
                }
            }
            Some(Step::Seal(more)) => seals = more,
            Some(Step::Mode(mode)) => calls::set_mode(made, mode).map_err(fail("its permissions"))?,
            Some(Step::Attribute) => {
                let name = CStr::from_bytes_with_nul(plan.bytes(step.data)).unwrap_or_default();
                calls::set_attribute(made, name, plan.bytes(step.extra)).map_err(fail("an extended attribute"))?;
            }
            Some(Step::Times { access, modified }) => times = Some([access, modified]),
            _ => {}
        }
    }
    // A deleted file is opened once more also for reading and writing: F_GETFL would name O_TMPFILE, which the program
    // has not used.
    let mut open = made;
    let is_whole = record.flags & O_ACCMODE == sys::O_RDWR;
    if !is_whole || matches!(descriptor, Some(Descriptor::Deleted { .. })) {
        let flags = record.flags | sys::O_CLOEXEC;
        match calls::with_proc_path(made, |path| sys::openat(sys::AT_FDCWD, path, flags, 0)) {
            Ok(again) => open = again,
            // Where /proc is not mounted.
            Err(_) if is_whole => {}
            Err(errno) => return Err(fail("opening it once more")(errno)),
        }
    }
    if open == made {
        sys::lseek(made, 0).map_err(fail("lseek"))?;
    }
    if let Some(Descriptor::Deleted { mode, .. }) = descriptor {
        calls::set_mode(made, mode).map_err(fail("its permissions"))?;
    }
    if let Some(times) = times {
        calls::set_times(made, times).map_err(fail("its times"))?;
    }
    if seals != 0 {
        sys::fcntl(made, calls::F_ADD_SEALS, seals).map_err(fail("its seals"))?;
    }
    if open != made {
        sys::close(made);
    }
    Ok(open)
}

fn is_unchanged(file: Unchanged, now: &sys::Stat) -> bool {
    let modified = now.seconds.wrapping_mul(1_000_000_000).wrapping_add(now.nanoseconds);
    (now.size, modified.cast_unsigned()) == (file.size, file.modified)
}
