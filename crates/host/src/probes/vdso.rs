//! The kernel's vDSO, to which the synthetic one forwards.
#![allow(unsafe_code)] // the vDSO is memory without a type

use nix::errno::Errno;

use crate::elf::{self, Dynamic};
use crate::finding::{Check, Detail, Finding, Judge, ensure, ensure_value, missing};
use crate::procfile::Text;
use crate::region::{PAGE, Region};
use crate::sys;
use crate::{Level, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe::new(
        "vdso-symbols",
        Level::Optional,
        "all, unless booted with vdso=0",
        "clock calls of an instance go to the vDSO of the host it runs on",
        "clock calls of an instance are system calls, ten times as slow",
        vdso_symbols,
    ),
    Probe::new(
        "vdso-hash-tables",
        Level::Optional,
        "6.0 and later have DT_GNU_HASH; some builds lack DT_HASH",
        "shows through which tables a lookup in the vDSO may go",
        "nothing: the lookup uses the table that is there",
        vdso_hash_tables,
    ),
    Probe::new(
        "vdso-movable",
        Level::Optional,
        "all; not with CONFIG_MSEAL_SYSTEM_MAPPINGS (6.16 and later)",
        "a program under the snapshotter has no vDSO of the kernel's, so no thread can be in it",
        "it stays mapped; `create` refuses a program that is in it at the point",
        vdso_movable,
    ),
];

const FUNCTIONS: [&[u8]; 5] =
    [b"__vdso_clock_gettime", b"__vdso_gettimeofday", b"__vdso_time", b"__vdso_clock_getres", b"__vdso_getcpu"];

/// The image that AT_SYSINFO_EHDR points to, with the length in its headers.
fn image() -> Result<&'static [u8], Finding> {
    let start = sys::auxv(libc::AT_SYSINFO_EHDR);
    if start == 0 {
        return Err(missing("the auxiliary vector has no AT_SYSINFO_EHDR", Detail::None));
    }
    // SAFETY: the kernel maps at least one page there, and this process does not change it meanwhile.
    let head = unsafe { std::slice::from_raw_parts(start as *const u8, PAGE as usize) };
    let size = elf::memory_size(head).ok_or(missing("the headers of the vDSO make no sense", Detail::Value(start)))?;
    // SAFETY: the one PT_LOAD of the vDSO is mapped as a whole.
    Ok(unsafe { std::slice::from_raw_parts(start as *const u8, size) })
}

fn dynamic(image: &[u8]) -> Result<Dynamic, Finding> {
    Dynamic::parse(image).ok_or(missing("the vDSO has no readable dynamic section", Detail::None))
}

/// **Symptom**: the five functions have addresses inside the image. **Sequence**: AT_SYSINFO_EHDR, PT_DYNAMIC, hash
/// table, symbol table. **Kernels**: all x86-64, `__vdso_clock_getres` since 5.3. **Workaround**: plain system calls
/// for what is missing. **Removable**: never.
fn vdso_symbols() -> Check {
    let image = image()?;
    let dynamic = dynamic(image)?;
    for (index, name) in (0..).zip(FUNCTIONS) {
        let Some(value) = dynamic.lookup(image, name) else {
            return Err(missing("the vDSO lacks function number", Detail::Value(index)));
        };
        ensure_value((value as usize) < image.len(), "a function lies outside the vDSO, at", value)?;
    }
    Ok(())
}

/// **Symptom**: DT_HASH and DT_GNU_HASH are there and agree. **Sequence**: look each function up through both.
/// **Kernels**: x86-64 kernels link with --hash-style=both; distributions that patch that drop DT_HASH. **Workaround**:
/// either serves. **Removable**: never.
fn vdso_hash_tables() -> Check {
    let image = image()?;
    let dynamic = dynamic(image)?;
    ensure(dynamic.hash.is_some(), "the vDSO has no DT_HASH")?;
    ensure(dynamic.gnu_hash.is_some(), "the vDSO has no DT_GNU_HASH")?;
    for name in FUNCTIONS {
        let (sysv, gnu) = (dynamic.lookup(image, name), dynamic.only_gnu().lookup(image, name));
        ensure_value(sysv == gnu, "the two hash tables disagree about", sysv.unwrap_or(0))?;
    }
    Ok(())
}

/// **Symptom**: `mremap` moves it; EPERM where it is sealed. **Sequence**: find `[vdso]` in maps, `mremap` to a free
/// place, `munmap`. **Kernels**: sealed with CONFIG_MSEAL_SYSTEM_MAPPINGS (x86-64 from 6.16). **Workaround**: programs
/// get a synthetic vDSO that forwards to the kernel's wherever that is. **Removable**: never.
fn vdso_movable() -> Check {
    let mut maps = Text::read(sys::getpid(), "maps").or_unknown("cannot read /proc/self/maps")?;
    let Some(vdso) = maps.vmas().find(|vma| vma.name == b"[vdso]") else {
        return Err(missing("this process has no vDSO", Detail::None));
    };
    let (start, len) = (vdso.start, vdso.end - vdso.start);
    let target = Region::anonymous(len).or_unknown("mmap failed")?;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: this child makes no clock call any more; the target is a mapping of its own, which is replaced.
    let moved = unsafe { libc::mremap(start as *mut _, len as usize, len as usize, flags, target.addr()) };
    if moved == libc::MAP_FAILED {
        return Err(Errno::last()).or_missing("the vDSO cannot be moved");
    }
    let mut maps = Text::read(sys::getpid(), "maps").or_unknown("cannot read /proc/self/maps")?;
    let seen = maps.vmas().find(|vma| vma.name == b"[vdso]").map_or(0, |vma| vma.start);
    ensure_value(seen == target.addr(), "after the move the vDSO is at", seen)?;
    target.unmap().or_missing("the vDSO cannot be unmapped")
}
