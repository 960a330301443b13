//! `snapshotter create`

use super::auto::default_name;
use super::from_init;
use super::measure::{Measured, Subject};
use super::prove::{Candidate, ProofError, find_snaprun, prove};
use super::result::{Made, Outcome};
use super::start::Started;
use crate::dump::{self, Dumped, ElfStore, SecretNames, pattern};
use crate::options::{Memory, RunArgs, Segments, Words, name};
use crate::print;
use crate::tracee::{Deadline, Frozen, Tracer};
use anyhow::{Context, Result, anyhow, bail};
use snapfn_format::snap::AT_MAIN;
use snapfn_store::{Digest, NewFile, Ref, Stores, Transaction};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name in the local store: NAME or NAME:TAG [default: the file name of the program, or of the
    /// script that an interpreter runs, without .py and the like]
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// Write the snapshot to this file (code segment files still go to the store)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
    /// How to restore memory: map shares the snapshot's pages, copy reads them in at start; auto chooses copy only for
    /// allocators that rely on MADV_DONTNEED giving zeroes (jemalloc)
    #[arg(long, value_enum, default_value_t = Memory::Auto)]
    memory: Memory,
    /// How to map the headers, the code and the constants of an ELF file: apart, as the program had them, or joined
    /// into one executable mapping: fewer mappings and page faults at every start, but constants can be executed
    #[arg(long, value_enum, default_value_t = Segments::Apart)]
    segments: Segments,
    /// Make this many snapshots under one name, each with its own address-space layout. Every start chooses one of
    /// them, so addresses learnt from one instance are not those of all. The program runs that many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    #[arg(conflicts_with = "output")]
    variants: u8,
    /// Leave the values of environment variables with such names out of the snapshot, wherever their bytes occur in
    /// the program; an instance has its starter's. In addition to those that are left out anyway (*_TOKEN, *_KEY,
    /// *_SECRET, *PASSWORD*, AWS_* and others, see docs/howto/secrets.md). `*` stands for any characters, `?` for one
    /// (repeatable)
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    scrub_env: Vec<String>,
    /// Keep the values of environment variables with such names in the snapshot, even if other patterns match them
    /// (repeatable)
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    keep_env: Vec<String>,
    /// Leave out only what --scrub-env names
    #[arg(long)]
    no_scrub_env: bool,
    /// If the program has copied its environment, let instances keep the copy instead of having their starter's: for
    /// programs that free it, such as php-fpm
    #[arg(long)]
    keep_environment: bool,
    /// Let all users read the snapshot (0444 instead of 0600): it holds the program's memory
    #[arg(long)]
    share: bool,
    /// Afterwards run the program and instances of its snapshot to their ends, a few times in turn and with the same
    /// arguments, and print how long both take. Only this option runs anything after the snapshot point
    #[arg(long)]
    measure: bool,
    /// Print the result as JSON, with all notes
    #[arg(long)]
    json: bool,
    /// Print all notes, not only the first three
    #[arg(short, long)]
    verbose: bool,
    /// If no snapshot can be taken, end the program: it may hold a port or a lock that the next try needs
    #[arg(long, conflicts_with = "keep_running")]
    end: bool,
    /// If no snapshot can be taken, let the program go on (the default)
    #[arg(long)]
    keep_running: bool,
    /// Make the snapshot of an init data file that `export` has written, here or on another host; the program does not
    /// run. PROGRAM may be left out: if it is given, it must be the exported one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "env", "cwd", "stdin", "cpu", "resolve", "once",
        "accept", "memory", "segments", "variants", "scrub_env", "keep_env", "no_scrub_env", "keep_environment", "end",
        "keep_running", "measure"])]
    init: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required_unless_present = "init", last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Args {
    /// The program gets this environment instead of that of this process.
    pub(super) fn set_environment(&mut self, environment: Vec<(OsString, OsString)>) {
        self.run.environment = Some(environment);
    }

    /// The options that make such a snapshot again, without those of the output.
    fn words(&self) -> std::io::Result<Vec<OsString>> {
        // Each new option must be repeated here, or be named with the reason why not.
        let Args {
            run,
            memory,
            segments,
            variants,
            scrub_env,
            keep_env,
            no_scrub_env,
            keep_environment,
            share,
            end,
            keep_running,
            tag: _,
            output: _,
            measure: _,
            json: _,
            verbose: _,
            // The program does not run.
            init: _,
            program: _,
        } = self;
        let mut words = Words(run.words()?);
        words.add("--memory", name(memory)).add("--segments", name(segments)).add("--variants", variants.to_string());
        words.all("--scrub-env", scrub_env).all("--keep-env", keep_env);
        words.flag("--no-scrub-env", *no_scrub_env).flag("--keep-environment", *keep_environment);
        words.flag("--share", *share).flag("--end", *end).flag("--keep-running", *keep_running);
        Ok(words.0)
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.init {
        return from_init(args, path);
    }
    run_in(&Stores::from_env(), args)
}

/// The same with stores that the directory of now does not change.
pub(super) fn run_in(stores: &Stores, args: &Args) -> Result<()> {
    let reference = reference(args, &args.program)?;
    let store = stores.writable()?;
    let transaction = store.begin()?.share(args.share);
    let mut elves = ElfStore::new(transaction.clone());
    let mut variants = Vec::new();
    let mut first_arg = 1;
    let deadline = Deadline::after(args.run.timeout);
    for _ in 0..args.variants {
        let mut started = Started::reach(&args.run, &args.program, deadline, &mut elves)?;
        started.recipe.options = args.words()?;
        if started.reached.at == AT_MAIN {
            first_arg = started.recipe.kept as usize;
        }
        let (dumped, spawn_to_jump) = dump_and_end(args, &mut started, &mut elves, &transaction, deadline)?;
        variants.push(Made::new(dumped, &started, spawn_to_jump));
    }
    publish(args, reference, &transaction, variants, first_arg)
}

/// Makes the snapshot of an exported init data file.
fn from_init(args: &Args, path: &Path) -> Result<()> {
    let file = from_init::InitFile::read(path)?;
    let program = match args.program.first() {
        Some(program) => program.clone(),
        None => from_init::program(&file.parse()?.plan()).into_os_string(),
    };
    let reference = reference(args, &[program])?;
    let transaction = Stores::from_env().writable()?.begin()?.share(args.share);
    let deadline = Deadline::after(args.run.timeout);
    let made = from_init::make(&file, &args.program, args.run.allow_wx, deadline, &transaction)?;
    publish(args, reference, &transaction, vec![made], 1)
}

/// The name under which the snapshot of `program` is kept; none with `--output` alone.
fn reference(args: &Args, program: &[OsString]) -> Result<Option<Ref>> {
    let text = match (&args.tag, &args.output) {
        (Some(tag), _) => tag.clone(),
        (None, Some(_)) => return Ok(None),
        (None, None) => default_name(program).to_string_lossy().into_owned(),
    };
    let reference = text.parse().with_context(|| format!("'{text}' cannot be a snapshot's name, use --tag NAME"))?;
    Ok(Some(reference))
}

/// Dumps the program, proves that an instance can be started, and ends the program. The time from the spawn of an
/// instance to the jump is missing if there is no `snaprun`.
fn dump_and_end(
    args: &Args,
    started: &mut Started,
    elves: &mut ElfStore,
    transaction: &Transaction,
    deadline: Deadline,
) -> Result<(Dumped, Option<Duration>)> {
    let mut dump_options = started.dump_options();
    dump_options.memory = args.memory;
    dump_options.segments = args.segments;
    dump_options.keep_environment = args.keep_environment;
    dump_options.secret_names = SecretNames::new(!args.no_scrub_env, &args.scrub_env, &args.keep_env);
    let Started { tracer, reached, frozen, .. } = started;
    let failed = |tracer: &mut Tracer, error: anyhow::Error| {
        print::err(crate::message(&error));
        without_snapshot(args.end, tracer, frozen)
    };
    let dumped = match dump::dump(tracer, reached, frozen, elves, transaction, &dump_options) {
        Ok(dumped) => dumped,
        Err(error) => return Err(failed(tracer, error.into())),
    };
    if dumped.is_exclusive {
        // An instance can have the address or the lock when the program is gone.
        tracer.kill();
        let proof = proof(&dumped, deadline).context("no snapshot was taken; the program was ended for the proof")?;
        return Ok((dumped, proof));
    }
    match proof(&dumped, deadline) {
        Ok(proof) => {
            tracer.kill();
            Ok((dumped, proof))
        }
        Err(error) => {
            drop(dumped);
            Err(failed(tracer, error.into()))
        }
    }
}

/// Prepares one instance of what was written.
fn proof(dumped: &Dumped, deadline: Deadline) -> Result<Option<Duration>, ProofError> {
    prove_candidate(Candidate { path: dumped.file.path(), free: dumped.free, allow_wx: dumped.has_wx }, deadline)
}

/// Prepares one instance of a snapshot file without descriptors of its own.
pub(super) fn prove_file(path: &Path, allow_wx: bool, deadline: Deadline) -> Result<Option<Duration>, ProofError> {
    prove_candidate(Candidate { path, free: 3, allow_wx }, deadline)
}

fn prove_candidate(candidate: Candidate<'_>, deadline: Deadline) -> Result<Option<Duration>, ProofError> {
    let Some(snaprun) = find_snaprun() else { return Ok(None) };
    prove(candidate, &snaprun, deadline).map(Some)
}

/// Ends the program of which no snapshot could be taken, or lets it go on; what to report.
fn without_snapshot(end: bool, tracer: &mut Tracer, frozen: &[Frozen]) -> anyhow::Error {
    let pid = tracer.pid;
    if end {
        tracer.kill();
        return anyhow!("no snapshot was taken; the program was ended (--end)");
    }
    print::err(format_args!("the program goes on without a snapshot as process {pid} (--end would end it)"));
    let released = tracer.release(frozen);
    let ended = tracer.wait_for_end();
    match (released, ended) {
        (_, true) => anyhow!("no snapshot was taken"),
        (Ok(()), false) => anyhow!("no snapshot was taken; the program is still running as process {pid}"),
        (Err(error), false) => anyhow!("no snapshot was taken; process {pid} could not be released: {error}"),
    }
}

/// Gives the files their names, and prints the result. `first_arg` is the index of the first word that is an argument
/// of an instance.
fn publish(
    args: &Args,
    reference: Option<Ref>,
    transaction: &Transaction,
    variants: Vec<Made>,
    first_arg: usize,
) -> Result<()> {
    let mut stored = Vec::new();
    let mut made = Vec::new();
    for Made { file, about } in variants {
        stored.push(file.commit()?);
        made.push(about);
    }
    let Some(first) = stored.first() else { bail!("no snapshot was asked for") };
    if let Some(output) = &args.output {
        copy_out(&first.path, output).with_context(|| output.display().to_string())?;
        transaction.keep_for(output)?;
    }
    let mut replaced = Vec::new();
    if let Some(reference) = &reference {
        let digests: Vec<Digest> = stored.iter().map(|stored| stored.digest).collect();
        // A link that cannot be read is replaced, too.
        let before = transaction.store().variants(reference).ok().flatten().unwrap_or_default();
        transaction.set_variants(reference, &digests)?;
        replaced.extend(before.into_iter().filter(|digest| !digests.contains(digest)));
    }
    let measured = match (args.measure, made.first()) {
        (true, Some(about)) => measured(args, &first.path, about.has_wx, first_arg),
        _ => None,
    };
    let outcome = Outcome {
        name: reference.as_ref().map(ToString::to_string),
        file: args.output.as_ref().unwrap_or(&first.path),
        is_outside: args.output.is_some(),
        is_shared: args.share,
        stored: &stored,
        made: &made,
        replaced: &replaced,
        cpu: args.run.cpu,
        measured,
    };
    outcome.print(args.json, args.verbose)
}

/// Measures what --measure asks for. The snapshot is there, whatever comes of it.
fn measured(args: &Args, snapshot: &Path, allow_wx: bool, first_arg: usize) -> Option<Measured> {
    let found = find_snaprun().context("no snaprun is beside this program or in PATH").and_then(|snaprun| {
        let own = args.program.get(first_arg..).unwrap_or_default();
        let subject =
            Subject { run: &args.run, program: &args.program, snaprun: &snaprun, snapshot, args: own, allow_wx };
        subject.measure()
    });
    found.map_err(|error| print::err(format_args!("note: nothing was measured: {}", crate::message(&error)))).ok()
}

/// Copies a file, permissions included.
fn copy_out(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = File::open(from)?;
    let mut new = NewFile::of(to, 0o600)?;
    std::io::copy(&mut source, new.file())?;
    new.file().set_permissions(source.metadata()?.permissions())?;
    new.complete()
}
