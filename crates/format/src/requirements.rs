//! The requirements of a snapshot, and the check whether a host meets them.

use crate::arch::cpu::{self, FeatureSet};
use crate::arch::xstate;
use crate::linux::PR_SET_MDWE;
use crate::snap::*;
use core::fmt;

/// The properties of a host that snapshots depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Features that the CPU has and the kernel has enabled.
    pub cpu: FeatureSet,
    /// Register state that the kernel has enabled; 0 without XSAVE.
    pub xcr0: u64,
    /// Place in an XSAVE area of each enabled component from AVX on; 0: the host does not have it.
    pub places: [u32; COMPONENTS],
    /// Release of the kernel, as from [`release`]; 0: unknown, which fits every snapshot.
    pub kernel: u32,
    /// Bits of `KERNEL_…` that a probe found missing, even if the release should have it.
    pub lacks: u64,
    /// log2 of the page size.
    pub page_shift: u32,
    /// Width of a user address; 47 with four levels of page tables.
    pub address_bits: u32,
}

/// A kernel's release as one number that can be compared.
pub const fn release(major: u32, minor: u32) -> u32 {
    let minor = if minor > 0xffff { 0xffff } else { minor };
    major << 16 | minor
}

/// A behaviour of the kernel that only some snapshots need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Its bit in [`HostNeeds::behaviours`].
    pub bit: u64,
    /// What it is.
    pub name: &'static str,
    /// First release that has it.
    pub since: u32,
}

/// All behaviours that have a bit.
pub const BEHAVIOURS: [Behaviour; 4] = [
    Behaviour { bit: KERNEL_RSEQ, name: "restartable sequences (rseq)", since: release(4, 18) },
    Behaviour { bit: KERNEL_PIDFD, name: "pidfd_open", since: release(5, 3) },
    Behaviour { bit: KERNEL_MEMFD_EXEC, name: "MFD_EXEC and MFD_NOEXEC_SEAL", since: release(6, 3) },
    Behaviour { bit: KERNEL_MDWE, name: "PR_SET_MDWE", since: release(6, 3) },
];

/// Every snapshot needs this release, since it has MAP_FIXED_NOREPLACE.
pub const OLDEST_KERNEL: u32 = release(4, 17);

/// The behaviours that a plan with these threads, descriptors and settings needs.
pub fn behaviours(threads: &[Thread], fds: &[Fd], settings: &[Setting]) -> u64 {
    const MFD_NOEXEC_SEAL: u64 = 8;
    const MFD_EXEC: u64 = 0x10;
    let mut bits = 0;
    if threads.iter().any(|thread| thread.rseq != 0) {
        bits |= KERNEL_RSEQ;
    }
    if settings.iter().any(|setting| setting.kind == SETTING_PRCTL && setting.which == PR_SET_MDWE) {
        bits |= KERNEL_MDWE;
    }
    for fd in fds {
        bits |= match fd.descriptor() {
            Some(Descriptor::OwnPidfd) => KERNEL_PIDFD,
            Some(Descriptor::Memory { flags, .. }) if flags & (MFD_EXEC | MFD_NOEXEC_SEAL) != 0 => KERNEL_MEMFD_EXEC,
            _ => 0,
        };
    }
    bits
}

/// One thing that a host lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A CPU feature, by number.
    Feature(u8),
    /// The host has more register state (these bits of XCR0) than the dynamic linker in the snapshot makes room for.
    Grown(u64),
    /// Register state that is live (these bits of XCR0) is not there or not enabled.
    State(u64),
    /// Register state that is live lies elsewhere in the areas of this CPU.
    Layout,
    /// The kernel is older than that release.
    Kernel(u32),
    /// A behaviour of the kernel, by bit number.
    Behaviour(u8),
    /// Pages have another size (log2).
    PageShift(u32),
    /// Addresses are narrower.
    AddressBits(u32),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Misfit::Feature(number) => match cpu::name(number) {
                Some(name) => write!(f, "this CPU lacks {name}, which code in the snapshot was selected for"),
                None => write!(f, "needs CPU feature {number}, which this version does not know"),
            },
            Misfit::Grown(bits) => write!(
                f,
                "this CPU has register state (XCR0 bits {bits:#x}) that the dynamic linker in the snapshot has no room for"
            ),
            Misfit::State(bits) => {
                write!(f, "this CPU or kernel lacks register state that is live in the snapshot (XCR0 bits {bits:#x})")
            }
            Misfit::Layout => f.write_str(
                "this CPU keeps register state that is live in the snapshot (protection keys, AVX-512) in another layout",
            ),
            Misfit::Kernel(release) => write!(f, "needs Linux {}.{} or later", release >> 16, release & 0xffff),
            Misfit::Behaviour(bit) => match behaviour(bit) {
                Some(behaviour) => write!(f, "this kernel lacks {}", behaviour.name),
                None => write!(f, "needs kernel behaviour {bit}, which this version does not know"),
            },
            Misfit::PageShift(shift) => write!(f, "needs pages of {} bytes", 1u64 << (shift & 63)),
            Misfit::AddressBits(bits) => write!(f, "needs addresses of {bits} bits"),
        }
    }
}

fn behaviour(bit: u8) -> Option<&'static Behaviour> {
    BEHAVIOURS.iter().find(|behaviour| behaviour.bit == 1 << bit)
}

pub use xstate::COMMON as COMMON_STATE;

/// The part of the register state `xcr0` that a dynamic linker which saves all state has no room for.
///
/// `XSAVE` has a fixed layout and writes all state of XCR0. On a host with more state than the host that measured the
/// area, the linker would write beyond the area's end. `XSAVEC` writes only the state in use, which is no more unless
/// the instance runs code that the snapshot's CPU could not run.
pub fn grown(needs: &HostNeeds, xcr0: u64) -> Option<Misfit> {
    let more = xcr0 & !needs.xcr0 & xstate::RESOLVER;
    (needs.flags & HOST_XSAVE_RESOLVER != 0 && more != 0).then_some(Misfit::Grown(more))
}

/// The part of the register state `live` that a host with `xcr0` enabled lacks. Every host has x87 and SSE.
pub fn state(live: u64, xcr0: u64) -> Option<Misfit> {
    let missing = live & !(xcr0 | xstate::LEGACY);
    (missing != 0).then_some(Misfit::State(missing))
}

/// Whether live state lies where the host has it. `lies` answers whether component `.0` lies at `.1`.
///
/// Up to AVX, all CPUs have the same places. Behind it each maker has its own, even if XCR0 is the same: protection
/// keys lie at 2688 on Intel's CPUs with AVX-512, and at 2432 on AMD's.
pub fn layout(needs: &HostNeeds, mut lies: impl FnMut(u32, u32) -> bool) -> Option<Misfit> {
    let mut places = (0..).zip(needs.places).filter(|(_, place)| *place != 0);
    (!places.all(|(number, place)| lies(number, place))).then_some(Misfit::Layout)
}

/// Everything in `needs` that `host` lacks, except live register state, which [`state`] checks.
pub fn misfits<'a>(needs: &'a HostNeeds, host: &'a Host) -> impl Iterator<Item = Misfit> + 'a {
    let missing = FeatureSet(needs.cpu).without_hints().without(host.cpu);
    let old = host.kernel != 0 && host.kernel < needs.kernel;
    let behaviours = (0..64u8).filter(move |bit| needs.behaviours >> bit & 1 == 1).filter(move |bit| {
        let too_old = behaviour(*bit).is_none_or(|behaviour| host.kernel != 0 && host.kernel < behaviour.since);
        too_old || host.lacks >> bit & 1 == 1
    });
    let page = (needs.page_shift != host.page_shift).then_some(Misfit::PageShift(needs.page_shift));
    let bits = (needs.address_bits > host.address_bits).then_some(Misfit::AddressBits(needs.address_bits));
    missing
        .numbers()
        .map(Misfit::Feature)
        .chain(grown(needs, host.xcr0))
        .chain(layout(needs, |number, place| {
            host.xcr0 >> number & 1 == 0 || host.places.get(number as usize) == Some(&place)
        }))
        .chain(old.then_some(Misfit::Kernel(needs.kernel)))
        .chain(behaviours.map(Misfit::Behaviour))
        .chain(page)
        .chain(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            cpu: FeatureSet::V3,
            xcr0: 7,
            places: [0; COMPONENTS],
            kernel: release(6, 1),
            lacks: 0,
            page_shift: 12,
            address_bits: 47,
        }
    }

    fn needs() -> HostNeeds {
        HostNeeds {
            cpu: FeatureSet::V2.0,
            xcr0: 7,
            kernel: release(4, 17),
            page_shift: 12,
            address_bits: 47,
            ..HostNeeds::default()
        }
    }

    fn said(needs: &HostNeeds, host: &Host) -> Vec<String> {
        misfits(needs, host).map(|misfit| misfit.to_string()).collect()
    }

    #[test]
    fn what_fits() {
        assert!(said(&needs(), &host()).is_empty());
        assert!(said(&HostNeeds { cpu: FeatureSet::V3.0, ..needs() }, &host()).is_empty());
        // A missing hint is no misfit, and an unknown kernel fits.
        assert!(said(&HostNeeds { cpu: [0, u64::MAX << 56], ..needs() }, &host()).is_empty());
        assert!(said(&HostNeeds { kernel: release(9, 0), ..needs() }, &Host { kernel: 0, ..host() }).is_empty());
    }

    #[test]
    fn what_does_not_is_named() {
        let has = |needs: HostNeeds, host: Host, words: &[&str]| {
            let said = said(&needs, &host);
            assert_eq!(said.len(), words.len(), "{said:?}");
            for (said, word) in said.iter().zip(words) {
                assert!(said.contains(word), "{said}: {word}");
            }
        };
        has(
            HostNeeds { cpu: [1 << 16 | 1 << 40 | 1 << 63, 1], ..needs() },
            host(),
            &["AVX512F", "feature 63", "feature 64"],
        );
        has(HostNeeds { kernel: release(6, 13), ..needs() }, host(), &["Linux 6.13"]);
        let newer = KERNEL_PIDFD | KERNEL_MEMFD_EXEC | KERNEL_MDWE;
        has(HostNeeds { behaviours: newer, ..needs() }, host(), &["MFD_EXEC", "PR_SET_MDWE"]);
        has(HostNeeds { behaviours: newer, ..needs() }, Host { kernel: release(6, 3), ..host() }, &[]);
        has(HostNeeds { behaviours: KERNEL_PIDFD, ..needs() }, Host { lacks: KERNEL_PIDFD, ..host() }, &["pidfd"]);
        has(HostNeeds { behaviours: 1 << 60, ..needs() }, host(), &["behaviour 60"]);
        has(HostNeeds { page_shift: 14, ..needs() }, host(), &["16384"]);
        has(HostNeeds { address_bits: 56, ..needs() }, host(), &["56 bits"]);
        let large = Host { xcr0: 0xe7, ..host() };
        has(needs(), large, &[]);
        // Places of protection keys on CPUs of Intel with and without AMX, of AMD, and without AVX-512.
        let keys_at = |place| {
            let mut places = [0; COMPONENTS];
            places[9] = place;
            places
        };
        let keys = HostNeeds { places: keys_at(2688), ..needs() };
        let with_amx = Host { xcr0: 0x602e7, places: keys_at(2688), ..host() };
        has(keys, with_amx, &[]);
        has(keys, Host { xcr0: 0x2e7, ..with_amx }, &[]);
        has(keys, Host { xcr0: 0x2e7, places: keys_at(2432), ..host() }, &["layout"]);
        // If the CPU has no protection keys, the message names that instead.
        has(keys, host(), &[]);
        assert_eq!(state(1 << 9 | 3, 7), Some(Misfit::State(1 << 9)));
        assert_eq!((state(1 << 9 | 3, 1 << 9), state(3, 0)), (None, None));
        has(needs(), with_amx, &[]);
        has(HostNeeds { flags: HOST_XSAVE_RESOLVER, ..needs() }, large, &["0xe0"]);
        has(HostNeeds { flags: HOST_XSAVE_RESOLVER, ..needs() }, Host { xcr0: 0x207, ..host() }, &[]);
    }
}
