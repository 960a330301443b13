//! The deserializer: rebuilds a program's initial memory from its code segment and init data files.
//!
//! It runs inside the tracee at its exec stop and does what `execve` does: it maps the segments, zeroes the rest of
//! each last page, maps the interpreter, builds stack and auxiliary vector, and sets the kernel's record of them
//! (PR_SET_MM_MAP). It parses and validates both init data files before it unmaps a page of the kernel's image.
#![allow(unsafe_code)] // builds another program's image

mod image;
mod stack;

use crate::runtime::auxv::InitialStack;
use crate::runtime::sys::{self, Errno};
use crate::runtime::{memory, vdso};
use image::{Image, Source};
use snapfn_format::FormatError;
use snapfn_format::PAGE;
use snapfn_format::boot::{BOOT_DONE, BOOT_FAILED, BOOT_MAGIC, BootRequest};
use snapfn_format::init::FLAG_STACK_EXEC;
use snapfn_format::snap::resident;

/// Why the deserializer gave up.
#[derive(Clone, Copy, Debug)]
pub enum BootError {
    /// A system call failed.
    System(&'static str, Errno),
    /// An init data file was refused.
    Format(&'static str, FormatError),
}

/// Step name + error number, as a `map_err` argument.
fn step(what: &'static str) -> impl Fn(Errno) -> BootError {
    move |errno| BootError::System(what, errno)
}

/// Serves the request and records the outcome in it.
///
/// # Safety
/// `request` must be the one that the snapshotter wrote, and this function may unmap the image of the process.
pub unsafe fn serve(request: &mut BootRequest) {
    // SAFETY: the caller's promise.
    match unsafe { rebuild(request) } {
        Ok(()) => request.status = BOOT_DONE,
        Err(error) => {
            let mut what = Message { bytes: &mut request.what, len: 0 };
            request.errno = describe(error, &mut what);
            request.status = BOOT_FAILED;
        }
    }
}

struct Message<'a> {
    bytes: &'a mut [u8; 96],
    len: usize,
}

impl core::fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if let Some(slot) = self.bytes.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        Ok(())
    }
}

fn describe(error: BootError, out: &mut Message<'_>) -> i32 {
    use core::fmt::Write;
    match error {
        BootError::System(what, errno) => {
            let _ = out.write_str(what);
            errno.0
        }
        BootError::Format(what, format) => {
            let _ = write!(out, "{what}: {format}");
            0
        }
    }
}

unsafe fn rebuild(request: &mut BootRequest) -> Result<(), BootError> {
    if request.magic != BOOT_MAGIC {
        return Err(BootError::System("snapboot and snapshotter are of different versions", Errno::NONE));
    }
    // SAFETY: all addresses come from the snapshotter; the kernel's image is no longer needed once unmapped.
    unsafe {
        let exe = Source::open(request.exe_init, request.exe_code, "init data file of the program")?;
        let interp = match request.interp_init {
            0 => None,
            path => Some(Source::open(path, request.interp_code, "init data file of the interpreter")?),
        };
        for i in 0..request.unmap_count {
            let pair = request.unmap + 16 * i;
            let (start, end) = (memory::read_u64(pair), memory::read_u64(pair + 8));
            sys::munmap(start, end - start).map_err(step("munmap of the kernel's image"))?;
        }
        let exe_image = exe.load(request.bias)?;
        let interp_image = match &interp {
            Some(interp) => Some(interp.load(interp.choose_bias()?)?),
            None => None,
        };
        map_resident(request)?;
        let initial = InitialStack::at(request.initial_sp);
        let executable = exe.init.header().flags.get() & FLAG_STACK_EXEC != 0;
        let stack = stack::build(request, &initial, &exe_image, interp_image.as_ref(), executable)?;
        let start = interp_image.as_ref().unwrap_or(&exe_image);
        request.entry = start.entry;
        request.exe_entry = exe_image.entry;
        request.interp_base = interp_image.as_ref().map_or(0, |image| image.bias);
        request.sp = stack.sp;
        request.argv = stack.argv;
        request.envp = stack.envp;
        request.auxv = stack.auxv;
        request.auxv_len = stack.auxv_len;
        request.at_random = stack.at_random;
        request.start_code = exe_image.start_code;
        request.end_code = exe_image.end_code;
        request.start_data = exe_image.start_data;
        request.end_data = exe_image.end_data;
        tell_kernel(request, &exe_image, &stack)?;
        exe.close()?;
        interp.map_or(Ok(()), |interp| interp.close())
    }
}

unsafe fn map_resident(request: &BootRequest) -> Result<(), BootError> {
    let base = request.resident;
    // SAFETY: NOREPLACE never replaces; the vDSO page is 4096 readable bytes of the request.
    unsafe {
        let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE | sys::MAP_NORESERVE;
        sys::mmap(base, PAGE, sys::PROT_READ_WRITE, flags, -1, 0).map_err(step("mmap of the resident region"))?;
        let len = resident::WORK - resident::SLOTS + request.work_len;
        sys::mmap(base + resident::SLOTS, len, sys::PROT_READ_WRITE, flags, -1, 0)
            .map_err(step("mmap of the resident region"))?;
        memory::write_bytes(base, memory::bytes(request.vdso_page, PAGE));
        vdso::fill_plain(base);
        sys::mprotect(base, PAGE, sys::PROT_READ_EXEC).map_err(step("mprotect of the vDSO page"))?;
        sys::mprotect(base + resident::SLOTS, PAGE, sys::PROT_READ).map_err(step("mprotect of the slot page"))
    }
}

fn tell_kernel(request: &BootRequest, exe: &Image, stack: &stack::Built) -> Result<(), BootError> {
    let map = sys::MmMap {
        start_code: exe.start_code,
        end_code: exe.end_code,
        start_data: exe.start_data,
        end_data: exe.end_data,
        start_brk: request.brk,
        brk: request.brk,
        start_stack: stack.sp,
        arg_start: stack.arg_start,
        arg_end: stack.arg_end,
        env_start: stack.arg_end,
        env_end: stack.env_end,
        auxv: stack.auxv,
        auxv_size: stack.auxv_len as u32,
        exe_fd: u32::MAX,
    };
    map.apply().map_err(step("prctl(PR_SET_MM_MAP)"))
}
