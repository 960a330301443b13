//! Compares this host with the recorded needs of a snapshot.
#![allow(unsafe_code)] // cpuid, xgetbv

use snapfn_format::cpu::{FEATURES, FeatureSet, Register};
use snapfn_format::requirements::{self, Host, Misfit};
use snapfn_format::snap::HostNeeds;

/// Everything in `needs` that `host` lacks. Each item is a clause of a message.
#[must_use]
pub fn check(needs: &HostNeeds, host: &Host) -> Vec<Misfit> {
    requirements::misfits(needs, host).collect()
}

/// This host: the CPU by `CPUID`, the kernel by its release.
#[must_use]
pub fn this_host() -> Host {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    Host {
        cpu: features(),
        xcr0: xcr0(),
        places: std::array::from_fn(|number| xstate_component(number as u32).start as u32),
        kernel: nix::sys::utsname::uname().ok().and_then(|name| release(name.release().to_str()?)).unwrap_or(0),
        lacks: 0,
        page_shift: page.ilog2(),
        // Every x86-64 kernel gives a process this state without a request.
        address_bits: 47,
    }
}

/// `6.1.0-56-cloud-amd64` as a number to compare.
fn release(text: &str) -> Option<u32> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(requirements::release(major, minor))
}

/// The register state that the kernel has enabled, 0 without XSAVE.
#[must_use]
pub fn xcr0() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: register 0 exists wherever the kernel has enabled XSAVE, which the caller has checked.
        unsafe { core::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: the feature is only detected where the kernel has enabled it.
    if std::arch::is_x86_feature_detected!("xsave") { unsafe { read() } } else { 0 }
}

/// Size of an XSAVE area with all enabled state; 512 bytes without XSAVE.
#[must_use]
pub fn xstate_size() -> u32 {
    if xcr0() == 0 { 512 } else { cpuid(0xd, 0).ebx }
}

/// Place of state component `number` in an XSAVE area of this CPU; empty if the CPU lacks it, and for x87 and SSE.
#[must_use]
pub fn xstate_component(number: u32) -> std::ops::Range<usize> {
    if number < 2 || xcr0() >> number & 1 == 0 {
        return 0..0;
    }
    let found = cpuid(0xd, number);
    let (offset, len) = (found.ebx as usize, found.eax as usize);
    offset..offset + len
}

fn cpuid(leaf: u32, subleaf: u32) -> core::arch::x86_64::CpuidResult {
    let zero = core::arch::x86_64::CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    let highest = |base| core::arch::x86_64::__cpuid(base).eax;
    let known =
        leaf <= highest(leaf & 0x8000_0000) && (leaf != 7 || subleaf <= core::arch::x86_64::__cpuid_count(7, 0).eax);
    if known { core::arch::x86_64::__cpuid_count(leaf, subleaf) } else { zero }
}

fn features() -> FeatureSet {
    let mut set = FeatureSet::default();
    let enabled = xcr0();
    for feature in FEATURES {
        let (leaf, subleaf) = feature.leaf;
        let found = cpuid(leaf, subleaf);
        let word = match feature.register {
            Register::Eax => found.eax,
            Register::Ebx => found.ebx,
            Register::Ecx => found.ecx,
            Register::Edx => found.edx,
        };
        if word >> feature.bit & 1 == 1 && feature.state & !enabled == 0 {
            set.insert(feature.number);
        }
    }
    set
}

/// The CPU's name, as in /proc/cpuinfo.
#[must_use]
pub fn cpu_name() -> String {
    let words = (0x8000_0002..=0x8000_0004u32).map(|leaf| cpuid(leaf, 0));
    let bytes: Vec<u8> =
        words.flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx]).flat_map(u32::to_le_bytes).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(release("6.1.0-56-cloud-amd64"), Some(requirements::release(6, 1)));
        assert_eq!(release("6.18.44-fc-v782"), Some(requirements::release(6, 18)));
        assert_eq!(release("5.10"), Some(requirements::release(5, 10)));
        assert_eq!(release("unknown"), None);
    }

    /// CPUID and /proc/cpuinfo report the same features.
    #[test]
    fn features_are_those_of_the_kernel() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let Some(line) = text.lines().find(|line| line.starts_with("flags")) else { return };
        let flags: Vec<&str> = line.split_whitespace().collect();
        let here = this_host().cpu;
        for (number, flag) in [
            (0, "pni"),
            (3, "sse4_2"),
            (4, "popcnt"),
            (11, "avx"),
            (16, "avx2"),
            (17, "bmi2"),
            (18, "abm"),
            (21, "sha_ni"),
            (26, "xsavec"),
            (40, "avx512f"),
            (44, "avx512bw"),
            (120, "erms"),
        ] {
            assert_eq!(here.contains(number), flags.contains(&flag), "{flag}");
        }
        assert!(xstate_size() >= 512 && (xcr0() == 0 || xcr0() & 3 == 3));
    }
}
