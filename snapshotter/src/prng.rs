//! Random number generators in user space whose state a snapshot holds.
//!
//! Generators that draw from the kernel (getrandom, /dev/urandom, glibc's arc4random since 2.36, C++ random_device,
//! libsodium) are not in this list, and neither is OpenSSL 3, which checks the process ID before each draw: the
//! instance's ID is another, and the one that OpenSSL keeps is not stored. docs/howto/uniqueness.md has the table with
//! the reasons. The snapshotter cannot see generators of the application itself (a std::mt19937, a seed in a variable).

use crate::tracee::protocol::{HOOKS_OWN, INFO_HOOKS};
use snapfn_format::snap::AT_READY;
use std::path::Path;

/// In `struct snap_info`, as [`HOOKS_OWN`].
const HOOKS_LANGUAGE: u64 = 2;

/// The program's actions in an instance before it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hooks {
    /// It calls functions of its choice. They can seed everything anew, and only the program knows whether they do.
    own: bool,
    /// The generators of its language are seeded.
    language: bool,
}

impl Hooks {
    /// The actions of a program that stands at `at` and has registered the `struct snap_info` at `info`. `word` reads
    /// its memory.
    pub(crate) fn read<E>(at: u32, info: u64, word: impl FnOnce(u64) -> Result<u64, E>) -> Result<Self, E> {
        if at != AT_READY || info == 0 {
            return Ok(Self::default());
        }
        let hooks = word(info + INFO_HOOKS)?;
        Ok(Hooks { own: hooks & HOOKS_OWN != 0, language: hooks & HOOKS_LANGUAGE != 0 })
    }
}

/// A library, by the start of its file's name, and the remedy that seeds its generator.
struct Known {
    file: &'static str,
    what: &'static str,
    remedy: &'static str,
    /// Of a language whose helper seeds it (folder python).
    language: bool,
}

impl Known {
    const fn new(file: &'static str, what: &'static str, remedy: &'static str) -> Self {
        Known { file, what, remedy, language: false }
    }

    const fn of_language(self) -> Self {
        Known { language: true, ..self }
    }
}

const PYTHON: [&str; 2] = [
    "the module random is seeded when it is imported",
    "mark the point with snapfn.ready() (folder python), or call random.seed() in every instance",
];
const SQLITE: &str = "random(), randomblob() and new row IDs go on from a seed of the first use";
const PERL: [&str; 2] =
    ["rand() is seeded by its first use", "call srand() in every instance, or rand() only after the snapshot point"];
const LUA: [&str; 2] =
    ["math.random() is seeded when the interpreter starts", "call math.randomseed() in every instance"];

const KNOWN: &[Known] = &[
    Known::new("python3", PYTHON[0], PYTHON[1]).of_language(),
    Known::new("libpython3", PYTHON[0], PYTHON[1]).of_language(),
    Known::new(
        "_mt19937.",
        "numpy's global generator is seeded when it is imported",
        "snapfn.ready() (folder python) seeds it; make Generator objects after the snapshot point",
    )
    .of_language(),
    Known::new(
        "libsqlite3.so",
        SQLITE,
        "call sqlite3_randomness(0, NULL) in a function given to snap_on_restore(); give the program sqlite3 `.testctrl prng_seed 0` as an instance's first input",
    )
    .of_language(),
    Known::new(
        "libgnutls.so",
        "GnuTLS notices fork(), not a new process ID",
        "call gnutls_rnd_refresh() in a function given to snap_on_restore()",
    ),
    Known::new(
        "libsoftokn3.so",
        "PK11_GenerateRandom() of NSS goes on from the seed of NSS_Init()",
        "call PK11_RandomUpdate() with bytes of getrandom() in a function given to snap_on_restore()",
    ),
    Known::new(
        "libgcrypt.so",
        "gcry_create_nonce() tells an instance by its process ID alone, which in a container may be that of the snapshot",
        "use gcry_randomize() for what must differ",
    ),
    Known::new(
        "libwolfssl.so",
        "generators tell an instance by its process ID at most, which in a container may be that of the snapshot",
        "call wc_RNG_DRBG_Reseed() with bytes of getrandom() in a function given to snap_on_restore()",
    ),
    Known::new(
        "libmbedcrypto.so",
        "generators of Mbed TLS (CTR_DRBG, HMAC_DRBG) keep their state for many draws",
        "call mbedtls_ctr_drbg_reseed() or mbedtls_hmac_drbg_reseed() in a function given to snap_on_restore()",
    ),
    Known::new(
        "libcrypto.so.1.1",
        "OpenSSL 1.1.1 tells an instance by its process ID at most, which in a container may be that of the snapshot",
        "call RAND_poll() in a function given to snap_on_restore()",
    ),
    Known::new(
        "libgsl.so",
        "generators of the GNU Scientific Library keep their state",
        "call gsl_rng_set() in a function given to snap_on_restore()",
    ),
    Known::new("libtorch_cpu.so", "PyTorch's default generator keeps its state", "call torch.seed() in every instance"),
    Known::new("libperl.so", PERL[0], PERL[1]),
    Known::new("perl", PERL[0], PERL[1]),
    Known::new("libruby", "Kernel#rand is seeded by its first use", "call srand in every instance"),
    Known::new(
        "php",
        "rand() and mt_rand() are seeded by their first use",
        "call mt_srand(random_int(0, PHP_INT_MAX)) in every instance, or random_int() for what must differ",
    ),
    Known::new("libtcl", "expr rand() is seeded by its first use", "call expr srand() in every instance"),
    Known::new("libR.so", "R's generators are seeded by their first use", "call set.seed(NULL) in every instance"),
    Known::new(
        "libjvm.so",
        "Math.random(), ThreadLocalRandom and Random objects keep their state",
        "use SecureRandom for what must differ, and make Random objects after the snapshot point",
    ),
    Known::new(
        "node",
        "Math.random() is seeded when the engine starts",
        "use crypto.randomBytes() for what must differ",
    ),
    Known::new("lua5.4", LUA[0], LUA[1]),
    Known::new("liblua5.4.so", LUA[0], LUA[1]),
];

/// The notices about a program that maps these files and has these hooks.
pub(crate) fn warnings<'a>(files: impl Iterator<Item = &'a Path>, hooks: Hooks) -> Vec<(String, String)> {
    if hooks.own {
        return Vec::new();
    }
    let known = |path: &Path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let known = KNOWN.iter().find(|known| name.starts_with(known.file))?;
        let text = format!("{}: the same in every instance; {}", known.what, known.remedy);
        (!known.language || !hooks.language).then_some((name, text))
    };
    let mut found: Vec<_> = files.filter_map(known).collect();
    found.sort();
    found.dedup_by(|a, b| a.1 == b.1);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn named(hooks: Hooks) -> Vec<String> {
        let files = ["/usr/bin/python3.11", "/usr/lib/libc.so.6", "/usr/lib/libcrypto.so.3", "/x/libgsl.so.27"];
        warnings(files.iter().map(Path::new), hooks).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn known_generators_are_named_unless_a_hook_can_renew_them() {
        assert_eq!(named(Hooks::default()), ["libgsl.so.27", "python3.11"]);
        assert_eq!(named(Hooks { language: true, own: false }), ["libgsl.so.27"]);
        assert!(named(Hooks { own: true, language: false }).is_empty());
    }

    #[test]
    fn hooks_are_those_of_the_registered_structure_at_its_point() {
        let read = |at, info, word| Hooks::read(at, info, |_| Ok::<_, Infallible>(word)).unwrap();
        assert_eq!(named(read(AT_READY, 0x1000, 0)).len(), 2);
        assert_eq!(named(read(AT_READY, 0x1000, HOOKS_LANGUAGE)).len(), 1);
        assert_eq!(named(read(AT_READY, 0x1000, HOOKS_OWN | HOOKS_LANGUAGE)).len(), 0);
        assert_eq!(named(read(AT_READY, 0, HOOKS_OWN)).len(), 2);
        assert_eq!(named(read(AT_READY + 1, 0x1000, HOOKS_OWN)).len(), 2);
    }
}
