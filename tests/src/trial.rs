//! One comparison: a program, a compiler, a variant and its snapshot points.

use std::fs;
use std::path::PathBuf;

use crate::compile::{self, Variant};
use crate::directives::{Program, RunLine, Verdict};
use crate::pool::Pool;
use crate::run::{Outcome, Run};
use crate::workspace::{WorkFile, Workspace};
use crate::{must, place};

/// A program built one way, and snapshotted at each of its points.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The program.
    pub program: Program,
    /// The snapshot points.
    pub points: Vec<String>,
    /// The compiler family.
    pub family: String,
    /// The variant.
    pub variant: Variant,
}

/// The output of a run, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    outcome: Outcome,
    files: Vec<(String, Option<Vec<u8>>)>,
}

/// All programs of the corpus.
///
/// # Panics
/// At the first directive that is wrong.
#[must_use]
#[track_caller]
pub fn corpus() -> Vec<Program> {
    let dir = place::tests().join("corpus");
    let mut paths: Vec<_> = must(fs::read_dir(&dir), dir.display())
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "c" || e == "cc"))
        .collect();
    paths.sort();
    let program = |path: &PathBuf| {
        let text = must(fs::read_to_string(path), path.display());
        must(Program::parse(path, &text), "a directive is wrong")
    };
    paths.iter().map(program).collect()
}

impl Trial {
    /// Every combination that `program` asks for.
    ///
    /// # Panics
    /// Where a variant does not exist.
    #[must_use]
    #[track_caller]
    pub fn of(program: &Program) -> Vec<Self> {
        let mut trials = Vec::new();
        for name in &program.variants {
            let variant = must(Variant::named(name).ok_or_else(|| format!("no variant {name}")), &program.name);
            // A second compiler matters for compilation only: the linker decides how the result is linked, and musl-gcc
            // is one compiler for all families.
            let compiled_only = ["O0", "O2", "O3", "lto"].contains(&name.as_str());
            let families = if compiled_only { &program.cc[..] } else { &program.cc[..1] };
            for family in families {
                let (program, points, family) = (program.clone(), program.at.clone(), family.clone());
                trials.push(Self { program, points, family, variant });
            }
        }
        trials
    }

    /// One of these, always the same. Over all programs, every way to build is among them.
    #[must_use]
    #[track_caller]
    pub fn one_of(program: &Program) -> Vec<Self> {
        let mut trials = Self::of(program);
        let sum: usize = program.name.bytes().map(usize::from).sum();
        let chosen = trials.swap_remove(sum % trials.len());
        vec![chosen]
    }

    /// `program::compiler-variant`.
    #[must_use]
    pub fn name(&self) -> String {
        let compiler = self.variant.compiler(&self.family, self.program.is_cxx());
        format!("{}::{compiler}-{}", self.program.name, self.variant.name())
    }

    /// Compiles, runs, snapshots, restores and compares.
    ///
    /// # Panics
    /// With the difference, and the command lines that show it.
    #[track_caller]
    pub fn check(&self) {
        self.check_through(false);
    }

    /// Does the same with instances that a pool has prepared.
    ///
    /// # Panics
    /// As [`Trial::check`].
    #[track_caller]
    pub fn check_pool(&self) {
        self.check_through(true);
    }

    #[track_caller]
    fn check_through(&self, pooled: bool) {
        let workspace = Workspace::new();
        let exe = compile::compile(&self.program, self.variant, &self.family, &workspace.out());
        let exe = exe.to_string_lossy().into_owned();
        let expected = self.ordinary(&workspace, &exe);
        if place::ordinary_only() {
            return;
        }

        for _ in 0..=self.program.repeats {
            self.points.iter().for_each(|at| self.compare(at, &workspace, &exe, &expected, pooled));
        }
    }

    /// Makes a snapshot at `at` and compares the results of its instances, by the program's verdict.
    #[track_caller]
    fn compare(&self, at: &str, workspace: &Workspace, exe: &str, expected: &[Observed], pooled: bool) {
        // A failure shows it.
        eprintln!("snapshot point {at}");
        self.prepare(workspace);
        let stored = workspace.stored();
        let args = self.create(at, ["--tag", "trial"], exe);
        let created = workspace.snapshotter(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let has_all = |message: &str, texts: &[String]| texts.iter().all(|text| message.contains(text));
        match &self.program.verdict {
            Verdict::Refused(texts) | Verdict::SameOrRefused(texts) if created.status == "1" => {
                assert!(has_all(&created.err(), texts), "a refusal by name has {texts:?}\n{created}");
                assert_eq!(workspace.stored(), stored, "a refusal leaves something in the store\n{created}");
                return self.went_on(workspace, exe, &created);
            }
            Verdict::Refused(texts) => panic!("create must refuse it by name, with {texts:?}\n{created}"),
            _ => assert!(created.status == "0", "snapshotter {}\n{created}", args.join(" ")),
        }
        if let Verdict::SameOrNoted(texts) = &self.program.verdict
            && created.err().lines().any(|line| line.contains("note: ") && has_all(line, texts))
        {
            return;
        }

        if self.program.exported {
            through_init(workspace, exe);
        }
        let at_snapshot = workspace.work_files();
        let pool = pooled.then(|| Pool::start_with(workspace, &self.options(), "trial", 1));
        let socket = pool.as_ref().map(|pool| pool.socket.to_string_lossy().into_owned());
        let start = match &socket {
            Some(socket) => vec!["--from", socket],
            None => self.start("trial"),
        };
        for (line, expected) in self.program.runs.iter().zip(expected) {
            workspace.set_work(&at_snapshot);
            self.shell(workspace, self.program.between.as_deref());
            self.restored(workspace, workspace.snaprun(&start).argv, line, expected);
        }
    }

    /// The working directory as it is before a start.
    #[track_caller]
    fn prepare(&self, workspace: &Workspace) {
        workspace.set_work(&self.inputs());
        self.shell(workspace, self.program.before.as_deref());
    }

    /// A command of the program's own head, as the plain user.
    #[track_caller]
    fn shell(&self, workspace: &Workspace, command: Option<&str>) {
        let Some(command) = command else { return };
        let argv = ["sh", "-ec", command].map(str::to_owned).to_vec();
        Run { argv, env: workspace.env(&[]), cwd: workspace.work(), ..Run::default() }.run().success();
    }

    /// A refused program must print the same as without a request for a snapshot.
    #[track_caller]
    fn went_on(&self, workspace: &Workspace, exe: &str, created: &Outcome) {
        let (args, env) = (self.program.snap_args.clone(), self.program.snap_env.clone());
        let alone = RunLine { args, env, ..RunLine::default() };
        self.prepare(workspace);
        let (run, ordinary) = self.one(workspace, vec![exe.to_owned()], &alone);
        let printed = created.err() + &created.out();
        for line in ordinary.outcome.out().lines() {
            assert!(
                printed.contains(line),
                "refused, the program no longer prints `{line}`\n{}\n{created}",
                run.shell()
            );
        }
    }

    /// The files that exist before the start.
    pub(crate) fn inputs(&self) -> Vec<WorkFile> {
        self.program.inputs.iter().map(|(name, content)| WorkFile::new(name, content)).collect()
    }

    /// The results of each ordinary run after the snapshot point.
    #[track_caller]
    pub(crate) fn ordinary(&self, workspace: &Workspace, exe: &str) -> Vec<Observed> {
        let mut expected = Vec::new();
        for line in &self.program.runs {
            self.prepare(workspace);
            let (run, result) = self.one(workspace, vec![exe.to_owned()], line);
            let (wanted, outcome) = (&line.status, &result.outcome);
            assert!(outcome.status == *wanted, "the ordinary run should end with {wanted}\n{}\n{outcome}", run.shell());
            assert!(!outcome.stdout.is_empty(), "a program without output shows nothing");
            expected.push(self.without_init_output(result));
        }
        expected
    }

    /// Checks that an instance, started by `command` with the arguments of `line`, has the expected results.
    #[track_caller]
    pub(crate) fn restored(&self, workspace: &Workspace, command: Vec<String>, line: &RunLine, expected: &Observed) {
        let (run, restored) = self.one(workspace, command, line);
        assert!(restored == *expected, "{}", difference(&run, expected, &restored));
    }

    /// The options that a start needs.
    fn options(&self) -> Vec<&'static str> {
        let allowed = self.program.create.iter().any(|option| option == "--allow-wx");
        allowed.then_some("--allow-wx").into_iter().collect()
    }

    /// The arguments of `snaprun` that start an instance of `name`.
    pub(crate) fn start<'a>(&self, name: &'a str) -> Vec<&'a str> {
        self.options().into_iter().chain([name]).collect()
    }

    /// The arguments of `snapshotter` that make a snapshot at `at` and write it to `output`.
    pub(crate) fn create(&self, at: &str, output: [&str; 2], exe: &str) -> Vec<String> {
        let mut args = ["create", "-v", output[0], output[1], "--at", at].map(str::to_owned).to_vec();
        for (name, value) in &self.program.snap_env {
            args.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        args.extend(self.program.create.iter().cloned());
        args.extend(["--".to_owned(), exe.to_owned()]);
        args.extend(self.program.snap_args.iter().cloned());
        args
    }

    /// `command` with the arguments and the other settings of `line`.
    pub(crate) fn command(&self, workspace: &Workspace, command: Vec<String>, line: &RunLine) -> Run {
        Run {
            argv: command.into_iter().chain(line.args.iter().cloned()).collect(),
            env: workspace.env(&line.env),
            cwd: workspace.work(),
            stdin: line.stdin.clone(),
            stdin_file: self.program.stdin_is_file.then(|| workspace.stdin_file()),
            privileged: false,
        }
    }

    #[track_caller]
    fn one(&self, workspace: &Workspace, command: Vec<String>, line: &RunLine) -> (Run, Observed) {
        let run = self.command(workspace, command, line);
        let outcome = run.run();
        let files = self.program.files.iter().map(|n| (n.clone(), fs::read(workspace.work().join(n)).ok())).collect();
        (run, Observed { outcome, files })
    }

    #[track_caller]
    fn without_init_output(&self, mut result: Observed) -> Observed {
        let begins = result.outcome.stdout.starts_with(&self.program.init_output);
        assert!(begins, "the ordinary run does not begin with its init-output\n{}", result.outcome);
        result.outcome.stdout.drain(..self.program.init_output.len());
        result
    }
}

/// Exports the snapshot, forgets it, and makes one of the export in an empty store while the program is not there.
#[track_caller]
fn through_init(workspace: &Workspace, exe: &str) {
    let init = workspace.out().join("exported.init").to_string_lossy().into_owned();
    workspace.snapshotter(&["export", "trial", "--init", &init]).success();
    must(fs::remove_dir_all(workspace.store()).and_then(|()| fs::create_dir(workspace.store())), "the store");
    let hidden = format!("{exe}.hidden");
    must(fs::rename(exe, &hidden), exe);
    workspace.created(&["--tag", "trial", "--init", &init]);
    must(fs::rename(&hidden, exe), exe);
}

fn difference(run: &Run, expected: &Observed, restored: &Observed) -> String {
    let mut text = format!(
        "the restored run differs\n{}\n=== ordinary: {}\n=== restored: {}",
        run.shell(),
        expected.outcome,
        restored.outcome
    );
    for ((name, expected), (_, restored)) in expected.files.iter().zip(&restored.files) {
        if expected != restored {
            let show = |b: &Option<Vec<u8>>| b.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
            text += &format!("\n=== file {name}: ordinary {:?}, restored {:?}", show(expected), show(restored));
        }
    }
    text
}
