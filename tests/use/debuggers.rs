//! gdb, readelf and eu-readelf, which know nothing of snapfn, read a snapshot file.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::{Path, PathBuf};
use std::process::Command;

use snapfn_tests::place::{has_program, strict};
use snapfn_tests::workspace::Workspace;

const PROGRAM: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    char *text;
    __attribute__((noinline)) static int innermost(int depth) { snap_ready(); return printf("%d %s\n", depth, text); }
    __attribute__((noinline)) static int middle(int depth) { return innermost(depth + 1) + 1; }
    __attribute__((noinline)) int outermost(int depth) { return middle(depth + 1) + 1; }
    int main(void) { text = strdup("text on the heap"); return outermost(40) == 0; }"#;

/// Standard output of a tool that must be silent on standard error; `None` if it is not installed.
fn tool(program: &str, args: &[&str]) -> Option<String> {
    if !has_program(program) {
        assert!(!strict(), "no {program}");
        eprintln!("skipped: no {program}");
        return None;
    }
    let output = Command::new(program).args(args).env("DEBUGINFOD_URLS", "").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {:?}\n{out}\n{err}", output.status);
    assert!(!err.to_lowercase().contains("error") && !err.to_lowercase().contains("warning"), "{program}: {err}");
    Some(out.into_owned())
}

fn snapshot(flags: &[&str]) -> (Workspace, PathBuf, PathBuf) {
    let workspace = Workspace::new();
    let file = workspace.snapshot("frames", PROGRAM, flags, "ready");
    let exe = workspace.out().join("frames");
    (workspace, exe, file)
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn gdb_shows_the_backtrace_at_the_snapshot_point_once() {
    for flags in [&["-g", "-O0"][..], &["-g", "-O0", "-static"], &["-g", "-O0", "-no-pie"]] {
        let (_workspace, exe, file) = snapshot(flags);
        let commands = [
            "-nx",
            "-batch",
            "-ex",
            "info threads",
            "-ex",
            "bt",
            "-ex",
            "print text",
            "-ex",
            "frame function middle",
            "-ex",
            "print depth",
        ];
        let args: Vec<_> = commands.iter().copied().chain([utf8(&exe), utf8(&file)]).collect();
        let Some(out) = tool("gdb", &args) else { return };
        for frame in ["innermost (depth=42)", "middle (depth=41)", "outermost (depth=40)", "main ()"] {
            assert_eq!(
                out.matches(frame).count() - usize::from(frame.starts_with("middle")),
                1,
                "{flags:?} {frame}\n{out}"
            );
        }
        assert!(out.contains("\"text on the heap\""), "{flags:?}\n{out}");
        assert!(out.contains("= 41"), "{flags:?}\n{out}");
        let threads = out
            .lines()
            .filter(|l| l.contains("Thread ") || l.contains("LWP "))
            .filter(|l| l.starts_with(['*', ' ']))
            .count();
        assert_eq!(threads, 1, "{flags:?}\n{out}");
    }
}

#[test]
fn readelf_shows_the_layout_without_complaint() {
    for flags in [&["-O1"][..], &["-O1", "-static"]] {
        let (_workspace, _exe, file) = snapshot(flags);
        let Some(out) = tool("readelf", &["-hlnW", utf8(&file)]) else { return };
        assert!(out.contains("CORE (Core file)") && out.contains("NT_PRSTATUS") && out.contains("NT_FILE"), "{out}");
        assert!(out.matches("  LOAD ").count() > 3, "{out}");
        assert!(!out.contains("Warning") && !out.contains("<corrupt"), "{out}");
    }
}

#[test]
fn eu_readelf_shows_the_notes_without_complaint() {
    for flags in [&["-O1"][..], &["-O1", "-static"]] {
        let (_workspace, _exe, file) = snapshot(flags);
        let Some(out) = tool("eu-readelf", &["-ln", utf8(&file)]) else { return };
        for note in ["PRSTATUS", "AUXV", "FILE", "rip:"] {
            assert!(out.contains(note), "{note}\n{out}");
        }
    }
}

#[test]
fn the_code_segment_file_keeps_names_and_lines() {
    let (_workspace, exe, _file) = snapshot(&["-g", "-O0"]);
    let code = exe.with_extension("code");
    let Some(out) = tool("nm", &[utf8(&code)]) else { return };
    let address = out.lines().find(|l| l.ends_with(" outermost")).unwrap().split(' ').next().unwrap().to_owned();
    let Some(line) = tool("addr2line", &["-e", utf8(&code), "-f", &address]) else { return };
    assert!(line.starts_with("outermost\n") && line.contains("frames.c:"), "{line}");
}
