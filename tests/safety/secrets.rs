//! What must not be in a snapshot is in no file of the store, wherever the program had it.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use snapfn_tests::bench::Bench;
use snapfn_tests::run::{Outcome, Run};

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
fn holding<'a>(bench: &Bench, needles: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut all = Vec::new();
    files(&bench.store(), &mut all);
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
fn assert_absent(bench: &Bench, secret: &str) {
    let found = holding(bench, secret.as_bytes().windows(secret.len().min(12)));
    assert!(found.is_empty(), "{found:?}");
}

fn create(bench: &Bench, options: &[&str], exe: &str, args: &[&str]) -> Outcome {
    bench.snapshotter(&[&["create", "--tag", "it", "--at", "ready"], options, &["--", exe], args].concat()).unwrap()
}

/// Copies the value of MY_TOKEN, or the first line of standard input, to all kinds of places.
const EVERYWHERE: &str = r#"
    #define _GNU_SOURCE
    #include <pthread.h>
    #include <snap.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/socket.h>
    #include <unistd.h>

    static char global[256];
    static __thread char local[256];
    static char *heap, *odd, *mapped, *shared, *big;
    static FILE *stream;
    static int ends[2], pair[2], hidden;

    static void *other(void *arg) {
        char stack[300];
        snprintf(stack, sizeof stack, "in a thread: %s", (char *)arg);
        strcpy(local, arg);
        for (;;) pause();
        return stack;
    }

    static int count(const char *what, const char *where) {
        return strstr(where, what) != NULL;
    }

    int main(int argc, char **argv) {
        char declared[256] = "", stack[300], *value = argc > 1 ? argv[1] : getenv("MY_TOKEN");
        pthread_t thread;
        (void)argc;
        if (!value) {
            if (!fgets(declared, sizeof declared, stdin)) return 3;
            declared[strcspn(declared, "\n")] = 0;
            value = declared;
            snap_secret(declared, sizeof declared);
        }
        size_t n = strlen(value);
        strcpy(global, value);
        strcpy(local, value);
        snprintf(stack, sizeof stack, "Authorization: Bearer %s\r\n", value);
        heap = strdup(value);
        odd = malloc(2 * n + 9);
        sprintf(odd, "<%s|%s>", value, value);
        for (int i = 0; i < 20; i++) {
            char *copies[20];
            for (int j = 0; j < 20; j++) copies[j] = strdup(value);
            for (int j = 0; j < 20; j++) free(copies[j]);
        }
        mapped = mmap(0, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        strcpy(mapped + (2 << 20) - n / 2, value); /* across pages, and pieces of a search */
        strcpy(mapped + 4096 - n / 2, value);
        shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        strcpy(shared + 7, value);
        big = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        strcpy(big, value);
        mprotect(big, 4096, PROT_READ);
        stream = tmpfile(); /* deleted: its content travels */
        fprintf(stream, "%s\n%s\n", value, value);
        rewind(stream);
        fscanf(stream, "%*c"); /* and its buffer is full */
        hidden = memfd_create("hidden", 0);
        if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 2;
        if (write(hidden, value, n) < 0 || write(ends[1], value, n) < 0 || write(pair[0], value, n) < 0) return 2;
        pthread_create(&thread, 0, other, heap);
        while (!local[0]) usleep(1000);
        usleep(20000);
        __asm__ volatile("movups (%0), %%xmm7\n\tmovq (%0), %%r14" ::"r"(value) : "xmm7", "r14");
        if (!snap_ready()) return 0;
        char in_pipe[300] = "", in_pair[300] = "", wanted[300];
        if (read(ends[0], in_pipe, sizeof in_pipe - 1) != (ssize_t)n || read(pair[1], in_pair, sizeof in_pair - 1) != (ssize_t)n) return 4;
        /* Not in the file, but the instance's own may be in its environment. */
        char *own = getenv("MY_TOKEN");
        printf("own=%s declared=%d heap=%d odd=%c%c%c mapped=%d pipe=%d\n", own ? own : "none", declared[0], heap[0], odd[0],
               odd[n + 1], odd[2 * n + 2], mapped[(2 << 20) - n / 2], in_pipe[0]);
        return 10 + count("Bearer", stack);
    }"#;

#[test]
fn values_of_secret_variables_are_nowhere() {
    let bench = Bench::new().unwrap();
    let exe = bench.compile("every", EVERYWHERE, &["-O1", "-pthread"]).unwrap();
    for (seed, len) in [(1, 40), (2, 16), (3, 24), (4, 150), (5, 9)] {
        let value = secret(seed, len);
        let made = create(&bench, &["--env", &format!("MY_TOKEN={value}")], &exe, &[]);
        assert_eq!(made.status, "0", "{made}");
        assert!(made.out().contains("left out: the values of MY_TOKEN"), "{made}");
        assert_absent(&bench, &value);
        let without = bench.snaprun(&["it"]).run().unwrap();
        assert_eq!(without.out(), "own=none declared=0 heap=0 odd=<|> mapped=0 pipe=0\n", "{without}");
        assert_eq!(without.status, "11", "{without}");
        let run = bench.snaprun(&["it"]);
        let env = bench.env(&[("MY_TOKEN".to_owned(), "the instance's".to_owned())]);
        let with = Run { env, ..run }.run().unwrap();
        assert!(with.out().starts_with("own=the instance's declared=0"), "{with}");
    }
}

#[test]
fn declared_memory_and_its_copies_are_nowhere() {
    let bench = Bench::new().unwrap();
    let exe = bench.compile("every", EVERYWHERE, &["-O1", "-pthread"]).unwrap();
    let value = secret(11, 44);
    let input = bench.work().join("input");
    fs::write(&input, format!("{value}\n")).unwrap();
    let made = create(&bench, &["--stdin", input.to_str().unwrap()], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    fs::remove_file(input).unwrap();
    assert_absent(&bench, &value);
    let outcome = bench.snaprun(&["it"]).run().unwrap();
    assert_eq!(outcome.out(), "own=none declared=0 heap=0 odd=<|> mapped=0 pipe=0\n", "{outcome}");
}

#[test]
fn what_is_not_the_programs_memory_cannot_be_declared() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        static char key[64] = "all of it is to stay";
        static int refused(const void *p, size_t n, int error) {
            errno = 0;
            int answer = prctl(SNAP_PRCTL, SNAP_OP_SECRET, (unsigned long)p, (unsigned long)n, 0UL);
            return answer == -1 && errno == error && snap_secret(p, n) == 0;
        }
        int main(void) {
            char *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            strcpy(pages, "here");
            mprotect(pages + 4096, 4096, PROT_NONE);
            /* Several mappings make one range; its end is its own. */
            int whole = snap_secret(pages + 4096, 2 * 4096);
            munmap(pages + 2 * 4096, 4096);
            int ok = refused(key, (size_t)-1, EINVAL) && refused(key, ~0UL - 8, EINVAL) && refused(key, 1UL << 47, EFAULT)
                && refused(key, 1UL << 40, EFAULT) && refused(NULL, 0, EINVAL) && refused(NULL, 8, EFAULT)
                && refused(key, 0, EINVAL) && refused(pages + 2 * 4096 - 1, 2, EFAULT)
                && refused((void *)0xffffffffff600000UL, 4096, EFAULT) && refused((void *)0xffff800000000000UL, 8, EFAULT);
            int ready = snap_ready();
            printf("%d %d %d %s %s\n", ok, whole, ready, key, pages);
            return 0;
        }"#;
    let exe = bench.compile("declared", source, &["-O1"]).unwrap();
    let made = create(&bench, &[], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let outcome = bench.snaprun(&["it"]).run().unwrap();
    assert_eq!(outcome.out(), "1 1 1 all of it is to stay here\n", "{outcome}");
}

/// It is stored like any other, so that must be said.
#[test]
fn memory_kept_out_of_core_dumps_is_noted() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #define _GNU_SOURCE
        #include <snap.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        int main(int argc, char **argv) {
            char *pages = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            madvise(pages, 5 * 4096, MADV_NOHUGEPAGE);
            /* One is never written, one cannot be read. */
            memset(pages, 'x', 4 * 4096);
            mprotect(pages + 3 * 4096, 4096, PROT_NONE);
            if (argv[1][0] == 'd') madvise(pages, 5 * 4096, MADV_DONTDUMP);
            if (argc > 2) snap_secret(pages, strcmp(argv[2], "all") ? 4096 : 3 * 4096);
            snap_ready();
            if (argc > 2 && !strcmp(argv[2], "stay")) {
                puts("there");
                fflush(stdout);
                getchar();
            }
            return 0;
        }"#;
    let exe = bench.compile("hidden", source, &["-O1"]).unwrap();
    for (args, kib) in [(&["plain"][..], None), (&["dd"], Some(12)), (&["dd", "some"], Some(8)), (&["dd", "all"], None)]
    {
        let expected = |text: &str| match kib {
            Some(kib) => text.contains(&format!("note: {kib} KiB of memory that the program keeps out of core dumps")),
            None => !text.contains("core dumps"),
        };
        let made = create(&bench, &[], &exe, args);
        assert!(made.status == "0" && expected(&made.err()), "{args:?}: {made}");
        let checked = bench.snapshotter(&[&["check", "--at", "ready", "--", &exe], args].concat()).unwrap();
        assert!(checked.status == "0" && expected(&checked.out()), "{args:?}: {checked}");
    }
    // Nobody has noted anything of a process that was started in the ordinary way.
    let argv = vec![exe, "dd".to_owned(), "stay".to_owned()];
    let mut child = Run { argv, ..bench.command("snapshotter", &[]) }.spawn_interactive().unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let checked = bench.command("snapshotter", &["check", "--pid", &child.id().to_string()]).run().unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(checked.out().contains("note: 12 KiB of memory that the program keeps"), "{checked}");
}

#[test]
fn arguments_and_the_notes_for_debuggers_are_blanked() {
    let bench = Bench::new().unwrap();
    let exe = bench.compile("every", EVERYWHERE, &["-O1", "-pthread"]).unwrap();
    let value = secret(21, 30);
    let made = create(&bench, &["--env", &format!("MY_TOKEN={value}")], &exe, &[&value]);
    assert_eq!(made.status, "0", "{made}");
    assert_absent(&bench, &value);
}

#[test]
fn names_decide() {
    let bench = Bench::new().unwrap();
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
    let exe = bench.compile("names", source, &["-O2"]).unwrap();
    let [visible, key, odd] = [31, 32, 33].map(|seed| secret(seed, 30));
    let env = [("VISIBLE", &visible), ("API_KEY", &key), ("ODD_NAME", &odd)].map(|(k, v)| format!("{k}={v}"));
    let run = |options: &[&str], args: &[&str]| {
        let env: Vec<&str> = env.iter().flat_map(|pair| ["--env", pair]).collect();
        let made = create(&bench, &[&env[..], options].concat(), &exe, args);
        assert_eq!(made.status, "0", "{made}");
        let found = [&visible, &key, &odd].map(|value| !holding(&bench, std::iter::once(value.as_bytes())).is_empty());
        let out = bench.snaprun(&["it"]).run().unwrap().out();
        assert_eq!(bench.snaprepo(&["rm", "it"]).unwrap().status, "0");
        assert_eq!(bench.snaprepo(&["gc"]).unwrap().status, "0");
        (found, out)
    };
    // In the file is also what only lay in the program's first environment block.
    assert_eq!(run(&[], &[]), ([true, false, true], "- - -\n".to_owned()));
    assert_eq!(run(&["--scrub-env", "odd_*"], &[]).0, [true, false, false]);
    assert_eq!(run(&["--keep-env", "API_KEY"], &[]).0, [true, true, true]);
    assert_eq!(run(&["--no-scrub-env", "--scrub-env", "ODD*"], &[]).0, [true, true, false]);
    // What the program sets itself stays, unless its name says that it is secret.
    assert_eq!(run(&[], &["ODD_NAME", "mine"]).1, "- - mine\n");
    let own = secret(34, 30);
    assert_eq!(run(&[], &["API_KEY", &own]).1, "- - -\n");
    assert_eq!(run(&["--keep-env", "API_KEY"], &["API_KEY", &own]).1, format!("- {own} -\n"));
}

#[test]
fn choices_of_variables_are_never_in_vain_without_a_word() {
    let bench = Bench::new().unwrap();
    let source = "#include <snap.h>\nint main(void) { snap_ready(); return 0; }";
    let exe = bench.compile("plain", source, &["-O1"]).unwrap();
    let env = ["--env", "API_KEY=some-value", "--env", "QUEUE_URL=amqp://me:pw@host/"];
    let run = |options: &[&str]| create(&bench, &[&env[..], options].concat(), &exe, &[]);
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
    let bench = Bench::new().unwrap();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        static char kept[16];
        int main(void) {
            char *value = getenv("X_PASSWORD");
            strcpy(kept, value);
            snap_ready();
            printf("%s %d\n", kept, value[0]);
            return 0;
        }"#;
    let exe = bench.compile("short", source, &["-O2"]).unwrap();
    let made = create(&bench, &["--env", "X_PASSWORD=q7#Z"], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let outcome = bench.snaprun(&["it"]).run().unwrap();
    assert_eq!(outcome.out(), "q7#Z 0\n", "{outcome}");
}

/// A program that goes wrong is worse than a fragment that stays.
#[test]
fn other_text_that_shares_something_with_a_value_stays() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #include <snap.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        int main(void) {
            const char *texts[] = {
                "0123456789", "0123456789abcdef", "Password1234 is weak", "2024-01-01T00:00:00", "MyPassword123",
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            };
            const char *names[] = {"API_TOKEN", "DB_PASSWORD", "APP_SECRET", "APP_CREDENTIALS"};
            char *kept[6], *copies[4];
            for (int i = 0; i < 6; i++) kept[i] = strdup(texts[i]);
            for (int i = 0; i < 4; i++) copies[i] = strdup(getenv(names[i]));
            snap_ready();
            for (int i = 0; i < 6; i++) if (strcmp(kept[i], texts[i])) return 10 + i;
            for (int i = 0; i < 4; i++) printf("%d", copies[i][0]);
            return puts(""), 0;
        }"#;
    let exe = bench.compile("texts", source, &["-O1"]).unwrap();
    let values = ["my-01234567-token", "Password123", "Summer2024-01-01", "user1:abcdef0123456789"];
    let names = ["API_TOKEN", "DB_PASSWORD", "APP_SECRET", "APP_CREDENTIALS"];
    let env: Vec<String> =
        names.iter().zip(values).flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")]).collect();
    let made = create(&bench, &env.iter().map(String::as_str).collect::<Vec<_>>(), &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    // That the C library has "01234567" in it is nothing to speak of.
    assert!(!made.err().contains("stored as it is"), "{made}");
    let outcome = bench.snaprun(&["it"]).run().unwrap();
    assert_eq!((outcome.status.as_str(), outcome.out().as_str()), ("0", "0000\n"), "{outcome}");
}

#[test]
fn a_mapped_file_with_the_value_is_refused_and_the_program_keeps_its_secrets() {
    let bench = Bench::new().unwrap();
    let source = r#"
        #include <fcntl.h>
        #include <snap.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            static char declared[64];
            char *value = getenv("DB_PASSWORD"), *copy = strdup(value);
            strcpy(declared, value);
            snap_secret(declared, sizeof declared);
            if (argc > 1) mmap(0, 4096, PROT_READ, MAP_PRIVATE, open(argv[1], O_RDONLY), 0);
            snap_ready();
            fprintf(stderr, "still %d\n", !strcmp(copy, getenv("DB_PASSWORD")) && !strcmp(copy, declared) && strlen(copy) == 33);
            return 0;
        }"#;
    let exe = bench.compile("mapped", source, &["-O2"]).unwrap();
    let value = secret(41, 33);
    let file = bench.work().join("settings");
    fs::write(&file, format!("password={value}\n")).unwrap();
    let env = format!("DB_PASSWORD={value}");
    let refused = create(&bench, &["--env", &env], &exe, &[file.to_str().unwrap()]);
    assert_eq!(refused.status, "1", "{refused}");
    let err = refused.err();
    assert!(
        err.contains("settings") && err.contains("the value of DB_PASSWORD") && err.contains("--keep-env"),
        "{err}"
    );
    assert!(err.contains("still 1"), "{err}");
    let made = create(&bench, &["--env", &env], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
}

/// What a program has mapped of files that only their owner may read, its own among them, is not for all in the store.
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
    let bench = Bench::new().unwrap();
    let exe = bench.compile("maps", MAPS, &["-O1"]).unwrap();
    let file = bench.out().join("private.db");
    fs::write(&file, "key of nobody else").unwrap();
    let private = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let path = file.to_string_lossy().into_owned();
    private(&path, 0o600);
    private(&exe, 0o700);
    let modes = |options: &[&str]| {
        let argv = [&["create", "--tag", "it", "--at", "syscall:exit_group"], options, &["--", &exe, &path]].concat();
        let run = bench.command("snapshotter", &argv).run().unwrap();
        assert_eq!(run.status, "0", "{run}");
        let of = |kind: &str| {
            let files = fs::read_dir(bench.store().join(kind)).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
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
    let bench = Bench::new().unwrap();
    let value = secret(43, 33);
    let source =
        format!("#include <stdio.h>\n#include <snap.h>\nint main(void) {{ snap_ready(); return puts(\"{value}\"); }}");
    let exe = bench.compile("shipped", &source, &["-O2"]).unwrap();
    let made = create(&bench, &["--variants", "3", "--env", &format!("DB_PASSWORD={value}")], &exe, &[]);
    assert_eq!(made.status, "0", "{made}");
    let line = format!("snapshotter: {exe} contains the value of DB_PASSWORD, and is stored as it is");
    assert_eq!(made.err().lines().collect::<Vec<_>>(), [line], "{made}");
}

#[test]
fn snapshots_are_private_unless_shared() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new().unwrap();
    let exe = bench.compile("mode", "int main(void) { return 7; }", &["-O2"]).unwrap();
    let mode = |options: &[&str]| {
        // Without the option that the bench adds for its plain user.
        let argv = [&["create", "--tag", "it"], options, &["--", &exe]].concat();
        let run = bench.command("snapshotter", &argv).run().unwrap();
        assert_eq!(run.status, "0", "{run}");
        let tag = bench.store().join("refs/it/latest");
        fs::metadata(tag).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(&[]), 0o600);
    assert_eq!(mode(&["--share"]), 0o444);
    let out = bench.out().join("it.snap");
    let argv = ["create", "-o", out.to_str().unwrap(), "--", &exe];
    let made = bench.command("snapshotter", &argv).run().unwrap();
    assert_eq!(made.status, "0", "{made}");
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
}
