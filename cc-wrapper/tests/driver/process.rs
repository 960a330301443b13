//! Processes, signals, arguments and environment, as a compiler sees them that is a script.

use crate::support::{Sandbox, compilers, have, succeed};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Command lines that end in an executable, and some that do not.
const LINKS: &[&[&str]] = &[&["m.c"], &["m.o", "-o", "prog"], &["-lm"]];
const EXECS: &[&[&str]] = &[
    &["-c", "m.c"],
    &["-E", "-"],
    &["-S", "m.c"],
    &["-MM", "m.c"],
    &["-shared", "m.o"],
    &["-r", "m.o"],
    &["--version"],
    &["-###", "m.c"],
    &["-fsyntax-only", "m.c"],
    &["m.h"],
    &["-v"],
    &[],
];

/// `--version` is the compiler's; the driver has its own option, alone.
#[test]
fn the_driver_has_a_version_of_its_own() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", "echo compiler $*");
    let said = |args: &[&str]| {
        let output = sandbox.snapcc(&fake).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["--snapfn-version"]), format!("snapcc {} (snapfn)\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(said(&["--version"]), "compiler --version\n");
    assert_eq!(said(&["--snapfn-version", "--version"]), "compiler --snapfn-version --version\n");
}

#[test]
fn what_links_nothing_keeps_the_process() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", "echo $$ $PPID");
    let ids = |args: &[&str], disable: bool| {
        let mut command = sandbox.snapcc(&fake);
        command.args(args).stdout(Stdio::piped());
        if disable {
            command.env("SNAPFN_DISABLE", "1");
        }
        let child = command.spawn().unwrap();
        let id = child.id().to_string();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (own, parent) = text.trim().split_once(' ').unwrap();
        (own == id, parent == id)
    };
    for args in EXECS {
        assert_eq!(ids(args, false), (true, false), "{args:?}");
    }
    for args in LINKS {
        assert_eq!(ids(args, false), (false, true), "{args:?}");
        assert_eq!(ids(args, true), (true, false), "{args:?} with SNAPFN_DISABLE");
    }
}

#[test]
fn arguments_arrive_as_they_were_written() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", r#"for arg; do printf '%s\0' "$arg"; done"#);
    sandbox.write("args.rsp", "-c 'x y.c'");
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    for (args, at) in [
        (&["-c", "a b.c", "", "-DX=\"q\"", "*", "$HOME"][..], Some(6)),
        (&["@args.rsp", "-O2"], Some(2)),
        (&["m.o", "-o", "prog", "\u{e9}\n"], None),
        (&["m.c", "-o", "prog"], Some(3)),
        (&["-O2", "--", "m.c"], Some(1)),
        (&["--version"], None),
        (&["-c", "m.c", "-o"], None),
    ] {
        let output = succeed(sandbox.snapcc(&fake).args(args)).stdout;
        let mut want: Vec<&str> = args.to_vec();
        if let Some(at) = at {
            want.splice(at..at, ["-isystem", include]);
        }
        let got: Vec<_> = output.split(|&byte| byte == 0).map(|arg| String::from_utf8(arg.to_vec()).unwrap()).collect();
        assert_eq!(got[..got.len() - 1], want, "{args:?}");
    }
}

#[test]
fn bytes_that_are_no_text_arrive() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", r#"printf '%s' "$2""#);
    let output = succeed(sandbox.snapcc(&fake).arg("-c").arg(OsStr::from_bytes(b"\xff\xfe.c")));
    assert_eq!(output.stdout, b"\xff\xfe.c");
}

/// What a process inherits is the same in a compiler that is called directly, exec'ed, or run as a child.
#[test]
fn the_compiler_inherits_what_it_would() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script(
        "fake",
        "grep -E '^(Sig(Blk|Ign)|Umask)' /proc/self/status\ncat /proc/self/limits\nenv | grep -v ^_=\nls /proc/$$/fd\n\
         pwd; ps -o pgid= -o sid= -p $$ 2>/dev/null\n",
    );
    let run = |mut command: Command, shell: &str, args: &[&str]| {
        // A shell ignores signals and closes descriptors as a caller may.
        let mut sh = sandbox.command("sh");
        sh.args(["-c", &format!("{shell} exec \"$@\""), "sh"]).arg(command.get_program()).args(args);
        sh.env("SNAPFN_CC", &fake);
        command.stdout(Stdio::null());
        // One process group for all, so that they can be compared.
        String::from_utf8(succeed(sh.process_group(0)).stdout).unwrap()
    };
    let comparable = |text: String| -> Vec<String> {
        // The group's number is that of its first process.
        text.lines()
            .filter(|line| !line.trim().chars().all(|c| c.is_ascii_digit() || c == ' '))
            .map(Into::into)
            .collect()
    };
    for shell in ["", "trap '' PIPE;", "trap '' INT HUP;", "exec 0<&-;", "ulimit -c 0; umask 077;"] {
        let plain = comparable(run(Command::new(&fake), shell, &["-c", "m.c"]));
        for args in [&["-c", "m.c"][..], &["m.o"]] {
            let own = Command::new(sandbox.path("bin").join("snapcc"));
            assert_eq!(comparable(run(own, shell, args)), plain, "{shell} {args:?}");
        }
    }
}

#[test]
fn status_and_death_by_signal_pass_through() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", "eval \"$DO\"");
    for args in [&["m.c"][..], &["-c", "m.c"]] {
        for status in [0, 1, 2, 77, 126, 127, 255] {
            let got = sandbox.snapcc(&fake).args(args).env("DO", format!("exit {status}")).status().unwrap();
            assert_eq!(got.code(), Some(status), "{args:?}");
        }
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGSEGV, libc::SIGABRT, libc::SIGPIPE] {
            let got = sandbox.snapcc(&fake).args(args).env("DO", format!("kill -{signal} $$")).status().unwrap();
            assert_eq!(got.signal(), Some(signal), "{args:?}");
        }
    }
}

#[test]
fn a_signal_for_snapcc_reaches_the_compiler() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script(
        "fake",
        "trap 'echo cleaned >cleaned; exit 9' TERM\necho >started\ni=0\nwhile [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done",
    );
    let child = sandbox.snapcc(&fake).arg("m.c").spawn().unwrap();
    let status = signalled(child, &sandbox.work("started"), libc::SIGTERM);
    assert_eq!(status.code(), Some(9));
    assert!(sandbox.work("cleaned").exists());
}

#[test]
fn a_compiler_that_dies_of_the_signal_takes_snapcc_along() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", "echo >started\nexec sleep 60");
    let child = sandbox.snapcc(&fake).arg("m.c").spawn().unwrap();
    assert_eq!(signalled(child, &sandbox.work("started"), libc::SIGINT).signal(), Some(libc::SIGINT));
}

/// Sends `signal` to `child` once the file is there.
fn signalled(mut child: Child, started: &Path, signal: i32) -> std::process::ExitStatus {
    while !started.exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it started");
        std::thread::sleep(Duration::from_millis(5));
    }
    succeed(Command::new("kill").args([format!("-{signal}"), child.id().to_string()]));
    child.wait().unwrap()
}

#[test]
fn the_compiler_may_be_a_command_with_arguments() {
    let sandbox = Sandbox::new();
    let fake = sandbox.script("fake", r#"echo "$@""#);
    let launcher = sandbox.script("launcher", r#"exec "$@""#);
    let run = |command: String, args: &[&str]| {
        let output = succeed(sandbox.snapcc(command).args(args).env("SNAPFN_INCLUDE", "/inc"));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(run(format!("{} -m32  -DX", fake.display()), &["-c", "m.c"]), "-m32 -DX -c m.c -isystem /inc");
    assert_eq!(run(format!("{} {}", launcher.display(), fake.display()), &["-v"]), "-v");
    assert_eq!(run(format!("{} -E", fake.display()), &["m.c"]), "-E m.c -isystem /inc");
    let spaced = sandbox.script("with space", r#"echo spaced "$@""#);
    assert_eq!(run(spaced.display().to_string(), &["-c", "m.o"]), "spaced -c m.o");
}

#[test]
fn no_compiler_is_one_clear_line() {
    let sandbox = Sandbox::new();
    sandbox.write("plain", "no program");
    let own = sandbox.path("bin").join("snapcc");
    for (compiler, status) in [
        ("/nonexistent/cc".to_owned(), 127),
        ("no-such-compiler".to_owned(), 127),
        ("no-such-compiler -m32".to_owned(), 127),
        (sandbox.work("plain").display().to_string(), 126),
        (sandbox.path("work").display().to_string(), 126),
        (own.display().to_string(), 126),
    ] {
        let output = sandbox.snapcc(&compiler).arg("m.c").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(&format!("snapcc: {compiler}: ")) && stderr.contains("SNAPFN_CC"), "{stderr}");
    }
}

/// snapcc may be in PATH under the name of the compiler that it runs.
#[test]
fn snapcc_does_not_find_itself() {
    for compiler in compilers() {
        let sandbox = Sandbox::new();
        symlink(env!("CARGO_BIN_EXE_snapcc"), sandbox.path("bin").join(compiler)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let masked = format!("{}:{path}", sandbox.path("bin").display());
        sandbox.write("m.c", "int main(void) { return 0; }\n");
        let mut command = Command::new(compiler);
        command.current_dir(sandbox.path("work")).env("PATH", masked).env("SNAPFN_CC", compiler);
        succeed(command.args(["m.c", "-o", "prog"]));
        assert!(sandbox.work("prog.code").exists());
    }
}

#[test]
fn ccache_in_front_and_behind() {
    if !have(&["ccache", "gcc"]) {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("m.c", "#include <snap.h>\nint main(void) { return snap_ready(); }\n");
    let own = sandbox.path("bin").join("snapcc");
    for round in 0..2 {
        let mut front = sandbox.command("ccache");
        front.arg(&own).env("SNAPFN_CC", "gcc").env("CCACHE_DIR", sandbox.path("tmp")).args(["-c", "m.c"]);
        succeed(&mut front);
        let mut behind = sandbox.snapcc("ccache gcc");
        succeed(behind.env("CCACHE_DIR", sandbox.path("tmp")).args(["m.o", "-o", "prog"]));
        assert!(sandbox.work("prog.code").exists(), "round {round}");
        fs::remove_file(sandbox.work("m.o")).unwrap();
    }
}
