//! Threads made by the bare system calls, as a restored instance makes them.
#![allow(unsafe_code)] // clone on a stack of our own, in assembly

use std::arch::asm;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::finding::{Check, Judge, ensure_value};
use crate::region::Region;

const FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// Which system call.
#[derive(Clone, Copy)]
pub(crate) enum Call {
    Clone,
    Clone3,
}

/// `struct clone_args`, its first version.
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Makes a thread that stores the first word of its TLS and ends. Checks all words that the kernel wrote.
pub(crate) fn try_thread(call: Call) -> Check {
    const PATTERN: u64 = 0x7468_7265_6164_2121;
    let stack = Region::anonymous(16384).or_unknown("no memory for a stack")?;
    let tls = Region::anonymous(4096).or_unknown("no memory for TLS")?;
    tls.poke_word(0, PATTERN);
    let (parent_tid, child_tid, stored) = (AtomicU32::new(0), AtomicU32::new(u32::MAX), tls.addr() + 64);
    let (parent_word, child_word) = (parent_tid.as_ptr() as u64, child_tid.as_ptr() as u64);
    let clone3 = CloneArgs {
        flags: FLAGS,
        pidfd: 0,
        child_tid: child_word,
        parent_tid: parent_word,
        exit_signal: 0,
        stack: stack.addr(),
        stack_size: stack.len(),
        tls: tls.addr(),
    };
    let (number, arguments) = match call {
        Call::Clone3 => (libc::SYS_clone3, [&raw const clone3 as u64, size_of::<CloneArgs>() as u64, 0, 0, 0]),
        Call::Clone => (libc::SYS_clone, [FLAGS, stack.end(), parent_word, child_word, tls.addr()]),
    };
    let result: i64;
    // SAFETY: the new thread runs the three instructions up to exit, on its own stack, and writes only to `stored`;
    // stack, TLS and both words outlive it, as the wait below shows.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rax, fs:[0]",
            "mov [{stored}], rax",
            "xor edi, edi",
            "mov eax, 60", // exit
            "syscall",
            "2:",
            stored = in(reg) stored,
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            out("rcx") _,
            out("r11") _,
        );
    }
    if result < 0 {
        return Err(Errno::from_raw(-result as i32)).or_missing("no thread was made");
    }
    // The kernel zeroes the word after the thread has left its stack. The watchdog ends the wait if it never does.
    while child_tid.load(Ordering::Acquire) != 0 {
        std::thread::yield_now();
    }
    let tid = u64::from(parent_tid.load(Ordering::Acquire));
    ensure_value(tid == result as u64, "CLONE_PARENT_SETTID stored another number than was returned", tid)?;
    let seen = tls.peek_word(64);
    ensure_value(seen == PATTERN, "CLONE_SETTLS did not set the thread pointer", seen)
}
