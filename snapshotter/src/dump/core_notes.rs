//! The notes that debuggers read: registers, auxiliary vector, names of the mapped files.

use super::memory::{Content, Image};
use super::threads::ThreadState;
use crate::arch::xstate_for_debuggers;
use crate::tracee::{TraceError, Tracer};
use snapfn_format::PAGE;
use snapfn_format::snap::notes::push_note;
use std::os::unix::ffi::OsStrExt;

const NT_PRSTATUS: u32 = 1;
const NT_FPREGSET: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_X86_XSTATE: u32 = 0x202;

/// `struct elf_prstatus` of x86-64: 336 bytes.
fn prstatus(thread: &ThreadState, pid: i32) -> Vec<u8> {
    let mut out = vec![0u8; 336];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(24, &thread.record.sigmask.to_le_bytes());
    put(32, &thread.tid.to_le_bytes());
    put(36, &pid.to_le_bytes()); // as parent
    put(40, &pid.to_le_bytes());
    put(44, &pid.to_le_bytes());
    for (i, value) in thread.record.regs.iter().enumerate() {
        put(112 + 8 * i, &value.to_le_bytes());
    }
    put(328, &1i32.to_le_bytes()); // pr_fpvalid
    out
}

/// `struct elf_prpsinfo`: 136 bytes.
fn prpsinfo(tracer: &Tracer, thread: &ThreadState, args: &[u8]) -> Vec<u8> {
    let mut out = vec![0u8; 136];
    out[1] = b'R';
    out[24..28].copy_from_slice(&tracer.pid.to_le_bytes());
    out[40..56].copy_from_slice(&thread.record.comm);
    for (to, from) in out[56..135].iter_mut().zip(args) {
        *to = if *from == 0 { b' ' } else { *from };
    }
    out
}

/// Note type NT_FILE: which file is mapped where, by the paths that the program saw.
fn files(image: &Image) -> Vec<u8> {
    let mut ranges = Vec::new();
    let mut names = Vec::new();
    for part in &image.parts {
        if let Content::File(file, offset) = part.content
            && let Some(file) = image.files.get(file)
        {
            ranges.extend([part.addr, part.addr + part.len, offset / PAGE]);
            names.extend_from_slice(file.original.as_os_str().as_bytes());
            names.push(0);
        }
    }
    let mut out: Vec<u8> = [ranges.len() as u64 / 3, PAGE].iter().flat_map(|v| v.to_le_bytes()).collect();
    out.extend(ranges.iter().flat_map(|v| v.to_le_bytes()));
    out.extend(names);
    out
}

/// Appends all notes, in the order in which a kernel's core file has them.
pub(super) fn build(
    notes: &mut Vec<u8>,
    tracer: &Tracer,
    image: &Image,
    threads: &[ThreadState],
    args: &[u8],
) -> Result<(), TraceError> {
    let mut push = |owner: &[u8], kind, content: &[u8]| push_note(notes, owner, kind, content);
    let request = &tracer.booted.request;
    let auxv = tracer
        .memory
        .read_vec(request.auxv, request.auxv_len)
        .map_err(TraceError::system("reading the auxiliary vector"))?;
    for (index, thread) in threads.iter().enumerate() {
        push(b"CORE\0", NT_PRSTATUS, &prstatus(thread, tracer.pid));
        if index == 0 {
            push(b"CORE\0", NT_PRPSINFO, &prpsinfo(tracer, thread, args));
            push(b"CORE\0", NT_AUXV, &auxv);
            push(b"CORE\0", NT_FILE, &files(image));
        }
        push(b"CORE\0", NT_FPREGSET, thread.raw_xstate.get(..512).unwrap_or_default());
        push(b"LINUX\0", NT_X86_XSTATE, &xstate_for_debuggers(&thread.raw_xstate));
    }
    Ok(())
}
