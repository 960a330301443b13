//! What looks at the speed of a start: `snaprun --timing`. No test asserts a time.
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
