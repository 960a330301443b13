//! Mistakes of users: each message says what to do.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::Workspace;

const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }";

#[track_caller]
fn says(outcome: &Outcome, status: &str, words: &[&str]) {
    assert_eq!(outcome.status, status, "{outcome}");
    for word in words {
        assert!(outcome.err().contains(word), "`{word}` is missing\n{outcome}");
    }
}

fn write(workspace: &Workspace, name: &str, text: &str, mode: u32) -> String {
    let path = workspace.out().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_string_lossy().into_owned()
}

/// The user starts a program in place of its snapshot: a file shorter or longer than a page, a script or an ELF file.
#[test]
fn a_file_of_another_kind_is_no_snapshot() {
    let workspace = Workspace::new();
    let exe = workspace.compile("hello", HELLO, &["-O1"]);
    let short = write(&workspace, "fn.py", "print(1)\n", 0o755);
    let long = write(&workspace, "long.py", &"# a comment\n".repeat(1000), 0o755);
    for file in [&exe, &short, &long] {
        says(&workspace.snaprun(&[file]).run(), "125", &["not a snapshot", "snapshotter create -- PROGRAM"]);
        says(&workspace.snapshotter(&["inspect", file]), "1", &["not a snapshot", "snapshotter create -- PROGRAM"]);
    }
}

#[test]
fn help_of_snaprun_has_the_options_for_people() {
    let workspace = Workspace::new();
    let help = workspace.snaprun(&["--help"]).run();
    assert_eq!(help.status, "0", "{help}");
    for option in ["--bind", "--dry-run", "--pool", "--from"] {
        assert!(help.out().contains(option), "{option} is missing\n{help}");
    }
    for internal in ["--fds", "--report", "--park", "--timing-page", "--keep-arguments"] {
        assert!(!help.out().contains(internal), "{internal} is for programs\n{help}");
    }
}

#[test]
fn a_snapshot_of_another_user_names_the_option_to_share_it() {
    let workspace = Workspace::new();
    let file = workspace.snapshot("hello", HELLO, &["-O1"], "main");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    says(
        &workspace.snaprun(&[&file.to_string_lossy()]).run(),
        "126",
        &["permission denied", "snapshotter create --share"],
    );
}

/// An option that would be ignored is refused.
#[test]
fn options_of_snaprun_that_do_not_go_together_are_refused() {
    let workspace = Workspace::new();
    let socket = workspace.run_dir().join("pool.sock").to_string_lossy().into_owned();
    for (options, why) in [
        (&["--bind", "80=81", "--pool", "1"][..], "--pool takes --allow-wx and --populate only"),
        (&["--pool", "1", &socket, "--if-stale=fail"], "--pool takes --allow-wx and --populate only"),
        (&["--same-pid", "--from"], "--from takes no other option"),
        (&["--dry-run", "--pool", "1"], "exclude one another"),
        (&["--timing", "--dry-run"], "exclude one another"),
        (&["--populate", "all"], "--populate is for --pool"),
    ] {
        says(&workspace.snaprun(&[options, &[&socket, "name"]].concat()).run(), "125", &[why]);
    }
}

#[test]
fn a_socket_without_a_pool_says_how_to_start_one() {
    let workspace = Workspace::new();
    let socket = workspace.run_dir().join("pool.sock").to_string_lossy().into_owned();
    says(&workspace.snaprun(&["--from", &socket]).run(), "127", &["there is no such socket", "snaprun --pool"]);
    drop(UnixListener::bind(&socket).unwrap());
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = workspace.snaprun(&["--from", &socket]).run();
    says(&outcome, "126", &["no pool serves this socket", "snaprun --pool"]);
    assert!(!outcome.err().contains("111"), "{outcome}");
}

#[test]
fn a_store_that_may_not_be_written_is_named_once_with_the_remedy() {
    let workspace = Workspace::new();
    let exe = workspace.compile("hello", HELLO, &["-O1"]);
    // Not even root may make a directory there.
    let mut run = workspace.command("snapshotter", &["create", "--", &exe]);
    run.env.retain(|(name, _)| name != "SNAPFN_STORE");
    run.env.push(("SNAPFN_STORE".into(), "/sys/store".into()));
    let outcome = run.run();
    says(&outcome, "1", &["cannot write to the store: /sys/store: ", "set SNAPFN_STORE"]);
    let why = ["not permitted", "denied", "Read-only"].map(|why| outcome.err().matches(why).count());
    assert_eq!(why.iter().sum::<usize>(), 1, "{outcome}");
}

#[test]
fn a_program_without_dashes_in_front_gets_the_remedy() {
    let workspace = Workspace::new();
    says(&workspace.snapshotter(&["create", "./hello", "7"]), "2", &["-- ./hello"]);
}

#[test]
fn a_file_that_the_kernel_does_not_execute_names_what_is_missing() {
    let workspace = Workspace::new();
    let text = write(&workspace, "text.py", "print(1)\n", 0o755);
    says(&workspace.snapshotter(&["create", "--", &text]), "1", &["neither an ELF program nor a script"]);
    let plain = write(&workspace, "plain.py", "print(1)\n", 0o644);
    says(&workspace.snapshotter(&["create", "--", &plain]), "1", &["name its interpreter"]);
}
