//! One comparison: a program, a snapshot point, a compiler and a variant.

use std::fs;

use crate::bench::{Bench, WorkFile};
use crate::compile::{self, Variant};
use crate::directives::{Program, RunLine};
use crate::place;
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
struct Observed {
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
        let bench = Bench::new()?;
        let exe = compile::compile(&self.program, self.variant, &self.family, &bench.out())?;
        let exe = exe.to_string_lossy().into_owned();
        let inputs: Vec<_> = self.program.inputs.iter().map(|(name, content)| WorkFile::new(name, content)).collect();

        let mut expected = Vec::new();
        for line in &self.program.runs {
            bench.set_work(&inputs)?;
            let mut argv = vec![exe.clone()];
            argv.extend(line.args.iter().cloned());
            let (run, result) = self.one(&bench, argv, line)?;
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
        if place::ordinary_only() {
            return Ok(());
        }

        bench.set_work(&inputs)?;
        self.snapshot(&bench, &exe)?;
        let at_snapshot = bench.work_files()?;
        for (line, expected) in self.program.runs.iter().zip(&expected) {
            bench.set_work(&at_snapshot)?;
            let mut args = vec!["trial"];
            args.extend(line.args.iter().map(String::as_str));
            let argv = bench.snaprun(&args).argv;
            let (run, restored) = self.one(&bench, argv, line)?;
            if restored != *expected {
                return Err(difference(&run, expected, &restored));
            }
        }
        Ok(())
    }

    fn snapshot(&self, bench: &Bench, exe: &str) -> Result<(), String> {
        let env: Vec<String> = self.program.snap_env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut args = vec!["create", "--tag", "trial", "--at", &self.at];
        for pair in &env {
            args.extend(["--env", pair]);
        }
        args.extend(self.program.create.iter().map(String::as_str));
        args.extend(["--", exe]);
        args.extend(self.program.snap_args.iter().map(String::as_str));
        let created = bench.snapshotter(&args)?;
        if created.status != "0" {
            return Err(format!("snapshotter {}\n{created}", args.join(" ")));
        }
        Ok(())
    }

    fn one(&self, bench: &Bench, argv: Vec<String>, line: &RunLine) -> Result<(Run, Observed), String> {
        let run = Run {
            argv,
            env: bench.env(&line.env),
            cwd: bench.work(),
            stdin: line.stdin.clone(),
            stdin_file: self.program.stdin_is_file.then(|| bench.stdin_file()),
            privileged: false,
        };
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
