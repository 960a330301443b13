//! When `OUT.code` and `OUT.init` are written, kept, removed and left alone, and which messages are printed.

use crate::support::{Sandbox, compilers, stdout, succeed};
use std::fs;
use std::process::Output;

const MAIN: &str = "#include <stdio.h>\nint main(void) { puts(\"ran\"); return 0; }\n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("m.c", MAIN);
    sandbox.write("bad.c", "int nowhere(void);\nint main(void) { return nowhere(); }\n");
    sandbox.write("start.c", "int word = 7;\nvoid _start(void) { for (;;) word++; }\n");
    sandbox
}

/// Makes a raw binary, which has no segments.
const RAW: &[&str] = &["start.c", "-static", "-nostdlib", "-Wl,--oformat=binary"];

fn has_both(sandbox: &Sandbox, name: &str) -> bool {
    let both = ["code", "init"].map(|suffix| sandbox.work(&format!("{name}.{suffix}")).exists());
    assert_eq!(both[0], both[1], "half a pair");
    both[0]
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_pair_is_that_of_the_executable() {
    for compiler in compilers() {
        let sandbox = sandbox();
        succeed(sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]));
        assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), "ran\n");
        let executable = fs::read(sandbox.work("prog")).unwrap();
        let split = snapfn_split::split_elf(&executable).unwrap();
        assert_eq!(fs::read(sandbox.work("prog.init")).unwrap(), split.init);
        assert_eq!(fs::read(sandbox.work("prog.code")).unwrap().len(), executable.len());
    }
}

#[test]
fn a_link_that_leaves_no_executable_removes_the_pair() {
    for compiler in compilers() {
        for args in [&["bad.c"], RAW] {
            let sandbox = sandbox();
            succeed(sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]));
            assert!(has_both(&sandbox, "prog"));
            let output = sandbox.snapcc(compiler).args(args).args(["-o", "prog"]).output().unwrap();
            assert!(!has_both(&sandbox, "prog"), "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_compile_that_fails_before_the_link_keeps_the_pair() {
    for compiler in compilers() {
        let sandbox = sandbox();
        succeed(sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]));
        sandbox.write("m.c", "int main(void) { return 0 }\n");
        assert!(!sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]).status().unwrap().success());
        assert!(sandbox.work("prog").exists() && has_both(&sandbox, "prog"));
    }
}

#[test]
fn files_of_others_are_never_touched() {
    for compiler in compilers() {
        for name in ["prog.init", "prog.code"] {
            let sandbox = sandbox();
            sandbox.write(name, "start() { :; }\n");
            let quiet = succeed(sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]));
            assert!(quiet.stderr.is_empty() && quiet.stdout.is_empty());
            sandbox.snapcc(compiler).args(["bad.c", "-o", "prog"]).status().unwrap();
            assert_eq!(fs::read_to_string(sandbox.work(name)).unwrap(), "start() { :; }\n");
        }
    }
}

#[test]
fn a_failed_split_is_silent_explained_or_an_error() {
    for compiler in compilers() {
        let sandbox = sandbox();
        sandbox.write("prog.init", "start() { :; }\n");
        let link = |variables: &[&str]| {
            let mut command = sandbox.snapcc(compiler);
            command.args(["m.c", "-o", "prog"]).envs(variables.iter().map(|name| (*name, "1")));
            command.output().unwrap()
        };
        let quiet = link(&[]);
        assert!(quiet.status.success() && quiet.stderr.is_empty());
        let verbose = link(&["SNAPFN_VERBOSE"]);
        assert!(verbose.status.success());
        assert!(stderr(&verbose).starts_with("snapcc: prog: not split: "), "{}", stderr(&verbose));
        let strict = link(&["SNAPFN_STRICT"]);
        assert_eq!(strict.status.code(), Some(1));
        assert!(stderr(&strict).starts_with("snapcc: prog: cannot split: "), "{}", stderr(&strict));
        assert_eq!(stderr(&strict).lines().count(), 1);
        assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), "ran\n");

        fs::remove_file(sandbox.work("prog.init")).unwrap();
        assert_eq!(
            stderr(&link(&["SNAPFN_VERBOSE", "SNAPFN_STRICT"])),
            "snapcc: prog: wrote prog.code and prog.init\n"
        );
    }
}

#[test]
fn nothing_to_split_is_no_error() {
    for compiler in compilers() {
        let sandbox = sandbox();
        for (args, output, what) in [(&["m.c"][..], "/dev/null", "wrote no such file"), (RAW, "raw", "not an ELF file")]
        {
            let mut command = sandbox.snapcc(compiler);
            command.args(args).args(["-o", output]).env("SNAPFN_STRICT", "1").env("SNAPFN_VERBOSE", "1");
            let output = command.output().unwrap();
            assert!(output.status.success() && stderr(&output).contains(what), "{output:?}");
        }
        assert!(fs::read_dir("/dev").unwrap().all(|entry| !entry.unwrap().path().ends_with("null.code")));
    }
}

#[test]
fn a_splitter_that_cannot_write_leaves_the_executable() {
    for compiler in compilers() {
        let sandbox = sandbox();
        // A directory has the name of the file, which stops even a privileged process.
        fs::create_dir(sandbox.work("prog.code")).unwrap();
        let output = succeed(sandbox.snapcc(compiler).args(["m.c", "-o", "prog"]));
        assert!(output.stderr.is_empty());
        assert!(!sandbox.work("prog.init").exists());
        assert_eq!(stdout(&mut sandbox.command(sandbox.work("prog"))), "ran\n");
        let left: Vec<_> = sandbox.files().into_keys().collect();
        assert_eq!(left, ["bad.c", "m.c", "prog", "start.c"].map(|name| sandbox.work(name)), "temporary files");
    }
}
