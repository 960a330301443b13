//! The Python package: in an instance, the standard streams and the end of a program are those of an ordinary run; and
//! `snapfn run` has the result of an ordinary run, also when files have changed since the snapshot was made.
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

/// A program in a virtual environment of its own, for `snapfn run`.
struct Installed {
    workspace: Workspace,
    python: PathBuf,
}

impl Installed {
    /// None where this machine has no Python.
    fn new() -> Option<Self> {
        if !has_python() {
            return None;
        }
        let workspace = Workspace::new();
        let environment = workspace.work().join("venv");
        let made = Command::new(PYTHON).args(["-m", "venv", "--without-pip"]).arg(&environment).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { python: environment.join("bin/python3"), workspace })
    }

    fn packages(&self) -> PathBuf {
        let mut versions = fs::read_dir(self.workspace.work().join("venv/lib")).unwrap();
        versions.next().unwrap().unwrap().path().join("site-packages")
    }

    fn copy(&self, name: &str) {
        fs::copy(place::tests().join("use/python").join(name), self.workspace.work().join(name)).unwrap();
    }

    /// Runs a shell command in the working directory, in which `$P` starts Python or `snapfn run`: status and output.
    fn shell(&self, command: &str, is_snapfn: bool) -> (String, String, String) {
        let python = self.python.display();
        let start = match is_snapfn {
            true => format!("{} run --make never --python {python}", place::binary("snapfn").display()),
            false => python.to_string(),
        };
        self.command(command, &start)
    }

    fn command(&self, command: &str, start: &str) -> (String, String, String) {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.workspace.work())
            .env_clear()
            .envs(self.workspace.env(&[]))
            .env("SNAPFN_PYTHON_PACKAGE", place::root().join("python/src/snapfn"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", self.workspace.work())
            .env("SITE", self.packages())
            .env("P", start)
            .output()
            .unwrap();
        let print = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.to_string(), print(&output.stdout), print(&output.stderr))
    }

    /// Makes the snapshot of a program by its first run.
    #[track_caller]
    fn create(&self, program: &str) {
        let start = format!("{} create --python {}", place::binary("snapfn").display(), self.python.display());
        let (status, _, errors) = self.command(&format!("$P {program}"), &start);
        assert!(errors.contains("snapfn: snapshot python-"), "{status}\n{errors}");
    }
}

/// What a program sees of its start, and how it ends, are those of an ordinary run.
#[test]
fn snapfn_run_is_an_ordinary_run() {
    const TERMINAL: &str = "python3 -c 'if 1:
        import os, pty, subprocess, sys
        master, slave = pty.openpty()
        os.write(master, b\"typed\\n\")
        status = subprocess.run(sys.argv[1:], stdin=slave, stdout=slave, stderr=slave, timeout=50).returncode
        print(status, os.read(master, 1000))' $P program.py input";
    let Some(installed) = Installed::new() else { return };
    installed.copy("program.py");
    installed.create("program.py exit none");
    installed.create("-m program exit none");
    assert_eq!(installed.shell("$P program.py where", true).1, "snaprun\n");
    for command in [
        "$P program.py args 1 --x 'a b'",
        "cd /; $P \"$OLDPWD/./program.py\"",
        "ln -s program.py link; $P link args; rm link",
        "$P program.py args <&-",
        "$P program.py args >&-",
        "echo text | $P program.py stdin",
        "$P program.py input </dev/null",
        TERMINAL,
        "$P program.py raise 2>&1",
        "$P program.py exit none",
        "$P program.py exit text",
        "$P program.py exit 300",
        "$P program.py interrupt",
        "$P program.py term",
        "$P program.py closed | head -n 2",
        "$P program.py full >/dev/full",
        "TZ=UTC-5 $P program.py tz",
        "LC_ALL=C PYTHONIOENCODING=latin1 $P program.py args",
        "$P program.py processes",
        "$P program.py threads",
        "$P program.py hook",
        "$P program.py hook 2",
        "$P program.py pickle",
        "$P missing.py",
        "$P -m program args",
    ] {
        let ordinary = installed.shell(command, false);
        assert_eq!(installed.shell(command, true), ordinary, "{command}");
    }
}

/// Each change of what a snapshot was made of is noticed, a file that was only touched is not, and the result is right.
#[test]
fn a_stale_snapshot_is_reported_and_the_result_is_right() {
    let Some(installed) = Installed::new() else { return };
    let setup =
        "cd $SITE && mkdir lib && echo 'from . import part, data' >lib/__init__.py && echo 'VALUE = 1' >lib/part.py &&
        echo 'import os; TEXT = open(os.path.dirname(__file__) + \"/text\").read()
try: MORE = open(os.path.expanduser(\"~/more.conf\")).read()
except OSError: MORE = None
MODE = os.environ.get(\"LIB_MODE\"); os.environ[\"LIB_SET\"] = str(MODE) * 2' >lib/data.py && echo one >lib/text";
    let (status, _, errors) = installed.shell(setup, false);
    assert_eq!((&*status, &*errors), ("exit status: 0", ""));
    let script = "import lib.part, lib.data, own, json, os\n\
                  print(lib.part.VALUE, lib.data.TEXT, lib.data.MORE, os.environ[\"LIB_SET\"], own.OWN, json.dumps(1))\n";
    fs::write(installed.workspace.work().join("app.py"), script).unwrap();
    fs::write(installed.workspace.work().join("own.py"), "OWN = 1\n").unwrap();
    installed.create("app.py");

    // What is done, whether the snapshot is stale then (None: another environment, for which there is none), how it is
    // undone. Contents that come back make it fresh again.
    for (change, is_stale, undo) in [
        ("true", Some(false), "true"),
        ("echo 'VALUE = 2' >$SITE/lib/part.py", Some(true), "echo 'VALUE = 1' >$SITE/lib/part.py"),
        ("echo 'VALUE = 22' >$SITE/lib/part.py", Some(true), "echo 'VALUE = 1' >$SITE/lib/part.py"),
        ("touch $SITE/lib/part.py", Some(false), "true"),
        ("cp $SITE/lib/part.py $SITE/lib/x && mv $SITE/lib/x $SITE/lib/part.py", Some(false), "true"),
        ("cp -r $SITE/lib $SITE/new && rm -r $SITE/lib && mv $SITE/new $SITE/lib", Some(false), "true"),
        ("echo two >$SITE/lib/text", Some(true), "echo one >$SITE/lib/text"),
        ("touch $SITE/lib/text", Some(false), "true"),
        ("mkdir $SITE/lib/part && echo 'VALUE = 3' >$SITE/lib/part/__init__.py", Some(true), "rm -r $SITE/lib/part"),
        ("echo >$SITE/other.py", Some(true), "rm $SITE/other.py"),
        ("echo 'import sys; sys.x = 1' >$SITE/x.pth", Some(true), "rm $SITE/x.pth"),
        ("echo more >$HOME/more.conf", Some(true), "rm $HOME/more.conf"),
        ("echo 'x = 1' >>venv/pyvenv.cfg", Some(true), "sed -i '$d' venv/pyvenv.cfg"),
        ("echo 'VALUE = 4' >lib.py; export X=1", Some(true), "rm lib.py"),
        ("echo 'OWN = 2' >own.py", Some(false), "echo 'OWN = 1' >own.py"),
        ("echo 'print(5)' >>app.py", Some(false), "sed -i '$d' app.py"),
        ("mkdir json", Some(false), "rmdir json"),
        ("export LIB_MODE=x", None, "true"),
        ("export PYTHONHASHSEED=1", None, "true"),
        ("export LC_ALL=C", None, "true"),
        ("export OMP_NUM_THREADS=1", None, "true"),
        ("export ANOTHER=x", Some(false), "true"),
        ("mv $SITE/lib/text $SITE/text", Some(true), "mv $SITE/text $SITE/lib/text"),
        ("true", Some(false), "true"),
    ] {
        let run =
            |is_snapfn| installed.shell(&format!("{change}; $P app.py; status=$?; {undo}; exit $status"), is_snapfn);
        let ((status, output, errors), ordinary) = (run(true), run(false));
        assert_eq!((&*status, &*output), (&*ordinary.0, &*ordinary.1), "{change}");
        assert_eq!(errors.contains("the snapshot is stale: "), is_stale == Some(true), "{change}: {errors}");
        let quick = "import os; print(os.readlink(\"/proc/self/exe\"))";
        let (_, exe, _) =
            installed.shell(&format!("echo '{quick}' >>app.py; {change}; $P app.py; {undo}; sed -i '$d' app.py"), true);
        assert_eq!(exe.contains("/snaprun"), is_stale == Some(false), "{change}: {exe}");
    }
}

/// The first run has the snapshot made in the background. A stale one is made anew before the start if that is asked
/// for. Commands can be installed.
#[test]
fn snapshots_are_made_and_renewed_by_runs() {
    let Some(installed) = Installed::new() else { return };
    let snapfn = place::binary("snapfn").display().to_string();
    let python = installed.python.display().to_string();
    let site = installed.packages();
    let script =
        "import os, lib\nprint(lib.VALUE, os.path.basename(os.readlink('/proc/self/exe')).rstrip('.0123456789'))\n";
    fs::write(installed.workspace.work().join("app.py"), script).unwrap();
    fs::write(site.join("lib.py"), "VALUE = 1\n").unwrap();
    let run = |words: &str| installed.command(&format!("{snapfn} run {words}"), "");
    let wait = "until grep -qs '^snapshot' $SNAPFN_STORE/python/apps/*; do sleep 0.1; done";

    assert_eq!(run(&format!("--python {python} app.py")).1, "1 python\n");
    installed.command(wait, "");
    assert_eq!(run(&format!("--python {python} app.py")).1, "1 snaprun\n");
    fs::write(site.join("lib.py"), "VALUE = 22\n").unwrap();
    let (_, output, errors) = run(&format!("--python {python} --make before app.py"));
    assert_eq!((&*output, &*errors), ("22 snaprun\n", ""));

    let (_, path, errors) = installed.command(&format!("{snapfn} install --python {python} app.py bin"), "");
    assert_eq!((&*path, &*errors), ("bin/app\n", ""));
    assert_eq!(installed.command("cd /; \"$OLDPWD/bin/app\"", "").1, "22 snaprun\n");
    assert!(installed.command(&format!("{snapfn} list"), "").1.contains("app.py: python-"));

    // A module that no snapshot can hold: the reason is told once.
    fs::write(site.join("bad.py"), "import mmap\nMEMORY = mmap.mmap(-1, 4096, prot=7)\n").unwrap();
    fs::write(installed.workspace.work().join("uses.py"), "import bad\nprint('right')\n").unwrap();
    let (_, output, errors) = installed.command(&format!("{snapfn} create --python {python} uses.py"), "");
    assert!(output == "right\n" && errors.starts_with("snapfn: no snapshot: "), "{output}{errors}");
    let told = run(&format!("--python {python} uses.py"));
    assert!(told.1 == "right\n" && told.2.starts_with("snapfn: uses.py: no snapshot: "), "{told:?}");
    assert_eq!(run(&format!("--python {python} uses.py")).2, "");

    assert_eq!(
        installed.command(&format!("{snapfn} clean"), ""),
        ("exit status: 0".into(), String::new(), String::new())
    );
    assert_eq!(installed.command("find $SNAPFN_STORE -type f -not -name .lock", "").1, "");
}

/// The wheel has everything that a run needs, with its modes and digests, beside nothing but an interpreter.
#[test]
fn the_wheel_is_complete() {
    const INSTALL: &str = "if 1:
        import base64, csv, glob, hashlib, io, os, sys, zipfile
        site, scripts = sys.argv[1:]
        archive = zipfile.ZipFile(glob.glob('dist/*.whl')[0])
        record = next(name for name in archive.namelist() if name.endswith('/RECORD'))
        rows = {row[0]: row[1] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        for member in archive.infolist():
            content, name = archive.read(member), member.filename
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()
            assert rows.pop(name) == ('' if name == record else 'sha256=' + digest), name
            _, is_script, script = name.partition('.data/scripts/')
            path = os.path.join(scripts, script) if is_script else os.path.join(site, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, 'wb').write(content)
            os.chmod(path, member.external_attr >> 16 & 0o777)
        print(rows)";
    let Some(installed) = Installed::new() else { return };
    let script = place::root().join("scripts/wheel.sh");
    let (status, wheel, errors) =
        installed.command(&format!("{} --bin {} dist", script.display(), place::bin().display()), "");
    assert!(wheel.contains("/dist/snapfn-") && wheel.ends_with("_x86_64.whl\n"), "{status}\n{wheel}{errors}");
    let rest = installed.command(&format!("python3 -c \"{INSTALL}\" $SITE venv/bin"), "");
    assert_eq!(rest, ("exit status: 0".into(), "{}\n".into(), String::new()));

    let script = "import os, json\nprint(os.path.basename(os.readlink('/proc/self/exe')).rstrip('.0123456789'))\n";
    fs::write(installed.workspace.work().join("app.py"), script).unwrap();
    let run = |command: &str| installed.command(&format!("unset SNAPFN_PYTHON_PACKAGE; {command}"), "");
    assert_eq!(run("venv/bin/snapfn create app.py").1, "python\n");
    assert_eq!(run("venv/bin/snapfn run app.py"), ("exit status: 0".into(), "snaprun\n".into(), String::new()));
}
