//! What looks at the speed of a start, `snaprun --timing` and `snapshotter train`. No test asserts a time.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use snapfn_tests::bench::Bench;

const PROGRAM: &str = r#"
    #include <snap.h>
    #include <signal.h>
    #include <stdio.h>
    #include <string.h>

    static char pages[64][4096];

    int main(int argc, char **argv) {
        for (int i = 0; i < 64; i++) memset(pages[i], i + 1, sizeof pages[i]);
        if (snap_ready()) argc = (int)snap_argc(), argv = snap_argv();
        if (argc > 1 && strcmp(argv[1], "die") == 0) raise(SIGKILL);
        for (int i = 0; i < 64; i += 4) pages[i][7] += (char)argc;
        int sum = 0;
        for (int i = 0; i < 64; i++) sum += pages[i][7];
        printf("%d %s\n", sum, argc > 1 ? argv[1] : "");
        return 7;
    }"#;

#[test]
fn timing_tells_of_every_phase_and_changes_nothing_else() {
    let bench = Bench::new().unwrap();
    bench.snapshot("timed", PROGRAM, &["-O1"], "ready").unwrap();
    let plain = bench.snaprun(&["timed", "word"]).run().unwrap();
    let text = bench.snaprun(&["--timing", "timed", "word"]).run().unwrap();
    let json = bench.snaprun(&["--timing=json", "timed", "word"]).run().unwrap();
    for timed in [&text, &json] {
        assert_eq!((&timed.stdout, &timed.status), (&plain.stdout, &plain.status), "{timed}");
    }
    assert!(text.err().starts_with("snaprun: timed: ") && text.err().contains("page faults"), "{text}");

    let report: serde_json::Value = serde_json::from_str(&json.err()).unwrap();
    let phases = report["phases_us"].as_object().unwrap();
    let wanted = [
        "execve",
        "setup",
        "open",
        "plan",
        "files",
        "map",
        "patch",
        "descriptors",
        "process",
        "threads",
        "protect",
        "leave",
    ];
    assert!(wanted.iter().all(|phase| phases.contains_key(*phase)) && phases.len() == wanted.len(), "{json}");
    // All of the time is accounted for: the phases are its parts, each rounded to a tenth.
    let sum: f64 = phases.values().map(|us| us.as_f64().unwrap()).sum();
    assert!((sum - report["total_us"].as_f64().unwrap()).abs() <= 1.0, "{json}");
    assert_eq!(report["status"], 7);
    assert!(report["program_page_faults"].as_u64().unwrap() >= 16, "{json}");

    let killed = bench.snaprun(&["--timing", "timed", "die"]).run().unwrap();
    assert_eq!(killed.status, "137", "{killed}");
    let missing = bench.snaprun(&["--timing", "nowhere"]).run().unwrap();
    assert_eq!(missing.status, "127", "{missing}");
    assert_eq!(missing.err().lines().count(), 1, "{missing}");
}

#[test]
fn training_changes_no_result_and_no_other_name() {
    let bench = Bench::new().unwrap();
    bench.snapshot("plain", PROGRAM, &["-O1"], "ready").unwrap();
    // The measurement must not decide here.
    let train = |until: &str, tag: &str| {
        let trained = bench
            .snapshotter(&["train", "plain", "--until", until, "--tag", tag, "--measure", "0", "--json", "--", "word"])
            .unwrap();
        assert_eq!(trained.status, "0", "{trained}");
        serde_json::from_str::<serde_json::Value>(&trained.out()).unwrap()
    };
    let report = train("output", "trained");
    // 16 of the 64 pages, and the C library's own.
    assert!(report["pages"].as_u64().unwrap() >= 16 && report["ranges"].as_u64().unwrap() >= 16, "{report}");
    assert_eq!(report["kept"], true);
    assert_eq!(train("output", "again")["digest"], report["digest"], "the same recording gives the same file");
    train("exit", "to-the-end");

    for word in ["word", "another"] {
        let plain = bench.snaprun(&["plain", word]).run().unwrap();
        for name in ["trained", "to-the-end"] {
            let trained = bench.snaprun(&[name, word]).run().unwrap();
            assert_eq!(trained, plain, "{name}");
        }
    }
    let plan = |name: &str| bench.snaprun(&["--dry-run", name]).run().unwrap().out();
    assert!(plan("trained").contains("advise 23") && !plan("plain").contains("advise 23"));
}

#[test]
fn training_that_cannot_run_leaves_nothing() {
    let bench = Bench::new().unwrap();
    bench.snapshot("plain", PROGRAM, &["-O1"], "ready").unwrap();
    let missing = bench.snapshotter(&["train", "nowhere", "--", "word"]).unwrap();
    assert_ne!(missing.status, "0", "{missing}");
    let before = bench.stored();
    let killed = bench.snapshotter(&["train", "plain", "--stdin", "/nowhere/at/all"]).unwrap();
    assert_ne!(killed.status, "0", "{killed}");
    assert_eq!(bench.stored(), before);
}

/// Tells whether the functions that it calls are bound: whether their slots lead out of the program.
const SLOTS: &str = r#"
    #include <elf.h>
    #include <link.h>
    #include <stdio.h>
    #include <string.h>

    extern char __executable_start[], _end[];

    int main(int argc, char **argv) {
        char **slots = 0;
        unsigned long count = 0, bound = 0;
        for (ElfW(Dyn) *d = _DYNAMIC; d->d_tag != DT_NULL; d++) {
            if (d->d_tag == DT_PLTGOT) slots = (char **)d->d_un.d_ptr + 3;
            if (d->d_tag == DT_PLTRELSZ) count = d->d_un.d_val / sizeof(ElfW(Rela));
        }
        for (unsigned long i = 0; i < count; i++) bound += slots[i] < __executable_start || slots[i] >= _end;
        printf("%lu of %lu\n", bound, count);
        return strlen(argv[0]) == 0 || argc == 0;
    }"#;

#[test]
fn functions_of_the_program_are_bound_unless_it_is_to_stay_lazy() {
    let bench = Bench::new().unwrap();
    for (name, flags) in [("pie", ["-O1", "-pie"]), ("fixed", ["-O1", "-no-pie"])] {
        let program = bench.compile(name, SLOTS, &[&flags[..], &["-Wl,-z,lazy", "-fno-builtin"]].concat()).unwrap();
        let slots = |which: &str| {
            let made = bench
                .snapshotter(&["create", "--tag", name, "--at", "main", "--resolve", which, "--", &program])
                .unwrap();
            assert_eq!(made.status, "0", "{made}");
            let outcome = bench.snaprun(&[name]).run().unwrap();
            assert_eq!(outcome.status, "0", "{outcome}");
            let words: Vec<usize> = outcome.out().split_whitespace().filter_map(|word| word.parse().ok()).collect();
            <[usize; 2]>::try_from(words).unwrap()
        };
        let [lazy, count] = slots("lazy");
        assert!(lazy < count, "{name}: {lazy} of {count} functions are bound");
        assert_eq!(slots("program"), [count, count], "{name}");
        assert_eq!(slots("all"), [count, count], "{name}");
    }
}

/// Writes the protections of the mappings that hold its headers, its code and its constants.
const SEGMENTS: &str = r#"
    #include <stdio.h>

    extern char __executable_start[];
    static const int constants[2000] = {1, 2, 3};

    int main(int argc, char **argv) {
        unsigned long wanted[3] = {(unsigned long)__executable_start, (unsigned long)main, (unsigned long)&constants[argc]};
        char line[4352], protection[5];
        FILE *maps = fopen("/proc/self/maps", "r");
        unsigned long start, end;
        while (maps && fgets(line, sizeof line, maps)) {
            if (sscanf(line, "%lx-%lx %4s", &start, &end, protection) != 3) continue;
            for (int i = 0; i < 3; i++)
                if (start <= wanted[i] && wanted[i] < end) printf("%s ", protection);
        }
        return puts(argv[0]) < 0;
    }"#;

#[test]
fn segments_are_joined_only_where_that_is_asked_for() {
    let bench = Bench::new().unwrap();
    let program = bench.compile("segments", SEGMENTS, &["-O1", "-Wl,-z,separate-code"]).unwrap();
    let mut operations = Vec::new();
    for (how, protections) in [("apart", "r--p r-xp r--p "), ("joined", "r-xp r-xp r-xp ")] {
        let made =
            bench.snapshotter(&["create", "--tag", how, "--at", "main", "--segments", how, "--", &program]).unwrap();
        assert_eq!(made.status, "0", "{made}");
        let outcome = bench.snaprun(&[how]).run().unwrap();
        assert_eq!((outcome.status.as_str(), outcome.out()), ("0", format!("{protections}{program}\n")), "{how}");
        let plan = bench.snaprun(&["--dry-run", how]).run().unwrap().out();
        operations.push(plan.lines().filter(|line| line.contains(" map file ")).count());
    }
    // Two fewer for each of the program, the C library and its dynamic linker, unless their constants are stored.
    assert!(operations[1] + 4 <= operations[0], "{operations:?}");
}
