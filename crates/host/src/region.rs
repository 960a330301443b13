//! A mapping that the experiment owns: bounds-checked access, unmapped at the end.
#![allow(unsafe_code)] // mmap and similar calls, on ranges that only this type uses

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

/// Size of a page on the only architecture.
pub(crate) const PAGE: u64 = 4096;

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// An owned mapping. A read or write may raise a signal, which some experiments expect.
pub(crate) struct Region {
    addr: u64,
    len: u64,
}

impl Region {
    /// `mmap`: at the address `at` if that is free, or, without `at`, where the kernel chooses.
    pub(crate) fn map(
        at: Option<u64>,
        len: u64,
        protection: i32,
        flags: i32,
        file: Option<(&OwnedFd, u64)>,
    ) -> Result<Self, Errno> {
        let flags = flags & !libc::MAP_FIXED | if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
        let (fd, offset) = file.map_or((-1, 0), |(fd, offset)| (fd.as_raw_fd(), offset));
        let wanted = at.unwrap_or(0);
        // SAFETY: never MAP_FIXED, so nothing that exists is replaced.
        let got = unsafe { libc::mmap(wanted as *mut _, len as usize, protection, flags, fd, offset as i64) };
        if got == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let region = Self { addr: got as u64, len };
        // A kernel that does not know MAP_FIXED_NOREPLACE takes the address for a hint.
        if at.is_some_and(|at| at != region.addr) { Err(Errno::EEXIST) } else { Ok(region) }
    }

    /// Private anonymous memory.
    pub(crate) fn anonymous(len: u64) -> Result<Self, Errno> {
        Self::map(None, len, READ_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)
    }

    /// Private anonymous memory at `at`, not counted against overcommit.
    pub(crate) fn anonymous_at(at: u64, len: u64) -> Result<Self, Errno> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(Some(at), len, READ_WRITE, flags, None)
    }

    /// Anonymous memory that forked children share.
    #[cfg(test)]
    pub(crate) fn shared(len: u64) -> Result<Self, Errno> {
        Self::map(None, len, READ_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, None)
    }

    /// A file from its beginning, copy-on-write.
    pub(crate) fn private_file(fd: &OwnedFd, len: u64) -> Result<Self, Errno> {
        Self::map(None, len, READ_WRITE, libc::MAP_PRIVATE, Some((fd, 0)))
    }

    pub(crate) fn addr(&self) -> u64 {
        self.addr
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn end(&self) -> u64 {
        self.addr + self.len
    }

    pub(crate) fn peek(&self, offset: u64) -> u8 {
        assert!(offset < self.len);
        // SAFETY: inside the mapping, to which this program holds no reference.
        unsafe { (self.addr as *const u8).add(offset as usize).read_volatile() }
    }

    pub(crate) fn poke(&self, offset: u64, value: u8) {
        assert!(offset < self.len);
        // SAFETY: inside the mapping, to which this program holds no reference.
        unsafe { (self.addr as *mut u8).add(offset as usize).write_volatile(value) }
    }

    /// Eight bytes at a multiple of eight.
    pub(crate) fn peek_word(&self, offset: u64) -> u64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: aligned and inside the mapping, to which this program holds no reference.
        unsafe { ((self.addr + offset) as *const u64).read_volatile() }
    }

    /// Eight bytes at a multiple of eight.
    pub(crate) fn poke_word(&self, offset: u64, value: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: aligned and inside the mapping, to which this program holds no reference.
        unsafe { ((self.addr + offset) as *mut u64).write_volatile(value) }
    }

    /// Copies bytes in.
    pub(crate) fn fill(&self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            self.poke(at, *byte);
        }
    }

    /// The bytes, for mappings that only this process writes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the whole mapping, borrowed exclusively like the region itself; used on anonymous memory only.
        unsafe { std::slice::from_raw_parts_mut(self.addr as *mut u8, self.len as usize) }
    }

    pub(crate) fn advise(&self, advice: i32) -> Result<(), Errno> {
        // SAFETY: the mapping is this process's own; the effect on the contents is the experiment.
        Errno::result(unsafe { libc::madvise(self.addr as *mut _, self.len as usize, advice) }).map(drop)
    }

    pub(crate) fn protect(&self, offset: u64, len: u64, protection: i32) -> Result<(), Errno> {
        assert!(offset + len <= self.len);
        // SAFETY: on the own mapping.
        Errno::result(unsafe { libc::mprotect((self.addr + offset) as *mut _, len as usize, protection) }).map(drop)
    }

    /// `mremap` to a new length, moving if needed.
    pub(crate) fn resize(&mut self, len: u64) -> Result<(), Errno> {
        let (old, new) = (self.len as usize, len as usize);
        // SAFETY: on the own mapping; the region follows to the new address.
        let got = unsafe { libc::mremap(self.addr as *mut _, old, new, libc::MREMAP_MAYMOVE) };
        if got == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        self.addr = got as u64;
        self.len = len;
        Ok(())
    }

    /// Unmaps everything from `len` on.
    pub(crate) fn shorten(mut self, len: u64) -> Result<Self, Errno> {
        assert!(len < self.len);
        // SAFETY: the end of the own mapping, which the region gives up.
        Errno::result(unsafe { libc::munmap((self.addr + len) as *mut _, (self.len - len) as usize) })?;
        self.len = len;
        Ok(self)
    }

    /// `mseal`: no change to this mapping from now on.
    pub(crate) fn seal(&self) -> Result<(), Errno> {
        const SYS_MSEAL: i64 = 462;
        // SAFETY: on the own mapping.
        Errno::result(unsafe { libc::syscall(SYS_MSEAL, self.addr, self.len, 0u64) }).map(drop)
    }

    /// Unmaps it and returns the kernel's answer.
    pub(crate) fn unmap(self) -> Result<(), Errno> {
        // SAFETY: the own mapping, which is given up.
        let result = Errno::result(unsafe { libc::munmap(self.addr as *mut _, self.len as usize) }).map(drop);
        std::mem::forget(self);
        result
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the own mapping, which nothing uses any more.
        unsafe { libc::munmap(self.addr as *mut _, self.len as usize) };
    }
}
