//! What the snapshot needs of a host.

use super::memory::Image;
use super::threads::ThreadState;
use crate::pin::{Cpu, hwcaps_level};
use crate::tracee::Tracer;
use snapfn_format::cpu::{FEATURES, FeatureSet};
use snapfn_format::requirements::{self, COMMON_STATE, OLDEST_KERNEL};
use snapfn_format::snap::{HOST_XSAVE_RESOLVER, HostNeeds, PlanTables, live_state};
use snapfn_host::requirements::{cpu_name, this_host, xstate_size};

/// Adds the record. Features are those that code *can* have been selected for: the features that the program has read
/// leave no trace.
pub(super) fn add(tables: &mut PlanTables, tracer: &Tracer, image: &Image, threads: &[ThreadState], cpu: Cpu) {
    let host = this_host();
    let mut features = cpu.features(&host);
    let levels = image.files.iter().filter_map(|file| hwcaps_level(&file.original));
    for level in levels.filter_map(FeatureSet::level) {
        features = features.or(level);
    }
    let has = |name: &str| FEATURES.iter().any(|feature| feature.name == name && host.cpu.contains(feature.number));
    let glibc = tracer.booted.interp.as_ref().is_some_and(|path| path.to_string_lossy().contains("ld-linux"));
    let saves_all = glibc && cpu == Cpu::Native && has("XSAVE") && !has("XSAVEC");
    let live = threads.iter().fold(0, |live, thread| live | live_state(&thread.xstate));
    let live = live & !COMMON_STATE;
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    tables.needs = Some(HostNeeds {
        cpu: features.0,
        cpu_seen: host.cpu.0,
        xcr0: host.xcr0,
        behaviours: requirements::behaviours(&tables.threads, &tables.fds, &tables.settings),
        xstate_size: xstate_size(),
        kernel: OLDEST_KERNEL,
        level: cpu.level(),
        flags: if saves_all { HOST_XSAVE_RESOLVER } else { 0 },
        page_shift: host.page_shift,
        address_bits: host.address_bits,
        cpu_name: tables.add_bytes(cpu_name().as_bytes()),
        release: tables.add_bytes(release.unwrap_or_default().as_bytes()),
        places: std::array::from_fn(|number| if live >> number & 1 == 1 { host.places[number] } else { 0 }),
    });
}
