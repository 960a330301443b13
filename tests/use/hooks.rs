//! `<snap.h>` and the protocol behind it: functions that are called in every instance, and structures that are filled, in
//! executables and libraries, also where a snapshot is taken of an instance.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeSet;
use std::process::Command;

use snapfn_tests::bench::Bench;
use snapfn_tests::place::{self, PYTHON, has_python};
use snapfn_tests::run::Outcome;

fn created(bench: &Bench, args: &[&str]) -> Outcome {
    bench.created(args).unwrap()
}

#[test]
fn hooks_run_in_order_before_ready_returns() {
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        static void hook(void *arg) {
            printf("hook %s %d\n", (char *)arg, snap_generation() != 0 && snap_argc() == 2);
        }
        int main(void) {
            const char *names[] = {"first", "second", "third"};
            for (int i = 0; i < 3; i++) snap_on_restore(hook, (void *)names[i]);
            int restored = snap_ready();
            printf("ready %d\n", restored);
            return 0;
        }"#;
    for flags in [&["-O2"][..], &["-O2", "-static"]] {
        let bench = Bench::new().unwrap();
        bench.snapshot("hooks", source, flags, "ready").unwrap();
        let outcome = bench.snaprun(&["hooks", "argument"]).run().unwrap();
        assert_eq!(outcome.out(), "hook first 1\nhook second 1\nhook third 1\nready 1\n", "{outcome}");
    }
}

/// A library that registers functions, and one that only the program's own code knows of.
const LIBRARY: &str = r#"
    #include <snap.h>
    #include <stdio.h>
    static void renew(void *who) {
        printf("%s in " NAME " %d %s\n", (char *)who, snap_generation() != 0, snap_argv() ? snap_argv()[1] : "-");
    }
    void attach(char *who) { snap_on_restore(renew, who); }"#;

/// Whoever marks the point calls the functions of all, in one order: those of libraries that are linked, opened by name, or
/// seen by nobody else; and generation and arguments are known in each.
#[test]
fn hooks_of_all_libraries_run_in_order() {
    let source = r#"
        #include <snap.h>
        #include <dlfcn.h>
        #include <stdio.h>
        void attach(const char *who);
        static void own(void *who) { printf("%s %d %s\n", (char *)who, snap_generation() != 0, snap_argv()[1]); }
        int main(int argc, char **argv) {
            void *opened = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
            void (*attach_opened)(const char *) = (void (*)(const char *))dlsym(opened, "attach");
            attach_opened("first");
            snap_on_restore(own, (void *)"second");
            attach("third");
            attach_opened("fourth");
            snap_on_restore(own, (void *)"fifth");
            printf("ready %d\n", snap_ready());
            /* Of an instance, another snapshot can be taken. */
            attach("sixth");
            printf("again %d\n", snap_ready());
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let library = |name: &str| {
        bench.compile(&format!("{name}.so"), LIBRARY, &["-shared", "-fPIC", &format!("-DNAME=\"{name}\"")]).unwrap()
    };
    let (linked, opened) = (library("linked"), library("opened"));
    let exe = bench.compile("hooks", source, &["-O2", "-Wl,--no-as-needed", &linked]).unwrap();
    let ordinary = Command::new(&exe).arg(&opened).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ordinary.stdout), "ready 0\nagain 0\n");
    created(&bench, &["--tag", "hooks", "--", &exe, &opened]);
    let called = "first in opened 1 x\nsecond 1 x\nthird in linked 1 x\nfourth in opened 1 x\nfifth 1 x\n";
    let outcome = bench.snaprun(&["hooks", "x"]).run().unwrap();
    assert_eq!(outcome.out(), format!("{called}ready 1\nagain 1\n"), "{outcome}");

    let snaprun = place::binary("snaprun");
    let snaprun = snaprun.to_str().unwrap();
    created(&bench, &["--tag", "more", "--at", "ready", "--", snaprun, "hooks", "y"]);
    let outcome = bench.snaprun(&["more", "x"]).run().unwrap();
    assert_eq!(outcome.out(), format!("{called}sixth in linked 1 x\nagain 1\n"), "{outcome}");
}

/// Generation and arguments of snapshots of an instance, in the executable and in a library: where the second point is no
/// `snap_ready()`, and where it is a second one. A hook that was registered before the first point is called at the second.
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
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <unistd.h>
        void attach(void);
        void show(void);
        int main(void) {
            attach();
            getppid();
            snap_ready();
            getpgrp();
            snap_ready();
            printf("own %llx\nargument-%s\n", (unsigned long long)snap_generation(), snap_argv()[1]);
            show();
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let library = bench.compile("library.so", library, &["-shared", "-fPIC"]).unwrap();
    let exe = bench.compile("points", source, &["-O1", "-Wl,--no-as-needed", &library]).unwrap();
    let snaprun = place::binary("snaprun");
    for (first, second, hook) in
        [("ready", "syscall:getpgrp", false), ("ready", "ready", true), ("syscall:getppid", "ready", true)]
    {
        created(&bench, &["--tag", "once", "--at", first, "--", &exe]);
        created(&bench, &["--tag", "twice", "--at", second, "--", snaprun.to_str().unwrap(), "once", "old"]);
        let outcome = bench.snaprun(&["twice", "new"]).run().unwrap();
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
            let outcome = bench.snaprun(&["twice", "new"]).run().unwrap();
            assert!(seen.insert(outcome.out().to_owned()), "{first}, {second}: {outcome}");
        }
    }
}

/// A function whose library is gone is not called, and nothing is written to what lies in its place.
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
    let source = r#"
        #include <snap.h>
        #include <dlfcn.h>
        static void own(void *arg) { (void)arg; puts("own"); }
        int main(int argc, char **argv) {
            void *library = dlopen(argv[1], RTLD_NOW);
            void (*attach)(const char *) = (void (*)(const char *))dlsym(library, "attach");
            attach("gone");
            snap_on_restore(own, NULL);
            attach("gone");
            dlclose(library);
            void *next = dlopen(argv[2], RTLD_NOW);
            int (*changed)(void) = (int (*)(void))dlsym(next, "changed");
            ((void (*)(void))dlsym(next, "prepare"))();
            int ready = snap_ready();
            printf("ready %d, changed %d\n", ready, changed());
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let gone = bench.compile("gone.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"gone\""]).unwrap();
    let next = bench.compile("next.so", other, &["-shared", "-fPIC"]).unwrap();
    let exe = bench.compile("unloads", source, &["-O2"]).unwrap();
    created(&bench, &["--tag", "unloads", "--", &exe, &gone, &next]);
    let outcome = bench.snaprun(&["unloads"]).run().unwrap();
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
    let exe = bench.compile("later", source, &["-O2"]).unwrap();
    created(&bench, &["--tag", "first", "--", &exe, &gone]);
    let snaprun = place::binary("snaprun");
    created(&bench, &["--tag", "second", "--at", "ready", "--", snaprun.to_str().unwrap(), "first", "x"]);
    let outcome = bench.snaprun(&["second", "x"]).run().unwrap();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// At another point, and where nobody has a structure with the list, hooks are not called, which is said.
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
    let bench = Bench::new().unwrap();
    let exe = bench.compile("idle", source, &["-O1"]).unwrap();
    for at in ["syscall:getppid", "ready"] {
        for of in [&["create", "--tag", "idle"][..], &["check"]] {
            let made = bench.snapshotter(&[of, &["--at", at, "--", &exe]].concat()).unwrap();
            assert_eq!(made.status, "0", "{made}");
            let text = format!("{}{}", made.out(), made.err());
            assert!(
                text.contains("functions given to snap_on_restore() that nobody calls at this point: 1;"),
                "{made}"
            );
        }
    }
}

/// A structure that cannot be filled is refused by name, one that is gone is forgotten; the program goes on.
#[test]
fn structures_that_cannot_be_filled() {
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <sys/mman.h>
        #include <unistd.h>
        static void hook(void *arg) { (void)arg; }
        int main(int argc, char **argv) {
            int shared = argv[1][0] == 's', file = shared ? memfd_create("info", 0) : -1;
            if (shared && ftruncate(file, 4096)) return 1;
            struct snap_info *info =
                mmap(0, 4096, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, file, 0);
            info->size = sizeof *info;
            snap_on_restore(hook, NULL);
            prctl(SNAP_PRCTL, SNAP_OP_INFO, (unsigned long)info, 0UL, 0UL);
            if (argv[1][0] == 'u') munmap(info, 4096);
            if (argv[1][0] == 'r') mprotect(info, 4096, PROT_READ);
            int ready = prctl(SNAP_PRCTL, SNAP_OP_READY, 0UL, 0UL, 0UL) == 1;
            if (argv[1][0] == 'u') return printf("ready %d\n", ready) < 0;
            printf("ready %d, written %d\n", ready, info->first != NULL || info->hooks != 0);
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let exe = bench.compile("gone", source, &["-O1"]).unwrap();
    for how in ["read-only", "shared"] {
        let made = bench.snapshotter(&["create", "--at", "ready", "--", &exe, how]).unwrap();
        assert_eq!(made.status, "1", "{made}");
        let text = made.err();
        assert!(
            text.contains("struct snap_info at") && text.contains("in no writable memory of the program"),
            "{made}"
        );
        assert!(text.contains("\nready 0, written 0\n"), "{made}");
    }
    created(&bench, &["--tag", "unmapped", "--at", "ready", "--", &exe, "unmapped"]);
    let outcome = bench.snaprun(&["unmapped"]).run().unwrap();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// Only memory that is really taken away takes hooks along, and never those of others.
#[test]
fn hooks_whose_memory_is_taken_away() {
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <sys/mman.h>
        static void own(void *name) { puts((const char *)name); }
        int main(int argc, char **argv) {
            char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            struct snap_hook *raw = (struct snap_hook *)(page + 1024);
            raw->fn = own;
            raw->arg = (void *)"raw";
            snap_on_restore(own, (void *)"first");
            prctl(SNAP_PRCTL, SNAP_OP_HOOK, (unsigned long)raw, 0UL, 0UL);
            snap_on_restore(own, (void *)"last");
            switch (argv[1][0]) {
            case 'u': munmap(page, 512); break;
            case 'm': mremap(page, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, page + (1 << 24)); break;
            case 's': mremap(page, 8192, 4096, 0); break;
            case 'f': mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
            case 'x': munmap(page + 1, 8192); break;
            case 'y': mmap(page, 8192, PROT_READ, MAP_PRIVATE | MAP_FIXED, 999, 0); break;
            }
            printf("ready %d\n", snap_ready());
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let exe = bench.compile("taken", source, &["-O1"]).unwrap();
    for (how, raw) in [
        ("none", true),
        ("unmapped in part", false),
        ("moved", false),
        ("shrunk", true),
        ("fixed", false),
        ("x: not unmapped", true),
        ("y: not mapped", true),
    ] {
        created(&bench, &["--tag", "taken", "--", &exe, how]);
        let outcome = bench.snaprun(&["taken"]).run().unwrap();
        let expected = if raw { "first\nraw\nlast\nready 1\n" } else { "first\nlast\nready 1\n" };
        assert_eq!(outcome.out(), expected, "{how}: {outcome}");
    }
}

/// Three points, marked by two objects; the library whose hook the first list had is gone by the second.
#[test]
fn lists_of_hooks_are_those_of_the_last_point() {
    let marks = "#include <snap.h>\nint mark(void) { return snap_ready(); }";
    let source = r#"
        #include <snap.h>
        #include <dlfcn.h>
        int mark(void);
        int main(int argc, char **argv) {
            void *library = dlopen(argv[1], RTLD_NOW);
            ((void (*)(const char *))dlsym(library, "attach"))("there");
            snap_ready();
            dlclose(library);
            mark();
            printf("ready %d\n", snap_ready());
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    let gone = bench.compile("gone.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"gone\""]).unwrap();
    let marks = bench.compile("marks.so", marks, &["-shared", "-fPIC"]).unwrap();
    let exe = bench.compile("three", source, &["-O1", "-Wl,--no-as-needed", &marks]).unwrap();
    let snaprun = place::binary("snaprun");
    let snaprun = snaprun.to_str().unwrap();
    created(&bench, &["--tag", "one", "--at", "ready", "--", &exe, &gone]);
    created(&bench, &["--tag", "two", "--at", "ready", "--", snaprun, "one", "x"]);
    created(&bench, &["--tag", "three", "--at", "ready", "--", snaprun, "two", "x"]);
    let outcome = bench.snaprun(&["three", "x"]).run().unwrap();
    assert_eq!(outcome.out(), "ready 1\n", "{outcome}");
}

/// A function that registers itself again is called once in every instance, also while a snapshot of an instance is made.
#[test]
fn hooks_that_register_hooks() {
    let source = r#"
        #include <snap.h>
        static int calls;
        static void hook(void *arg) {
            if (++calls > 9) abort();
            snap_on_restore(hook, arg);
        }
        int main(void) {
            snap_on_restore(hook, NULL);
            snap_ready();
            snap_ready();
            printf("%d\n", calls);
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    bench.snapshot("first", source, &["-O1"], "ready").unwrap();
    assert_eq!(bench.snaprun(&["first"]).run().unwrap().out(), "1\n");
    let snaprun = place::binary("snaprun");
    created(&bench, &["--tag", "second", "--at", "ready", "--", snaprun.to_str().unwrap(), "first"]);
    // Once in the instance that the snapshot was taken of, which has registered it once more, and now both.
    assert_eq!(bench.snaprun(&["second"]).run().unwrap().out(), "3\n");
}

/// Other languages make these calls, too.
#[test]
fn what_cannot_be_a_hook_or_a_structure_to_fill_is_an_error() {
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <stdio.h>
        #include <sys/mman.h>
        static int call(unsigned long op, void *p) {
            errno = 0;
            return prctl(SNAP_PRCTL, op, (unsigned long)p, 0UL, 0UL) == 0 ? 0 : errno;
        }
        static void hook(void *info) { printf("called %d\n", ((struct snap_info *)info)->generation != 0); }
        int main(void) {
            static struct snap_info info = {.size = sizeof info}, small = {.size = 55};
            static struct snap_hook bad = {.fn = hook, .info = &small};
            static struct snap_hook one = {.fn = hook, .arg = &info, .info = &info}, two = {.fn = hook, .arg = &info};
            char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            munmap(page + 4096, 4096);
            int answers[] = {
                call(SNAP_OP_INFO, NULL), call(SNAP_OP_INFO, (char *)&info + 4), call(SNAP_OP_INFO, &small),
                call(SNAP_OP_INFO, page + 4096 - 40), call(SNAP_OP_HOOK, NULL), call(SNAP_OP_HOOK, page + 4096 - 24),
                call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, (char *)&two + 4),
                call(SNAP_OP_HOOK, &two), call(SNAP_OP_HOOK, &one), call(SNAP_OP_HOOK, &bad),
            };
            int ready = snap_ready();
            for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) printf("%d ", answers[i]);
            printf("%d\n", ready);
            return 0;
        }"#;
    let bench = Bench::new().unwrap();
    bench.snapshot("calls", source, &["-O1"], "ready").unwrap();
    let outcome = bench.snaprun(&["calls"]).run().unwrap();
    assert_eq!(outcome.out(), "called 1\ncalled 1\n14 22 22 14 14 14 0 22 22 0 22 22 1\n", "{outcome}");
}

/// Python's helper calls what modules in C have registered, before what was registered in Python.
#[test]
fn hooks_of_modules_in_c_are_called_by_python() {
    if !has_python() {
        return;
    }
    let bench = Bench::new().unwrap();
    let library = bench.compile("module.so", LIBRARY, &["-shared", "-fPIC", "-DNAME=\"module\""]).unwrap();
    let script = bench.work().join("script.py");
    let text = "import ctypes, snapfn, sys\n\
                module = ctypes.CDLL(sys.argv[1])\n\
                snapfn.on_restore(print, 'third')\n\
                module.attach(b'first'); module.attach(b'second')\n\
                print('ready', snapfn.ready())\n";
    std::fs::write(&script, text).unwrap();
    let path = format!("PYTHONPATH={}", place::root().join("examples/python").display());
    let script = script.to_str().unwrap();
    let made = created(
        &bench,
        &["--tag", "module", "--at", "ready", "--env", &path, "--", PYTHON, "-u", "-B", script, &library],
    );
    assert_eq!(made.err(), "", "{made}");
    let outcome = bench.snaprun(&["module", "x"]).run().unwrap();
    assert_eq!(outcome.out(), "first in module 1 x\nsecond in module 1 x\nthird\nready True\n", "{outcome}");
}
