//! Where the kernel places things: the ranges of a snapshot must be free in every fresh process.

use std::ops::Range;

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use snapfn_format::layout;

use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_refused, ensure_value, missing, unknown};
use crate::region::{PAGE, Region};
use crate::sys::{self, ADDR_COMPAT_LAYOUT, ADDR_NO_RANDOMIZE};
use crate::tracee::Tracee;
use crate::{Level, Probe};

/// Where `mmap(NULL)` goes in a process executed with the compat layout: a third of the address
/// space plus at most 2^32 pages of randomness.
const ARENA: Range<u64> = 0x2aaa_aaaa_a000..0x3aaa_aaaa_b000;
/// The same for a process executed with an unlimited stack: a sixth of the address space, less the randomness.
const LOW_ARENA: Range<u64> = 0x0500_0000_0000..0x1555_5555_6000;
const PROGRAM: Range<u64> = layout::PROGRAM_START..layout::PROGRAM_END;
const LOADER: Range<u64> = layout::LOADER_START..layout::LOADER_END;

/// Enough fresh processes to see a range that is hit by chance, few enough to be quick.
const SPAWNS: usize = 12;

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "compat-layout",
        Level::Optional,
        "all",
        "gives the program under the snapshotter addresses that are free in every later process",
        "the snapshotter falls back to an unlimited stack for the exec (compat-layout-by-stack-limit)",
        compat_layout,
    ),
    Probe::new(
        "compat-layout-by-stack-limit",
        Level::Optional,
        "all",
        "the way to a free range where personality() is forbidden",
        "in a container that forbids personality(), no snapshot can be made",
        stack_limit_layout,
    ),
    Probe::new(
        "ordinary-ranges",
        Level::RestoreNeeds,
        "all, unless vm.legacy_va_layout is set",
        "the addresses of a snapshot are free in a fresh process",
        "snaprun resets the personality and executes itself once more; with vm.legacy_va_layout=1 set system-wide \
         restores fail when addresses happen to collide",
        ordinary_ranges,
    ),
    Probe::new(
        "personality-reset",
        Level::CreateNeeds,
        "all",
        "children of the program under the snapshotter live in the ordinary layout",
        "programs that a snapshotted program starts could lie where restored ones must go",
        personality_reset,
    ),
    Probe::new(
        "fixed-noreplace",
        Level::RestoreNeeds,
        "4.17 and later",
        "a restore never replaces a mapping that is already there",
        "an older kernel treats the address as a hint; the loader compares the address and fails, never overwrites",
        fixed_noreplace,
    ),
    Probe::new(
        "plan-ranges",
        Level::RestoreNeeds,
        "all with 4-level page tables or more",
        "the ranges of the address-space plan can be mapped",
        "another mapping is there (a sanitizer, an emulator); nothing can be restored",
        plan_ranges,
    ),
];

/// A fresh process of this program: layout flags cleared, then `prepare`.
fn fresh(prepare: impl FnOnce() -> Result<(), Errno>) -> Result<Tracee, Errno> {
    Tracee::exec(|| {
        // This process would inherit the flag, too, but the experiment is not about inherited flags.
        sys::set_personality(sys::personality()? & !(ADDR_COMPAT_LAYOUT | ADDR_NO_RANDOMIZE))?;
        prepare()
    })
}

/// Where the kernel puts the next two mappings of a tracee.
fn two_mappings(tracee: &Tracee) -> Result<(u64, u64), Finding> {
    let protection = libc::PROT_READ as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let map = || tracee.call(libc::SYS_mmap, &[0, PAGE, protection, flags, u64::MAX, 0]);
    Ok((map().or_unknown("the injected mmap failed")?, map().or_unknown("the injected mmap failed")?))
}

/// **Symptom**: `mmap(NULL)` returns 0x2aaa… and grows upwards, in a range that no ordinary process uses. **Sequence**:
/// `personality(ADDR_COMPAT_LAYOUT)`, `execve`, `mmap(NULL)` twice; do so in two processes, since the start is random.
/// **Kernels**: all; seccomp profiles of containers often refuse personality() with EPERM. **Workaround**: an unlimited
/// stack for the exec, see [`stack_limit_layout`]. **Removable**: never.
fn compat_layout() -> Check {
    let mut starts = [0; 2];
    for start in &mut starts {
        let tracee = fresh(|| sys::set_personality(sys::personality()? | ADDR_COMPAT_LAYOUT).map(drop))
            .or_missing("personality(ADDR_COMPAT_LAYOUT) or the exec after it was refused")?;
        let (first, second) = two_mappings(&tracee)?;
        ensure_value(ARENA.contains(&first), "the first mapping lies outside the arena", first)?;
        ensure_value(ARENA.contains(&second), "the second mapping lies outside the arena", second)?;
        ensure_value(first < second, "mappings grow downwards from", first)?;
        *start = first;
    }
    ensure_value(starts[0] != starts[1], "two processes have the same arena, nothing is randomised", starts[0])
}

/// **Symptom**: `mmap(NULL)` goes below 0x1555_5555_6000, downwards, where no ordinary process has anything.
/// **Sequence**: RLIMIT_STACK = unlimited, `execve`, `mmap(NULL)`. The gap that is kept for the stack is then at its
/// maximum, five sixths of the address space. **Kernels**: all x86-64. **Workaround**: none needed; the limit is put
/// back by prlimit after the exec. **Removable**: when personality() is allowed in every container.
fn stack_limit_layout() -> Check {
    let (_, hard) = getrlimit(Resource::RLIMIT_STACK).or_unknown("cannot read RLIMIT_STACK")?;
    if hard != RLIM_INFINITY {
        return Err(unknown("the hard limit of the stack is", Detail::Value(hard)));
    }
    let tracee = fresh(|| setrlimit(Resource::RLIMIT_STACK, RLIM_INFINITY, RLIM_INFINITY))
        .or_unknown("exec with an unlimited stack failed")?;
    let (first, second) = two_mappings(&tracee)?;
    for address in [first, second] {
        ensure_value(LOW_ARENA.contains(&address), "mmap(NULL) lies outside the low range", address)?;
        ensure_value(!PROGRAM.contains(&address), "mmap(NULL) lies in the range of programs", address)?;
    }
    Ok(())
}

/// **Symptom**: nothing of a fresh process, and no new mapping, lies in the ranges of a snapshot.
/// **Sequence**: a dozen fresh processes: executable, interpreter, stack, vDSO, `mmap(NULL)`. **Kernels**: all with
/// 47-bit user addresses, at every vm.mmap_rnd_bits. **Workaround**: vm.legacy_va_layout or an inherited
/// personality puts mappings into the arena: detected, reset, executed once more. **Removable**: never.
fn ordinary_ranges() -> Check {
    for _ in 0..SPAWNS {
        let tracee = fresh(|| Ok(())).or_unknown("cannot execute this program again")?;
        let (first, second) = two_mappings(&tracee)?;
        ensure_value(second < first, "mappings grow upwards, as with vm.legacy_va_layout, from", first)?;
        let mut maps = tracee.maps().or_unknown("cannot read /proc/PID/maps")?;
        let mut seen = 0;
        for vma in maps.vmas() {
            for taken in [PROGRAM, ARENA, LOADER] {
                let disjoint = vma.end <= taken.start || taken.end <= vma.start;
                ensure_value(disjoint, "a fresh process has a mapping in a range of the plan, at", vma.start)?;
            }
            seen += 1;
        }
        // Executable, stack and the two mappings are always there.
        ensure_value(seen >= 4, "/proc/PID/maps lists too few mappings", seen)?;
    }
    Ok(())
}

/// **Symptom**: after the reset, new mappings of the process itself still go to the arena, those of what it executes do
/// not. **Sequence**: exec with the compat layout; at the exec stop inject `personality(0)`, `mmap(NULL)`, then
/// `execve`, `mmap(NULL)`. **Kernels**: all: the layout is chosen once, by execve. **Workaround**: none needed.
/// **Removable**: never.
fn personality_reset() -> Check {
    let mut tracee = fresh(|| sys::set_personality(sys::personality()? | ADDR_COMPAT_LAYOUT).map(drop))
        .or_unknown("personality(ADDR_COMPAT_LAYOUT) or the exec after it was refused")?;
    let flags = tracee.call(libc::SYS_personality, &[0xffff_ffff]).or_missing("cannot read the personality")?;
    tracee.call(libc::SYS_personality, &[flags & !ADDR_COMPAT_LAYOUT]).or_missing("cannot reset the personality")?;
    let (own, _) = two_mappings(&tracee)?;
    ensure_value(ARENA.contains(&own), "the process itself lost its layout, its mapping is at", own)?;
    tracee.exec_again().or_unknown("the injected execve failed")?;
    let (next, _) = two_mappings(&tracee)?;
    ensure_value(!ARENA.contains(&next), "a program it executes has inherited the layout, its mapping is at", next)
}

/// **Symptom**: EEXIST. **Sequence**: `mmap(MAP_FIXED_NOREPLACE)` over the first, the last and all pages of a
/// mapping. **Kernels**: 4.17 and later; older ones take the address for a hint. **Workaround**: the returned
/// address is compared, always. **Removable**: the comparison goes when 4.17 is the oldest kernel supported.
fn fixed_noreplace() -> Check {
    let taken = Region::anonymous(4 * PAGE).or_unknown("mmap failed")?;
    taken.poke(0, 1);
    for (at, len) in [(taken.addr(), PAGE), (taken.end() - PAGE, 2 * PAGE), (taken.addr(), 4 * PAGE)] {
        ensure_refused(
            Region::anonymous_at(at, len),
            Errno::EEXIST,
            "a mapping over another was not refused with EEXIST",
        )?;
    }
    ensure(taken.peek(0) == 1, "a refused mapping changed what was there")
}

/// **Symptom**: the address asked for is the address got. **Sequence**: map and unmap 1 MiB at several places of the
/// range of programs and of the loader's. **Kernels**: all with 47-bit user addresses. **Workaround**: none; a
/// snapshot is created again with other random addresses. **Removable**: never.
fn plan_ranges() -> Check {
    const LEN: u64 = 1 << 20;
    let middle = |range: &Range<u64>| (range.start + (range.end - range.start) / 2) & !(PAGE - 1);
    for range in [PROGRAM, LOADER] {
        for at in [range.start, middle(&range), range.end - LEN] {
            let region = match Region::anonymous_at(at, LEN) {
                Err(Errno::EEXIST) => return Err(missing("taken in this process", Detail::Value(at))),
                other => other.or_missing("cannot map in the ranges of the plan")?,
            };
            ensure_value(region.addr() == at, "the kernel chose another address", region.addr())?;
            region.poke(LEN - 1, 1);
            region.unmap().or_missing("munmap failed")?;
        }
    }
    Ok(())
}
