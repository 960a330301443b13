//! `snaprun`'s command line: options before NAME, the program's arguments after it.

use crate::restore::Populate;
use crate::restore::address::{BINDS_MAX, Binds};
use crate::runtime::auxv::InitialStack;
use crate::start::timing::Form;
use core::ffi::CStr;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restore the snapshot.
    Run,
    /// Print the plan.
    DryRun,
    /// Run it as a child and print where the time goes: index of the option.
    Timing(u64, Form),
    /// Serve prepared instances: size and socket are the two arguments before the name.
    Pool,
    /// Have a pool release one: the name is the socket.
    From,
    /// Print the help text.
    Help,
    /// Print the version.
    Version,
}

/// The parsed command line.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// Keep CLOCK_MONOTONIC and CLOCK_BOOTTIME from running backwards.
    pub timens: bool,
    /// Index of NAME in the argument vector; 0 when there is none.
    pub name: u64,
    /// `--keep-arguments`, used by the snapshotter: the instance is going to be dumped again.
    pub keep: bool,
    /// `--fallback`: start the program the ordinary way where this host cannot start the snapshot.
    pub fallback: bool,
    /// `--allow-wx`: start what has memory that is writable and executable at once.
    pub allow_wx: bool,
    /// How many `--bind` options there are. They are parsed into [`Binds`], which is large, only where there are any.
    pub binds: usize,
    /// `--local`: do not pull what is not there.
    pub local: bool,
    /// `--report`: the descriptor that failures are reported to; −1 for standard error.
    pub report: i32,
    /// `--timing-page`: the descriptor of the page that `--timing` shares with its child.
    pub timing_page: Option<i32>,
    /// `--fds`: the snapshot and its other files are open already, in the plan's order.
    pub fds: Option<&'static [u8]>,
    /// `--park`: wait for a request before the jump.
    pub park: bool,
    /// `--populate`: pages to take while waiting.
    pub populate: Populate,
    /// `--pool`: index of the size in the argument vector; the socket follows.
    pub pool: u64,
}

/// A mistake on the command line.
#[derive(Clone, Copy, Debug)]
pub enum UsageError {
    /// There is no NAME.
    NoName,
    /// Argument with that index is no option of ours.
    UnknownOption(u64),
    /// Argument with that index is no OLD=NEW, or one too many.
    Bind(u64),
    /// Option with that index lacks its value, or has a wrong one.
    Value(u64),
}

/// A descriptor's number.
fn number(text: &[u8]) -> Option<i32> {
    core::str::from_utf8(text).ok()?.parse().ok().filter(|fd| *fd >= 0)
}

/// The descriptors of a list.
pub fn numbers(list: &[u8]) -> impl Iterator<Item = Option<i32>> {
    list.split(|byte| *byte == b',').map(number)
}

impl Args {
    /// Options of programs that start instances.
    fn set(&mut self, option: &[u8], value: &'static [u8]) -> Option<()> {
        if option == b"--populate" {
            self.populate = Populate::parse(value)?;
            return Some(());
        }
        if option == b"--fds" {
            self.fds = Some(value);
            return Some(());
        }
        let fd = number(value)?;
        match option {
            b"--timing-page" => self.timing_page = Some(fd),
            _ => self.report = fd,
        }
        self.park |= option == b"--park";
        Some(())
    }
}

/// Parses the arguments of `initial`.
pub fn parse(initial: &InitialStack) -> Result<Args, UsageError> {
    let mut args = Args {
        action: Action::Run,
        name: 0,
        keep: false,
        timens: false,
        fallback: false,
        allow_wx: false,
        binds: 0,
        local: false,
        report: -1,
        timing_page: None,
        fds: None,
        park: false,
        populate: Populate::Auto,
        pool: 0,
    };
    let mut index = 1;
    while let Some(arg) = initial.arg(index) {
        match arg.to_bytes() {
            b"--dry-run" | b"-n" => args.action = Action::DryRun,
            b"--help" | b"-h" => return Ok(Args { action: Action::Help, ..args }),
            b"--version" | b"-V" => return Ok(Args { action: Action::Version, ..args }),
            b"--local" => args.local = true,
            b"--timens" => args.timens = true,
            b"--timing" => args.action = Action::Timing(index, Form::Text),
            b"--timing=json" => args.action = Action::Timing(index, Form::Json),
            b"--fallback" => args.fallback = true,
            b"--allow-wx" => args.allow_wx = true,
            b"--keep-arguments" => args.keep = true,
            b"--bind" | b"-b" => {
                index += 1;
                if !initial.arg(index).is_some_and(|text| args.add_bind(text.to_bytes())) {
                    return Err(UsageError::Bind(index.min(initial.argc - 1)));
                }
            }
            option if option.starts_with(b"--bind=") => {
                if !args.add_bind(option.get(7..).unwrap_or_default()) {
                    return Err(UsageError::Bind(index));
                }
            }
            option @ (b"--timing-page" | b"--fds" | b"--park" | b"--report" | b"--populate") => {
                index += 1;
                let value = initial.arg(index).map(CStr::to_bytes).unwrap_or_default();
                args.set(option, value).ok_or(UsageError::Value(index - 1))?;
            }
            b"--pool" => {
                args.action = Action::Pool;
                args.pool = index + 1;
                index += 2;
            }
            b"--from" => {
                args.action = Action::From;
                index += 1;
                break;
            }
            b"--" => {
                index += 1;
                break;
            }
            option if option.first() == Some(&b'-') => return Err(UsageError::UnknownOption(index)),
            _ => break,
        }
        index += 1;
    }
    if index >= initial.argc {
        return Err(UsageError::NoName);
    }
    args.name = index;
    Ok(args)
}

impl Args {
    /// Counts a `--bind`; false where it is no OLD=NEW, or one too many.
    fn add_bind(&mut self, text: &[u8]) -> bool {
        self.binds += 1;
        self.binds <= BINDS_MAX && Binds::is_valid(text)
    }

    /// All `--bind` options of a command line that has been parsed up to its NAME.
    #[cold]
    pub fn parse_binds(&self, initial: &InitialStack) -> Binds {
        let mut binds = Binds::NONE;
        let mut options = (1..self.name).filter_map(|index| initial.arg(index)).map(|arg| arg.to_bytes());
        while let Some(option) = options.next() {
            let text = match option {
                b"--bind" | b"-b" => options.next(),
                // A value is no option.
                b"--timing-page" | b"--fds" | b"--park" | b"--report" | b"--populate" => {
                    options.next();
                    None
                }
                b"--pool" => {
                    options.nth(1);
                    None
                }
                _ => option.strip_prefix(b"--bind="),
            };
            text.map(|text| binds.add(text));
        }
        binds
    }
}
