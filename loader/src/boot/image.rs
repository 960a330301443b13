//! Maps one ELF image from its code segment file and its init data file.

use super::{BootError, step};
use crate::runtime::memory;
use crate::runtime::sys::{self, Errno};
use snapfn_format::PAGE;
use snapfn_format::init::{Init, PROT_EXEC, SegmentKind};

/// The two files of one ELF, opened and validated.
pub(super) struct Source {
    pub(super) init: Init<'static>,
    /// Address and length of the mapping of the init data file.
    mapping: (u64, u64),
    code: i32,
}

/// A mapped image.
pub(super) struct Image {
    pub(super) bias: u64,
    pub(super) entry: u64,
    pub(super) phdr: u64,
    pub(super) phnum: u64,
    pub(super) start_code: u64,
    pub(super) end_code: u64,
    pub(super) start_data: u64,
    pub(super) end_data: u64,
}

impl Source {
    /// Opens both files, parses the init data file, compares the code file's size with the recorded one.
    ///
    /// # Safety
    /// The paths must be C strings.
    pub(super) unsafe fn open(init: u64, code: u64, what: &'static str) -> Result<Self, BootError> {
        let flags = sys::O_RDONLY | sys::O_CLOEXEC;
        // SAFETY: the caller promises it; the mapping stays until the loader's range is unmapped.
        unsafe {
            let fd = sys::openat(sys::AT_FDCWD, memory::c_str(init), flags, 0).map_err(step(what))?;
            let size = sys::fstat(fd).map_err(step(what))?.size;
            let at = sys::mmap(0, size.max(1), sys::PROT_READ, sys::MAP_PRIVATE, fd, 0).map_err(step(what))?;
            sys::close(fd);
            let init = Init::parse(memory::bytes(at, size)).map_err(|error| BootError::Format(what, error))?;
            if init.header().is_exported() {
                return Err(BootError::System(
                    "the init data file is exported from a snapshot (create --init)",
                    Errno::NONE,
                ));
            }
            let code = sys::openat(sys::AT_FDCWD, memory::c_str(code), flags, 0).map_err(step("code segment file"))?;
            if sys::fstat(code).map_err(step("code segment file"))?.size != init.header().code_size.get() {
                return Err(BootError::System("the code segment file has another size than recorded", Errno::NONE));
            }
            Ok(Source { init, mapping: (at, size), code })
        }
    }

    /// Unmaps the init data file: the program must not find it in its address space.
    ///
    /// # Safety
    /// No borrow of `init` may be used any more.
    pub(super) unsafe fn close(self) -> Result<(), BootError> {
        // SAFETY: the caller's promise.
        unsafe { sys::munmap(self.mapping.0, self.mapping.1) }.map_err(step("munmap of an init data file"))
    }

    /// Finds free room for the image at the place that `mmap(NULL)` chooses, as the kernel does for an interpreter.
    pub(super) fn choose_bias(&self) -> Result<u64, BootError> {
        let header = self.init.header();
        let (start, end) = (header.image_start.get(), header.image_end.get());
        let align = header.max_align.get().max(PAGE);
        let span =
            (end - start).checked_add(align).ok_or(BootError::System("size of the interpreter", Errno::NOMEM))?;
        let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_NORESERVE;
        // SAFETY: the new mapping is removed at once: only its place matters.
        unsafe {
            let at = sys::mmap(0, span, sys::PROT_NONE, flags, -1, 0).map_err(step("mmap of the interpreter"))?;
            sys::munmap(at, span).map_err(step("munmap of the interpreter"))?;
            Ok(at.next_multiple_of(align).wrapping_sub(start))
        }
    }

    /// Maps every segment at `bias` and closes the code file.
    ///
    /// # Safety
    /// Nothing in use may lie in the image's range.
    pub(super) unsafe fn load(&self, bias: u64) -> Result<Image, BootError> {
        let header = self.init.header();
        let mut image = Image {
            bias,
            entry: header.entry.get().wrapping_add(bias),
            phdr: if header.phdr.get() == 0 { 0 } else { header.phdr.get().wrapping_add(bias) },
            phnum: u64::from(header.phnum.get()),
            start_code: u64::MAX,
            end_code: 0,
            start_data: 0,
            end_data: 0,
        };
        // SAFETY: the caller promises it. The whole range is reserved first, so that a collision is an error and not a
        // silent replacement. Holes between segments stay unmapped.
        unsafe {
            let (start, len) =
                (header.image_start.get().wrapping_add(bias), header.image_end.get() - header.image_start.get());
            let anon = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_NORESERVE;
            sys::mmap(start, len, sys::PROT_NONE, anon | sys::MAP_FIXED_NOREPLACE, -1, 0)
                .map_err(step("mmap of the image"))?;
            sys::munmap(start, len).map_err(step("munmap of the image"))?;
            for segment in self.init.segments() {
                let (first, last) = (segment.page_start().wrapping_add(bias), segment.page_end().wrapping_add(bias));
                let prot = segment.prot.get();
                match segment.kind() {
                    SegmentKind::Code => {
                        let file_end = segment.file_page_end().wrapping_add(bias);
                        if file_end > first {
                            let offset = segment.offset.get() & !(PAGE - 1);
                            let flags = sys::MAP_PRIVATE | sys::MAP_FIXED;
                            sys::mmap(first, file_end - first, prot, flags, self.code, offset)
                                .map_err(step("mmap of the code segment file"))?;
                        }
                        if last > file_end {
                            sys::mmap(file_end, last - file_end, prot, anon | sys::MAP_FIXED, -1, 0)
                                .map_err(step("mmap of a read-only segment's zeroes"))?;
                        }
                    }
                    SegmentKind::Data => {
                        sys::mmap(first, last - first, sys::PROT_READ_WRITE, anon | sys::MAP_FIXED, -1, 0)
                            .map_err(step("mmap of a data segment"))?;
                        for run in self.init.runs_of(segment) {
                            memory::write_bytes(run.vaddr.get().wrapping_add(bias), self.init.run_bytes(run));
                        }
                        if prot != sys::PROT_READ_WRITE {
                            sys::mprotect(first, last - first, prot).map_err(step("mprotect of a data segment"))?;
                        }
                    }
                }
                image.account(segment.vaddr.get().wrapping_add(bias), segment.filesz.get(), prot);
            }
            sys::close(self.code);
        }
        Ok(image)
    }
}

impl Image {
    /// Records the ranges that the kernel reports in /proc/PID/stat, by the kernel's own rule.
    fn account(&mut self, vaddr: u64, filesz: u64, prot: u32) {
        let end = vaddr + filesz;
        self.start_code = self.start_code.min(vaddr);
        self.start_data = self.start_data.max(vaddr);
        if prot & PROT_EXEC != 0 {
            self.end_code = self.end_code.max(end);
        }
        self.end_data = self.end_data.max(end);
        self.end_code = self.end_code.max(self.start_code);
        self.end_data = self.end_data.max(self.start_data);
    }
}
