//! `snapshotter create`

use crate::cli::{CreateArgs, Point};
use crate::dump::{self, DumpError, DumpOptions, Dumped, ElfStore};
use crate::tracee::adopt::{Adopted, adopt};
use crate::tracee::boot::boot;
use crate::tracee::{Reached, SpawnOptions, Task, TraceError, Tracer, spawn};
use crate::vdso;
use anyhow::{Context, Result, bail};
use snapfn_store::{Ref, Stores, Transaction};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Runs the subcommand.
pub(crate) fn run(args: &CreateArgs) -> Result<()> {
    let reference = reference(args)?;
    let stores = Stores::from_env();
    let store = stores.writable()?;
    let transaction = store.begin()?;
    let options = SpawnOptions {
        command: args.program.clone(),
        env: environment(args)?,
        cwd: args.cwd.as_deref().map(std::path::absolute).transpose().context("--cwd")?,
        stdin: args.stdin.clone(),
    };
    let mut elves = ElfStore::new(transaction.clone());
    let (mut tracer, reached) = reach(args, &options, &mut elves)?;
    let dumped = dump_and_end(args, &options, &mut tracer, &reached, &mut elves, &transaction)?;
    publish(args, &reference, &transaction, &dumped)
}

/// The name under which the snapshot is kept; none with `--output` alone.
fn reference(args: &CreateArgs) -> Result<Option<Ref>> {
    let text = match (&args.tag, &args.output) {
        (Some(tag), _) => tag.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) => {
            let program = Path::new(args.program.first().map_or(OsStr::new(""), OsString::as_os_str));
            program.file_name().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    let reference = text.parse().with_context(|| format!("'{text}' cannot be a snapshot's name, use --tag NAME"))?;
    Ok(Some(reference))
}

fn environment(args: &CreateArgs) -> Result<Vec<(OsString, OsString)>> {
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
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

/// Starts the program and runs it to its point.
fn reach(args: &CreateArgs, options: &SpawnOptions, elves: &mut ElfStore) -> Result<(Tracer, Reached)> {
    let mut entry = false;
    loop {
        let spawned = spawn(options)?;
        let pid = spawned.pid;
        let adopted = if spawned.is_instance {
            adopt(pid, &spawned.output, elves)
        } else {
            boot(pid, &vdso::page(), elves)
                .map(|booted| Adopted { booted, tasks: BTreeMap::from([(pid, Task::default())]) })
        };
        let Adopted { booted, tasks } = match adopted {
            Ok(adopted) => adopted,
            Err(error) => {
                crate::tracee::ptrace::kill(pid, libc::SIGKILL);
                let _ = crate::tracee::ptrace::wait(pid);
                return Err(error.into());
            }
        };
        let marked = booted.header.flags.get() & snapfn_format::init::FLAG_READY_MARK != 0;
        let default = if marked { Point::Ready } else { Point::Main };
        let point = args.at.clone().unwrap_or(default);
        let is_instance = spawned.is_instance;
        let mut tracer = Tracer::new(spawned, booted, tasks)?;
        if is_instance && point == Point::Main {
            tracer.kill();
            bail!("an instance is past main already: use --at ready, syscall:NAME or symbol:NAME");
        }
        match tracer.run_to(&point, entry, args.timeout) {
            Ok(Some(reached)) => return Ok((tracer, reached)),
            // No main in sight: once more, to stop at the very first instruction.
            Ok(None) => {
                tracer.kill();
                entry = true;
            }
            Err(error) => {
                let missing = tracer.missing_symbol().map(str::to_owned);
                tracer.kill();
                return Err(match (error, missing) {
                    (TraceError::Exited { .. }, Some(name)) => TraceError::NoSymbol(name).into(),
                    (error, _) => error.into(),
                });
            }
        }
    }
}

fn dump_and_end(
    args: &CreateArgs,
    options: &SpawnOptions,
    tracer: &mut Tracer,
    reached: &Reached,
    elves: &mut ElfStore,
    transaction: &Transaction,
) -> Result<Dumped> {
    let frozen = match tracer.freeze(reached) {
        Ok(frozen) => frozen,
        Err(error) => {
            tracer.kill();
            return Err(error.into());
        }
    };
    let own_cwd = std::env::current_dir().context("current directory")?;
    let initial_cwd = options.cwd.clone().unwrap_or(own_cwd);
    let dump_options = DumpOptions {
        memory: args.memory,
        cwd: options.cwd.as_deref(),
        initial_cwd: &initial_cwd,
        initial_umask: umask(),
    };
    match dump::dump(tracer, reached, &frozen, elves, transaction, &dump_options) {
        Ok(dumped) => {
            tracer.kill();
            Ok(dumped)
        }
        Err(error @ DumpError::Refused(_)) => {
            eprintln!("snapshotter: {error}\nsnapshotter: the program goes on without a snapshot");
            let ended = tracer.release(&frozen).map(|()| tracer.wait_for_end(args.timeout));
            match ended {
                Ok(true) => bail!("no snapshot was taken"),
                Ok(false) => bail!("no snapshot was taken; the program is still running as process {}", tracer.pid),
                Err(error) => {
                    tracer.kill();
                    Err(error.into())
                }
            }
        }
        Err(error) => {
            tracer.kill();
            Err(error.into())
        }
    }
}

fn umask() -> u32 {
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(old);
    old.bits()
}

fn publish(args: &CreateArgs, reference: &Option<Ref>, transaction: &Transaction, dumped: &Dumped) -> Result<()> {
    if let Some(output) = &args.output {
        copy_out(&dumped.stored.path, output).with_context(|| output.display().to_string())?;
        transaction.keep_for(output)?;
    }
    if let Some(reference) = reference {
        transaction.set_ref(reference, dumped.stored.digest)?;
    }
    let name = reference.as_ref().map(ToString::to_string);
    if args.json {
        let value = serde_json::json!({
            "name": name,
            "digest": dumped.stored.digest.to_string(),
            "file": args.output.as_ref().unwrap_or(&dumped.stored.path),
            "size": dumped.stored.size,
            "operations": dumped.ops,
            "patches": dumped.patches,
            "snapshot_pages": dumped.data_pages,
            "code_pages": dumped.code_pages,
        });
        println!("{value}");
    } else {
        let name = name.unwrap_or_else(|| args.output.as_deref().unwrap_or(Path::new("")).display().to_string());
        println!(
            "{name}: {} pages in the snapshot, {} mapped from code segment files, {} operations\nstart it with: snaprun {name}",
            dumped.data_pages, dumped.code_pages, dumped.ops
        );
    }
    Ok(())
}

/// Copies to a temporary name beside `to` and renames it.
fn copy_out(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let copied = std::fs::copy(from, &temporary).and_then(|_| std::fs::rename(&temporary, to));
    if copied.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    copied
}
