//! `snaprun NAME ARGS…`: becomes an instance of a snapshot.
#![no_std]
#![no_main]
#![allow(clippy::result_large_err)] // made once, before the process ends; there is no heap for it
#![allow(unsafe_code)] // entry point, the mapping of the plan

use core::cell::Cell;
use core::ffi::CStr;
use core::fmt::{self, Write};
use snapfn_format::layout::LOADER_PLAN;
use snapfn_format::snap::{FILE_HOST, META_MAX, Plan, peek_header};
use snapfn_format::{FormatError, PAGE};
use snapfn_loader::restore::address::Binds;
use snapfn_loader::restore::{self, Instance, RestoreError, Sources};
use snapfn_loader::runtime::auxv::InitialStack;
use snapfn_loader::runtime::memory;
use snapfn_loader::runtime::print::{Out, Text};
use snapfn_loader::runtime::sys::{self, Errno};
use snapfn_loader::start::args::{self, Action, Args, UsageError};
use snapfn_loader::start::pool_client::{self, PoolError};
use snapfn_loader::start::store::{Stores, Target, Untrusted, open_regular};
use snapfn_loader::start::timens::{self, TimensError};
use snapfn_loader::start::timing::{self, Clock, Moment};
use snapfn_loader::start::{dry_run, fallback, pull};

const HELP: &str = "\
Starts an instance of a snapshot: the process becomes the program.

Usage: snaprun [OPTIONS] NAME [ARGS…]
       snaprun [--allow-wx] [--populate MODE] --pool N SOCKET NAME
       snaprun --from SOCKET [ARGS…]

NAME is NAME[:TAG] in the local store, a file (./…, /…, *.snap), or an image in a registry
(HOST/PATH[:TAG][@DIGEST]), which snaprepo pulls first if it is not there.
Options come before NAME; -- ends them. ARGS, the environment and stdio are the instance's own.

Options:
      --allow-wx      start a snapshot with memory that is writable and executable at once (JIT compilers)
  -b, --bind OLD=NEW  bind the socket at OLD to NEW instead (PORT, ADDRESS:PORT, unix:PATH)
  -n, --dry-run       print what would be done
      --fallback      where this host cannot start the snapshot, start its program the ordinary way
      --local         do not pull an image that is not there
      --timens        in a time namespace whose clocks do not run backwards from the snapshot
      --timing[=json] print where the time of the start went, on stderr, when the program has ended
      --pool N SOCKET keep N instances prepared and release them to those who connect to SOCKET
      --from SOCKET   have a pool release an instance, and stand for it: streams, signals, exit status
      --fds N,N…      the snapshot and its other files are open as these descriptors, in the plan's order
      --report N      write why there is no instance to descriptor N, which an instance closes
      --park N        prepare an instance that waits on socket N for its arguments, environment and streams
      --populate MODE pages that a prepared instance takes before it waits: none, auto (default), all
  -h, --help          this text
  -V, --version       the version

Exit status: the program's; 125 cannot restore, 126 found but not runnable, 127 not found.
Environment: SNAPFN_STORE (search path), XDG_DATA_HOME, HOME.
";

/// Mapped at first; longer meta parts are mapped again as a whole.
const META_FIRST: u64 = 32 << 10;

/// Descriptors of so many files are kept on the stack; a plan with more gets a mapping for them.
const FEW_FILES: usize = 64;
/// Where that mapping is: behind the longest plan.
const FILE_TABLE: u64 = LOADER_PLAN + META_MAX;

/// Why there is no instance.
enum Failure<'a> {
    Usage(UsageError),
    Name,
    NotPulled,
    Pull(Errno),
    NotFound(Errno),
    NotRegular,
    Unreadable(Errno),
    Format(FormatError),
    Missing(&'a snapfn_format::snap::File, &'a [u8], Errno),
    WrongSize(&'a snapfn_format::snap::File, u64),
    Timens(TimensError),
    Timing(Errno),
    Restore(RestoreError<'a>),
    Fallback(RestoreError<'a>, &'a [u8], Errno),
    Untrusted(Untrusted),
    WritableCode,
    Pool(PoolError),
}

impl Failure<'_> {
    fn status(&self) -> i32 {
        match self {
            Failure::Name | Failure::NotPulled | Failure::Pull(_) => 127,
            Failure::NotFound(Errno::NOENT | Errno::NOTDIR) => 127,
            Failure::NotFound(_) | Failure::NotRegular => 126,
            Failure::Pool(error) => error.status(),
            _ => 125,
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(UsageError::NoName) => f.write_str("no snapshot named, see snaprun --help"),
            Failure::Usage(UsageError::UnknownOption(_)) => f.write_str("unknown option, see snaprun --help"),
            Failure::Usage(UsageError::Value(_)) => f.write_str("wants another value, see snaprun --help"),
            Failure::Usage(UsageError::Bind(_)) => f.write_str(
                "not of the form OLD=NEW with PORT, ADDRESS:PORT or unix:PATH, or too many, see snaprun --help",
            ),
            Failure::Name => f.write_str("not a valid name, use NAME[:TAG] or a path"),
            Failure::NotPulled => f.write_str("not in the local store, leave out --local or run snaprepo pull"),
            Failure::Pull(errno) => write!(
                f,
                "not in the local store, and snaprepo, which would pull it, is neither beside snaprun nor in PATH ({errno})"
            ),
            Failure::NotFound(Errno::NOENT | Errno::NOTDIR) => {
                f.write_str("no such snapshot, see snaprepo ls or make one with snapshotter create")
            }
            Failure::NotFound(Errno::INVAL) => {
                f.write_str("the store's reference is not one of ours, run snaprepo verify")
            }
            Failure::NotFound(errno) => write!(f, "cannot open: {errno}, check the path and its permissions"),
            Failure::NotRegular => f.write_str("not a regular file, name a snapshot"),
            Failure::Unreadable(errno) => write!(f, "cannot read the snapshot: {errno}"),
            Failure::Format(error) => write!(f, "{error}, make it again or run snaprepo verify"),
            Failure::Missing(file, path, errno) if file.kind == FILE_HOST => {
                let path = path.strip_suffix(b"\0").unwrap_or(path);
                write!(f, "{}, which the program has mapped: {errno}, it must be there and accessible", Text(path))
            }
            Failure::Missing(file, path, errno) => {
                write!(f, "code segment file {} of {}: {errno}, make the snapshot again", file.digest, Text(path))
            }
            Failure::WrongSize(file, actual) => write!(
                f,
                "code segment file {} has {actual} bytes instead of {}, run snaprepo verify",
                file.digest, file.size
            ),
            Failure::Timens(error) => write!(f, "{error}"),
            Failure::Timing(errno) => write!(f, "--timing: cannot run and watch a child: {errno}"),
            Failure::Restore(error @ RestoreError::Unfit(_)) => {
                write!(f, "{error}, make it here or with --cpu x86-64-v2, or use --fallback")
            }
            Failure::Restore(error) => write!(f, "{error}"),
            Failure::Fallback(error, exe, errno) => {
                write!(f, "{error}, and {} cannot be started instead: {errno}", Text(exe))
            }
            Failure::Untrusted(why) => write!(f, "{why}"),
            Failure::WritableCode => f.write_str(
                "has memory that is writable and executable at once, start it with --allow-wx if its program needs that",
            ),
            Failure::Pool(error) => write!(f, "{error}"),
        }
    }
}

#[unsafe(no_mangle)]
fn loader_main(sp: *mut u64) -> ! {
    // SAFETY: the kernel's initial stack pointer, above which are argc and at least one word more for each argument.
    let entry = unsafe { if sp.read() > 1 && is_timed(sp.add(2).read()) { sys::timestamp() } else { 0 } };
    // SAFETY: as above.
    let initial = unsafe { InitialStack::at(sp as u64) };
    match args::parse(&initial) {
        Ok(args) => match args.action {
            Action::Help => print_and_exit(HELP),
            Action::Version => print_and_exit(concat!("snaprun ", env!("CARGO_PKG_VERSION"), "\n")),
            Action::Pool | Action::From => pool(&initial, &args),
            Action::Timing(option, form) => {
                let name = initial.arg(args.name).unwrap_or_default();
                // SAFETY: nothing has changed it.
                let errno = unsafe { timing::observe(&initial, option, form, name) };
                fail(Some(name), &Failure::Timing(errno), 2)
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
                UsageError::NoName => 0,
            };
            fail(initial.arg(index).filter(|_| index > 0), &Failure::Usage(error), 2)
        }
    }
}

/// Whether the first argument says that the time is taken; programs may be forbidden to read the clock.
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
    fail(Some(name), &Failure::Pool(error), 2)
}

/// Apart, so that nobody else's stack has room for them.
#[cold]
#[inline(never)]
fn start_with_binds(initial: &InitialStack, args: &Args, clock: Clock) -> ! {
    let binds = args.parse_binds(initial);
    start(initial, args, Some(&binds), clock)
}

fn start(initial: &InitialStack, args: &Args, binds: Option<&Binds>, clock: Clock) -> ! {
    // Now: the restore puts the program's own argv[0] in its slot.
    let named = initial.arg(args.name);
    match run(initial, args, binds, clock) {
        Ok(()) => sys::exit(0),
        Err(failure) => fail(named, &failure, if args.report >= 0 { args.report } else { 2 }),
    }
}

#[cold]
#[inline(never)]
fn fail(name: Option<&CStr>, failure: &Failure<'_>, report: i32) -> ! {
    let name = name.map_or(b"snaprun" as &[u8], CStr::to_bytes);
    let mut out = Out::new(report);
    let _ = writeln!(out, "snaprun: {}: {failure}", Text(name));
    drop(out);
    sys::exit(failure.status())
}

#[cold]
#[inline(never)]
fn print_and_exit(text: &str) -> ! {
    let _ = sys::write(1, text.as_bytes());
    sys::exit(0)
}

fn run<'a>(initial: &InitialStack, args: &Args, binds: Option<&'a Binds>, clock: Clock) -> Result<(), Failure<'a>> {
    let stores = Stores::from_env(initial);
    let name = initial.arg(args.name).unwrap_or_default();
    let target = Target::parse(name);
    let image = match (args.fds, target) {
        (Some(list), _) => args::numbers(list).next().flatten().ok_or(Errno(9)),
        (None, Target::Name(name, tag)) => stores.open_name(name, tag),
        (None, Target::File(path)) => open_regular(path, 0),
        (None, Target::Image(text)) => match stores.open_image(text) {
            Err(Errno::NOENT | Errno::NOTDIR) if args.local => return Err(Failure::NotPulled),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Failure::Pull(pull::hand_over(initial, args.name))),
            opened => opened,
        },
        (None, Target::Invalid) => return Err(Failure::Name),
    }
    .map_err(Failure::NotFound)?;
    clock.mark(Moment::Open);
    let stat = sys::fstat(image).map_err(Failure::Unreadable)?;
    if args.fds.is_none() && matches!(target, Target::Name(..) | Target::Image(_)) {
        stores.trust(&stat).map_err(Failure::Untrusted)?;
    }
    let plan = read_plan(image, &stat)?;
    clock.operations(plan.ops.len());
    clock.mark(Moment::Plan);
    if args.action == Action::DryRun {
        let _ = dry_run::print(&plan, &mut Out::new(1));
        return Ok(());
    }
    if plan.header.has_wx() && !args.allow_wx {
        return Err(Failure::WritableCode);
    }
    if args.timens {
        timens::enter(&plan.header.process).map_err(Failure::Timens)?;
    }
    let few = [const { Cell::new(-1) }; FEW_FILES];
    let fds = match few.get(..plan.files.len()) {
        Some(fds) => fds,
        None => file_table(plan.files.len()).map_err(Failure::Unreadable)?,
    };
    if let Some(slot) = fds.first() {
        slot.set(image);
    }
    let mut handed = args::numbers(args.fds.unwrap_or_default()).skip(1);
    for (file, slot) in plan.files.iter().zip(fds).skip(1) {
        let missing = |errno| Failure::Missing(file, plan.bytes(file.path), errno);
        if args.fds.is_some() {
            // Whoever has opened them has looked at them.
            slot.set(handed.next().flatten().ok_or(missing(Errno(9)))?);
            continue;
        }
        let fd = stores.open_file(&plan, file).map_err(missing)?;
        slot.set(fd);
        let stat = sys::fstat(fd).map_err(Failure::Unreadable)?;
        if !stat.is_regular() || (stat.size != file.size && file.kind != FILE_HOST) {
            return Err(Failure::WrongSize(file, stat.size));
        }
        if file.kind != FILE_HOST {
            stores.trust(&stat).map_err(Failure::Untrusted)?;
        }
    }
    stores.close();
    clock.mark(Moment::Files);
    let sources = Sources::new(fds);
    let instance = Instance { first_arg: args.name, binds, report: args.report, clock };
    // SAFETY: this process runs nothing else; `initial` is its initial stack.
    let error = unsafe {
        match if args.keep { initial.moved(restore::bare_stack(&plan)) } else { Ok(*initial) } {
            Ok(initial) if args.park => restore::park(&plan, &sources, &initial, &instance, args.populate),
            Ok(initial) => restore::restore(&plan, &sources, &initial, &instance),
            Err(errno) => RestoreError::System("mmap of the arguments", errno),
        }
    };
    if let RestoreError::Map { errno: Errno::EXIST, .. } = error {
        retry_with_ordinary_layout(initial);
    }
    if args.fallback && fallback::applies(&error, &plan) {
        // SAFETY: as above; what of the image is there goes with the execve.
        let errno = unsafe { fallback::start(&plan, initial, args.name) };
        return Err(Failure::Fallback(error, plan.bytes(plan.header.process.exe), errno));
    }
    Err(Failure::Restore(error))
}

#[cold]
#[inline(never)]
fn file_table(count: usize) -> sys::Result<&'static [Cell<i32>]> {
    let flags = sys::MAP_PRIVATE | sys::MAP_ANONYMOUS | sys::MAP_FIXED_NOREPLACE;
    // SAFETY: a range of the loader's own that nothing else uses, mapped for as long as the loader is.
    unsafe {
        sys::mmap(FILE_TABLE, 4 * count as u64, 3, flags, -1, 0)?;
        Ok(memory::cells(FILE_TABLE, count))
    }
}

fn read_plan(image: i32, stat: &sys::Stat) -> Result<Plan<'static>, Failure<'static>> {
    if !stat.is_regular() {
        return Err(Failure::NotRegular);
    }
    let map = |len| {
        let flags = sys::MAP_PRIVATE | sys::MAP_FIXED;
        // SAFETY: a range of the loader's own that nothing else uses; the file is read-only once in the store. One
        // that is cut short while we read ends this process by SIGBUS, nothing more.
        unsafe {
            sys::mmap(LOADER_PLAN, len, 1, flags, image, 0)
                .map(|at| memory::bytes(at, len))
                .map_err(Failure::Unreadable)
        }
    };
    let first = stat.size.min(META_FIRST);
    if first < PAGE {
        return Err(Failure::Format(FormatError::Truncated("the header")));
    }
    let meta = map(first)?;
    let header = peek_header(meta, stat.size).map_err(Failure::Format)?;
    let meta = if header.meta_len > first { map(header.meta_len)? } else { meta };
    Plan::parse(meta, stat.size).map_err(Failure::Format)
}

/// A range of the snapshot is taken: that happens when vm.legacy_va_layout or an inherited personality places
/// this process's own mappings bottom-up, where snapshots live. Resets the personality and starts over, once.
fn retry_with_ordinary_layout(initial: &InitialStack) {
    const QUERY: u32 = u32::MAX;
    const ADDR_COMPAT_LAYOUT: u32 = 0x0200000;
    let Ok(current) = sys::personality(QUERY) else { return };
    if current & ADDR_COMPAT_LAYOUT != 0 && sys::personality(current & !ADDR_COMPAT_LAYOUT).is_ok() {
        // SAFETY: the vectors of the initial stack; install() may have replaced a slot, so only before it ran:
        // mapping comes first, and EEXIST comes from mapping.
        let _ = unsafe {
            sys::execve(c"/proc/self/exe", initial.argv as *const *const u8, initial.envp as *const *const u8)
        };
    }
}
