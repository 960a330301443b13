//! Restores descriptors: first makes each of them, in three rounds (see [`Fd::rank`]), then runs the steps that
//! complete them.
//!
//! ```text
//!  create   one descriptor from nothing         sockets  sockets, --bind, sockets that the starter hands in
//!  steps    content, options, watches, locks    calls    the system calls
//! ```
//! A temporary descriptor may have a planned number at any moment. So all descriptors that are kept meanwhile (standard
//! streams that move, temporary records, passed sockets, files with contents) get numbers from [`Context::base`] on,
//! above every planned one. Descriptors that the starter passed and the plan does not name stay open, as with `execve`.

mod calls;
mod create;
mod sockets;
mod steps;
mod unix_file;

use super::image::Image;
use super::threads::Frames;
use super::{RestoreError, Sources};
use crate::restore::binds::Binds;
use crate::runtime::auxv::InitialStack;
use crate::runtime::print::{Text, with_short_path};
use crate::runtime::sys;
use core::ffi::CStr;
use snapfn_format::snap::*;

/// O_APPEND, O_NONBLOCK, O_ASYNC, O_DIRECT, O_NOATIME: what F_SETFL can change.
const SETTABLE: u32 = 0o2000 | 0o4000 | 0o20000 | 0o40000 | 0o1000000;

/// What every part needs.
struct Context<'a, 'b> {
    plan: &'b Plan<'a>,
    binds: Option<&'a Binds>,
    /// The files that contents of descriptors come from; all others are closed.
    sources: &'b Sources<'b>,
    /// Numbers from here on are free: first for the temporary records, then for all others.
    base: i32,
    handed: sockets::Handed,
}

/// Recreates every descriptor of the plan. Nothing else needs `sources` any more: they are closed here.
pub(super) fn restore<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    binds: Option<&'a Binds>,
) -> Result<(), RestoreError<'a>> {
    if plan.fds.is_empty() && plan.fd_steps.is_empty() && binds.is_none() {
        sources.close_all();
        return Ok(());
    }
    recreate(plan, sources, initial, binds)
}

#[inline(never)]
fn recreate<'a>(
    plan: &Plan<'a>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    binds: Option<&'a Binds>,
) -> Result<(), RestoreError<'a>> {
    let limit = calls::file_limit(None);
    let base = free_base(plan);
    let above = base + temporaries(plan).count() as i32;
    let contents = plan.fd_steps.iter().filter_map(FdStep::content);
    let wanted = |file| contents.clone().any(|(_, _, from)| usize::from(from.file) == file);
    sources
        .keep(wanted, |fd| calls::dup_above(fd, above))
        .map_err(|errno| RestoreError::System("keeping the snapshot file open", errno))?;
    let mut context = Context { plan, binds, sources, base, handed: sockets::Handed::NONE };
    sockets::check_binds(plan, binds)?;
    context.handed = sockets::take_handed(&context, initial)?;
    let streams = context.keep_streams()?;
    for round in 0..3 {
        for (index, record) in plan.fds.iter().enumerate() {
            if record.rank(index) == round {
                context.create(index, record, &streams)?;
            }
        }
    }
    for fd in streams.into_iter().filter(|fd| *fd >= 0) {
        sys::close(fd);
    }
    for (index, step) in plan.fd_steps.iter().enumerate() {
        context.step(index, step)?;
    }
    for record in plan.fds {
        context.set_flags(record)?;
    }
    for record in temporaries(plan) {
        sys::close(context.number(record));
    }
    sources.close_all();
    calls::file_limit(Some(limit));
    Ok(())
}

/// Opens the files of threads, which have their IDs now.
pub(super) fn of_threads<'a>(image: &Image<'a>, frames: &Frames<'_, '_>) -> Result<(), RestoreError<'a>> {
    match image.header.incompatible & FEATURE_DESCRIPTORS != 0 {
        true => open_of_threads(image, frames),
        false => Ok(()),
    }
}

/// A function of its own, so that other starts have none of it in their pages.
#[cold]
#[inline(never)]
fn open_of_threads<'a>(plan: &Plan<'a>, frames: &Frames<'_, '_>) -> Result<(), RestoreError<'a>> {
    // The program's own limit holds already, and its numbers may lie above.
    let limit = calls::file_limit(None);
    for (index, record) in plan.fds.iter().enumerate() {
        let Some(Descriptor::OfThread { thread, offset }) = record.descriptor() else { continue };
        let fail = |errno| RestoreError::Fd(record.fd, "opening a file of its thread", errno);
        let rest = CStr::from_bytes_with_nul(plan.bytes(record.path)).unwrap_or_default();
        let tid = frames.tid(thread as usize);
        let path = format_args!("/proc/self/task/{tid}{}", Text(rest.to_bytes()));
        let flags = record.flags | create::O_NOCTTY | sys::O_CLOEXEC;
        let opened = with_short_path(path, |path| sys::openat(sys::AT_FDCWD, path, flags, 0)).map_err(fail)?;
        create::seek(record, offset, opened)?;
        for (at, number) in plan.fds.iter().enumerate() {
            if at == index || number.descriptor() == Some(Descriptor::Duplicate { of: index as u32 }) {
                sys::dup3(opened, number.fd as i32, number.flags & sys::O_CLOEXEC).map_err(fail)?;
            }
        }
        sys::close(opened);
    }
    calls::file_limit(Some(limit));
    Ok(())
}

/// Whether the program has no descriptors but the standard streams, as its starter gives them.
pub(super) fn is_only_streams(plan: &Plan<'_>) -> bool {
    let as_given =
        |record: &Fd| record.descriptor() == Some(Descriptor::Inherited { stream: record.fd }) && record.flags == 0;
    plan.fd_steps.is_empty() && plan.fds.iter().all(as_given)
}

fn temporaries<'a>(plan: &Plan<'a>) -> impl Iterator<Item = &'a Fd> + use<'a> {
    plan.fds.iter().filter(|record| record.fd >= FD_TEMPORARY)
}

/// The first number above all planned ones from which on so many are free as there are temporary records.
fn free_base(plan: &Plan<'_>) -> i32 {
    let last = plan.fds.iter().rev().find(|record| record.fd < FD_TEMPORARY).map_or(2, |record| record.fd as i32);
    let wanted = temporaries(plan).count() as i32;
    let mut base = last.max(2) + 1;
    while let Some(used) = (base..base + wanted).find(|number| calls::is_open(*number)) {
        base = used + 1;
    }
    base
}

impl<'a> Context<'a, '_> {
    /// Where a record's descriptor is.
    fn number(&self, record: &Fd) -> i32 {
        match record.fd.checked_sub(FD_TEMPORARY) {
            Some(index) => self.base + index as i32,
            None => record.fd as i32,
        }
    }

    /// Where the descriptor of record `index` is.
    fn number_of(&self, index: u32) -> i32 {
        self.plan.fds.get(index as usize).map_or(-1, |record| self.number(record))
    }

    /// A number that no record needs.
    fn above(&self) -> i32 {
        self.base + temporaries(self.plan).count() as i32
    }

    /// Duplicates of the standard streams that the plan moves to other numbers.
    fn keep_streams(&self) -> Result<[i32; 3], RestoreError<'a>> {
        let mut streams = [-1; 3];
        for record in self.plan.fds {
            // A starter without that stream passes none to the program.
            if let Some(Descriptor::Inherited { stream }) = record.descriptor()
                && stream != record.fd
                && let Some(slot) = streams.get_mut(stream as usize).filter(|slot| **slot < 0)
                && calls::is_open(stream as i32)
            {
                *slot = calls::dup_above(stream as i32, self.above())
                    .map_err(|errno| RestoreError::Fd(record.fd, "dup", errno))?;
            }
        }
        Ok(streams)
    }

    /// Moves a new descriptor to its number. `from` is close-on-exec.
    fn place(&self, from: i32, record: &Fd) -> Result<(), RestoreError<'a>> {
        let (to, cloexec) = (self.number(record), record.flags & sys::O_CLOEXEC);
        let fail = |errno| RestoreError::Fd(record.fd, "moving it to its number", errno);
        if from != to {
            sys::dup3(from, to, cloexec).map_err(fail)?;
            sys::close(from);
        } else if cloexec == 0 {
            sys::fcntl(to, calls::F_SETFD, 0).map_err(fail)?;
        }
        Ok(())
    }

    /// Status flags, last: steps write to descriptors that are not to block or to append.
    fn set_flags(&self, record: &Fd) -> Result<(), RestoreError<'a>> {
        let Some(descriptor) = record.descriptor() else { return Ok(()) };
        let made_nonblocking = match descriptor {
            Descriptor::Inherited { .. } | Descriptor::Duplicate { .. } | Descriptor::Closed | Descriptor::Epoll => {
                return Ok(());
            }
            // Opened with all of its flags.
            Descriptor::Path { fifo: false, .. } | Descriptor::Reopened { .. } | Descriptor::Terminal { .. } => {
                return Ok(());
            }
            Descriptor::OfThread { .. } => return Ok(()),
            Descriptor::Path { fifo: true, .. } | Descriptor::Pipe { .. } | Descriptor::Inotify => true,
            Descriptor::Deleted { .. }
            | Descriptor::Event { .. }
            | Descriptor::Timer { .. }
            | Descriptor::Signal { .. }
            | Descriptor::Memory { .. }
            | Descriptor::SocketPair { .. }
            | Descriptor::Socket { .. }
            | Descriptor::OwnPidfd => false,
        };
        let flags = record.flags & SETTABLE;
        if record.flags & sys::O_PATH != 0 || (flags == 0 && !made_nonblocking) {
            return Ok(());
        }
        sys::fcntl(self.number(record), calls::F_SETFL, u64::from(flags))
            .map(drop)
            .map_err(|errno| RestoreError::Fd(record.fd, "setting its flags", errno))
    }
}
