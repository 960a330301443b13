//! Random number generators in user space that come back from a snapshot as they were.
//!
//! Whoever draws from the kernel (getrandom, /dev/urandom, glibc's arc4random since 2.36, C++ random_device, libsodium)
//! is not here, and neither is who looks at the process ID before each draw (OpenSSL, libgcrypt): the instance's is
//! another. docs/uniqueness.md has the table with the reasons. What an application keeps itself (a std::mt19937, a seed
//! in a variable) nobody can see.

use std::path::Path;

/// A library, by the start of its file's name, and what makes its generator new.
struct Known {
    file: &'static str,
    what: &'static str,
    remedy: &'static str,
}

const KNOWN: &[Known] = &[
    Known {
        file: "python3",
        what: "the module random is seeded when it is imported",
        remedy: "mark the point with snapfn.ready() (examples/python), or call random.seed() in every instance",
    },
    Known {
        file: "libpython3",
        what: "the module random is seeded when it is imported",
        remedy: "mark the point with snapfn.ready() (examples/python), or call random.seed() in every instance",
    },
    Known {
        file: "_mt19937.",
        what: "numpy's global generator is seeded when it is imported",
        remedy: "snapfn.ready() (examples/python) seeds it; make Generator objects after the snapshot point",
    },
    Known {
        file: "libgnutls.so",
        what: "GnuTLS notices fork(), not a new process ID",
        remedy: "call gnutls_rnd_refresh() in a function given to snap_on_restore()",
    },
    Known {
        file: "libgsl.so",
        what: "generators of the GNU Scientific Library keep their state",
        remedy: "call gsl_rng_set() in a function given to snap_on_restore()",
    },
    Known {
        file: "libtorch_cpu.so",
        what: "PyTorch's default generator keeps its state",
        remedy: "call torch.seed() in every instance",
    },
    Known {
        file: "libperl.so",
        what: "rand() is seeded by its first use",
        remedy: "call srand() in every instance, or rand() only after the snapshot point",
    },
    Known { file: "perl", what: "rand() is seeded by its first use", remedy: "call srand() in every instance" },
    Known { file: "libruby", what: "Kernel#rand is seeded by its first use", remedy: "call srand in every instance" },
    Known {
        file: "node",
        what: "Math.random() is seeded when the engine starts",
        remedy: "use crypto.randomBytes() for what must differ",
    },
    Known {
        file: "lua5.4",
        what: "math.random() is seeded when the interpreter starts",
        remedy: "call math.randomseed() in every instance",
    },
    Known {
        file: "liblua5.4.so",
        what: "math.random() is seeded when the interpreter starts",
        remedy: "call math.randomseed() in every instance",
    },
];

/// What is to be said of a program that maps these files. `hooks`: the program has asked to be told of a restore.
pub(crate) fn warnings<'a>(files: impl Iterator<Item = &'a Path>, hooks: bool) -> Vec<(String, String)> {
    if hooks {
        // It can make them new, and nobody but itself can tell whether it does.
        return Vec::new();
    }
    let known = |path: &Path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let known = KNOWN.iter().find(|known| name.starts_with(known.file))?;
        Some((name, format!("{}: the same in every instance; {}", known.what, known.remedy)))
    };
    let mut found: Vec<_> = files.filter_map(known).collect();
    found.sort();
    found.dedup_by(|a, b| a.1 == b.1);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_generators_are_named_unless_there_are_hooks() {
        let files = ["/usr/bin/python3.11", "/usr/lib/libc.so.6", "/usr/lib/libcrypto.so.3", "/x/libgsl.so.27"];
        let paths = || files.iter().map(Path::new);
        let names: Vec<_> = warnings(paths(), false).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["libgsl.so.27", "python3.11"]);
        assert!(warnings(paths(), true).is_empty());
    }
}
