//! Which code of the program has asked for the process ID, or for that of a thread.
//!
//! The ID itself is a number like others. The call that brought it is seen when it is made, and the frames of the
//! stack tell which file has made it: the innermost one that is not the C library's.

use super::boot::Booted;
use super::inputs::Opening;
use super::maps::{self, Vma};
use super::memory::Memory;
use super::ptrace::{self, SyscallEntry, Tid};
use super::{symbols, unwind};
use snapfn_format::snap::{PROT_EXEC, REGS, reg};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// More frames of the C library do not lie above a system call.
const FRAMES: usize = 16;
/// So often the frames are followed; a program may ask without end. Calls that come later are counted to those that
/// were made from the same place.
const MAX_LOOKS: usize = 256;
/// A place in the code of a mapped file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Caller {
    pub(crate) path: PathBuf,
    /// From the start of the file's image.
    pub(crate) offset: u64,
}

impl Caller {
    /// The file's name.
    pub(crate) fn file(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Whether the file's name begins with one of `names`.
    pub(crate) fn is_one_of(&self, names: &[&str]) -> bool {
        let file = self.file();
        names.iter().any(|name| file.starts_with(name))
    }

    /// Whether it is the C library's or the one of C++, which ask for others.
    pub(crate) fn is_c_library(&self, booted: &Booted) -> bool {
        const NAMES: [&str; 6] = ["libc.so", "libc-", "libc.musl", "libpthread", "ld-", "libstdc++.so"];
        self.is_one_of(&NAMES) || booted.interp.as_deref() == Some(&*self.path)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match symbols::function_at(&self.path, self.offset) {
            Some((name, at)) => write!(f, "{} ({name}+{at:#x})", self.file()),
            None => write!(f, "{} ({:#x})", self.file(), self.offset),
        }
    }
}

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Code that has called `getpid`, or has read a file in /proc that has the ID.
    pub(crate) process_ids: BTreeSet<Caller>,
    /// Callers of `gettid`.
    pub(crate) thread_ids: BTreeSet<Caller>,
    asked: Asked,
}

impl Origins {
    /// Task `tid` is about to make a call, by which it opens a file if there is an `opening`.
    pub(super) fn enter(
        &mut self,
        tid: Tid,
        entry: &SyscallEntry,
        opening: Option<&Opening>,
        memory: &Memory,
        booted: &Booted,
        pid: Tid,
    ) {
        let callers = match entry.number as i64 {
            libc::SYS_gettid => &mut self.thread_ids,
            libc::SYS_getpid => &mut self.process_ids,
            libc::SYS_readlink if names_id(memory, entry.args[0]) => &mut self.process_ids,
            libc::SYS_readlinkat if names_id(memory, entry.args[1]) => &mut self.process_ids,
            _ if opening.is_some_and(|opening| tells_id(opening.path.as_os_str().as_bytes())) => &mut self.process_ids,
            _ => return,
        };
        callers.extend(self.asked.caller(tid, entry.number, memory, booted, pid));
    }
}

/// Whether the file in /proc has the process ID in its content or its name.
fn tells_id(path: &[u8]) -> bool {
    const TELL: [&[u8]; 4] = [b"/proc/self", b"/proc/self/stat", b"/proc/self/status", b"/proc/thread-self"];
    TELL.contains(&path)
}

fn names_id(memory: &Memory, name: u64) -> bool {
    const LONGEST: usize = 32;
    memory.read_c_str(name, LONGEST).is_ok_and(|name| tells_id(&name))
}

/// Callers that have been found.
#[derive(Debug, Default)]
struct Asked {
    /// By the call, the address of its instruction, and the word on top of the stack, which is the return address of
    /// most functions that make one call.
    seen: BTreeMap<(u64, u64, u64), Option<Caller>>,
    looks: usize,
}

impl Asked {
    /// The caller of the system call that task `tid` is about to make.
    fn caller(&mut self, tid: Tid, number: u64, memory: &Memory, booted: &Booted, pid: Tid) -> Option<Caller> {
        let regs = ptrace::get_regs(tid).ok()?;
        let key = (number, regs[reg::PC], memory.read_u64(regs[reg::SP]).unwrap_or(0));
        if let Some(known) = self.seen.get(&key) {
            return known.clone();
        }
        if self.looks == MAX_LOOKS {
            return None;
        }
        self.looks += 1;
        let caller = look(memory, booted, pid, &regs);
        self.seen.insert(key, caller.clone());
        caller
    }
}

/// The innermost frame that is not the C library's.
fn look(memory: &Memory, booted: &Booted, pid: Tid, regs: &[u64; REGS]) -> Option<Caller> {
    let vmas = fs::read(format!("/proc/{pid}/maps")).and_then(|text| maps::parse(&text)).ok()?;
    let frames = unwind::frames(memory, &vmas, regs, FRAMES);
    let begin = frames.first().map_or(regs[reg::PC], |frame| frame.pc);
    let places = std::iter::once(begin).chain(frames.iter().skip(1).map(|frame| frame.pc));
    let is_own = |caller: &Caller| !caller.is_c_library(booted);
    let mut callers = places.filter_map(|pc| place(booted, &vmas, pc));
    callers.find(is_own).or_else(|| scan(memory, booted, &vmas, regs[reg::SP]).filter(is_own))
}

/// The first word on the stack that lies behind a call in code that is not the C library's. Hand-written code has no
/// unwind tables.
fn scan(memory: &Memory, booted: &Booted, vmas: &[Vma], sp: u64) -> Option<Caller> {
    const SCANNED: u64 = 1 << 12;
    let end = vmas.iter().find(|vma| vma.contains(sp))?.end.min(sp.saturating_add(SCANNED));
    let stack = memory.read_vec(sp, end - sp).ok()?;
    let words = stack.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let is_code = |word: &u64| vmas.iter().any(|vma| vma.contains(*word) && vma.prot & PROT_EXEC != 0);
    let is_called = |word: &u64| unwind::is_behind_call(memory, *word);
    let places = words.filter(is_code).filter(is_called).filter_map(|word| place(booted, vmas, word - 1));
    places.into_iter().find(|caller| !caller.is_c_library(booted))
}

/// The mapped file that `pc` is in.
pub(crate) fn place(booted: &Booted, vmas: &[Vma], pc: u64) -> Option<Caller> {
    let (start, end) = booted.image();
    if (start..end).contains(&pc) {
        return Some(Caller { path: booted.exe.clone(), offset: pc - start });
    }
    let own = vmas.iter().position(|vma| vma.contains(pc))?;
    // The end of a file's variables (.bss) is anonymous memory right behind the file's own.
    let runs_on = |at: &usize| !vmas[*at].has_file() && *at > 0 && vmas[*at - 1].end == vmas[*at].start;
    let code = (0..=own).rev().find(|at| !runs_on(at)).and_then(|at| vmas.get(at)).filter(|vma| vma.has_file())?;
    // The interpreter is mapped from its code segment file.
    let interp = booted.interp.as_ref().filter(|_| booted.request.interp_base != 0);
    let first = vmas.iter().rfind(|vma| vma.name == code.name && vma.offset == 0 && vma.start <= pc)?;
    let path = match interp {
        Some(interp) if first.start == booted.request.interp_base => interp.clone(),
        _ => first.path(),
    };
    first.has_file().then(|| Caller { path, offset: pc - first.start })
}
