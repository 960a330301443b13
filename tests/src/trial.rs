//! One comparison: a program, a snapshot point, a compiler and a variant.

use std::fs;

use crate::bench::{Bench, WorkFile};
use crate::compile::{self, Variant};
use crate::directives::{Program, RunLine};
use crate::place;
use crate::pool::Pool;
use crate::run::{Outcome, Run};

/// A program built one way and snapshotted at one point.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The program.
    pub program: Program,
    /// The snapshot point.
    pub at: String,
    /// The compiler family.
    pub family: String,
    /// The variant.
    pub variant: Variant,
}

/// What a run printed and which files it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    outcome: Outcome,
    files: Vec<(String, Option<Vec<u8>>)>,
}

/// All programs of the corpus.
///
/// # Errors
/// The first directive that is wrong.
pub fn corpus() -> Result<Vec<Program>, String> {
    let dir = place::tests().join("corpus");
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "c" || e == "cc"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Program::parse(path, &text)
        })
        .collect()
}

impl Trial {
    /// Every combination that `program` asks for.
    ///
    /// # Errors
    /// A variant that does not exist.
    pub fn of(program: &Program) -> Result<Vec<Self>, String> {
        let mut trials = Vec::new();
        for name in &program.variants {
            let variant = Variant::named(name).ok_or_else(|| format!("{}: no variant {name}", program.name))?;
            // A second compiler is of interest for what it compiles; how the result is linked is the linker's affair,
            // and musl-gcc is one compiler, whatever the families are.
            let compiled_only = ["O0", "O2", "O3", "lto"].contains(&name.as_str());
            let families = if compiled_only { &program.cc[..] } else { &program.cc[..1] };
            for family in families {
                for at in &program.at {
                    let (program, at, family) = (program.clone(), at.clone(), family.clone());
                    trials.push(Self { program, at, family, variant });
                }
            }
        }
        Ok(trials)
    }

    /// `program::at::compiler-variant`.
    #[must_use]
    pub fn name(&self) -> String {
        let at = self.at.replace(':', "-");
        let compiler = self.variant.compiler(&self.family, self.program.is_cxx());
        format!("{}::{at}::{compiler}-{}", self.program.name, self.variant.name())
    }

    /// Compiles, runs, snapshots, restores and compares.
    ///
    /// # Errors
    /// The difference, with the command lines that show it.
    pub fn check(&self) -> Result<(), String> {
        self.check_through(false)
    }

    /// The same with instances that a pool has prepared.
    ///
    /// # Errors
    /// As [`Trial::check`].
    pub fn check_pool(&self) -> Result<(), String> {
        self.check_through(true)
    }

    fn check_through(&self, pooled: bool) -> Result<(), String> {
        let bench = Bench::new()?;
        let exe = compile::compile(&self.program, self.variant, &self.family, &bench.out())?;
        let exe = exe.to_string_lossy().into_owned();
        let expected = self.ordinary(&bench, &exe)?;
        if place::ordinary_only() {
            return Ok(());
        }

        bench.set_work(&self.inputs())?;
        self.snapshot(&bench, &exe)?;
        let at_snapshot = bench.work_files()?;
        let pool = if pooled { Some(Pool::start_with(&bench, &self.options(), "trial", 1)?) } else { None };
        let socket = pool.as_ref().map(|pool| pool.socket.to_string_lossy().into_owned());
        let start = match &socket {
            Some(socket) => vec!["--from", socket],
            None => self.start("trial"),
        };
        for (line, expected) in self.program.runs.iter().zip(&expected) {
            bench.set_work(&at_snapshot)?;
            self.restored(&bench, bench.snaprun(&start).argv, line, expected)?;
        }
        Ok(())
    }

    /// The files that exist before the start.
    pub(crate) fn inputs(&self) -> Vec<WorkFile> {
        self.program.inputs.iter().map(|(name, content)| WorkFile::new(name, content)).collect()
    }

    /// What each ordinary run shows after the snapshot point.
    pub(crate) fn ordinary(&self, bench: &Bench, exe: &str) -> Result<Vec<Observed>, String> {
        let mut expected = Vec::new();
        for line in &self.program.runs {
            bench.set_work(&self.inputs())?;
            let (run, result) = self.one(bench, vec![exe.to_owned()], line)?;
            if result.outcome.status != line.status {
                return Err(format!(
                    "the ordinary run should end with {}\n{}\n{}",
                    line.status,
                    run.shell(),
                    result.outcome
                ));
            }
            if result.outcome.stdout.is_empty() {
                return Err("a program without output shows nothing".to_owned());
            }
            expected.push(self.without_init_output(result)?);
        }
        Ok(expected)
    }

    /// An instance that `command` and the arguments of `line` start shows what is expected.
    pub(crate) fn restored(
        &self,
        bench: &Bench,
        command: Vec<String>,
        line: &RunLine,
        expected: &Observed,
    ) -> Result<(), String> {
        let (run, restored) = self.one(bench, command, line)?;
        if restored == *expected { Ok(()) } else { Err(difference(&run, expected, &restored)) }
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

    /// The arguments of `snapshotter` that make a snapshot and put it where `output` says.
    pub(crate) fn create(&self, output: [&str; 2], exe: &str) -> Vec<String> {
        let mut args = ["create", output[0], output[1], "--at", &self.at].map(str::to_owned).to_vec();
        for (name, value) in &self.program.snap_env {
            args.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        args.extend(self.program.create.iter().cloned());
        args.extend(["--".to_owned(), exe.to_owned()]);
        args.extend(self.program.snap_args.iter().cloned());
        args
    }

    fn snapshot(&self, bench: &Bench, exe: &str) -> Result<(), String> {
        let args = self.create(["--tag", "trial"], exe);
        let created = bench.snapshotter(&args.iter().map(String::as_str).collect::<Vec<_>>())?;
        if created.status != "0" {
            return Err(format!("snapshotter {}\n{created}", args.join(" ")));
        }
        Ok(())
    }

    /// `command` with the arguments and everything else that `line` says.
    pub(crate) fn command(&self, bench: &Bench, command: Vec<String>, line: &RunLine) -> Run {
        Run {
            argv: command.into_iter().chain(line.args.iter().cloned()).collect(),
            env: bench.env(&line.env),
            cwd: bench.work(),
            stdin: line.stdin.clone(),
            stdin_file: self.program.stdin_is_file.then(|| bench.stdin_file()),
            privileged: false,
        }
    }

    fn one(&self, bench: &Bench, command: Vec<String>, line: &RunLine) -> Result<(Run, Observed), String> {
        let run = self.command(bench, command, line);
        let outcome = run.run()?;
        let files = self.program.files.iter().map(|n| (n.clone(), fs::read(bench.work().join(n)).ok())).collect();
        Ok((run, Observed { outcome, files }))
    }

    fn without_init_output(&self, mut result: Observed) -> Result<Observed, String> {
        if !result.outcome.stdout.starts_with(&self.program.init_output) {
            return Err(format!("the ordinary run does not begin with its init-output\n{}", result.outcome));
        }
        result.outcome.stdout.drain(..self.program.init_output.len());
        Ok(result)
    }
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
