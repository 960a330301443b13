//! A program at its snapshot point: `create` makes a snapshot of it, and `check` examines it.

use super::auto::{Program, kept_args};
use crate::dump::{DumpOptions, ElfStore, Recipe, SecretNames};
use crate::options::{At, Memory, Point, Resolve, RunArgs, Segments};
use crate::pin::{Cpu, bind_now};
use crate::print;
use crate::tracee::adopt::{Adopted, adopt};
use crate::tracee::bind;
use crate::tracee::boot::{Booted, boot};
use crate::tracee::ledger::{Ledger, check_call};
use crate::tracee::protocol::Registered;
use crate::tracee::ptrace::{self, Tid};
use crate::tracee::second::Second;
use crate::tracee::{
    Deadline, Frozen, Progress, Reached, SpawnOptions, StopAt, Task, TraceError, Tracer, small_ids, spawn,
};
use crate::vdso;
use anyhow::{Context, Result, anyhow, bail};
use snapfn_format::cpu::name;
use snapfn_format::init::FLAG_READY_MARK;
use snapfn_format::snap::AT_MAIN;
use snapfn_host::requirements::this_host;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A program that stands at its snapshot point with all its tasks stopped.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) tracer: Tracer,
    pub(super) reached: Reached,
    pub(super) frozen: Vec<Frozen>,
    /// The snapshot point, and the time from the spawn of the program to it.
    pub(super) point: Point,
    pub(super) spawn_to_point: Duration,
    /// Notes for the user, a line each.
    pub(super) notes: Vec<String>,
    /// How the snapshot is made; the options of `create` come later.
    pub(super) recipe: Recipe,
    kept_args: u32,
    /// Given by --cwd.
    cwd: Option<PathBuf>,
    initial_cwd: PathBuf,
    cpu: Cpu,
    initial_env: Vec<Vec<u8>>,
    allow_wx: bool,
    accepted: Vec<String>,
}

impl Started {
    /// Starts `program` and runs it to its point. On failure the program is ended.
    pub(super) fn reach(
        args: &RunArgs,
        program: &[OsString],
        deadline: Deadline,
        elves: &mut ElfStore,
    ) -> Result<Self> {
        check_level(args.cpu)?;
        for name in &args.accept {
            check_call(name).with_context(|| format!("--accept {name}"))?;
        }
        let cwd = args.cwd.as_deref().map(std::path::absolute).transpose().context("--cwd")?;
        let own_cwd = std::env::current_dir().context("current directory")?;
        let given = environment(args)?;
        let options = SpawnOptions {
            command: program.to_vec(),
            env: pinned(args, given.clone()),
            cwd: cwd.clone(),
            stdin: args.stdin.clone(),
        };
        small_ids::use_up();
        let begin = Instant::now();
        let AtPoint { mut tracer, reached, point, kept_args, spawn_to_point, executed, kept_words } =
            reach(args, &options, deadline, elves)?;
        match tracer.freeze(&reached) {
            Ok(frozen) => {
                let mut notes = Vec::new();
                if reached.at == AT_MAIN && !reached.bare_entry && !args.once {
                    notes.extend(run_again(
                        &mut tracer,
                        &reached,
                        args.timeout.min(2.0 + 4.0 * begin.elapsed().as_secs_f64()),
                    ));
                }
                let pair = |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
                let initial_env = options.env.iter().map(pair).collect();
                let recipe = Recipe {
                    program: executed,
                    words: program.to_vec(),
                    kept: kept_words,
                    directory: own_cwd.clone(),
                    options: Vec::new(),
                    variables: given.iter().map(pair).collect(),
                    umask: umask(),
                };
                let initial_cwd = cwd.clone().unwrap_or(own_cwd);
                Ok(Started {
                    tracer,
                    reached,
                    frozen,
                    kept_args,
                    point,
                    spawn_to_point,
                    notes,
                    recipe,
                    cwd,
                    initial_cwd,
                    initial_env,
                    cpu: args.cpu,
                    allow_wx: args.allow_wx,
                    accepted: args.accept.clone(),
                })
            }
            Err(error) => {
                tracer.kill();
                Err(error.into())
            }
        }
    }

    /// The conditions of the program's start that a dump needs.
    pub(super) fn dump_options(&self) -> DumpOptions {
        DumpOptions {
            memory: Memory::Auto,
            segments: Segments::Apart,
            cwd: self.cwd.clone(),
            initial_cwd: self.initial_cwd.clone(),
            initial_umask: umask(),
            initial_env: self.initial_env.clone(),
            keep_environment: false,
            secret_names: SecretNames::new(true, &[], &[]),
            kept_args: self.kept_args,
            cpu: self.cpu,
            allow_wx: self.allow_wx,
            accepted: self.accepted.clone(),
            recipe: Some(self.recipe.clone()),
        }
    }
}

/// Runs the initialisation a second time. It may wait for a lock that the program itself holds: then its time is up
/// soon.
fn run_again(tracer: &mut Tracer, reached: &Reached, timeout: f64) -> Option<String> {
    let is_there = tracer.second.as_mut().is_some_and(|second| second.run(reached, timeout));
    (!is_there).then(|| {
        "the initialisation could not be run a second time up to main with more arguments; arguments that constructors \
         keep are those of this run in every instance"
            .to_owned()
    })
}

/// The snapshotter can hide features of this CPU from a program, but not add any.
fn check_level(cpu: Cpu) -> Result<()> {
    let missing: Vec<&str> = cpu.missing(&this_host()).numbers().filter_map(name).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => bail!("--cpu: this CPU is below that level, it lacks {}; use a lower one", missing.join(", ")),
    }
}

/// The environment that the user gives to the program.
pub(super) fn environment(args: &RunArgs) -> Result<Vec<(OsString, OsString)>> {
    let mut env: Vec<(OsString, OsString)> = match &args.environment {
        Some(environment) => environment.clone(),
        None => std::env::vars_os().collect(),
    };
    for pair in &args.env {
        let Some(at) = pair.as_bytes().iter().position(|b| *b == b'=').filter(|at| *at > 0) else {
            bail!("--env {}: use NAME=VALUE", pair.display());
        };
        let (name, value) = (&pair.as_bytes()[..at], &pair.as_bytes()[at + 1..]);
        let (name, value) = (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned());
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => env.push((name, value)),
        }
    }
    Ok(env)
}

/// The environment with the variables by which options act.
fn pinned(args: &RunArgs, mut env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    args.cpu.pin(&mut env);
    if args.resolve == Resolve::All {
        bind_now(&mut env);
    }
    env
}

/// A program at its point, not frozen yet.
struct AtPoint {
    tracer: Tracer,
    reached: Reached,
    point: Point,
    kept_args: u32,
    spawn_to_point: Duration,
    /// The file that was executed first.
    executed: PathBuf,
    /// How many of the given words stand in front of an instance's arguments.
    kept_words: u32,
}

/// Starts the program and runs it to its point. When that fails, nothing is left of it.
fn reach(args: &RunArgs, options: &SpawnOptions, deadline: Deadline, elves: &mut ElfStore) -> Result<AtPoint> {
    let mut no_main = false;
    let mut resolve = args.resolve;
    loop {
        let begin_time = Instant::now();
        let mut tracer = begin(resolve, options, deadline, elves)?;
        match go(args, resolve, options, &mut tracer, no_main, elves) {
            Ok(Gone::Reached { reached, point, kept_args, executed, kept_words }) => {
                let spawn_to_point = begin_time.elapsed();
                let reached = *reached;
                return Ok(AtPoint { tracer, reached, point, kept_args, spawn_to_point, executed, kept_words });
            }
            // Once more, to stop at the very first instruction.
            Ok(Gone::NoMain) => {
                tracer.kill();
                no_main = true;
            }
            // ld.so has ended before the program's first instruction: there is nothing that happens twice.
            Ok(Gone::Unresolved(line)) => {
                tracer.kill();
                print::err(format_args!(
                    "note: the program is started once more with --resolve lazy, since a function that it calls comes \
                     from a plugin ({line})"
                ));
                resolve = Resolve::Lazy;
            }
            Err(error) => {
                tracer.kill();
                return Err(error);
            }
        }
    }
}

/// How far a program has come.
enum Gone {
    /// To the point: where it stands, and how many arguments behind argv[0] its instances keep; what was executed
    /// first, and how many of the given words an ordinary start has in front of the instance's arguments.
    Reached { reached: Box<Reached>, point: Point, kept_args: u32, executed: PathBuf, kept_words: u32 },
    /// There is no `main` in sight.
    NoMain,
    /// The dynamic linker has not found a function before the start: its message.
    Unresolved(String),
}

/// Starts the program: it is before its first instruction, or, if it is an instance, after the jump.
fn begin(resolve: Resolve, options: &SpawnOptions, deadline: Deadline, elves: &mut ElfStore) -> Result<Tracer> {
    let spawned = spawn(options)?;
    let pid = spawned.pid;
    let adopted = if spawned.is_instance {
        adopt(pid, &spawned.output, elves)
    } else {
        rebuild(resolve, pid, elves).map(|booted| Adopted {
            booted,
            tasks: BTreeMap::from([(pid, Task::default())]),
            registered: Registered::default(),
            ledger: Ledger::default(),
        })
    };
    let tracer = adopted.and_then(|Adopted { booted, tasks, registered, ledger }| {
        let mut tracer = Tracer::new(spawned, booted, tasks, deadline)?;
        (tracer.registered, tracer.ledger) = (registered, ledger);
        Ok(tracer)
    });
    tracer.map_err(|error| {
        ptrace::kill(pid, libc::SIGKILL);
        let _ = ptrace::wait(pid);
        error.into()
    })
}

/// Rebuilds the program of `pid`, which is at its exec stop.
fn rebuild(resolve: Resolve, pid: Tid, elves: &mut ElfStore) -> Result<Booted, TraceError> {
    let booted = boot(pid, &vdso::page(), elves)?;
    if resolve == Resolve::Program {
        bind::executable(pid, &booted)?;
    }
    Ok(booted)
}

/// Runs the program, and those that it executes, to the point.
fn go(
    args: &RunArgs,
    resolve: Resolve,
    options: &SpawnOptions,
    tracer: &mut Tracer,
    no_main: bool,
    elves: &mut ElfStore,
) -> Result<Gone> {
    let mut first = None;
    let executed = tracer.executed_as();
    loop {
        let is_instance = tracer.spawned.is_instance;
        let now_executed = tracer.executed_as();
        // The loader of a script reads its first line in the kernel, where nothing sees it.
        [&now_executed, &tracer.booted.exe.clone()].into_iter().for_each(|path| tracer.inputs.uses(path));
        if is_instance {
            tracer.inputs.set_incomplete();
        }
        // With what the kernel has put in front of those that were given: the interpreter of a script.
        let command = match tracer.strings.arguments() {
            unknown if unknown.is_empty() => options.command.clone(),
            arguments => arguments,
        };
        let is_marked = tracer.booted.header.flags.get() & FLAG_READY_MARK != 0;
        let program = match is_instance {
            true if is_marked => Program::Marked,
            true => Program::Plain,
            false => Program::of(&command, &tracer.booted.exe, &now_executed, is_marked),
        };
        let point = program.point(&args.at, &command)?;
        let stop = match point {
            Point::Main if is_instance => {
                bail!("an instance is past main already: use --at ready, syscall:NAME or symbol:NAME")
            }
            Point::Main if no_main => StopAt::Entry,
            _ => StopAt::point(&point)?,
        };
        if stop == StopAt::Main && !args.once {
            // Without it less is renewed, which is reported.
            tracer.second = Second::fork(tracer).ok().flatten().map(Box::new);
        }
        match tracer.run_to(&stop) {
            Ok(Progress::Reached(reached)) => {
                let (first, given) = first.get_or_insert_with(|| (program, command.clone()));
                let kept_args = match reached.at {
                    AT_MAIN if !is_instance => kept_args(first, given, &command)?,
                    _ => 0,
                };
                let given = options.command.len();
                let own = if reached.at == AT_MAIN { command.len().saturating_sub(1 + kept_args as usize) } else { 0 };
                let kept_words = given.saturating_sub(own).max(1) as u32;
                return Ok(Gone::Reached { reached, point, kept_args, executed, kept_words });
            }
            Ok(Progress::NoMain) => return Ok(Gone::NoMain),
            Ok(Progress::Replaced) => {
                let booted = rebuild(resolve, tracer.pid, elves)?;
                tracer.become_program(booted)?;
                first.get_or_insert((program, command));
            }
            Err(error) => match bind::missing_function(&error).filter(|_| resolve == Resolve::Program) {
                Some(line) => return Ok(Gone::Unresolved(line.to_owned())),
                None => return Err(explained(error, tracer, &args.at, &program)),
            },
        }
    }
}

/// Why the program has not reached its point, and what to do about it.
fn explained(error: TraceError, tracer: &Tracer, at: &At, program: &Program) -> anyhow::Error {
    match (&error, tracer.missing_symbol()) {
        (TraceError::Exited { .. }, Some(name)) => return TraceError::NoSymbol(name.to_owned()).into(),
        (TraceError::Exited { .. } | TraceError::Timeout { .. }, _) if *at == At::Auto => {}
        _ => return error.into(),
    }
    match program.remedy() {
        Some(remedy) => anyhow!("{error}\n{remedy}"),
        None => error.into(),
    }
}

fn umask() -> u32 {
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(old);
    old.bits()
}
