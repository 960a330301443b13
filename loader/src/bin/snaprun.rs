//! `snaprun NAME ARGS…`: becomes an instance of a snapshot.
#![no_std]
#![no_main]
#![allow(clippy::result_large_err)] // made once, before the process ends; there is no heap for it
#![allow(unsafe_code)] // entry point, the mapping of the plan

use core::ffi::CStr;
use core::fmt::Write;
use snapfn_format::snap::Plan;
use snapfn_loader::restore::binds::Binds;
use snapfn_loader::restore::{self, Instance, RestoreError, Sources};
use snapfn_loader::runtime::arch;
use snapfn_loader::runtime::auxv::InitialStack;
use snapfn_loader::runtime::clock::{Clock, Moment};
use snapfn_loader::runtime::memory;
use snapfn_loader::runtime::print::{Out, Text};
use snapfn_loader::runtime::sys::{self, Errno};
use snapfn_loader::start::args::{self, Action, Args, UsageError};
use snapfn_loader::start::failure::Failure;
use snapfn_loader::start::files::{self, Few};
use snapfn_loader::start::store::Stores;
use snapfn_loader::start::{dry_run, fallback, open, own_program, plan, pool_client, same_pid, stale, timens, timing};

const HELP: &str = "\
Starts an instance of a snapshot: the process becomes the program.

Usage: snaprun [OPTIONS] NAME [ARGS…]
       NAME [ARGS…], where NAME is a link to snaprun (snapshotter install NAME)
       snaprun [--allow-wx] [--populate MODE] --pool N SOCKET NAME
       snaprun --from SOCKET [ARGS…]

NAME is NAME[:TAG] in the local store, a file (./…, /…, *.snap), or an image in a registry
(HOST/PATH[:TAG][@DIGEST]), which snaprepo pulls first if it is missing.
Options come before NAME; -- ends them. ARGS, the environment and stdio are the instance's own.

Options:
      --allow-wx      start a snapshot with memory that is writable and executable at once (JIT compilers)
  -b, --bind OLD=NEW  bind the socket at OLD to NEW instead (PORT, ADDRESS:PORT, unix:PATH)
  -n, --dry-run       print the plan, and start nothing
      --fallback      if this host cannot start the snapshot, start its program the ordinary way
      --if-stale MODE if a file has changed that the program had read: warn, fallback (start the program the
                      ordinary way) or fail; only size, time and inode are compared
      --local         do not pull a missing image
      --same-pid      start with the process ID of the snapshot, in a user and PID namespace
      --timens        start in a time namespace, so that clocks do not run backwards from the snapshot
      --timing[=json] print where the time of the start went, on stderr, when the program has ended
      --pool N SOCKET keep N instances prepared and release them to those who connect to SOCKET
      --from SOCKET   make a pool release an instance; pass on streams, signals and exit status
      --populate MODE with --pool: pages that a prepared instance populates: none, auto (default), all
  -h, --help          this text
  -V, --version       the version

Exit status: the program's; 125 cannot restore, 126 found but not runnable, 127 not found.
Environment: SNAPFN_STORE (search path), XDG_DATA_HOME, HOME.
";

#[unsafe(no_mangle)]
fn loader_main(sp: *mut u64) -> ! {
    // SAFETY: the kernel's initial stack pointer, above which are argc and at least one word more for each argument.
    let entry = unsafe { if sp.read() > 1 && is_timed(sp.add(2).read()) { arch::timestamp() } else { 0 } };
    // SAFETY: as above.
    let initial = unsafe { InitialStack::at(sp as u64) };
    if own_program::is_started_by_link(&initial) {
        own_program::start(&initial);
    }
    match args::parse(&initial) {
        Ok(args) => match args.action {
            Action::Help => print_and_exit(HELP),
            Action::Version => print_and_exit(concat!("snaprun ", env!("CARGO_PKG_VERSION"), "\n")),
            Action::Pool | Action::From => pool(&initial, &args),
            Action::Timing(option, form) => {
                let name = initial.arg(args.name).unwrap_or_default();
                // SAFETY: no code has changed it.
                let errno = unsafe { timing::observe(&initial, option, form, name) };
                fail(&initial, Some(name), &Failure::Timing(errno), 2)
            }
            Action::Run | Action::DryRun => {
                let clock = args.timing_page.map_or(Clock::OFF, |fd| Clock::on(fd, entry));
                if args.binds > 0 {
                    start_with_binds(&initial, &args, clock)
                } else {
                    start(&initial, &args, None, clock)
                }
            }
        },
        Err(error) => {
            let index = match error {
                UsageError::UnknownOption(index) | UsageError::Bind(index) | UsageError::Value(index) => index,
                UsageError::NoName | UsageError::NotTogether(_) => 0,
            };
            fail(&initial, initial.arg(index).filter(|_| index > 0), &Failure::Usage(error), 2)
        }
    }
}

/// Whether the first argument is `--timing-page`. Only then is the clock read, since a process may be forbidden to.
unsafe fn is_timed(argument: u64) -> bool {
    // SAFETY: the caller passes a string of the initial stack.
    unsafe { memory::c_str(argument) == c"--timing-page" }
}

#[cold]
#[inline(never)]
fn pool(initial: &InitialStack, args: &Args) -> ! {
    let arg = |index| initial.arg(index).unwrap_or_default();
    let name = arg(args.name);
    let error = match args.action {
        Action::Pool => pool_client::exec_pool(arg(args.pool), arg(args.pool + 1), args, name, initial),
        _ => pool_client::run(name, args.name + 1, initial),
    };
    fail(initial, Some(name), &Failure::Pool(error), 2)
}

/// A function of its own, so that other functions reserve no stack for its variables.
#[cold]
#[inline(never)]
fn start_with_binds(initial: &InitialStack, args: &Args, clock: Clock) -> ! {
    let binds = args.parse_binds(initial);
    start(initial, args, Some(&binds), clock)
}

fn start(initial: &InitialStack, args: &Args, binds: Option<&Binds>, clock: Clock) -> ! {
    // The copy is made now, since the restore puts the program's own argv[0] into the slot and over the bytes.
    let mut copy = [0; 256];
    let named = kept(args.snapshot(initial), &mut copy);
    match run(initial, args, binds, clock) {
        Ok(()) => sys::exit(0),
        Err(failure) => fail(initial, named, &failure, args.failures_to()),
    }
}

/// A copy of `name` in `buffer`, as far as it fits.
fn kept<'a>(name: &CStr, buffer: &'a mut [u8]) -> Option<&'a CStr> {
    let room = buffer.len().saturating_sub(1);
    buffer.iter_mut().zip(name.to_bytes().iter().take(room)).for_each(|(to, from)| *to = *from);
    CStr::from_bytes_until_nul(buffer).ok()
}

#[cold]
#[inline(never)]
fn fail(initial: &InitialStack, name: Option<&CStr>, failure: &Failure<'_>, report: i32) -> ! {
    let name = name.map_or(b"snaprun" as &[u8], CStr::to_bytes);
    let mut out = Out::new(report);
    let _ = writeln!(out, "snaprun: {}: {failure}", Text(name));
    // Later failures may come when the vectors have been changed.
    let is_early = matches!(
        failure,
        Failure::Usage(_) | Failure::Name | Failure::NotFound(_) | Failure::NotPulled | Failure::Pull(_)
    );
    if is_early && own_program::is_started_by_link(initial) {
        let _ = writeln!(
            out,
            "snaprun: was started as /proc/self/exe: if the starter was an instance, it meant its own program; \
             start it with CAP_CHECKPOINT_RESTORE, or let it execute its path"
        );
    }
    drop(out);
    sys::exit(failure.status())
}

#[cold]
#[inline(never)]
fn print_and_exit(text: &str) -> ! {
    let _ = sys::write(1, text.as_bytes());
    sys::exit(0)
}

/// Becomes an instance, or prints its plan. Returns only if there is no instance.
fn run<'a>(initial: &InitialStack, args: &Args, binds: Option<&'a Binds>, clock: Clock) -> Result<(), Failure<'a>> {
    let stores = Stores::from_env(initial);
    let snapshot = open::snapshot(&stores, initial, args)?;
    clock.mark(Moment::Open);
    let plan = plan::read(&snapshot)?;
    clock.operations(plan.ops.len());
    clock.mark(Moment::Plan);
    if args.action == Action::DryRun {
        let _ = dry_run::print(&plan, &mut Out::new(1));
        return Ok(());
    }
    if plan.header.has_wx() && !args.allow_wx {
        return Err(Failure::WritableCode);
    }
    if let Some(mode) = args.if_stale {
        stale::apply(mode, args.snapshot(initial), &plan, &snapshot, initial, args.name)?;
    }
    let few = Few::default();
    let fds = files::open(&stores, &plan, &snapshot, args.fds, &few)?;
    clock.mark(Moment::Files);
    // The owners of the files are known here only: a user namespace with one user has no numbers for others.
    if args.timens {
        timens::enter(&plan.header.process).map_err(Failure::Timens)?;
    }
    if args.same_pid && args.park.is_none() {
        let pid = plan.threads.first().map_or(0, |thread| thread.tid);
        same_pid::enter(pid).map_err(Failure::SamePid)?;
    }
    let instance = Instance {
        first_arg: args.name,
        binds,
        report: args.report,
        is_proof: args.prove,
        is_traced: args.keep,
        clock,
    };
    let error = become_instance(&plan, &Sources::new(fds), initial, args, &instance);
    if let RestoreError::Map { errno: Errno::EXIST, .. } = error {
        retry_with_ordinary_layout(initial);
    }
    if args.fallback && fallback::applies(&error, &plan) {
        // SAFETY: `initial` is this process's initial stack; the execve removes any part of the image.
        let errno = unsafe { fallback::start(&plan, initial, args.name) };
        return Err(Failure::Fallback(error, plan.bytes(plan.header.process.exe), errno));
    }
    Err(Failure::Restore(error))
}

/// Restores, at once or with a pause before the jump; returns only on failure.
fn become_instance<'a>(
    plan: &Plan<'static>,
    sources: &Sources<'_>,
    initial: &InitialStack,
    args: &Args,
    instance: &Instance<'a>,
) -> RestoreError<'a> {
    // SAFETY: this process runs only the loader; `initial` is its initial stack.
    unsafe {
        match if args.keep { initial.moved(restore::bare_stack(plan)) } else { Ok(*initial) } {
            Ok(initial) => match args.park {
                Some(socket) => restore::park(plan, sources, &initial, instance, socket, args.populate),
                None => restore::restore(plan, sources, &initial, instance),
            },
            Err(errno) => RestoreError::System("mmap of the arguments", errno),
        }
    }
}

/// A range of the snapshot is not free. That happens if vm.legacy_va_layout or an inherited personality places this
/// process's own mappings bottom-up, where snapshots lie. Resets the personality and starts over, once.
fn retry_with_ordinary_layout(initial: &InitialStack) {
    const QUERY: u32 = u32::MAX;
    const ADDR_COMPAT_LAYOUT: u32 = 0x0200000;
    let Ok(current) = sys::personality(QUERY) else { return };
    if current & ADDR_COMPAT_LAYOUT != 0 && sys::personality(current & !ADDR_COMPAT_LAYOUT).is_ok() {
        // SAFETY: these are the vectors of the initial stack. install() has not replaced a slot yet: mapping comes
        // before it, and EEXIST comes from mapping.
        let _ = unsafe {
            sys::execve(own_program::OWN_LINK, initial.argv as *const *const u8, initial.envp as *const *const u8)
        };
    }
}
