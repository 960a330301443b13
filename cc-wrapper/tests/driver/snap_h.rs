//! `<snap.h>`: in an ordinary run, in a simulated restore, and included but not used.

use crate::support::{Sandbox, compilers, have, stdout, succeed};
use std::fs;
use std::process::Command;

const USER: &str = r#"
#include <snap.h>
#include <string.h>
int in_other_file(void);
int first(void) { return snap_ready(); }
int second(void) { return snap_ready(); }
int main(void) {
    static char key[16] = "secret";
    printf("buffered ");
    errno = 77;
    printf("%d %d %d ", first(), second(), in_other_file());
    printf("%d %ld %d %d ", snap_secret(key, sizeof key), (long)snap_argc(), snap_argv() == NULL, snap_envp() == NULL);
    printf("%d %d %s\n", (int)snap_generation(), errno, key);
    return 0;
}
"#;

const OTHER: &str = r#"
#include <snap.h>
#ifdef __cplusplus
extern "C"
#endif
int in_other_file(void);
static void never(void *arg) { (void)arg; abort(); }
int in_other_file(void) { return snap_on_restore(never, NULL) + snap_ready(); }
"#;

/// A `prctl` that behaves as in a restored instance, in front of the C library's.
const RESTORED: &str = include_str!("snap_h/restored.c");

/// Options under which the header must build without a warning and work.
const OPTIONS: &[&str] = &[
    "-O0",
    "-O2",
    "-O3 -fPIC -fno-common",
    "-O2 -flto",
    "-O0 -flto -static",
    "-O2 -static",
    "-static-pie -fPIE",
    "-g -O1 -ffunction-sections -fdata-sections -Wl,--gc-sections",
    "-fno-pie -no-pie -Wno-unused-command-line-argument",
    "-masm=intel -O2",
    "-fvisibility=hidden -Os",
];

/// Languages in place of those that the other tests use.
const STANDARDS: &[(&str, &str)] = &[("-std=c99", "-ansi"), ("-std=c99", "-std=gnu2x"), ("-std=c++98", "-std=c++20")];

const WARNINGS: &str = "-Wall -Wextra -Werror -pedantic";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// How often the mark is in a file, by another reader of notes.
fn marks(sandbox: &Sandbox, file: &str) -> usize {
    let notes = stdout(sandbox.command("readelf").args(["-nW", file]));
    assert!(!notes.contains("Warning"), "{notes}");
    notes
        .lines()
        .filter(|line| line.trim_start().starts_with("SNAPFN"))
        .inspect(|line| assert!(line.contains("0x00000000")))
        .count()
}

/// The compiler in the form of the driver's variable, the driver, and the flags that select a language.
fn languages() -> Vec<(&'static str, &'static str, &'static str)> {
    let all = [
        ("gcc", "snapcc", "-std=c99 -D_GNU_SOURCE"),
        ("clang", "snapcc", "-std=c99 -D_GNU_SOURCE"),
        ("g++", "snapc++", "-x c++ -std=c++98"),
        ("clang++", "snapc++", "-x c++ -std=c++98"),
    ];
    all.into_iter().filter(|(compiler, ..)| have(&[compiler])).collect()
}

fn driver(sandbox: &Sandbox, driver: &str, compiler: &str) -> Command {
    let mut command = sandbox.command(driver);
    command.env("SNAPFN_CC", compiler).env("SNAPFN_CXX", compiler).env("SNAPFN_STRICT", "1");
    command
}

fn sources(sandbox: &Sandbox) {
    sandbox.write(
        "user.c",
        &USER.replace("int in_other_file(void);", "#ifdef __cplusplus\nextern \"C\"\n#endif\nint in_other_file(void);"),
    );
    sandbox.write("other.c", OTHER);
    sandbox.write("restored.c", RESTORED);
}

const ORDINARY: &str = "buffered 0 0 0 0 0 1 1 0 77 secret\n";
const AFTER_RESTORE: &str = "one(5) two(5) 1 2 x A=1 5 1\n";

#[test]
fn ordinary_runs_and_marks() {
    for (compiler, name, language) in languages() {
        let sandbox = Sandbox::new();
        sources(&sandbox);
        for options in OPTIONS {
            let mut command = driver(&sandbox, name, compiler);
            let flags = [words(language), words(WARNINGS), words(options)].concat();
            succeed(command.args(flags).args(["user.c", "other.c", "-o", "prog"]));
            let what = format!("{compiler} {language} {options}");
            assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), ORDINARY, "{what}");
            assert_eq!(marks(&sandbox, "prog"), 1, "{what}");
            succeed(sandbox.command("strip").args(["prog", "-o", "stripped"]));
            assert_eq!(marks(&sandbox, "stripped"), 1, "{what}");
        }
    }
}

#[test]
fn other_standards() {
    for (compiler, name, language) in languages() {
        let sandbox = Sandbox::new();
        sources(&sandbox);
        for language in
            STANDARDS.iter().filter(|(old, _)| language.contains(old)).map(|(old, new)| language.replace(old, new))
        {
            let mut command = driver(&sandbox, name, compiler);
            let flags = [words(&language), words(WARNINGS)].concat();
            succeed(command.args(flags).args(["user.c", "other.c", "-o", "prog"]));
            assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), ORDINARY, "{compiler} {language}");
        }
    }
}

#[test]
fn a_restored_instance_sees_its_own() {
    for (compiler, name, language) in languages() {
        let sandbox = Sandbox::new();
        sources(&sandbox);
        // C++ libraries declare prctl with an exception specification of their own.
        for options in ["-O0", "-O2", "-O2 -flto"] {
            let mut command = driver(&sandbox, name, compiler);
            let flags = [words(language), words(options)].concat();
            succeed(command.args(flags).args(["restored.c", "-o", "prog"]));
            assert_eq!(
                stdout(&mut sandbox.command(sandbox.work("prog"))),
                AFTER_RESTORE,
                "{compiler} {language} {options}"
            );
        }
    }
}

#[test]
fn musl_programs_work_as_well() {
    if !have(&["musl-gcc"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sources(&sandbox);
    for options in ["-O2", "-O2 -static", "-O2 -flto -static"] {
        let mut command = driver(&sandbox, "snapcc", "musl-gcc");
        succeed(command.args(words(options)).args(["user.c", "other.c", "-o", "prog"]));
        assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), ORDINARY, "{options}");
        assert_eq!(marks(&sandbox, "prog"), 1, "{options}");
    }
}

/// One state for a program whose files are C and C++, from gcc and clang.
#[test]
fn state_is_shared_between_languages_and_compilers() {
    if !have(&["gcc", "clang++"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("a.c", "#include <snap.h>\nvoid *a(void) { snap_ready(); return (void *)snap_info_(); }\n");
    sandbox.write(
        "b.cc",
        "#include <snap.h>\nextern \"C\" void *a(void);\nint main() { snap_ready(); return a() != (void *)snap_info_(); }\n",
    );
    succeed(driver(&sandbox, "snapcc", "gcc").args(["-c", "a.c"]));
    succeed(driver(&sandbox, "snapc++", "clang++").args(["b.cc", "a.o", "-o", "prog"]));
    succeed(&mut sandbox.command(sandbox.work("prog")));
    assert_eq!(marks(&sandbox, "prog"), 1);
}

#[test]
fn including_without_using_adds_nothing() {
    for (compiler, name, language) in languages() {
        for options in ["-O0", "-O2", "-O2 -fPIC"] {
            let sandbox = Sandbox::new();
            sandbox.write("with/m.c", "#include <snap.h>\nint main(void) { return 0; }\n");
            // The system's own headers, which may declare what a C++ compiler puts into its tables.
            sandbox.write("without/m.c", "int main(void) { return 0; }\n");
            let object = |side: &str| {
                let mut command = driver(&sandbox, name, compiler);
                let flags = [words(language), words(options)].concat();
                succeed(command.current_dir(sandbox.work(side)).args(flags).args(["-c", "m.c", "-o", "m.o"]));
                fs::read(sandbox.work(side).join("m.o")).unwrap()
            };
            assert_eq!(object("with"), object("without"), "{compiler} {language} {options}");
        }
    }
}

/// A mark whose code the linker throws away goes with it.
#[test]
fn collected_code_takes_its_mark_along() {
    for compiler in compilers() {
        let sandbox = Sandbox::new();
        sandbox.write(
            "m.c",
            "#include <snap.h>\nint unused(void) { return snap_ready(); }\nint main(void) { return 0; }\n",
        );
        let build = |extra: &[&str]| {
            succeed(
                driver(&sandbox, "snapcc", compiler).args(["-ffunction-sections", "m.c", "-o", "prog"]).args(extra),
            );
            marks(&sandbox, "prog")
        };
        assert_eq!(build(&[]), 1);
        assert_eq!(build(&["-Wl,--gc-sections"]), 0);
        if have(&["ld.lld"]) {
            assert_eq!(build(&["-fuse-ld=lld", "-Wl,--gc-sections"]), 0);
        }
    }
}

#[test]
fn stdio_can_be_left_out() {
    for compiler in compilers() {
        let sandbox = Sandbox::new();
        sandbox.write("m.c", "#define SNAP_NO_STDIO\n#include <snap.h>\nint main(void) { return snap_ready(); }\n");
        succeed(driver(&sandbox, "snapcc", compiler).args(["-Wall", "-Werror", "m.c", "-o", "prog"]));
        succeed(&mut sandbox.command(sandbox.work("prog")));
        let symbols = stdout(sandbox.command("nm").arg("prog"));
        assert!(symbols.contains("prctl") && !symbols.contains("fflush"), "{symbols}");
    }
}

#[test]
fn the_record_has_the_documented_layout() {
    for compiler in compilers() {
        let sandbox = Sandbox::new();
        let checks =
            [("size", 0), ("restored", 4), ("argc", 8), ("argv", 16), ("envp", 24), ("generation", 32), ("hooks", 40)];
        let asserts = |of: &str, fields: &[(&str, u32)]| -> String {
            let line =
                |(field, at): &(&str, u32)| format!("_Static_assert(offsetof(struct {of}, {field}) == {at}, \"\");\n");
            fields.iter().map(line).collect()
        };
        let info = asserts("snap_info", &[&checks[..], &[("first", 48)]].concat());
        let hook = asserts("snap_hook", &[("next", 0), ("fn", 8), ("arg", 16), ("info", 24)]);
        sandbox.write(
            "m.c",
            &format!(
                "#include <snap.h>\n{info}{hook}_Static_assert(sizeof(struct snap_info) == 56, \"\");\n\
                 _Static_assert(sizeof(struct snap_hook) == 32, \"\");\n"
            ),
        );
        succeed(driver(&sandbox, "snapcc", compiler).args(["-c", "m.c"]));
    }
}
