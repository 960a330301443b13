//! The same command line with and without snapcc in front: the same output, status and files.

use crate::support::{Sandbox, compilers, have};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

/// A command line, and the executable that is split or `-`.
type Row = (&'static str, &'static str);

const BOTH: &[Row] = &[
    // Executables.
    ("m.c", "a.out"),
    ("m.c n.c -o prog", "prog"),
    ("-oprog m.c", "prog"),
    ("--output=prog m.c", "prog"),
    ("--output prog m.c", "prog"),
    ("-o dir/prog m.c", "dir/prog"),
    ("-o ./a.b.c m.c", "a.b.c"),
    ("-g -O2 m.c -o prog", "prog"),
    ("-O1 -static m.c -o prog", "prog"),
    ("-static-pie m.c -o prog", "prog"),
    ("-no-pie m.c -o prog", "prog"),
    ("-pie -fPIE m.c -o prog", "prog"),
    ("-nostdlib -static start.c -o prog", "prog"),
    ("-nostdlib start.c -o prog", "prog"),
    ("-flto -O2 m.c -o prog", "prog"),
    ("-flto -c m.c n.c", "-"),
    ("-pipe m.c -o prog", "prog"),
    ("-save-temps m.c -o prog", "prog"),
    ("-s m.c -o prog", "prog"),
    ("-pthread m.c -o prog -lm", "prog"),
    ("m.c -lm -L. -Wl,-z,now -Wl,-rpath,/x -o prog", "prog"),
    ("m.c -Wl,-o,other", "other"),
    ("m.c -o prog -Wl,-o,other", "other"),
    ("m.c -o prog -Xlinker -o -Xlinker other", "other"),
    ("m.c -Wl,--build-id=none -Wl,-Map,map -o prog", "prog"),
    ("m.c -rdynamic -Wl,--gc-sections -ffunction-sections -o prog", "prog"),
    ("-x c m.txt -o prog", "prog"),
    ("-xc m.txt -o prog", "prog"),
    ("-x c m.txt -x none n.c -o prog", "prog"),
    ("-x c - -o prog", "prog"),
    ("-MD m.c -o prog", "prog"),
    ("-MMD -MF deps.d -MT target -MP m.c -o prog", "prog"),
    ("m.c s.S -o prog", "prog"),
    ("@link.rsp", "prog"),
    ("@outer.rsp -O1", "prog"),
    ("m.c -DQ='a b' -o prog", "prog"),
    ("-v -Wl,--no-such-flag m.c -o prog", "-"),
    ("-m64 m.c -o prog", "prog"),
    ("-iquote inc -isystem inc -idirafter inc -I inc -include h.h m.c -o prog", "prog"),
    // No executable.
    ("-c m.c", "-"),
    ("-c m.c -o x.o", "-"),
    ("-c m.c n.c", "-"),
    ("-c -g -O2 m.c -frecord-gcc-switches", "-"),
    ("-c -MD -MF m.d m.c", "-"),
    ("-S m.c", "-"),
    ("-S -o - m.c", "-"),
    ("-E m.c", "-"),
    ("-E -dM m.c", "-"),
    ("-E -dM - ", "-"),
    ("-E -P -x c -", "-"),
    ("-E m.c -o m.i", "-"),
    ("-M m.c", "-"),
    ("-MM m.c", "-"),
    ("-MM -MT x m.c -MF out.d", "-"),
    ("-fsyntax-only m.c", "-"),
    ("-fsyntax-only bad.c", "-"),
    ("-r m.c n.c -o all.o -nostdlib", "-"),
    ("-shared -fPIC n.c -o libn.so", "-"),
    ("-fPIC n.c -Wl,-shared -nostdlib -o libn.so", "-"),
    ("-nostdlib n.c -Wl,-r -no-pie -o all.o", "-"),
    ("-x c-header h.h -o h.out", "-"),
    ("h.h", "-"),
    ("-c s.s", "-"),
    ("-c s.S", "-"),
    ("-c @missing.rsp", "-"),
    ("@compile.rsp", "-"),
    ("m.c -o /dev/null", "-"),
    ("-x c /dev/null -c -o null.o", "-"),
    ("start.c -static -nostdlib -Wl,--oformat=binary -Wl,-Ttext-segment=0x400000 -o raw", "-"),
    // Questions.
    ("--version", "-"),
    ("--help", "-"),
    ("-v", "-"),
    ("-dumpmachine", "-"),
    ("-dumpversion", "-"),
    ("-print-search-dirs", "-"),
    ("-print-prog-name=ld", "-"),
    ("--print-prog-name=ld", "-"),
    ("-print-file-name=libc.so", "-"),
    ("-print-libgcc-file-name", "-"),
    ("-print-multi-os-directory", "-"),
    ("-### m.c -o prog", "-"),
    ("-### -c m.c", "-"),
    ("-Wl,--version", "-"),
    // Mistakes.
    ("", "-"),
    ("m.c -o", "-"),
    ("-c -o", "-"),
    ("-c m.c -I", "-"),
    ("bad.c -o prog", "-"),
    ("-c bad.c", "-"),
    ("undefined.c -o prog", "-"),
    ("missing.c -o prog", "-"),
    ("missing.o", "-"),
    ("-c m.c n.c -o both.o", "-"),
    ("-no-such-flag m.c -o prog", "-"),
    ("-Werror -Wall warn.c -o prog", "-"),
    ("-Wall warn.c -o prog", "prog"),
    ("m.c -lno-such-library", "-"),
    ("-Wl,-z,now", "-"),
    ("-lm", "-"),
    ("-x no-such-language m.c", "-"),
    ("-", "-"),
    ("-o nowhere/prog m.c", "-"),
];

const GCC: &[Row] = &[
    ("-fsanitize=undefined m.c -o prog", "prog"),
    ("-dumpspecs", "-"),
    ("-dumpfullversion", "-"),
    ("--help=warnings", "-"),
    ("--target-help", "-"),
    ("-print-sysroot", "-"),
    ("-print-multiarch", "-"),
    ("--compile m.c", "-"),
    ("--preprocess m.c", "-"),
    ("--user-dependencies m.c", "-"),
    ("-specs=/dev/null m.c -o prog", "prog"),
    ("-aux-info protos m.c -o prog", "prog"),
    ("-fdump-tree-optimized -dumpbase b m.c -o prog", "prog"),
    ("-flto -ffat-lto-objects m.c n.c -o prog", "prog"),
    ("--for-linker=-o --for-linker=other m.c", "other"),
    ("-- m.c", "-"),
];

const CLANG: &[Row] = &[
    ("-- m.c", "a.out"),
    ("-o prog -- m.c", "prog"),
    ("--target=x86_64-linux-gnu m.c -o prog", "prog"),
    ("-target x86_64-linux-gnu m.c -o prog", "prog"),
    ("-fuse-ld=lld m.c -o prog", "prog"),
    ("-fuse-ld=lld -flto=thin m.c n.c -o prog", "prog"),
    ("--target=aarch64-linux-gnu -c m2.c", "-"),
    ("-S -emit-llvm m.c", "-"),
    ("-emit-llvm -c m.c", "-"),
    ("-Xclang -fno-pch-timestamp m.c -o prog", "prog"),
    ("-mllvm -inline-threshold=1 m.c -o prog", "prog"),
    ("-Xarch_host -fno-inline m.c -o prog", "prog"),
    ("--analyze m.c", "-"),
    ("-print-resource-dir", "-"),
    ("-print-targets", "-"),
    ("-cc1 -version", "-"),
    ("-c s.s -Wall", "-"),
    ("-Weverything -Werror -c strict.c", "-"),
];

const CXX: &[Row] = &[
    ("m.cc -o prog", "prog"),
    ("m.c -o prog", "prog"),
    ("-x c m.c -x c++ m.txt -c", "-"),
    ("-static m.cc -o prog", "prog"),
    ("-c m.cc", "-"),
    ("-E -x c++ - -v", "-"),
    ("-std=c++98 -pedantic -c m.cc", "-"),
    ("-x c++-header h.h -o h.out", "-"),
    ("-print-file-name=libstdc++.so", "-"),
    ("", "-"),
];

fn populate(sandbox: &Sandbox) {
    sandbox.clear();
    for (name, content) in [
        ("m.c", "#include <stdio.h>\nint table[300] = {1, 2};\nint main(void) { puts(\"m\"); return table[2]; }\n"),
        ("m.cc", "#include <iostream>\nint main() { std::cout << \"cc\\n\"; }\n"),
        ("m.txt", "int main(void) { return 0; }\n"),
        ("m2.c", "int f(int x) { return x * 3; }\n"),
        ("n.c", "int n(int x) { return x + 1; }\n"),
        ("start.c", "int word = 7;\nvoid _start(void) { __asm__ volatile(\"syscall\" ::\"a\"(60), \"D\"(word)); }\n"),
        ("warn.c", "int main(void) { int unused; return 0; }\n"),
        ("bad.c", "int main(void) { return 0 }\n"),
        ("undefined.c", "int nowhere(void);\nint main(void) { return nowhere(); }\n"),
        ("strict.c", "int f(int x);\nint f(int x) { return x; }\n"),
        ("s.s", "\t.globl s\ns:\tret\n\t.section .note.GNU-stack,\"\",@progbits\n"),
        ("s.S", "#define NAME s\n\t.globl NAME\nNAME:\tret\n\t.section .note.GNU-stack,\"\",@progbits\n"),
        ("h.h", "#define H 1\n"),
        ("inc/unused.h", "\n"),
        ("dir/keep", ""),
        ("link.rsp", "-o 'prog' \"m.c\"\n-DX=\\\"y\\\"\n"),
        ("outer.rsp", "@link.rsp\n-Wall"),
        ("compile.rsp", "-c m.c\n-o x.o"),
    ] {
        sandbox.write(name, content);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

fn outcome(sandbox: &Sandbox, mut command: Command, line: &str) -> Outcome {
    populate(sandbox);
    // The test needs no other quoting of a shell.
    let words = line.replace("'a b'", "a\u{1}b");
    command.args(words.split_whitespace().map(|word| word.replace('\u{1}', " ")));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A compiler that reads no input closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(b"int main(void) { return 3; }\n");
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| without_temporary_names(&String::from_utf8_lossy(&bytes), sandbox);
    Outcome { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr), files: sandbox.files() }
}

/// Replaces the random names that compilers give temporary files.
fn without_temporary_names(text: &str, sandbox: &Sandbox) -> String {
    let prefix = format!("{}/", sandbox.path("tmp").display());
    let mut parts = text.split(&prefix);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(part.len());
        out.push_str("TMP");
        out.push_str(&part[end..]);
    }
    out
}

/// Compares every row and returns the complaints.
fn differences(compiler: &str, plus: bool, rows: &[Row]) -> Vec<String> {
    let sandbox = Sandbox::new();
    let mut complaints = Vec::new();
    for (line, split) in rows {
        let plain = outcome(&sandbox, sandbox.command(compiler), line);
        let mut command = sandbox.command(if plus { "snapc++" } else { "snapcc" });
        command.env(if plus { "SNAPFN_CXX" } else { "SNAPFN_CC" }, compiler);
        if line.split(' ').any(|word| ["-v", "-frecord-gcc-switches", "h.h"].contains(&word)) {
            // The output, the object file or (clang) the precompiled header names every directory, including the added
            // one.
            command.env("SNAPFN_INCLUDE", "");
        }
        let mut ours = outcome(&sandbox, command, line);

        let mut beside: Vec<_> = Vec::new();
        ours.files.retain(|file, _| {
            let extra = file.extension().is_some_and(|suffix| suffix == "code" || suffix == "init");
            if extra {
                beside.push(file.clone());
            }
            !extra
        });
        let expected: Vec<_> = match *split {
            "-" => Vec::new(),
            name => ["code", "init"].map(|suffix| sandbox.work(&format!("{name}.{suffix}"))).to_vec(),
        };
        let mut complain = |what: String| complaints.push(format!("{compiler} {line}: {what}"));
        if beside != expected {
            complain(format!("split into {beside:?}, not {expected:?}; {}", plain.stderr));
        }
        if (plain.status, &plain.stdout, &plain.stderr) != (ours.status, &ours.stdout, &ours.stderr) {
            complain(format!(
                "{} and {}\n{}{}\n--- with snapcc\n{}{}",
                plain.status, ours.status, plain.stdout, plain.stderr, ours.stdout, ours.stderr
            ));
        }
        if plain.files.keys().ne(ours.files.keys()) {
            complain(format!("files {:?} and {:?}", plain.files.keys(), ours.files.keys()));
        }
        let changed = |one: &Outcome, other: &Outcome| -> Vec<PathBuf> {
            let files = one.files.iter().filter(|(file, content)| other.files.get(*file) != Some(content));
            files.map(|(file, _)| file.clone()).collect()
        };
        let mut differing = changed(&plain, &ours);
        if !differing.is_empty() {
            // Some files hold times, addresses or random names; then two runs of the compiler differ, too.
            let again = outcome(&sandbox, sandbox.command(compiler), line);
            let unstable = changed(&plain, &again);
            differing.retain(|file| !unstable.contains(file));
        }
        if !differing.is_empty() {
            complain(format!("{differing:?} differ"));
        }
    }
    complaints
}

#[track_caller]
fn same(compiler: &str, plus: bool, rows: &[Row]) {
    if !have(&[compiler]) {
        return;
    }
    let complaints = differences(compiler, plus, rows);
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

#[test]
fn gcc_is_the_same_behind_snapcc() {
    same("gcc", false, BOTH);
    same("gcc", false, GCC);
}

#[test]
fn clang_is_the_same_behind_snapcc() {
    same("clang", false, BOTH);
    if have(&["ld.lld"]) {
        same("clang", false, CLANG);
    }
}

#[test]
fn cxx_is_the_same_behind_snapcxx() {
    same("g++", true, CXX);
    same("clang++", true, CXX);
}

#[test]
fn default_compilers_are_cc_and_cxx() {
    if !have(&["cc", "c++"]) {
        return;
    }
    let sandbox = Sandbox::new();
    for (own, default) in [("snapcc", "cc"), ("snapc++", "c++")] {
        let plain = outcome(&sandbox, sandbox.command(default), "bad.c -o prog");
        assert_eq!(outcome(&sandbox, sandbox.command(own), "bad.c -o prog"), plain);
        let plain = outcome(&sandbox, sandbox.command(default), "");
        assert_eq!(outcome(&sandbox, sandbox.command(own), ""), plain);
    }
}

/// gcc does not read response files from pipes, clang does; either way snapcc must not drain them.
#[test]
fn a_response_file_from_a_pipe_is_left_to_the_compiler() {
    if !have(&["bash"]) {
        return;
    }
    for compiler in compilers() {
        let sandbox = Sandbox::new();
        let run = |program: &OsStr| {
            populate(&sandbox);
            let mut bash = sandbox.command("bash");
            bash.env("SNAPFN_CC", compiler).args(["-c", "\"$0\" @<(echo -c m.c -o piped.o)"]);
            let output = bash.arg(program).output().unwrap();
            (output, sandbox.files())
        };
        let plain = run(OsStr::new(compiler));
        assert_eq!(run(sandbox.path("bin").join("snapcc").as_os_str()), plain);
    }
}
