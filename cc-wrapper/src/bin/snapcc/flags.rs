//! The flags of gcc and clang whose shape or meaning matters to a driver in front of them.
//!
//! A flag that is not in the table has no value and no effect on snapcc. So the table needs every flag whose value may
//! be the *next* argument (or that value would count as a file or as another flag), and every flag that decides whether
//! an executable is linked.

/// How the value of a flag is attached to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// No value: the argument is exactly the name.
    None,
    /// The next argument.
    Separate,
    /// The rest of the same argument, which may be empty.
    Joined,
    /// The rest of the same argument or, if that is empty, the next one.
    Either,
    /// The name goes on in the same argument and the value is the next one (`-Xarch_host -O2`).
    JoinedName,
}

/// What a flag means for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// None; the flag is listed because of its value.
    Value,
    /// The compiler preprocesses its input and stops before it links (`-c`, `-E`, `-M`).
    Stop,
    /// The compiler prints information or the commands that it would run, and reads no source.
    Query,
    /// A link, but not of an executable (`-shared`, `-r`).
    NotExecutable,
    /// Names the output file.
    Output,
    /// Sets the language of the files that follow.
    Language,
    /// Linker arguments, separated by commas.
    LinkerList,
    /// One linker argument.
    Linker,
    /// An input of the linker.
    Library,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) attach: Attach,
    pub(crate) role: Role,
}

const fn flag(name: &'static str, attach: Attach, role: Role) -> Flag {
    Flag { name, attach, role }
}

/// Sorted by the bytes of the name.
pub(crate) static FLAGS: &[Flag] = {
    use Attach::{Either, Joined, JoinedName, None, Separate};
    use Role::{Language, Library, Linker, LinkerList, NotExecutable, Output, Query, Stop, Value};
    &[
        flag("-###", None, Query),
        flag("--analyze", None, Stop),
        flag("--assemble", None, Stop),
        flag("--assert", Separate, Value),
        flag("--autocomplete=", Joined, Query),
        flag("--compile", None, Stop),
        flag("--completion=", Joined, Query),
        flag("--config", Separate, Value),
        flag("--define-macro", Separate, Value),
        flag("--dependencies", None, Stop),
        flag("--dump", Separate, Value),
        flag("--dumpbase", Separate, Value),
        flag("--dumpbase-ext", Separate, Value),
        flag("--dumpdir", Separate, Value),
        flag("--emit-static-lib", None, NotExecutable),
        flag("--entry", Separate, Value),
        flag("--for-assembler", Separate, Value),
        flag("--for-linker", Separate, Linker),
        flag("--for-linker=", Joined, Linker),
        flag("--force-link", Separate, Value),
        flag("--gcc-toolchain", Separate, Value),
        flag("--help", None, Query),
        flag("--help-hidden", None, Query),
        flag("--help=", Joined, Query),
        flag("--imacros", Separate, Value),
        flag("--include", Separate, Value),
        flag("--include-directory", Separate, Value),
        flag("--include-directory-after", Separate, Value),
        flag("--include-prefix", Separate, Value),
        flag("--include-with-prefix", Separate, Value),
        flag("--include-with-prefix-after", Separate, Value),
        flag("--include-with-prefix-before", Separate, Value),
        flag("--language", Separate, Language),
        flag("--language=", Joined, Language),
        flag("--library-directory", Separate, Value),
        flag("--migrate", None, Stop),
        flag("--output", Separate, Output),
        flag("--output=", Joined, Output),
        flag("--param", Separate, Value),
        flag("--precompile", None, Stop),
        flag("--prefix", Separate, Value),
        flag("--preprocess", None, Stop),
        flag("--print-", Joined, Query),
        flag("--serialize-diagnostics", Separate, Value),
        flag("--shared", None, NotExecutable),
        flag("--specs", Separate, Value),
        flag("--std", Separate, Value),
        flag("--sysroot", Separate, Value),
        flag("--target-help", None, Query),
        flag("--undefine-macro", Separate, Value),
        flag("--user-dependencies", None, Stop),
        flag("--version", None, Query),
        flag("-A", Either, Value),
        flag("-B", Either, Value),
        flag("-D", Either, Value),
        flag("-E", None, Stop),
        flag("-F", Either, Value),
        flag("-G", Either, Value),
        flag("-I", Either, Value),
        flag("-J", Either, Value),
        flag("-L", Either, Value),
        flag("-M", None, Stop),
        flag("-MF", Either, Value),
        flag("-MJ", Either, Value),
        flag("-MM", None, Stop),
        flag("-MQ", Either, Value),
        flag("-MT", Either, Value),
        flag("-R", Either, Value),
        flag("-S", None, Stop),
        flag("-T", Either, Value),
        flag("-Tbss", Either, Value),
        flag("-Tdata", Either, Value),
        flag("-Ttext", Either, Value),
        flag("-U", Either, Value),
        flag("-Wl,", Joined, LinkerList),
        flag("-Xanalyzer", Separate, Value),
        flag("-Xarch_", JoinedName, Value),
        flag("-Xassembler", Separate, Value),
        flag("-Xclang", Separate, Value),
        flag("-Xclangas", Separate, Value),
        flag("-Xcuda-fatbinary", Separate, Value),
        flag("-Xcuda-ptxas", Separate, Value),
        flag("-Xlinker", Separate, Linker),
        flag("-Xoffload-linker", Separate, Value),
        flag("-Xopenmp-target", Separate, Value),
        flag("-Xopenmp-target=", JoinedName, Value),
        flag("-Xpreprocessor", Separate, Value),
        flag("-arch", Separate, Value),
        flag("-aux-info", Separate, Value),
        flag("-bundle", None, NotExecutable),
        flag("-c", None, Stop),
        flag("-c-isystem", Either, Value),
        flag("-cc1", None, Query),
        flag("-cc1as", None, Query),
        flag("-cc1gen-reproducer", None, Query),
        flag("-ccc-gcc-name", Separate, Value),
        flag("-ccc-install-dir", Separate, Value),
        flag("-ccc-print-", Joined, Query),
        flag("-cxx-isystem", Either, Value),
        flag("-dumpbase", Separate, Value),
        flag("-dumpbase-ext", Separate, Value),
        flag("-dumpdir", Separate, Value),
        flag("-dumpfullversion", None, Query),
        flag("-dumpmachine", None, Query),
        flag("-dumpspecs", None, Query),
        flag("-dumpversion", None, Query),
        flag("-dynamiclib", None, NotExecutable),
        flag("-e", Either, Value),
        flag("-emit-ast", None, Stop),
        flag("-emit-interface-stubs", None, Stop),
        flag("-emit-llvm", None, Stop),
        flag("-emit-merged-ifs", None, Stop),
        flag("-extract-api", None, Stop),
        flag("-fdebug-compilation-dir", Separate, Value),
        flag("-fdriver-only", None, Query),
        flag("-fmodule-header", None, Stop),
        flag("-fmodule-header=", Joined, Stop),
        flag("-fmodules-user-build-path", Separate, Value),
        flag("-framework", Separate, Value),
        flag("-fsyntax-only", None, Stop),
        flag("-ftrapv-handler", Separate, Value),
        flag("-gcc-toolchain", Separate, Value),
        flag("-help", None, Query),
        flag("-idirafter", Either, Value),
        flag("-iframework", Either, Value),
        flag("-imacros", Either, Value),
        flag("-imultiarch", Separate, Value),
        flag("-imultilib", Either, Value),
        flag("-include", Either, Value),
        flag("-include-pch", Separate, Value),
        flag("-iprefix", Either, Value),
        flag("-iquote", Either, Value),
        flag("-isysroot", Either, Value),
        flag("-isystem", Either, Value),
        flag("-isystem-after", Either, Value),
        flag("-ivfsoverlay", Either, Value),
        flag("-iwithprefix", Either, Value),
        flag("-iwithprefixbefore", Either, Value),
        flag("-iwithsysroot", Either, Value),
        flag("-l", Either, Library),
        flag("-mllvm", Separate, Value),
        flag("-module-file-info", None, Query),
        flag("-mthread-model", Separate, Value),
        flag("-o", Either, Output),
        flag("-objcmt-", Joined, Value),
        flag("-print-", Joined, Query),
        flag("-r", None, NotExecutable),
        flag("-resource-dir", Separate, Value),
        flag("-rewrite-legacy-objc", None, Stop),
        flag("-rewrite-objc", None, Stop),
        flag("-rpath", Separate, Value),
        flag("-serialize-diagnostics", Separate, Value),
        flag("-shared", None, NotExecutable),
        flag("-specs", Separate, Value),
        flag("-target", Separate, Value),
        flag("-u", Either, Value),
        flag("-verify-pch", None, Query),
        flag("-working-directory", Separate, Value),
        flag("-wrapper", Separate, Value),
        flag("-x", Either, Language),
        flag("-z", Either, Value),
    ]
};

/// The flag that `arg` spells: the one with the longest name of all that fit.
pub(crate) fn lookup(arg: &[u8]) -> Option<&'static Flag> {
    let mut prefix = arg;
    loop {
        // Every name that is a prefix of `prefix` sorts at or before it, the longest of them last.
        let end = FLAGS.partition_point(|flag| flag.name.as_bytes() <= prefix);
        let candidate = FLAGS.get(end.checked_sub(1)?)?;
        let name = candidate.name.as_bytes();
        let common = name.iter().zip(prefix).take_while(|(a, b)| a == b).count();
        if common == name.len() {
            let exact = arg.len() == name.len();
            match candidate.attach {
                Attach::None | Attach::Separate if !exact => prefix = arg.get(..common.checked_sub(1)?)?,
                _ => return Some(candidate),
            }
        } else {
            prefix = arg.get(..common)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(arg: &str) -> Option<&'static str> {
        lookup(arg.as_bytes()).map(|flag| flag.name)
    }

    #[test]
    fn table_is_sorted_without_repetition() {
        for pair in FLAGS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
    }

    #[test]
    fn every_name_finds_itself() {
        for flag in FLAGS {
            assert_eq!(lookup(flag.name.as_bytes()), Some(flag));
        }
    }

    #[test]
    fn longest_name_wins() {
        assert_eq!(name("-oname"), Some("-o"));
        assert_eq!(name("-objcmt-migrate-literals"), Some("-objcmt-"));
        assert_eq!(name("-isystem/usr/x"), Some("-isystem"));
        assert_eq!(name("-isystem-after/x"), Some("-isystem-after"));
        assert_eq!(name("-emit-llvm"), Some("-emit-llvm"));
        assert_eq!(name("-emain"), Some("-e"));
        assert_eq!(name("-MFx.d"), Some("-MF"));
        assert_eq!(name("-print-prog-name=ld"), Some("-print-"));
        assert_eq!(name("--output=x"), Some("--output="));
    }

    #[test]
    fn longer_unknown_spellings_are_not_their_prefix() {
        for arg in ["-coverage", "-shared-libgcc", "-rdynamic", "-static", "-MD", "-MMD", "-Wall", "-Sx", "--outputs"] {
            assert_eq!(name(arg), None, "{arg}");
        }
        assert_eq!(name("-targetx"), None);
        assert_eq!(name("-include-pchx"), Some("-include"), "clang and gcc read it as -include -pchx");
    }
}
