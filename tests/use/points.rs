//! Which point a snapshot is taken at: the one that suits the program, and points by name.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use snapfn_tests::run::Outcome;
use snapfn_tests::workspace::Workspace;

/// Prints its arguments and its umask.
const ARGUMENTS: &str = r#"
#include <stdio.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) printf("%s,", argv[i]);
    return printf("%d args, umask %03o\n", argc - 1, umask(0)) < 0;
}
"#;

/// Says when it is ready, then serves one connection with what was on its way.
const SERVER: &str = include_str!("points/server.c");

/// Marks its point by `prctl`, as a package for an interpreter does.
const MARK: &str = "import ctypes\nctypes.CDLL(None).prctl(0x534e4150, 0, 0, 0, 0)\n";

fn script(workspace: &Workspace, name: &str, text: &str) -> String {
    let path = workspace.out().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

#[track_caller]
fn refused(workspace: &Workspace, outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status, "1", "{outcome}");
    for word in words {
        assert!(outcome.err().contains(word), "`{word}` is missing\n{outcome}");
    }
    let snapshots: Vec<_> = workspace.stored().into_iter().filter(|path| path.ends_with("latest")).collect();
    assert!(snapshots.is_empty(), "{snapshots:?}");
}

#[track_caller]
fn prints(workspace: &Workspace, args: &[&str], expected: &str) {
    let outcome = workspace.snaprun(args).run();
    assert_eq!((outcome.status.as_str(), outcome.out()), ("0", expected.into()), "{outcome}");
}

/// The kernel, a shell and `env` put words in front of the arguments; so does an instance.
#[test]
fn a_wrapper_is_followed_to_the_program_that_it_becomes() {
    let workspace = Workspace::new();
    let exe = workspace.compile("arguments", ARGUMENTS, &["-O1"]);
    // The first directory of PATH makes an execve fail, whose preparation is then taken back.
    let dir = Path::new(&exe).parent().unwrap().display();
    let text = format!("#!/bin/sh\numask 027\nPATH=/nonexistent:{dir} exec arguments --root=/usr --fixed \"$@\"\n");
    let wrapper = script(&workspace, "wrapper", &text);
    let wrapper = script(&workspace, "outer", &format!("#!/bin/sh\nexec '{wrapper}' \"$@\"\n"));
    workspace.created(&["--", &wrapper, "a", "b"]);
    prints(&workspace, &["outer", "c"], "--root=/usr,--fixed,c,3 args, umask 027\n");
    prints(&workspace, &["outer"], "--root=/usr,--fixed,2 args, umask 027\n");
    // More words than there are slots of snaprun's own.
    prints(&workspace, &["--local", "outer", "c", "d", "e"], "--root=/usr,--fixed,c,d,e,5 args, umask 027\n");
    workspace.created(&["--tag", "plain", "--", "/usr/bin/env", "-u", "HOME", &exe, "x"]);
    prints(&workspace, &["plain", "y"], "y,1 args, umask 022\n");
}

#[test]
fn many_words_of_a_wrapper_stay_in_front() {
    let workspace = Workspace::new();
    let exe = workspace.compile("arguments", ARGUMENTS, &["-O1"]);
    let words = (0..40).map(|i| format!("--option-number-{i}")).collect::<Vec<_>>();
    let wrapper = script(&workspace, "many", &format!("#!/bin/sh\nexec '{exe}' {} \"$@\"\n", words.join(" ")));
    workspace.created(&["--", &wrapper]);
    prints(&workspace, &["many", "a", "b"], &format!("{},a,b,42 args, umask 022\n", words.join(",")));
}

#[test]
fn a_wrapper_that_changes_its_arguments_is_refused() {
    let workspace = Workspace::new();
    let exe = workspace.compile("arguments", ARGUMENTS, &["-O1"]);
    let wrapper = script(&workspace, "reverse", &format!("#!/bin/sh\nexec '{exe}' \"$2\" \"$1\"\n"));
    let outcome = workspace.snapshotter(&["create", "--", &wrapper, "a", "b"]);
    refused(&workspace, &outcome, &["other arguments", "name that program"]);
}

/// An instance would have the words without the secret.
#[test]
fn a_secret_among_the_words_of_a_wrapper_is_refused() {
    let workspace = Workspace::new();
    let exe = workspace.compile("arguments", ARGUMENTS, &["-O1"]);
    let wrapper = script(&workspace, "wrapper", &format!("#!/bin/sh\nexec '{exe}' \"--key=$MY_TOKEN\" \"$@\"\n"));
    let token = "MY_TOKEN=c0ffee-8c1f-42aa-9d10-77aa";
    let outcome = workspace.snapshotter(&["create", "--env", token, "--", &wrapper, "a"]);
    refused(&workspace, &outcome, &["arguments that instances keep", "the value of a secret"]);
}

#[test]
fn main_of_a_script_keeps_interpreter_and_script() {
    let workspace = Workspace::new();
    let shell = script(&workspace, "show.sh", "#!/bin/sh\necho \"${0##*/} $# $1\"\n");
    workspace.created(&["--at", "main", "--", &shell, "old"]);
    prints(&workspace, &["show", "new", "x"], "show.sh 2 new\n");
    workspace.created(&["--tag", "named", "--at", "main", "--", "/bin/sh", "-u", &shell, "old"]);
    prints(&workspace, &["named", "new"], "show.sh 1 new\n");
}

#[test]
fn an_interpreter_runs_to_the_mark_of_its_script() {
    let workspace = Workspace::new();
    let text = format!("#!/usr/bin/python3\nimport sys\n{MARK}print('behind', len(sys.argv))\n");
    let marked = script(&workspace, "marked.py", &text);
    workspace.created(&["--", &marked, "a"]);
    prints(&workspace, &["marked", "b", "c"], "behind 2\n");
}

#[test]
fn an_interpreter_without_a_mark_says_what_to_write() {
    let workspace = Workspace::new();
    let plain = script(&workspace, "plain.py", "#!/usr/bin/python3\nprint('ran')\n");
    for command in [&[plain.as_str()] as &[&str], &["/usr/bin/python3", &plain]] {
        let outcome = workspace.snapshotter(&[&["create", "--"], command].concat());
        refused(&workspace, &outcome, &["status 0", "ran", "snapfn.ready()", "--at listening"]);
    }
    let outcome = workspace.snapshotter(&["create", "--", "/usr/bin/python3"]);
    refused(&workspace, &outcome, &["is an interpreter", "--at main"]);
    let shell = script(&workspace, "plain.sh", "#!/bin/sh\necho ran\n");
    refused(&workspace, &workspace.snapshotter(&["create", "--", &shell]), &["--at output:TEXT"]);
}

#[test]
fn points_of_servers() {
    let workspace = Workspace::new();
    let exe = workspace.compile("server", SERVER, &["-O1"]);
    for (at, expected) in [
        ("listening", "accept\n"),
        ("idle:50", "accept\n"),
        ("output:to serve", "serving\naccept\n"),
        ("syscall:write#2", "to serve\nserving\naccept\n"),
        ("fork", "ready to serve\nserving\naccept\n"),
    ] {
        workspace.created(&["--tag", "server", "--at", at, "--", &exe]);
        prints(&workspace, &["server"], expected);
    }
}

#[test]
fn a_point_that_never_comes_is_an_error() {
    let workspace = Workspace::new();
    let exe = workspace.compile("arguments", ARGUMENTS, &["-O1"]);
    for at in ["listening", "fork", "output:no such text", "syscall:write#9"] {
        let outcome = workspace.snapshotter(&["create", "--at", at, "--", &exe]);
        refused(&workspace, &outcome, &["before its snapshot point"]);
    }
}
