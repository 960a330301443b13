//! The Python package: in an instance, the standard streams and the end of a program are those of an ordinary run.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapfn_tests::place::{self, PYTHON, has_python};
use snapfn_tests::workspace::Workspace;

/// One of the programs in `python/`, with a snapshot of it.
struct Program {
    workspace: Workspace,
    script: String,
    environment: Vec<(String, String)>,
}

impl Program {
    /// None where this machine has no Python.
    fn new(script: &str, environment: &[(&str, &str)]) -> Option<Self> {
        if !has_python() {
            return None;
        }
        let workspace = Workspace::new();
        let script = place::tests().join("use/python").join(script).display().to_string();
        let package = place::root().join("python/src").display().to_string();
        let mut environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment
            .extend([("PYTHONPATH".to_owned(), package), ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())]);
        let mut args: Vec<String> = ["--tag", "program", "--at", "ready"].map(str::to_owned).into();
        args.extend(environment.iter().map(|(name, value)| format!("--env={name}={value}")));
        args.extend(["--", PYTHON, &script, "first"].map(str::to_owned));
        fs::write(workspace.work().join("early"), "").unwrap();
        workspace.created(&args.iter().map(String::as_str).collect::<Vec<_>>());
        Some(Self { workspace, script, environment })
    }

    /// Runs a shell command in which `$P` is the program, started in the ordinary way or as an instance. Returns its
    /// output and the files that it leaves in the working directory.
    fn run(&self, command: &str, is_instance: bool) -> (String, BTreeMap<PathBuf, Vec<u8>>) {
        let work = self.workspace.work();
        for entry in fs::read_dir(&work).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(work.join("early"), "").unwrap();
        fs::write(work.join("in"), "1\n2\n3\n").unwrap();
        let start = match is_instance {
            true => format!("{} program", place::binary("snaprun").display()),
            false => format!("{PYTHON} {}", self.script),
        };
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&work)
            .env_clear()
            .envs(self.workspace.env(&self.environment))
            .env("P", start)
            .output()
            .unwrap();
        let print = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let text = format!("{}\n{}{}", output.status, print(&output.stdout), print(&output.stderr));
        let files = fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().path());
        (text, files.map(|path| (path.clone(), content(&path))).collect())
    }

    #[track_caller]
    fn same(&self, command: &str) {
        let ordinary = self.run(command, false);
        assert_eq!(self.run(command, true), ordinary, "{command}");
    }
}

/// A compressed file has the time in it.
fn content(path: &Path) -> Vec<u8> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Command::new("gzip").args(["-dc"]).arg(path).output().unwrap().stdout,
        Some("zip") => {
            let code = "import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read('member'))";
            Command::new(PYTHON).args(["-c", code]).arg(path).output().unwrap().stdout
        }
        _ => fs::read(path).unwrap(),
    }
}

/// Files that are never closed, threads, `atexit`, destructors, and every kind of status.
#[test]
fn a_program_ends_as_in_an_ordinary_run() {
    let Some(program) = Program::new("end.py", &[]) else { return };
    for how in ["none", "number", "big", "text", "exit", "raise", "interrupt", "nested"] {
        program.same(&format!("$P {how}"));
    }
    program.same("$P none >/dev/full 2>/dev/null");
    program.same("{ $P none 2>/dev/null; echo $? >status; } | true");
    program.same("$P number >&-");

    let (text, files) = program.run("$P number", true);
    assert!(text.starts_with("exit status: 7\n"), "{text}");
    let early = files.iter().find(|(path, _)| path.ends_with("early")).unwrap();
    assert_eq!(String::from_utf8_lossy(early.1), "before after");
}

/// Terminal or file, seekable or not, closed descriptors, encodings; the objects are the same ones.
#[test]
fn standard_streams_are_those_of_each_start() {
    // The master side is read only after the program has ended, which fits into the terminal's buffer.
    const TERMINAL: &str = "python3 -c 'if 1:
        import os, pty, subprocess, sys
        master, slave = pty.openpty()
        os.write(master, b\"typed\\n\\x04\\x04\")
        status = subprocess.run(sys.argv[1:], stdin=slave, stdout=slave, stderr=slave, timeout=50).returncode
        print(status, os.read(master, 1000))' $P got";
    for environment in [&[][..], &[("PYTHONUNBUFFERED", "1")]] {
        let Some(program) = Program::new("streams.py", environment) else { return };
        for command in [
            "$P got <in >file",
            "$P got </dev/null | cat",
            "cat in | $P got >>file",
            "{ read line; $P got; } <in >>file",
            "$P got <&-",
            "$P got >&- <in",
            "$P got 2>&- <in",
            "PYTHONIOENCODING=latin1:replace $P got 'x😀' <in",
            "PYTHONIOENCODING=utf-16 $P got </dev/null",
            "PYTHONIOENCODING=:ignore $P got <in",
            TERMINAL,
        ] {
            program.same(command);
        }
    }
}

/// The hooks with AWS's names: before a snapshot the last one runs first, after a restore they run in order, and in an
/// ordinary run none does. The time zone is that of each start.
#[test]
fn hooks_run_before_the_snapshot_and_after_a_restore() {
    let Some(program) = Program::new("hooks.py", &[]) else { return };
    for (zone, hours) in [("UTC-5", "+0500"), ("UTC-3", "+0300")] {
        let (text, _) = program.run(&format!("TZ={zone} $P"), true);
        assert_eq!(text, format!("exit status: 0\nbefore: second first\nafter: first second\nzone {hours}\n"));
        let (text, _) = program.run(&format!("TZ={zone} $P"), false);
        assert_eq!(text, format!("exit status: 0\nbefore:\nafter:\nzone {hours}\n"));
    }
}
