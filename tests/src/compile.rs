//! The compilers and linkages in which a corpus program is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::directives::Program;
use crate::{must, place};

const MUSL: &str = "/usr/lib/x86_64-linux-musl";

/// A way to compile and link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    name: &'static str,
    flags: &'static [&'static str],
    musl: bool,
}

const VARIANTS: &[Variant] = &[
    Variant { name: "O0", flags: &["-O0"], musl: false },
    Variant { name: "O2", flags: &["-O2"], musl: false },
    Variant { name: "O3", flags: &["-O3"], musl: false },
    Variant { name: "lto", flags: &["-O2", "-flto"], musl: false },
    Variant { name: "static", flags: &["-O2", "-static"], musl: false },
    Variant { name: "static-pie", flags: &["-O2", "-static-pie", "-fPIE"], musl: false },
    Variant { name: "nopie", flags: &["-O2", "-no-pie", "-fno-pie"], musl: false },
    Variant { name: "musl-dynamic", flags: &["-O2"], musl: true },
    Variant { name: "musl-static", flags: &["-O2", "-static"], musl: true },
    // The specs of musl-gcc lack -static-pie, so the command line names its start file and linker options.
    Variant {
        name: "musl-static-pie",
        flags: &[
            "-O2",
            "-static",
            "-fPIE",
            "-nostartfiles",
            "-Wl,-pie,--no-dynamic-linker,-z,text",
            "{musl}/rcrt1.o",
            "{musl}/crti.o",
            "{musl}/crtn.o",
        ],
        musl: true,
    },
];

impl Variant {
    /// Finds a variant by its name in the directives.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        VARIANTS.iter().find(|v| v.name == name).copied()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The compiler of `family` on this machine, for `SNAPFN_CC`/`SNAPFN_CXX`.
    #[must_use]
    pub fn compiler(self, family: &str, cxx: bool) -> &'static str {
        match (self.musl, family, cxx) {
            (true, _, _) => "musl-gcc",
            (false, "clang", false) => "clang",
            (false, "clang", true) => "clang++",
            (false, _, false) => "gcc",
            (false, _, true) => "g++",
        }
    }

    /// Why this variant cannot be built on this machine.
    #[must_use]
    pub fn missing(self, family: &str, cxx: bool) -> Option<String> {
        let compiler = self.compiler(family, cxx);
        (!place::has_program(compiler)).then(|| format!("no {compiler}"))
    }
}

/// Builds `program` and its libraries in `dir`. Returns the executable.
///
/// # Panics
/// With the compiler's message.
#[must_use]
#[track_caller]
pub fn compile(program: &Program, variant: Variant, family: &str, dir: &Path) -> PathBuf {
    let sources = place::tests().join("corpus/aux");
    for aux in &program.aux {
        let mut args = vec!["-shared".to_owned(), "-fPIC".to_owned(), "-O2".to_owned()];
        args.extend(aux.flags.iter().map(|f| f.replace("{dir}", &dir.to_string_lossy())));
        args.push(sources.join(&aux.source).to_string_lossy().into_owned());
        args.extend(["-o".to_owned(), dir.join(&aux.output).to_string_lossy().into_owned()]);
        driver(&args, variant.compiler(family, program.is_cxx()), program.is_cxx(), dir);
    }
    let exe = dir.join(&program.name);
    let mut args: Vec<String> = variant.flags.iter().map(|f| f.replace("{musl}", MUSL)).collect();
    args.extend(program.flags.iter().cloned());
    args.extend(["-Wall".to_owned(), "-g".to_owned(), program.path.to_string_lossy().into_owned()]);
    args.extend(program.libs.iter().cloned());
    args.extend(["-o".to_owned(), exe.to_string_lossy().into_owned()]);
    for arg in &mut args {
        *arg = arg.replace("{dir}", &dir.to_string_lossy());
    }
    driver(&args, variant.compiler(family, program.is_cxx()), program.is_cxx(), dir);
    exe
}

#[track_caller]
fn driver(args: &[String], compiler: &str, cxx: bool, dir: &Path) {
    let mut command = if place::ordinary_only() {
        let mut plain = Command::new(compiler);
        plain.arg("-isystem").arg(place::root().join("cc-wrapper/include"));
        plain
    } else {
        Command::new(place::driver(cxx, dir))
    };
    command.args(args).env("SNAPFN_CC", compiler).env("SNAPFN_CXX", compiler);
    let output = must(command.output(), format_args!("{command:?}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
}
