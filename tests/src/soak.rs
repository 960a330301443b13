//! Snapshots and instances of many programs, in random order, with `kill -9` of either at random moments.
//!
//! ```text
//!  a cycle   reset the working directory → create (perhaps killed, then once more) → instances (perhaps one killed)
//!            → perhaps rm, gc, verify → no process is left
//!  the end   every tag still starts; gc without tags leaves an empty store; no temporary file, no shared memory
//! ```
//! Every step has a time limit. The same seed gives the same order; the moments of kills depend on the machine. The
//! first fault is a panic, and before it the cycle, the seed and the program are printed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::compile::{self, Variant};
use crate::directives::{Program, RunLine, Verdict};
use crate::run::{Run, is_root};
use crate::state::State;
use crate::trial::{Observed, Trial, corpus};
use crate::workspace::{WorkFile, tree};
use crate::{must, place};

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Snapshots to take.
    pub cycles: u64,
    /// What the order follows from.
    pub seed: u64,
    /// No progress on standard error.
    pub quiet: bool,
}

/// What has been done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Cycles that went through.
    pub cycles: u64,
    subjects: usize,
    snapshots: u64,
    killed_snapshotters: u64,
    instances: u64,
    killed_instances: u64,
    removed: u64,
    collections: u64,
    seconds: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cycles over {} programs in {} s: {} snapshots ({} snapshotters killed), {} instances equal ({} killed), \
             {} tags removed, {} garbage collections; nothing left, nothing hung",
            self.cycles,
            self.subjects,
            self.seconds,
            self.snapshots,
            self.killed_snapshotters,
            self.instances,
            self.killed_instances,
            self.removed,
            self.collections
        )
    }
}

/// Programs of `state/` that print the same in an ordinary run and in an instance. The list leaves out programs that
/// bind fixed addresses, that leave System V objects to the next instance on purpose, that a plain user cannot read,
/// and that have links or FIFOs in the directory, which a reset does not restore.
const STATE: &[&str] = &[
    "attr_threads",
    "fd_deleted",
    "fd_epoll",
    "fd_events",
    "fd_inotify",
    "fd_locks",
    "fd_memfd",
    "fd_numbers",
    "fd_pty",
    "fd_socketpairs",
    "child_zombie",
    "mem_advice",
    "sig_cancel",
    "sig_dispositions",
    "sig_pending",
    "thread_join",
    "thread_mutex_owners",
    "thread_rseq",
    "timer_kinds",
];

/// Installed programs of the system that read their own program from standard input.
const REAL: &[(&str, &[&str], &str)] = &[
    ("perl", &["-MPOSIX", "-MList::Util=sum", "-e", "local $/; eval <STDIN>"], "print sum(1..9), floor(2.5), \"\\n\""),
    ("gawk", &["BEGIN { for (i = 0; i < 999; i++) x[i] = i * i } { print NF, x[42] }"], "a b c\n"),
    ("tclsh", &[], "puts [expr {6 * 7}]\n"),
    ("lua5.4", &["-"], "print(6 * 7, string.rep('x', 3))\n"),
    ("sqlite3", &[":memory:"], "create table t(a); insert into t values (1), (2); select sum(a) from t;\n"),
    (
        "python3",
        &["-c", "import json, sys, threading, socket; exec(sys.stdin.read())"],
        "print(json.dumps({'a': 42}))\n",
    ),
];

/// A program at one point, and the results of its runs.
struct Subject {
    trial: Trial,
    at: String,
    /// The executable: it is compiled at first use, or is a program of the system.
    exe: Option<PathBuf>,
    expected: Option<Vec<Observed>>,
    /// The times of its last snapshot and instance, from which the moments of kills are chosen.
    create: Duration,
    start: Duration,
}

impl Subject {
    fn new(program: Program, at: &str, exe: Option<PathBuf>) -> Option<Self> {
        let at = at.to_owned();
        let trial =
            Trial { program, points: vec![at.clone()], family: "gcc".to_owned(), variant: Variant::named("O2")? };
        let guess = Duration::from_millis(60);
        Some(Subject { trial, at, exe, expected: None, create: guess, start: guess })
    }

    /// A name that a tag can have.
    fn tag(&self) -> String {
        format!("{}-{}", self.trial.program.name, self.at.replace(':', "-"))
    }
}

fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    // The list leaves out programs that differ in every instance, and those that need a command between the steps.
    let is_plain =
        |program: &Program| program.verdict == Verdict::Same && program.before.is_none() && program.between.is_none();
    for program in corpus().into_iter().filter(is_plain) {
        all.extend(program.at.iter().filter_map(|at| Subject::new(program.clone(), at, None)));
    }
    let state = place::tests().join("state");
    let done = |args: &[&str], stdin: &str| RunLine {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        stdin: stdin.as_bytes().to_vec(),
        status: "0".to_owned(),
        ..RunLine::default()
    };
    for name in STATE {
        let program = Program {
            name: (*name).to_owned(),
            path: state.join(format!("{name}.c")),
            flags: vec![format!("-I{}", state.display()), "-pthread".to_owned()],
            runs: vec![done(&[], "")],
            ..Program::default()
        };
        all.extend(Subject::new(program, "ready", None));
    }
    for (name, args, stdin) in REAL {
        let Some(exe) = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
        else {
            continue;
        };
        let program = Program {
            name: (*name).to_owned(),
            snap_args: args.iter().map(|&arg| arg.to_owned()).collect(),
            runs: vec![done(args, stdin)],
            ..Program::default()
        };
        all.extend(Subject::new(program, "syscall:read:0", Some(exe)));
    }
    all
}

/// xorshift64*: the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Somewhere in `span` or just after it.
    fn moment(&mut self, span: Duration) -> Duration {
        Duration::from_micros(self.below(span.as_micros() as u64 * 5 / 4))
    }
}

/// Shared memory and message queues: names in /dev/shm, lines of /proc/sysvipc.
fn shared_memory() -> Vec<String> {
    let mut all: Vec<String> =
        fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| format!("{:?}", entry.path())).collect();
    for kind in ["shm", "msg", "sem"] {
        let text = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        // The line has kind, key and ID; the rest are times and counts.
        all.extend(text.lines().skip(1).map(|line| {
            let words: Vec<&str> = line.split_whitespace().take(2).collect();
            format!("{kind} {}", words.join(" "))
        }));
    }
    all.sort();
    all
}

/// As root, only own objects count: other programs of the machine make and remove such objects meanwhile.
fn private_namespaces() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let flags = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNS;
    if !is_root() || unshare(flags).is_err() {
        return;
    }
    let none: Option<&str> = None;
    let private = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    if private.is_ok() {
        let _ = mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), MsFlags::empty(), Some("mode=1777"));
    }
}

struct Soak {
    seed: u64,
    state: State,
    random: Random,
    figures: Figures,
    /// Tags that exist: the subject of each, and the files that were there at its snapshot.
    tags: BTreeMap<String, (usize, Vec<WorkFile>)>,
    subjects: Vec<Subject>,
}

/// The current step, for the message of a panic.
static NOW: Mutex<String> = Mutex::new(String::new());

fn now(text: String) {
    *NOW.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// Runs it.
///
/// # Panics At the first fault.
#[must_use]
pub fn run(options: &Options) -> Figures {
    let message = panic::take_hook();
    panic::set_hook(Box::new(move |about| {
        eprintln!("{}:", NOW.lock().unwrap_or_else(PoisonError::into_inner));
        message(about);
    }));
    private_namespaces();
    let before = shared_memory();
    let subjects = subjects();
    let figures = Figures { subjects: subjects.len(), ..Figures::default() };
    let (seed, state, random) = (options.seed, State::new(), Random::new(options.seed));
    let mut soak = Soak { seed, state, random, figures, tags: BTreeMap::new(), subjects };
    let started = Instant::now();
    for cycle in 0..options.cycles {
        let index = soak.random.below(soak.subjects.len() as u64) as usize;
        now(format!("cycle {cycle} of seed {}, {}", options.seed, soak.subjects[index].tag()));
        soak.cycle(index);
        soak.figures.cycles += 1;
        if !options.quiet && soak.figures.cycles.is_multiple_of(50) {
            eprintln!("{} cycles, {} s", soak.figures.cycles, started.elapsed().as_secs());
        }
    }
    now(format!("at the end of seed {}", options.seed));
    soak.finish();
    let left: Vec<String> = shared_memory().into_iter().filter(|object| !before.contains(object)).collect();
    assert!(left.is_empty(), "shared memory is left: {left:?}");
    Figures { seconds: started.elapsed().as_secs(), ..soak.figures }
}

impl Soak {
    fn snaprepo(&self, args: &[&str]) {
        let program = place::binary("snaprepo").to_string_lossy().into_owned();
        let argv = std::iter::once(program).chain(args.iter().map(|&arg| arg.to_owned())).collect();
        let outcome = Run { argv, privileged: true, ..self.state.command("", &[]) }.run();
        assert!(outcome.status == "0", "snaprepo {}: {outcome}", args.join(" "));
    }

    /// Temporary files of everything that runs go to a directory of its own.
    fn temporary(&self) -> PathBuf {
        self.state.workspace.out().join("tmp")
    }

    fn ours(&self, run: Run) -> Run {
        let mut env = run.env;
        env.push(("TMPDIR".to_owned(), self.temporary().to_string_lossy().into_owned()));
        Run { env, ..run }
    }

    /// Compiles at first use, and records the results of ordinary runs.
    fn prepare(&mut self, index: usize) -> (String, Vec<Observed>) {
        let out = self.state.workspace.out();
        if !self.temporary().exists() {
            must(fs::create_dir(self.temporary()), "temporary directory");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            must(fs::set_permissions(self.temporary(), mode), "temporary directory");
        }
        let subject = &mut self.subjects[index];
        if subject.exe.is_none() {
            let trial = &subject.trial;
            subject.exe = Some(compile::compile(&trial.program, trial.variant, &trial.family, &out));
        }
        let exe = subject.exe.clone().unwrap_or_default().to_string_lossy().into_owned();
        if subject.expected.is_none() {
            subject.expected = Some(subject.trial.ordinary(&self.state.workspace, &exe));
        }
        (exe, subject.expected.clone().unwrap_or_default())
    }

    fn cycle(&mut self, index: usize) {
        let (exe, expected) = self.prepare(index);
        let Subject { trial, at, .. } = &self.subjects[index];
        let (trial, at) = (trial.clone(), at.clone());
        let tag = self.subjects[index].tag();
        let file = self.temporary().join("soak.snap").to_string_lossy().into_owned();
        let in_file = self.random.one_in(8);
        let output = if in_file { ["-o", file.as_str()] } else { ["--tag", tag.as_str()] };

        if self.random.one_in(4) {
            self.state.workspace.set_work(&trial.inputs());
            self.kill_snapshotter(index, &trial.create(&at, output, &exe));
        }
        self.state.workspace.set_work(&trial.inputs());
        let started = Instant::now();
        let create = trial.create(&at, output, &exe);
        let create =
            self.ours(self.state.command("snapshotter", &create.iter().map(String::as_str).collect::<Vec<_>>()));
        let made = create.run();
        assert!(made.status == "0", "{}\n{made}", create.shell());
        self.subjects[index].create = started.elapsed();
        self.figures.snapshots += 1;
        let at_snapshot = self.state.workspace.work_files();
        if !in_file {
            self.tags.insert(tag.clone(), (index, at_snapshot.clone()));
        }

        let name = if in_file { file.clone() } else { tag };
        for (line, expected) in trial.program.runs.iter().zip(&expected) {
            let command = self.state.command("snaprun", &trial.start(&name)).argv;
            if self.random.one_in(4) {
                self.state.workspace.set_work(&at_snapshot);
                let run = self.ours(trial.command(&self.state.workspace, command.clone(), line));
                self.kill(run, self.subjects[index].start);
                self.figures.killed_instances += 1;
            }
            self.state.workspace.set_work(&at_snapshot);
            let started = Instant::now();
            trial.restored(&self.state.workspace, command, line, expected);
            self.subjects[index].start = started.elapsed();
            self.figures.instances += 1;
        }
        if in_file {
            must(fs::remove_file(&file), &file);
        }
        self.look_after_the_store();
        self.no_process_is_left();
    }

    /// Kills a snapshotter at a random moment. The tag must be the old or the new one, and no process may be left.
    fn kill_snapshotter(&mut self, index: usize, args: &[String]) {
        let run = self.ours(self.state.command("snapshotter", &args.iter().map(String::as_str).collect::<Vec<_>>()));
        self.kill(run, self.subjects[index].create);
        self.figures.killed_snapshotters += 1;
        self.no_process_is_left();
        let tag = self.subjects[index].tag();
        let link = self.state.workspace.store().join("refs").join(&tag).join("latest");
        if link.symlink_metadata().is_ok() {
            self.snaprepo(&["verify", &tag]);
        } else {
            assert!(!self.tags.contains_key(&tag), "the tag {tag} is gone after the snapshotter was killed");
        }
    }

    /// Starts `run` and kills it within about `span`. Returns its outcome.
    fn kill(&mut self, run: Run, span: Duration) {
        let moment = self.random.moment(span);
        let mut child = run.spawn();
        thread::sleep(moment);
        let _ = child.kill();
        must(child.wait(), "wait");
    }

    fn look_after_the_store(&mut self) {
        if self.random.one_in(12) && !self.tags.is_empty() {
            let nth = self.random.below(self.tags.len() as u64) as usize;
            let tag = self.tags.keys().nth(nth).cloned().unwrap_or_default();
            self.snaprepo(&["rm", &tag]);
            self.tags.remove(&tag);
            self.figures.removed += 1;
        }
        if self.random.one_in(15) {
            self.collect();
        }
        if self.random.one_in(100) {
            self.snaprepo(&["verify", "--all"]);
        }
    }

    /// After a collection the store has no temporary file, and each remaining snapshot is one that a tag names.
    fn collect(&mut self) {
        self.snaprepo(&["gc"]);
        self.figures.collections += 1;
        let store = self.state.workspace.store();
        let count = |dir: &str| tree(&store.join(dir)).iter().filter(|path| !path.is_dir()).count();
        assert!(count("tmp") == 0, "gc leaves temporary files: {:?}", tree(&store.join("tmp")));
        let mut named: Vec<PathBuf> =
            tree(&store.join("refs")).into_iter().filter_map(|path| fs::read_link(path).ok()).collect();
        named.sort();
        named.dedup();
        assert!(count("snap") == named.len(), "{} snapshots after gc, but tags name {}", count("snap"), named.len());
    }

    /// Every process of this run has its store in the environment. Killed ones may need a moment to end.
    fn no_process_is_left(&self) {
        let store = format!("SNAPFN_STORE={}", self.state.workspace.store().display());
        let find = || {
            let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
            let has = |process: &fs::DirEntry| {
                fs::read(process.path().join("environ"))
                    .is_ok_and(|env| env.split(|byte| *byte == 0).any(|pair| pair == store.as_bytes()))
            };
            processes.filter(has).map(|process| process.path()).collect::<Vec<_>>()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = find();
            match left.first() {
                None => return,
                Some(one) if Instant::now() > deadline => {
                    let status = fs::read_to_string(one.join("status")).unwrap_or_default();
                    panic!("processes are left: {left:?}\n{status}");
                }
                Some(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn finish(&mut self) {
        self.collect();
        self.snaprepo(&["verify", "--all"]);
        for (tag, (index, files)) in std::mem::take(&mut self.tags) {
            let (_, expected) = self.prepare(index);
            let trial = self.subjects[index].trial.clone();
            if let (Some(line), Some(expected)) = (trial.program.runs.first(), expected.first()) {
                self.state.workspace.set_work(&files);
                let command = self.state.command("snaprun", &trial.start(&tag)).argv;
                now(format!("at the end of seed {}, {tag}", self.seed));
                trial.restored(&self.state.workspace, command, line, expected);
                self.figures.instances += 1;
            }
            self.snaprepo(&["rm", &tag]);
            self.figures.removed += 1;
        }
        self.collect();
        self.no_process_is_left();
        let store = self.state.workspace.store();
        let left: Vec<PathBuf> =
            tree(&store).into_iter().filter(|path| !path.is_dir() && *path != store.join(".lock")).collect();
        assert!(left.is_empty(), "without tags, gc leaves {left:?}");
        let is_left =
            |path: &PathBuf| path.extension().is_some_and(|ending| ending == "tmp") || path.ends_with("soak.snap");
        let left: Vec<PathBuf> = tree(&self.state.workspace.out())
            .into_iter()
            .filter(|path| is_left(path) || path.parent() == Some(&self.temporary()))
            .collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }
}
