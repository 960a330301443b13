//! `check --pid PID` and `check -- PROGRAM`: report everything that prevents a snapshot, without making one.

use super::notices::{dontdump, uncalled};
use super::start::Started;
use crate::commands::examine::source::{print, print_json};
use crate::commands::examine::text::printable;
use crate::dump::{self, Blocker, ElfStore};
use crate::options::RunArgs;
use crate::tracee::attach::{Attached, Hold};
use crate::tracee::ptrace::Tid;
use crate::tracee::{Deadline, Status, TraceError};
use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use serde::Serialize;
use snapfn_store::Stores;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

/// Fields are stable, as those of `inspect` are.
#[derive(Debug, Serialize)]
struct Blockers {
    schema: u32,
    /// Whether nothing prevents a snapshot.
    ok: bool,
    program: String,
    /// The PID of the examined process, if it ran already.
    pid: Option<Tid>,
    blockers: Vec<Blocker>,
    notes: Vec<String>,
}

/// The examined program or process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// A process that runs already, and goes on afterwards.
    Process(Tid),
    /// A program and its arguments: it is run up to its snapshot point and ended.
    Program(&'a [OsString]),
}

/// Prints everything that prevents a snapshot of `target`.
pub(crate) fn run(target: Target<'_>, args: &RunArgs, json: bool) -> Result<()> {
    let result = match target {
        Target::Process(pid) => of_process(pid, args)?,
        Target::Program(program) => of_program(program, args)?,
    };
    match json {
        true => print_json(&result)?,
        false => print(text(&result))?,
    }
    match result.blockers.len() {
        0 => Ok(()),
        1 => bail!("{}: one thing stands in the way of a snapshot", result.program),
        count => bail!("{}: {count} things stand in the way of a snapshot", result.program),
    }
}

fn of_program(command: &[OsString], args: &RunArgs) -> Result<Blockers> {
    let program = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    // As for a snapshot, the program is rebuilt from the files that the store keeps of it and its libraries.
    // What the program starts outlives it, and has become our child then.
    nix::sys::prctl::set_child_subreaper(true).context("PR_SET_CHILD_SUBREAPER")?;
    let mut elves = ElfStore::new(Stores::from_env().writable()?.begin()?);
    let mut started = Started::reach(args, command, Deadline::after(args.timeout), &mut elves)?;
    let options = started.dump_options();
    let blockers = dump::blockers(&started.tracer, &started.reached, &started.frozen, &options);
    let kept = dump::dontdump(&started.tracer);
    let lost = dump::lost(&started.tracer, &options.accepted);
    let idle = started.tracer.registered.uncalled(started.reached.at);
    started.tracer.kill();
    end_children();
    let again = std::mem::take(&mut started.notes);
    let notes = dontdump(kept).into_iter().chain(uncalled(idle)).chain(lost).chain(again).collect();
    Ok(result(program.to_string_lossy().into_owned(), None, blockers?, notes))
}

/// Kills everything that descends from this process.
fn end_children() {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::waitpid;
    loop {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let children: Vec<Pid> =
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _ = kill(child, Signal::SIGKILL);
            let _ = waitpid(child, None);
        }
    }
}

fn of_process(pid: Tid, args: &RunArgs) -> Result<Blockers> {
    if pid == std::process::id() as Tid {
        bail!("process {pid} is this snapshotter");
    }
    let status = Status::read(pid, pid).map_err(|_| TraceError::NoProcess(pid))?;
    let group: Tid = status.get("Tgid").parse().unwrap_or(pid);
    if group != pid {
        bail!("{pid} is a thread of process {group}: name that");
    }
    let deadline = Deadline::after(args.timeout);
    let Looked { exe, blockers, kept } = match look(pid, args, deadline, Hold::Running)? {
        Some(looked) => looked,
        // A task that waited has run meanwhile.
        None => look(pid, args, deadline, Hold::All)?
            .with_context(|| format!("process {pid} makes threads all the time"))?,
    };
    let mut notes = vec![
        "a snapshot is not taken from a running process: `snapshotter create -- PROGRAM` starts it, laid out so that \
         its instances can have the same addresses"
            .to_owned(),
        "attributes that the process has inherited and those that it has changed cannot be told apart here: \
         user, groups and process group are not checked"
            .to_owned(),
        "the system calls of a process that runs already were not seen: Landlock rules, dnotify, adjustments of System V \
         semaphores and other state that only a call shows are not checked"
            .to_owned(),
        format!("state that only its own system calls show is not checked either: {}", dump::NOT_TOLD),
    ];
    notes.extend(dontdump(kept));
    Ok(result(exe.to_string_lossy().into_owned(), Some(pid), blockers, notes))
}

/// What was seen of a running process.
struct Looked {
    exe: PathBuf,
    blockers: Vec<Blocker>,
    /// Bytes that it keeps out of core dumps.
    kept: u64,
}

/// Examines a running process and stops its tasks meanwhile. `None`: another task has run, and the findings may belong
/// to several moments.
fn look(pid: Tid, args: &RunArgs, deadline: Deadline, hold: Hold) -> Result<Option<Looked>> {
    let attached = Attached::to(pid, deadline, hold)?;
    let blockers = dump::blockers_of_running(&attached, args.allow_wx);
    let kept = dump::dontdump(&attached.tracer);
    let exe = attached.tracer.booted.exe.clone();
    let is_one_moment = attached.has_held_still();
    attached.detach().with_context(|| format!("letting process {pid} go on"))?;
    Ok(match is_one_moment {
        true => Some(Looked { exe, blockers: blockers?, kept }),
        false => None,
    })
}

fn result(program: String, pid: Option<Tid>, blockers: Vec<Blocker>, notes: Vec<String>) -> Blockers {
    Blockers { schema: 1, ok: blockers.is_empty(), program, pid, blockers, notes }
}

// Writing to a String cannot fail.
fn text(result: &Blockers) -> String {
    let mut out = match result.pid {
        Some(pid) => format!("process {pid}, {}\n", printable(&result.program)),
        None => format!("{}\n", printable(&result.program)),
    };
    for blocker in &result.blockers {
        let _ = writeln!(out, "  {}", printable(&blocker.to_string()));
    }
    if result.ok {
        out.push_str("  nothing stands in the way of a snapshot\n");
    }
    for note in &result.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}
