//! The new main stack: strings, auxiliary vector, environment and arguments in the kernel's order.
//!
//! ```text
//!  stack_top ─ 8 zero bytes │ execfn │ env strings │ arg strings │ platform │ 16 random bytes │ (align)
//!            │ auxv │ NULL │ envp[] │ NULL │ argv[] │ argc ← sp (16-byte aligned)
//! ```

use super::image::Image;
use super::{BootError, step};
use crate::runtime::auxv::{InitialStack, at};
use crate::runtime::memory;
use crate::runtime::sys::{self, Errno};
use core::ffi::CStr;
use snapfn_format::boot::BootRequest;
use snapfn_format::page_down;

/// Bytes mapped below the vectors; the kernel maps as much for a new program (stack_expand, 128 KiB).
const ROOM: u64 = 128 << 10;

/// Where everything went.
pub(super) struct Built {
    pub(super) sp: u64,
    pub(super) argv: u64,
    pub(super) envp: u64,
    pub(super) auxv: u64,
    pub(super) auxv_len: u64,
    pub(super) at_random: u64,
    pub(super) arg_start: u64,
    pub(super) arg_end: u64,
    pub(super) env_end: u64,
}

fn string_len(text: &CStr) -> u64 {
    text.to_bytes_with_nul().len() as u64
}

/// Copies a string to `*to` and advances `*to`.
unsafe fn push(to: &mut u64, text: &CStr) -> u64 {
    let addr = *to;
    // SAFETY: the caller has counted the room.
    unsafe { memory::write_bytes(addr, text.to_bytes_with_nul()) };
    *to += string_len(text);
    addr
}

/// # Safety
/// `request` as for [`super::serve`]; `initial` is the kernel's stack of this process, still mapped.
pub(super) unsafe fn build(
    request: &BootRequest,
    initial: &InitialStack,
    exe: &Image,
    interp: Option<&Image>,
    executable: bool,
) -> Result<Built, BootError> {
    // SAFETY: strings of the kernel's stack.
    let string_at = |kind| initial.aux_value(kind).filter(|v| *v != 0).map(|v| unsafe { memory::c_str(v) });
    let execfn = string_at(at::EXECFN).unwrap_or(c"");
    let platform = string_at(at::PLATFORM);
    let base_platform = string_at(at::BASE_PLATFORM);
    let strings = (0..initial.argc).filter_map(|i| initial.arg(i)).map(string_len).sum::<u64>();
    let strings = strings + (0..initial.envc).filter_map(|i| initial.env(i)).map(string_len).sum::<u64>();
    let strings = strings + string_len(execfn) + 8;
    let small = platform.map_or(0, string_len) + base_platform.map_or(0, string_len) + 16;
    let aux_count = initial.aux().count() as u64 + 2; // AT_BASE may be missing; the terminator
    let vectors = 16 * aux_count + 8 * (initial.envc + 1 + initial.argc + 1 + 1);
    let top = request.stack_top;
    let need = strings + small + vectors + 64;
    let bottom = top
        .checked_sub(need + ROOM)
        .map(page_down)
        .ok_or(BootError::System("size of the argument strings", Errno::NOMEM))?;
    let prot = if executable { sys::PROT_ALL } else { sys::PROT_READ_WRITE };
    let flags = sys::MAP_PRIVATE
        | sys::MAP_ANONYMOUS
        | sys::MAP_FIXED_NOREPLACE
        | sys::MAP_NORESERVE
        | sys::MAP_GROWSDOWN
        | sys::MAP_STACK;
    // SAFETY: the mapping is new, and all writes below are inside it.
    unsafe {
        sys::mmap(bottom, top - bottom, prot, flags, -1, 0).map_err(step("mmap of the main stack"))?;
        let arg_start = top - strings;
        let mut small_at = arg_start - small;
        let at_random = small_at;
        let random = initial.aux_value(at::RANDOM).unwrap_or(0);
        if random != 0 {
            memory::write_bytes(at_random, memory::bytes(random, 16));
        }
        small_at += 16;
        let platform = platform.map(|text| push(&mut small_at, text));
        let base_platform = base_platform.map(|text| push(&mut small_at, text));
        let sp = (at_random - vectors) & !15;
        memory::write_u64(sp, initial.argc);
        let argv = sp + 8;
        let mut string = arg_start;
        let mut slot = argv;
        for text in (0..initial.argc).filter_map(|i| initial.arg(i)) {
            memory::write_u64(slot, push(&mut string, text));
            slot += 8;
        }
        let arg_end = string;
        memory::write_u64(slot, 0);
        slot += 8;
        let envp = slot;
        for text in (0..initial.envc).filter_map(|i| initial.env(i)) {
            memory::write_u64(slot, push(&mut string, text));
            slot += 8;
        }
        let env_end = string;
        memory::write_u64(slot, 0);
        slot += 8;
        let execfn = push(&mut string, execfn);

        let auxv = slot;
        let mut put = |kind: u64, value: u64| {
            memory::write_u64(slot, kind);
            memory::write_u64(slot + 8, value);
            slot += 16;
        };
        let mut has_base = false;
        for (kind, value) in initial.aux() {
            match kind {
                // Without it, programs register the 32 bytes that every kernel accepts.
                at::RSEQ_FEATURE_SIZE | at::RSEQ_ALIGN => {}
                at::SYSINFO_EHDR => put(kind, request.resident),
                at::PHDR => put(kind, exe.phdr),
                at::PHNUM => put(kind, exe.phnum),
                at::ENTRY => put(kind, exe.entry),
                at::BASE => {
                    has_base = true;
                    put(kind, interp.map_or(0, |image| image.bias));
                }
                at::RANDOM => put(kind, at_random),
                at::EXECFN => put(kind, execfn),
                at::PLATFORM => put(kind, platform.unwrap_or(0)),
                at::BASE_PLATFORM => put(kind, base_platform.unwrap_or(0)),
                _ => put(kind, value),
            }
        }
        if let (false, Some(image)) = (has_base, interp) {
            put(at::BASE, image.bias);
        }
        put(at::NULL, 0);
        Ok(Built { sp, argv, envp, auxv, auxv_len: slot - auxv, at_random, arg_start, arg_end, env_end })
    }
}
