//! `<snap.h>` and the protocol behind it: functions that every instance calls, and structures that the loader fills, in
//! executables and libraries, and in snapshots of instances.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;
use std::process::Command;

use snapfn_tests::place::{self, PYTHON, has_python};
use snapfn_tests::workspace::Workspace;

#[test]
fn hooks_run_in_order_before_ready_returns() {
    let source = include_str!("hooks/order.c");
    for flags in [&["-O2"][..], &["-O2", "-static"]] {
        let workspace = Workspace::new();
        workspace.snapshot("hooks", source, flags, "ready");
        let outcome = workspace.snaprun(&["hooks", "argument"]).run();
        assert_eq!(outcome.out(), "hook first 1\nhook second 1\nhook third 1\nready 1\n", "{outcome}");
    }
}

/// A library that registers functions, and one that only the program's own code knows.
const LIBRARY: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    static void renew(void *who) {
        printf("%s in " NAME " %d %s\n", (char *)who, snap_generation() != 0, snap_argv() ? snap_argv()[1] : "-");
    }
    void attach(char *who) { snap_on_restore(renew, who); }"#;

/// The code that marks the point calls the functions of all libraries, in one order: libraries that are linked, opened
/// by name, or private to other code. Each of them has generation and arguments.
#[test]
fn hooks_of_all_libraries_run_in_order() {
    let source = include_str!("hooks/libraries.c");
    let workspace = Workspace::new();
    let library = |name: &str| {
        workspace.compile(&format!("{name}.so"), LIBRARY, &["-shared", "-fPIC", &format!("-DNAME=\"{name}\"")])
    };
    let (linked, opened) = (library("linked"), library("opened"));
    let exe = workspace.compile("hooks", source, &["-O2", "-Wl,--no-as-needed", &linked]);
    let ordinary = Command::new(&exe).arg(&opened).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ordinary.stdout), "ready 0\nagain 0\n");
    workspace.created(&["--tag", "hooks", "--", &exe, &opened]);
    let called = "first in opened 1 x\nsecond 1 x\nthird in linked 1 x\nfourth in opened 1 x\nfifth 1 x\n";
    let outcome = workspace.snaprun(&["hooks", "x"]).run();
    assert_eq!(outcome.out(), format!("{called}ready 1\nagain 1\n"), "{outcome}");

    let snaprun = place::binary("snaprun");
    let snaprun = snaprun.to_str().unwrap();
    workspace.created(&["--tag", "more", "--at", "ready", "--", snaprun, "hooks", "y"]);
    let outcome = workspace.snaprun(&["more", "x"]).run();
    assert_eq!(outcome.out(), format!("{called}sixth in linked 1 x\nagain 1\n"), "{outcome}");
}

/// Generation and arguments of snapshots of an instance, in the executable and in a library. The second point is no
/// `snap_ready()` in one case, and a second one in the other. A hook that was registered before the first point is
/// called at the second.
#[test]
fn snapshots_of_an_instance_have_their_own_generation_everywhere() {
    let library = r#"
        #include <snap.h>
        #include <stdio.h>
        static void renew(void *arg) { (void)arg; dprintf(1, "library-hook %d\n", snap_generation() != 0); }
        void attach(void) { snap_on_restore(renew, NULL); }
        void show(void) {
            printf("library %llx\n", (unsigned long long)snap_generation());
            printf("library-argument-%s\n", snap_argv() ? snap_argv()[1] : "none");
        }"#;
    let source = include_str!("hooks/points.c");
    let workspace = Workspace::new();
    let library = workspace.compile("library.so", library, &["-shared", "-fPIC"]);
    let exe = workspace.compile("points", source, &["-O1", "-Wl,--no-as-needed", &library]);
    let snaprun = place::binary("snaprun");
    for (first, second, hook) in
        [("ready", "syscall:getpgrp", false), ("ready", "ready", true), ("syscall:getppid", "ready", true)]
    {
        workspace.created(&["--tag", "once", "--at", first, "--", &exe]);
        workspace.created(&["--tag", "twice", "--at", second, "--", snaprun.to_str().unwrap(), "once", "old"]);
        let outcome = workspace.snaprun(&["twice", "new"]).run();
        let (out, hooks) = (outcome.out(), outcome.out().matches("library-hook 1\n").count());
        assert_eq!(hooks, usize::from(hook), "{first}, {second}: {outcome}");
        assert!(
            out.contains("\nargument-new\n") && out.contains("\nlibrary-argument-new\n"),
            "{first}, {second}: {outcome}"
        );
        let value =
            |name: &str| out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap().to_owned();
        assert_eq!(value("own"), value("library"), "one start, one number");
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let outcome = workspace.snaprun(&["twice", "new"]).run();
            assert!(seen.insert(outcome.out().to_owned()), "{first}, {second}: {outcome}");
        }
    }
}

/// A function whose library is gone is not called, and later memory at its place is not written to.
#[test]
fn hooks_of_an_unloaded_library_are_forgotten() {
    let other = r#"
        #include <stdio.h>
        #include <string.h>
        static unsigned char data[8192] = {1};
        static void other(void) { puts("another function"); }
        void *functions[64] = {(void *)other};
        void prepare(void) { memset(data, 7, sizeof data); }
        int changed(void) {
            int count = 0;
            for (unsigned i = 0; i < sizeof data; i++) count += data[i] != 7;
            return count;
        }"#;
    let source = include_str!("hooks/unloads.c");
    let workspace = Workspace::new();
    let gone = workspace.compile("gone.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"gone\""]);
    let next = workspace.compile("next.so", other, &["-shared", "-fPIC"]);
    let exe = workspace.compile("unloads", source, &["-O2"]);
    workspace.created(&["--tag", "unloads", "--", &exe, &gone, &next]);
    let outcome = workspace.snaprun(&["unloads"]).run();
    assert_eq!(outcome.out(), "own\nready 1, changed 0\n", "{outcome}");

    // After a first snapshot the program has a list of them.
    let source = r#"
        #include <snap.h>
        #include <dlfcn.h>
        int main(int argc, char **argv) {
            void *library = dlopen(argv[1], RTLD_NOW);
            ((void (*)(const char *))dlsym(library, "attach"))("there");
            snap_ready();
            dlclose(library);
            printf("ready %d\n", snap_ready());
            return 0;
        }"#;
    let exe = workspace.compile("later", source, &["-O2"]);
    workspace.created(&["--tag", "first", "--", &exe, &gone]);
    let snaprun = place::binary("snaprun");
    workspace.created(&["--tag", "second", "--at", "ready", "--", snaprun.to_str().unwrap(), "first", "x"]);
    let outcome = workspace.snaprun(&["second", "x"]).run();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// At another point, or if no code has a structure with the list, hooks are not called, and `create` reports that.
#[test]
fn hooks_that_nobody_calls_are_noted() {
    let source = r#"
        #include <snap.h>
        #include <unistd.h>
        static void hook(void *arg) { (void)arg; }
        int main(void) {
            snap_on_restore(hook, NULL);
            getppid();
            return prctl(SNAP_PRCTL, SNAP_OP_READY, 0UL, 0UL, 0UL) == 1;
        }"#;
    let workspace = Workspace::new();
    let exe = workspace.compile("idle", source, &["-O1"]);
    for at in ["syscall:getppid", "ready"] {
        for of in [&["create", "--tag", "idle"][..], &["check"]] {
            let made = workspace.snapshotter(&[of, &["--at", at, "--", &exe]].concat());
            assert_eq!(made.status, "0", "{made}");
            let text = format!("{}{}", made.out(), made.err());
            assert!(
                text.contains("functions given to snap_on_restore() that the program does not call here: 1;"),
                "{made}"
            );
        }
    }
}

/// A structure that cannot be filled is refused by name, and one that is gone is forgotten. The program goes on.
#[test]
fn structures_that_cannot_be_filled() {
    let source = include_str!("hooks/unfilled.c");
    let workspace = Workspace::new();
    let exe = workspace.compile("gone", source, &["-O1"]);
    for how in ["read-only", "shared"] {
        let made = workspace.snapshotter(&["create", "--at", "ready", "--", &exe, how]);
        assert_eq!(made.status, "1", "{made}");
        let text = made.err();
        assert!(
            text.contains("struct snap_info at") && text.contains("in no writable memory of the program"),
            "{made}"
        );
        assert!(text.contains("\nready 0, written 0\n"), "{made}");
    }
    workspace.created(&["--tag", "unmapped", "--at", "ready", "--", &exe, "unmapped"]);
    let outcome = workspace.snaprun(&["unmapped"]).run();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// Only memory that is really unmapped removes hooks, and only those in it.
#[test]
fn hooks_whose_memory_is_taken_away() {
    let source = include_str!("hooks/taken_away.c");
    let workspace = Workspace::new();
    let exe = workspace.compile("taken", source, &["-O1"]);
    for (how, raw) in [
        ("none", true),
        ("unmapped in part", false),
        ("moved", false),
        ("shrunk", true),
        ("fixed", false),
        ("x: not unmapped", true),
        ("y: not mapped", true),
    ] {
        workspace.created(&["--tag", "taken", "--", &exe, how]);
        let outcome = workspace.snaprun(&["taken"]).run();
        let expected = if raw { "first\nraw\nlast\nready 1\n" } else { "first\nlast\nready 1\n" };
        assert_eq!(outcome.out(), expected, "{how}: {outcome}");
    }
}

/// Three points, marked by two objects; the library whose hook the first list had is gone by the second.
#[test]
fn lists_of_hooks_are_those_of_the_last_point() {
    let marks = "#include <snap.h>\nint mark(void) { return snap_ready(); }";
    let source = include_str!("hooks/three_points.c");
    let workspace = Workspace::new();
    let gone = workspace.compile("gone.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"gone\""]);
    let marks = workspace.compile("marks.so", marks, &["-shared", "-fPIC"]);
    let exe = workspace.compile("three", source, &["-O1", "-Wl,--no-as-needed", &marks]);
    let snaprun = place::binary("snaprun");
    let snaprun = snaprun.to_str().unwrap();
    workspace.created(&["--tag", "one", "--at", "ready", "--", &exe, &gone]);
    workspace.created(&["--tag", "two", "--at", "ready", "--", snaprun, "one", "x"]);
    workspace.created(&["--tag", "three", "--at", "ready", "--", snaprun, "two", "x"]);
    let outcome = workspace.snaprun(&["three", "x"]).run();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// A function that registers itself again is called once in every instance, even while a snapshot of an instance is
/// made.
#[test]
fn hooks_that_register_hooks() {
    let source = include_str!("hooks/registers.c");
    let workspace = Workspace::new();
    workspace.snapshot("first", source, &["-O1"], "ready");
    assert_eq!(workspace.snaprun(&["first"]).run().out(), "1\n");
    let snaprun = place::binary("snaprun");
    workspace.created(&["--tag", "second", "--at", "ready", "--", snaprun.to_str().unwrap(), "first"]);
    // It ran once in the instance that the snapshot was taken of, which has registered it once more; now both run.
    assert_eq!(workspace.snaprun(&["second"]).run().out(), "3\n");
}

/// Other languages make these calls, too.
#[test]
fn what_cannot_be_a_hook_or_a_structure_to_fill_is_an_error() {
    let source = include_str!("hooks/errors.c");
    let workspace = Workspace::new();
    workspace.snapshot("calls", source, &["-O1"], "ready");
    let outcome = workspace.snaprun(&["calls"]).run();
    assert_eq!(outcome.out(), "called 1\ncalled 1\n14 22 22 14 14 14 0 22 22 0 22 22 1\n", "{outcome}");
}

/// Python's package calls functions that modules in C have registered before those that were registered in Python.
#[test]
fn hooks_of_modules_in_c_are_called_by_python() {
    if !has_python() {
        return;
    }
    let workspace = Workspace::new();
    let library = workspace.compile("module.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"module\""]);
    let script = workspace.work().join("script.py");
    let text = "import ctypes, snapfn, sys\n\
                module = ctypes.CDLL(sys.argv[1])\n\
                snapfn.on_restore(print, 'third')\n\
                module.attach(b'first'); module.attach(b'second')\n\
                print('ready', snapfn.ready())\n";
    std::fs::write(&script, text).unwrap();
    let path = format!("PYTHONPATH={}", place::root().join("python/src").display());
    let script = script.to_str().unwrap();
    let made = workspace
        .created(&["--tag", "module", "--at", "ready", "--env", &path, "--", PYTHON, "-u", "-B", script, &library]);
    // The interpreter keeps the ID of its first thread, which the package renews.
    let notes: Vec<String> =
        made.err().lines().filter(|line| !line.contains("equal the process ID")).map(Into::into).collect();
    assert!(notes.is_empty(), "{made}");
    let outcome = workspace.snaprun(&["module", "x"]).run();
    assert_eq!(outcome.out(), "first in module 1 x\nsecond in module 1 x\nthird\nready True\n", "{outcome}");
}
