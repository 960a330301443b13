//! Stacks that grow by themselves, and the program break.
#![allow(unsafe_code)] // writes below a stack to make it grow, and brk itself

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use snapfn_format::layout;

use crate::child::{End, fate_of};
use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_refused, ensure_value, missing};
use crate::procfile::Text;
use crate::region::{PAGE, Region};
use crate::sys::{self, MmMap};
use crate::tmpfile;
use crate::{Level, Probe};

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const STACK: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN | libc::MAP_NORESERVE;
const MIB: u64 = 1 << 20;

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "growsdown-anywhere",
        Level::RestoreNeeds,
        "all; before 5.0 only near the stack pointer",
        "the main stack of a snapshot lies at a random address and still grows on demand",
        "a restored program crashes as soon as its main stack needs more room than it had",
        growsdown_anywhere,
    ),
    Probe::new(
        "growsdown-limit",
        Level::Optional,
        "all",
        "RLIMIT_STACK means the same to a restored program as to an ordinary one",
        "runaway recursion in a restored program ends later than in an ordinary one",
        growsdown_limit,
    ),
    Probe::new(
        "growsdown-file-refused",
        Level::Optional,
        "all",
        "shows why the live pages of the stack are read, not mapped, from the snapshot",
        "nothing: a file mapping could be used for the stack and save a copy",
        growsdown_file_refused,
    ),
    Probe::new(
        "brk-grows-after-move",
        Level::RestoreNeeds,
        "3.18 and later with CONFIG_CHECKPOINT_RESTORE",
        "the heap of a restored program goes on growing where it was",
        "malloc falls back to mmap in restored programs; programs that need brk fail",
        brk_grows,
    ),
    Probe::new(
        "brk-refuses-overlap",
        Level::Optional,
        "all",
        "shows why the break needs free space above it, which no reservation can keep",
        "a growing heap would overwrite the mapping above it",
        brk_refuses_overlap,
    ),
];

/// A place in the range of programs, different for experiments that run at the same time.
fn somewhere() -> u64 {
    layout::PROGRAM_START + 0x1_0000_0000 * (sys::getpid() as u64 % 4096 + 1)
}

/// A stack at an odd place with nothing below it for 16 MiB: checked by mapping and unmapping that range.
fn lone_stack() -> Result<Region, Finding> {
    let bottom = somewhere();
    Region::anonymous_at(bottom, 16 * MIB)
        .and_then(Region::unmap)
        .and_then(|()| Region::map(Some(bottom + 16 * MIB), 64 << 10, READ_WRITE, STACK, None))
        .or_missing("cannot map a stack in the range of programs")
}

/// Writes a byte `distance` below a stack made by [`lone_stack`], in steps a compiler would make.
fn write_below(stack: &Region, distance: u64) {
    let mut depth = 0;
    while depth < distance {
        depth += PAGE;
        // SAFETY: below the stack there is only room for it to grow into; otherwise the kernel stops this process by a
        // signal.
        unsafe { ((stack.addr() - depth) as *mut u8).write_volatile(1) };
    }
}

/// **Symptom**: writes below the mapping succeed and the mapping has grown. **Sequence**: anonymous MAP_GROWSDOWN
/// mapping of 64 KiB at a random address of the range of programs; write page by page to 4 MiB below.
/// **Kernels**: all; before 5.0 x86 refused accesses more than 64 KiB below rsp, which hits no program that runs
/// on that stack. **Workaround**: none needed. **Removable**: never.
fn growsdown_anywhere() -> Check {
    let stack = lone_stack()?;
    let end = fate_of(|| write_below(&stack, 4 * MIB)).or_unknown("cannot fork")?;
    if end != End::Exited(0) {
        return Err(missing("a write below the mapping raised a signal instead of growing it", Detail::None));
    }
    write_below(&stack, 4 * MIB);
    let mut maps = Text::read(sys::getpid(), "maps").or_unknown("cannot read /proc/self/maps")?;
    let grown = maps.vmas().find(|vma| vma.end == stack.end()).map_or(0, |vma| vma.start);
    // The range has room for the written part and for the guard gap that the kernel keeps free.
    ensure_value(grown != 0 && grown <= stack.addr() - 4 * MIB, "the mapping starts at", grown)
}

/// **Symptom**: SIGSEGV beyond the limit, none before it. **Sequence**: RLIMIT_STACK = 2 MiB, MAP_GROWSDOWN mapping,
/// write to 1 MiB and to 4 MiB below. **Kernels**: all. **Workaround**: none needed: the limit counts for every
/// mapping that grows down, not only for the one execve made. **Removable**: never.
fn growsdown_limit() -> Check {
    let stack = lone_stack()?;
    let within = |distance| {
        fate_of(|| {
            if setrlimit(Resource::RLIMIT_STACK, 2 * MIB, 2 * MIB).is_ok() {
                write_below(&stack, distance);
            }
        })
    };
    let small = within(MIB).or_unknown("cannot fork")?;
    ensure(small == End::Exited(0), "the stack cannot grow within its limit")?;
    let large = within(4 * MIB).or_unknown("cannot fork")?;
    ensure(large == End::Killed(libc::SIGSEGV), "the stack grows beyond RLIMIT_STACK")
}

/// **Symptom**: EINVAL. **Sequence**: `mmap(MAP_PRIVATE | MAP_GROWSDOWN)` of a file. **Kernels**: all.
/// **Workaround**: the stack is anonymous and its live pages are read into it. **Removable**: when a kernel allows it.
fn growsdown_file_refused() -> Check {
    let file = tmpfile::with_pages(1, 1)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_GROWSDOWN;
    let mapped = Region::map(None, PAGE, READ_WRITE, flags, Some((&file, 0)));
    ensure_refused(mapped, Errno::EINVAL, "a private file mapping may grow down here")
}

/// Moves the break of this process to 1 MiB above a page in the range of programs; the page, and the break.
fn move_break() -> Result<(Region, u64), Finding> {
    let page = Region::anonymous_at(somewhere(), PAGE).or_missing("cannot map in the range of programs")?;
    let start = page.end() + MIB;
    set_break(&page, start).or_missing("PR_SET_MM_MAP was refused")?;
    Ok((page, start))
}

/// All ranges in one page, the break at `start`.
fn set_break(page: &Region, start: u64) -> Result<(), Errno> {
    let (low, high) = (page.addr(), page.end());
    sys::set_mm_map(&MmMap {
        start_code: low,
        end_code: low + 64,
        start_data: low + 64,
        // Kernels before 5.19 need the break above the end of the data.
        end_data: low + 128,
        start_brk: start,
        brk: start,
        start_stack: high - 64,
        arg_start: low,
        arg_end: low,
        env_start: low,
        env_end: low,
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::MAX,
    })
}

/// **Symptom**: `brk` gives memory at the new place. **Sequence**: PR_SET_MM_MAP with another start_brk and brk, `brk`
/// up by 16 MiB, write to the last byte, `brk` down again. **Kernels**: 3.18 and later with CONFIG_CHECKPOINT_RESTORE.
/// **Workaround**: none. **Removable**: never.
fn brk_grows() -> Check {
    let (_page, start) = move_break()?;
    let wanted = start + 16 * MIB;
    // SAFETY: the break was moved away from the libc's heap; nothing else is above it for 16 MiB.
    let got = unsafe { sys::brk(wanted) };
    ensure_value(got == wanted, "brk to the new place ended at", got)?;
    // SAFETY: the last byte of the memory that brk just gave.
    unsafe { ((wanted - 1) as *mut u8).write_volatile(1) };
    // SAFETY: gives back the memory that brk gave two lines above.
    let back = unsafe { sys::brk(start) };
    ensure_value(back == start, "the break cannot go down again, it is at", back)
}

/// **Symptom**: `brk` returns the old end. **Sequence**: as above with one page mapped, even PROT_NONE, 8 MiB above
/// the break. **Kernels**: all. **Workaround**: the heap lies in the range of programs, where `mmap(NULL)`
/// never puts anything; nothing can be reserved for it. **Removable**: never.
fn brk_refuses_overlap() -> Check {
    let (_page, start) = move_break()?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let _above = Region::map(Some(start + 8 * MIB), PAGE, libc::PROT_NONE, flags, None).or_unknown("mmap failed")?;
    // SAFETY: the break was moved away from the libc's heap; the experiment tries a brk over a mapping.
    let over = unsafe { sys::brk(start + 16 * MIB) };
    ensure_value(over == start, "brk went over a mapping, to", over)?;
    // SAFETY: as above, and below the mapping.
    let below = unsafe { sys::brk(start + 4 * MIB) };
    ensure_value(below == start + 4 * MIB, "brk does not even grow below the mapping, it is at", below)
}
