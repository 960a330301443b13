//! Secrets are in no file of the store, wherever the program had them.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use snapfn_tests::run::{Outcome, Run};
use snapfn_tests::workspace::Workspace;

/// Made at run time, so that no compiled program contains it.
fn secret(seed: u64, len: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state % LETTERS.len() as u64) as usize])
    };
    (0..len).map(|_| next()).collect()
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// Files of the store that contain one of `needles`, with what they contain.
fn holding<'a>(workspace: &Workspace, needles: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut all = Vec::new();
    files(&workspace.store(), &mut all);
    assert!(all.len() > 2, "{all:?}");
    let search = AhoCorasick::new(needles).unwrap();
    let holds = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let found = search.find(&bytes)?;
        Some(format!(
            "{} in {} at {:#x}",
            String::from_utf8_lossy(&bytes[found.range()]),
            path.display(),
            found.start()
        ))
    };
    all.into_iter().filter_map(holds).collect()
}

/// Not even a piece of it.
fn assert_absent(workspace: &Workspace, secret: &str) {
    let found = holding(workspace, secret.as_bytes().windows(secret.len().min(12)));
    assert!(found.is_empty(), "{found:?}");
}

fn create(workspace: &Workspace, options: &[&str], exe: &str, args: &[&str]) -> Outcome {
    workspace.snapshotter(&[&["create", "--tag", "it", "--at", "ready"], options, &["--", exe], args].concat())
}

/// Copies the value of MY_TOKEN, or the first line of standard input, to all kinds of places.
const EVERYWHERE: &str = include_str!("secrets/everywhere.c");

#[test]
fn values_of_secret_variables_are_nowhere() {
    let workspace = Workspace::new();
    let exe = workspace.compile("every", EVERYWHERE, &["-O1", "-pthread"]);
    for (seed, len) in [(1, 40), (2, 16), (3, 24), (4, 150), (5, 9)] {
        let value = secret(seed, len);
        let made = create(&workspace, &["--env", &format!("MY_TOKEN={value}")], &exe, &[]);
        assert_eq!(made.status, "0", "{made}");
        assert!(made.out().contains("left out: the values of MY_TOKEN"), "{made}");
        assert_absent(&workspace, &value);
        let without = workspace.snaprun(&["it"]).run();
        assert_eq!(without.out(), "own=none declared=0 heap=0 odd=<|> mapped=0 pipe=0\n", "{without}");
        assert_eq!(without.status, "11", "{without}");
        let run = workspace.snaprun(&["it"]);
        let env = workspace.env(&[("MY_TOKEN".to_owned(), "the instance's".to_owned())]);
        let with = Run { env, ..run }.run();
        assert!(with.out().starts_with("own=the instance's declared=0"), "{with}");
    }
}

#[test]
fn declared_memory_and_its_copies_are_nowhere() {
    let workspace = Workspace::new();
    let exe = workspace.compile("every", EVERYWHERE, &["-O1", "-pthread"]);
    let value = secret(11, 44);
    let input = workspace.work().join("input");
    fs::write(&input, format!("{value}\n")).unwrap();
    let made = create(&workspace, &["--stdin", input.to_str().unwrap()], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    fs::remove_file(input).unwrap();
    assert_absent(&workspace, &value);
    let outcome = workspace.snaprun(&["it"]).run();
    assert_eq!(outcome.out(), "own=none declared=0 heap=0 odd=<|> mapped=0 pipe=0\n", "{outcome}");
}

#[test]
fn what_is_not_the_programs_memory_cannot_be_declared() {
    let workspace = Workspace::new();
    let source = include_str!("secrets/declared.c");
    let exe = workspace.compile("declared", source, &["-O1"]);
    let made = create(&workspace, &[], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let outcome = workspace.snaprun(&["it"]).run();
    assert_eq!(outcome.out(), "1 1 1 all of it is to stay here\n", "{outcome}");
}

/// Such memory is stored like any other, so the output must report it.
#[test]
fn memory_kept_out_of_core_dumps_is_noted() {
    let workspace = Workspace::new();
    let source = include_str!("secrets/hidden.c");
    let exe = workspace.compile("hidden", source, &["-O1"]);
    for (args, kib) in [(&["plain"][..], None), (&["dd"], Some(12)), (&["dd", "some"], Some(8)), (&["dd", "all"], None)]
    {
        let expected = |text: &str| match kib {
            Some(kib) => text.contains(&format!("note: {kib} KiB of memory that the program keeps out of core dumps")),
            None => !text.contains("core dumps"),
        };
        let made = create(&workspace, &[], &exe, args);
        assert!(made.status == "0" && expected(&made.err()), "{args:?}: {made}");
        let checked = workspace.snapshotter(&[&["check", "--at", "ready", "--", &exe], args].concat());
        assert!(checked.status == "0" && expected(&checked.out()), "{args:?}: {checked}");
    }
    // For a process that was started in the ordinary way, no secret has been recorded.
    let argv = vec![exe, "dd".to_owned(), "stay".to_owned()];
    let mut child = Run { argv, ..workspace.command("snapshotter", &[]) }.spawn_interactive();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let checked = workspace.command("snapshotter", &["check", "--pid", &child.id().to_string()]).run();
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(checked.out().contains("note: 12 KiB of memory that the program keeps"), "{checked}");
}

#[test]
fn arguments_and_the_notes_for_debuggers_are_blanked() {
    let workspace = Workspace::new();
    let exe = workspace.compile("every", EVERYWHERE, &["-O1", "-pthread"]);
    let value = secret(21, 30);
    let made = create(&workspace, &["--env", &format!("MY_TOKEN={value}")], &exe, &[&value]);
    assert_eq!(made.status, "0", "{made}");
    assert_absent(&workspace, &value);
}

#[test]
fn names_decide() {
    let workspace = Workspace::new();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <stdlib.h>
        int main(int argc, char **argv) {
            if (argc > 1) setenv(argv[1], argv[2], 1);
            snap_ready();
            char *a = getenv("VISIBLE"), *b = getenv("API_KEY"), *c = getenv("ODD_NAME");
            printf("%s %s %s\n", a ? a : "-", b ? b : "-", c ? c : "-");
            return 0;
        }"#;
    let exe = workspace.compile("names", source, &["-O2"]);
    let [visible, key, odd] = [31, 32, 33].map(|seed| secret(seed, 30));
    let env = [("VISIBLE", &visible), ("API_KEY", &key), ("ODD_NAME", &odd)].map(|(k, v)| format!("{k}={v}"));
    let run = |options: &[&str], args: &[&str]| {
        let env: Vec<&str> = env.iter().flat_map(|pair| ["--env", pair]).collect();
        let made = create(&workspace, &[&env[..], options].concat(), &exe, args);
        assert_eq!(made.status, "0", "{made}");
        let found =
            [&visible, &key, &odd].map(|value| !holding(&workspace, std::iter::once(value.as_bytes())).is_empty());
        let out = workspace.snaprun(&["it"]).run().out();
        assert_eq!(workspace.snaprepo(&["rm", "it"]).status, "0");
        assert_eq!(workspace.snaprepo(&["gc"]).status, "0");
        (found, out)
    };
    // The file also has the strings that were only in the program's first environment block.
    assert_eq!(run(&[], &[]), ([true, false, true], "- - -\n".to_owned()));
    assert_eq!(run(&["--scrub-env", "odd_*"], &[]).0, [true, false, false]);
    assert_eq!(run(&["--keep-env", "API_KEY"], &[]).0, [true, true, true]);
    assert_eq!(run(&["--no-scrub-env", "--scrub-env", "ODD*"], &[]).0, [true, true, false]);
    // A variable that the program itself sets stays, unless its name is that of a secret.
    assert_eq!(run(&[], &["ODD_NAME", "mine"]).1, "- - mine\n");
    let own = secret(34, 30);
    assert_eq!(run(&[], &["API_KEY", &own]).1, "- - -\n");
    assert_eq!(run(&["--keep-env", "API_KEY"], &["API_KEY", &own]).1, format!("- {own} -\n"));
}

#[test]
fn choices_of_variables_are_never_in_vain_without_a_word() {
    let workspace = Workspace::new();
    let source = "#include <snap.h>\nint main(void) { snap_ready(); return 0; }";
    let exe = workspace.compile("plain", source, &["-O1"]);
    let env = ["--env", "API_KEY=some-value", "--env", "QUEUE_URL=amqp://me:pw@host/"];
    let run = |options: &[&str]| create(&workspace, &[&env[..], options].concat(), &exe, &[]);
    let plain = run(&[]);
    assert!(plain.out().contains("left out: the values of API_KEY"), "{plain}");
    assert!(plain.err().contains("note: the value of QUEUE_URL has a password"), "{plain}");
    for option in ["--scrub-env", "--keep-env"] {
        let chosen = run(&[option, "queue_*"]);
        assert!(chosen.status == "0" && !chosen.err().contains("note: the value"), "{chosen}");
        let vain = run(&[option, "NOSUCH"]);
        assert!(vain.status == "0" && vain.err().contains(&format!("note: {option} NOSUCH: ")), "{vain}");
        for bad in ["", "[A-Z]*", "API_KEY=x"] {
            assert_eq!(run(&[option, bad]).status, "2", "{option} {bad}");
        }
    }
    let kept = run(&["--keep-env", "*KEY*"]);
    assert!(kept.status == "0" && !kept.out().contains("left out"), "{kept}");
}

#[test]
fn short_values_are_taken_out_of_the_environment_only() {
    let workspace = Workspace::new();
    let source = include_str!("secrets/short.c");
    let exe = workspace.compile("short", source, &["-O2"]);
    let made = create(&workspace, &["--env", "X_PASSWORD=q7#Z"], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let outcome = workspace.snaprun(&["it"]).run();
    assert_eq!(outcome.out(), "q7#Z 0\n", "{outcome}");
}

/// A broken program would be worse than a fragment that stays.
#[test]
fn other_text_that_shares_something_with_a_value_stays() {
    let workspace = Workspace::new();
    let source = include_str!("secrets/texts.c");
    let exe = workspace.compile("texts", source, &["-O1"]);
    let values = ["my-01234567-token", "Password123", "Summer2024-01-01", "user1:abcdef0123456789"];
    let names = ["API_TOKEN", "DB_PASSWORD", "APP_SECRET", "APP_CREDENTIALS"];
    let env: Vec<String> =
        names.iter().zip(values).flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]).collect();
    let made = create(&workspace, &env.iter().map(String::as_str).collect::<Vec<_>>(), &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    // The C library has "01234567", too, so the output does not report it.
    assert!(!made.err().contains("stored as it is"), "{made}");
    let outcome = workspace.snaprun(&["it"]).run();
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "0000\n"), "{outcome}");
}

#[test]
fn a_mapped_file_with_the_value_is_refused_and_the_program_keeps_its_secrets() {
    let workspace = Workspace::new();
    let source = include_str!("secrets/mapped.c");
    let exe = workspace.compile("mapped", source, &["-O2"]);
    let value = secret(41, 33);
    let file = workspace.work().join("settings");
    fs::write(&file, format!("password={value}\n")).unwrap();
    let env = format!("DB_PASSWORD={value}");
    let refused = create(&workspace, &["--env", &env], &exe, &[file.to_str().unwrap()]);
    assert_eq!(refused.status, "1", "{refused}");
    let err = refused.err();
    assert!(
        err.contains("settings") && err.contains("the value of DB_PASSWORD") && err.contains("--keep-env"),
        "{err}"
    );
    assert!(err.contains("still 1"), "{err}");
    let made = create(&workspace, &["--env", &env], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
}

/// Copies of files that only their owner may read, the program's own among them, are not public in the store.
#[test]
fn copies_of_private_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    const MAPS: &str = r#"
        #include <fcntl.h>
        #include <sys/mman.h>
        int main(int argc, char **argv) {
            int file = open(argv[1], O_RDONLY);
            const char *text = mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 0);
            return argc < 2 || text[0] != 'k';
        }"#;
    let workspace = Workspace::new();
    let exe = workspace.compile("maps", MAPS, &["-O1"]);
    let file = workspace.out().join("private.db");
    fs::write(&file, "key of nobody else").unwrap();
    let private = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let path = file.to_string_lossy().into_owned();
    private(&path, 0o600);
    private(&exe, 0o700);
    let modes = |options: &[&str]| {
        let argv = [&["create", "--tag", "it", "--at", "syscall:exit_group"], options, &["--", &exe, &path]].concat();
        let run = workspace.command("snapshotter", &argv).run();
        assert_eq!(run.status, "0", "{run}");
        let of = |kind: &str| {
            let files =
                fs::read_dir(workspace.store().join(kind)).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
            let mut modes: Vec<u32> = files.map(|about| about.permissions().mode() & 0o777).collect();
            modes.sort_unstable();
            modes
        };
        (of("data"), of("code"))
    };
    let (data, code) = modes(&[]);
    assert_eq!(data, [0o600]);
    assert_eq!(code.iter().filter(|mode| **mode == 0o600).count(), 1, "the program's is private, libraries' are not");
    let (data, code) = modes(&["--share"]);
    assert!(data == [0o444] && code.iter().all(|mode| *mode == 0o444), "{code:?}");
}

#[test]
fn a_program_with_the_value_is_named_once_for_all_variants() {
    let workspace = Workspace::new();
    let value = secret(43, 33);
    let source =
        format!("#include <stdio.h>\n#include <snap.h>\nint main(void) {{ snap_ready(); return puts(\"{value}\"); }}");
    let exe = workspace.compile("shipped", &source, &["-O2"]);
    let made = create(&workspace, &["--variants", "3", "--env", &format!("DB_PASSWORD={value}")], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let line = format!("snapshotter: note: {exe} contains the value of DB_PASSWORD, and is stored as it is");
    assert_eq!(made.err().lines().collect::<Vec<_>>(), [line], "{made}");
}

#[test]
fn snapshots_are_private_unless_shared() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = Workspace::new();
    let exe = workspace.compile("mode", "int main(void) { return 7; }", &["-O2"]);
    let mode = |options: &[&str]| {
        // Without the option that the workspace adds for its plain user.
        let argv = [&["create", "--tag", "it"], options, &["--", &exe]].concat();
        let run = workspace.command("snapshotter", &argv).run();
        assert_eq!(run.status, "0", "{run}");
        let tag = workspace.store().join("refs/it/latest");
        fs::metadata(tag).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&[]), 0o600);
    assert_eq!(mode(&["--share"]), 0o444);
    let out = workspace.out().join("it.snap");
    let argv = ["create", "-o", out.to_str().unwrap(), "--", &exe];
    let made = workspace.command("snapshotter", &argv).run();
    assert_eq!(made.status, "0", "{made}");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
}
