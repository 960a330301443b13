//! What the snapshot needs of a host.

use super::memory::Image;
use crate::pin::{Cpu, hwcaps_level};
use crate::tracee::Tracer;
use snapfn_format::cpu::{FEATURES, FeatureSet};
use snapfn_format::requirements::{self, OLDEST_KERNEL};
use snapfn_format::snap::{HOST_XSAVE_RESOLVER, HOST_XSTATE_LAYOUT, HostNeeds, PlanTables, Thread};
use snapfn_kernel_tests::requirements::{cpu_name, this_host, xstate_size};

/// Adds the record. Features are those that code *can* have been selected for: of what the program has looked at there
/// is no trace.
pub(super) fn add(tables: &mut PlanTables, tracer: &Tracer, image: &Image, cpu: Cpu) {
    let host = this_host();
    let mut features = cpu.features(&host);
    let levels = image.files.iter().filter_map(|file| hwcaps_level(&file.original));
    for level in levels.filter_map(FeatureSet::level) {
        features = features.or(level);
    }
    let has = |name: &str| FEATURES.iter().any(|feature| feature.name == name && host.cpu.contains(feature.number));
    let glibc = tracer.booted.interp.as_ref().is_some_and(|path| path.to_string_lossy().contains("ld-linux"));
    let saves_all = glibc && cpu == Cpu::Native && has("XSAVE") && !has("XSAVEC");
    /// x87, SSE, AVX.
    const COMMON: u64 = 7;
    let own_layout = tables.threads.iter().any(|thread| live_state(tables, thread) & !COMMON != 0);
    let flags = if saves_all { HOST_XSAVE_RESOLVER } else { 0 } | if own_layout { HOST_XSTATE_LAYOUT } else { 0 };
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    tables.needs = Some(HostNeeds {
        cpu: features.0,
        cpu_seen: host.cpu.0,
        xcr0: host.xcr0,
        behaviours: requirements::behaviours(&tables.threads, &tables.fds),
        xstate_size: xstate_size(),
        kernel: OLDEST_KERNEL,
        level: cpu.level(),
        flags,
        page_shift: host.page_shift,
        address_bits: host.address_bits,
        cpu_name: tables.add_bytes(cpu_name().as_bytes()),
        release: tables.add_bytes(release.unwrap_or_default().as_bytes()),
    });
}

/// The components that a thread's XSAVE area names as live.
fn live_state(tables: &PlanTables, thread: &Thread) -> u64 {
    let at = thread.xstate.offset as usize + 472;
    tables.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}
