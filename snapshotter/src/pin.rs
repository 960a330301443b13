//! `--cpu`: limits the CPU features that the C library and OpenSSL select code for while the program initialises.
//!
//! glibc chooses its string functions, its dynamic linker's register-saving code and the `glibc-hwcaps` directories of
//! libraries by CPU features. A tunable can disable features, and this module disables those that the level does not
//! have.
//!
//! The dynamic linker saves registers when it binds a function at its first call: with XSAVE in an area of the size
//! that the CPU of the snapshot had, or with XSAVEC, which not every v3 CPU has. At v2 both are disabled, and it uses
//! FXSAVE, which is the same everywhere. Above v2, glibc would disable AVX as well. So ld.so binds everything at once
//! (LD_BIND_NOW), even in libraries that are loaded later, and never has to save registers.

use snapfn_format::cpu::FeatureSet;
use snapfn_format::requirements::Host;
use std::ffi::{OsStr, OsString};

/// An x86-64 level, or the CPU as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cpu {
    /// Everything that this CPU has
    #[default]
    Native,
    /// Nehalem (2008), Bulldozer (2011) and later
    #[value(name = "x86-64-v2", alias = "v2")]
    V2,
    /// Haswell (2013), Excavator (2015) and later: AVX2
    #[value(name = "x86-64-v3", alias = "v3")]
    V3,
    /// Skylake-SP (2017), Zen 4 (2022) and later: AVX-512
    #[value(name = "x86-64-v4", alias = "v4")]
    V4,
}

const TUNABLES: &str = "GLIBC_TUNABLES";
const HWCAPS: &str = "glibc.cpu.hwcaps";
const BIND_NOW: &str = "LD_BIND_NOW";
const OPENSSL: &str = "OPENSSL_ia32cap";

/// Features that no pinned program may use, by glibc's names. glibc ignores names that it does not know; up to 2.32
/// they end with `_Usable`.
const ALWAYS: &[&str] = &["XSAVEC", "RTM", "FMA4", "FMA4_Usable", "XOP"];
const ABOVE_V2: &[&str] = &[
    "XSAVE",
    "AVX",
    "AVX_Usable",
    "AVX2",
    "AVX2_Usable",
    "AVX_Fast_Unaligned_Load",
    "BMI1",
    "BMI2",
    "FMA",
    "FMA_Usable",
    "F16C",
    "LZCNT",
    "MOVBE",
];
const ABOVE_V3: &[&str] =
    &["AVX512F", "AVX512F_Usable", "AVX512BW", "AVX512CD", "AVX512DQ", "AVX512DQ_Usable", "AVX512VL"];

impl Cpu {
    /// The number of the level; 0: none.
    pub(crate) fn level(self) -> u32 {
        match self {
            Cpu::Native => 0,
            Cpu::V2 => 2,
            Cpu::V3 => 3,
            Cpu::V4 => 4,
        }
    }

    /// The features that code may be selected for on `host`.
    pub(crate) fn features(self, host: &Host) -> FeatureSet {
        FeatureSet::level(self.level()).unwrap_or_else(|| host.cpu.without_hints())
    }

    /// What this CPU lacks of the level.
    pub(crate) fn missing(self, host: &Host) -> FeatureSet {
        self.features(host).without(host.cpu)
    }

    fn tunable(self) -> Option<String> {
        let lists: &[&[&str]] = match self {
            Cpu::Native => return None,
            Cpu::V2 => &[ALWAYS, ABOVE_V2, ABOVE_V3],
            Cpu::V3 => &[ALWAYS, ABOVE_V3],
            Cpu::V4 => &[ALWAYS],
        };
        let names: Vec<String> = lists.iter().copied().flatten().map(|name| format!("-{name}")).collect();
        Some(format!("{HWCAPS}={}", names.join(",")))
    }

    /// OpenSSL's own notation: words of CPUID leaves 1 and 7, where `~` marks bits to disable. It knows AES, PCLMULQDQ
    /// and SHA beyond the levels' features, so all bits except those of the level are disabled.
    fn openssl(self) -> Option<&'static str> {
        match self {
            Cpu::Native => None,
            // ecx of leaf 1 in the upper half: PCLMULQDQ 1, XOP 11, FMA 12, MOVBE 22, AES 25, AVX 28, RDRAND 30; no
            // leaf 7.
            Cpu::V2 => Some("~0x5240180200000000:0"),
            // Leaf 7, ebx: BMI1 3, AVX2 5, BMI2 8 stay.
            Cpu::V3 => Some("~0x4200080200000000:0x128"),
            // AVX-512 F 16, DQ 17, CD 28, BW 30, VL 31 stay as well.
            Cpu::V4 => Some("~0x4200080200000000:0xd0030128"),
        }
    }

    /// Adds the variables of the level to the environment. A value that the user has set for OpenSSL stays.
    pub(crate) fn pin(self, env: &mut Vec<(OsString, OsString)>) {
        let value_of = |env: &[(OsString, OsString)], name: &str| {
            env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        if let Some(tunable) = self.tunable() {
            let others = value_of(env, TUNABLES).unwrap_or_default();
            let others = others.to_string_lossy().into_owned();
            let kept = others.split(':').filter(|one| !one.is_empty() && !one.starts_with(HWCAPS));
            let all: Vec<&str> = kept.chain([tunable.as_str()]).collect();
            let value = OsString::from(all.join(":"));
            env.retain(|(key, _)| key != TUNABLES);
            env.push((TUNABLES.into(), value));
        }
        if self.level() > 2 {
            bind_now(env);
        }
        if let Some(words) = self.openssl()
            && value_of(env, OPENSSL).is_none()
        {
            env.push((OPENSSL.into(), words.into()));
        }
    }
}

/// Has ld.so bind everything at once.
pub(crate) fn bind_now(env: &mut Vec<(OsString, OsString)>) {
    env.retain(|(key, _)| key != BIND_NOW);
    env.push((BIND_NOW.into(), "1".into()));
}

/// Libraries that check the CPU themselves, with the remedy that pins them, if there is one.
const OWN_DISPATCH: &[(&str, &str)] = &[
    ("_multiarray_umath", "NPY_DISABLE_CPU_FEATURES"),
    ("libopenblas", "OPENBLAS_CORETYPE"),
    ("libblis", "BLIS_ARCH_TYPE"),
    ("libmkl_", "MKL_ENABLE_INSTRUCTIONS"),
    ("libgcrypt", "/etc/gcrypt/hwf.deny"),
    ("libnettle", "NETTLE_FAT_OVERRIDE"),
    ("libgmp", ""),
    ("libfreebl", "NSS_DISABLE_HW_CRYPTO"),
    ("libx264", ""),
    ("libx265", ""),
    ("libavcodec", ""),
    ("libdav1d", ""),
    ("libjpeg", "JSIMD_FORCESSE2"),
    ("libjvm", "-XX:UseAVX"),
    ("libnode", ""),
    ("libmonosgen", ""),
    ("libcoreclr", "DOTNET_EnableAVX"),
];

/// A library that `--cpu` does not reach, by the name of its file: its remedy, or an empty text.
pub(crate) fn own_dispatch(path: &std::path::Path) -> Option<&'static str> {
    let name = path.file_name().unwrap_or(OsStr::new("")).to_string_lossy();
    OWN_DISPATCH.iter().find(|(start, _)| name.starts_with(start)).map(|(_, how)| *how)
}

/// The level of the `glibc-hwcaps` directory of a library.
pub(crate) fn hwcaps_level(path: &std::path::Path) -> Option<u32> {
    let text = path.to_string_lossy();
    let level = text.split("/glibc-hwcaps/x86-64-v").nth(1)?.split('/').next()?;
    level.parse().ok().filter(|level| FeatureSet::level(*level).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn pinned(cpu: Cpu, env: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut env: Vec<(OsString, OsString)> = env.iter().map(|(k, v)| (k.into(), v.into())).collect();
        cpu.pin(&mut env);
        env.into_iter().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned())).collect()
    }

    #[test]
    fn the_environment_of_a_level() {
        assert!(pinned(Cpu::Native, &[]).is_empty());
        let v2 = pinned(Cpu::V2, &[]);
        assert!(v2[0].1.contains("-AVX2,") && v2[0].1.contains("-AVX512F,") && v2[0].1.contains("-XSAVE,"), "{v2:?}");
        assert!(v2.iter().all(|(name, _)| name != BIND_NOW), "{v2:?}");
        let v3 = pinned(Cpu::V3, &[]);
        // Without both XSAVE and XSAVEC, glibc has no AVX.
        assert!(!v3[0].1.contains("-AVX2") && v3[0].1.contains("-AVX512F,") && !v3[0].1.contains("-XSAVE,"), "{v3:?}");
        assert!(v3.iter().any(|(name, value)| name == BIND_NOW && value == "1"), "{v3:?}");
        assert!(!pinned(Cpu::V4, &[])[0].1.contains("AVX512"));
    }

    #[test]
    fn settings_of_the_user_are_kept() {
        let set = pinned(Cpu::V2, &[(TUNABLES, "glibc.malloc.check=1:glibc.cpu.hwcaps=-ERMS"), (OPENSSL, "0")]);
        let value = |name: &str| &set.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("{name}")).1;
        assert!(value(TUNABLES).starts_with("glibc.malloc.check=1:glibc.cpu.hwcaps=-XSAVEC,"));
        assert_eq!(value(OPENSSL), "0");
    }

    #[test]
    fn libraries() {
        let level = |path: &str| hwcaps_level(Path::new(path));
        assert_eq!(level("/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1"), Some(3));
        assert_eq!(level("/usr/lib/x86_64-linux-gnu/libz.so.1"), None);
        assert_eq!(level("/usr/lib/glibc-hwcaps/x86-64-v9/libz.so.1"), None);
        assert!(own_dispatch(Path::new("/x/_multiarray_umath.cpython-311.so")).is_some());
        assert!(own_dispatch(Path::new("/lib/libc.so.6")).is_none());
    }
}
