//! `snaprun`'s command line: options before NAME, the program's arguments after it.

use crate::restore::Populate;
use crate::restore::binds::{BINDS_MAX, Binds};
use crate::runtime::auxv::InitialStack;
use crate::start::own_program;
use crate::start::timing::Form;
use core::ffi::CStr;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restore the snapshot.
    Run,
    /// Print the plan.
    DryRun,
    /// Run the command as a child and print where the time goes: index of the option.
    Timing(u64, Form),
    /// Serve prepared instances. Size and socket are the two arguments before the name.
    Pool,
    /// Make a pool release an instance. The name is the socket.
    From,
    /// Print the help text.
    Help,
    /// Print the version.
    Version,
}

/// `--if-stale`: what to do if a file has changed of which the snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfStale {
    /// Print a line and start an instance.
    Warn,
    /// Start the program the ordinary way.
    Fallback,
    /// Start nothing.
    Fail,
}

impl IfStale {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"warn" => Some(IfStale::Warn),
            b"fallback" => Some(IfStale::Fallback),
            b"fail" => Some(IfStale::Fail),
            _ => None,
        }
    }
}

/// The parsed command line.
#[derive(Clone, Copy, Debug)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// Keep CLOCK_MONOTONIC and CLOCK_BOOTTIME from running backwards.
    pub timens: bool,
    /// `--same-pid`: the process ID of the snapshot.
    pub same_pid: bool,
    /// Index of NAME in the argument vector; 0 if there is none, or if it is the name of the link that was executed.
    pub name: u64,
    /// `--keep-arguments`, for the snapshotter: the instance will be snapshotted again.
    pub keep: bool,
    /// `--if-stale`.
    pub if_stale: Option<IfStale>,
    /// `--fallback`: start the program the ordinary way if this host cannot start the snapshot.
    pub fallback: bool,
    /// `--allow-wx`: start a snapshot with memory that is writable and executable at once.
    pub allow_wx: bool,
    /// Number of `--bind` options. They are parsed into [`Binds`], which is large, only if there are any.
    pub binds: usize,
    /// `--local`: do not pull a missing image.
    pub local: bool,
    /// `--report`: the descriptor that failures are reported to instead of standard error.
    pub report: Option<i32>,
    /// `--prove`, used by the snapshotter: end before the jump and report to that descriptor, which `report` is, too.
    pub prove: bool,
    /// `--timing-page`: the descriptor of the page that `--timing` shares with its child.
    pub timing_page: Option<i32>,
    /// `--fds`: the snapshot and its other files are open already, in the plan's order.
    pub fds: Option<&'static [u8]>,
    /// `--park`: the socket on which to wait for a request before the jump. Failures go there without `--report`.
    pub park: Option<i32>,
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
    /// The argument with that index is not an option of `snaprun`.
    UnknownOption(u64),
    /// The argument with that index is not of the form OLD=NEW, or there are too many.
    Bind(u64),
    /// The option with that index lacks its value, or has a wrong one.
    Value(u64),
    /// Options that have no meaning together: which ones, and what is possible.
    NotTogether(&'static str),
}

const IF_STALE: &[u8] = b"--if-stale=";

/// A descriptor's number.
fn number(text: &[u8]) -> Option<i32> {
    core::str::from_utf8(text).ok()?.parse().ok().filter(|fd| *fd >= 0)
}

/// The descriptors of a list.
pub fn numbers(list: &[u8]) -> impl Iterator<Item = Option<i32>> {
    list.split(|byte| *byte == b',').map(number)
}

/// Number of words behind `option` that are its values.
fn values(option: &[u8]) -> u64 {
    match option {
        b"--bind" | b"-b" | b"--fds" | b"--if-stale" | b"--park" | b"--populate" | b"--prove" | b"--report"
        | b"--timing-page" => 1,
        b"--pool" => 2,
        _ => 0,
    }
}

/// The name of the link by which `snaprun` was executed, if that is another name than its own: the snapshot's.
///
/// Both the path that was executed and `argv[0]` must have it, so that a program that executes `snaprun` with another
/// `argv[0]` starts no other snapshot. Where `snaprun` has executed itself, only `argv[0]` has the name.
pub fn link_name(initial: &InitialStack) -> Option<&'static CStr> {
    const OWN: &[u8] = b"snaprun";
    let name = base_name(initial.arg(0)?);
    if name.to_bytes().starts_with(OWN) || name.is_empty() {
        return None;
    }
    let executed = own_program::executed(initial)?;
    let is_named = base_name(executed) == name || executed == own_program::OWN_LINK;
    is_named.then_some(name)
}

/// What is behind the last slash.
fn base_name(path: &'static CStr) -> &'static CStr {
    let bytes = path.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    bytes.get(start..).and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or(path)
}

/// Parses the arguments of `initial`.
pub fn parse(initial: &InitialStack) -> Result<Args, UsageError> {
    let mut args = Args {
        action: Action::Run,
        name: 0,
        keep: false,
        timens: false,
        same_pid: false,
        if_stale: None,
        fallback: false,
        allow_wx: false,
        binds: 0,
        local: false,
        report: None,
        prove: false,
        timing_page: None,
        fds: None,
        park: None,
        populate: Populate::Auto,
        pool: 0,
    };
    if link_name(initial).is_some() {
        return Ok(args);
    }
    let mut index = 1;
    while let Some(arg) = initial.arg(index) {
        let option = arg.to_bytes();
        match values(option) {
            0 => match option {
                b"--dry-run" | b"-n" => args.act(Action::DryRun)?,
                b"--help" | b"-h" => return Ok(Args { action: Action::Help, ..args }),
                b"--version" | b"-V" => return Ok(Args { action: Action::Version, ..args }),
                b"--local" => args.local = true,
                b"--timens" => args.timens = true,
                b"--same-pid" => args.same_pid = true,
                b"--timing" => args.act(Action::Timing(index, Form::Text))?,
                b"--timing=json" => args.act(Action::Timing(index, Form::Json))?,
                b"--fallback" => args.fallback = true,
                b"--allow-wx" => args.allow_wx = true,
                b"--keep-arguments" => args.keep = true,
                b"--from" => {
                    args.act(Action::From)?;
                    index += 1;
                    break;
                }
                b"--" => {
                    index += 1;
                    break;
                }
                _ => match option.strip_prefix(b"--bind=") {
                    Some(bind) => args.add_bind(bind).ok_or(UsageError::Bind(index))?,
                    None if option.starts_with(IF_STALE) => {
                        let mode = option.get(IF_STALE.len()..).and_then(IfStale::parse);
                        args.if_stale = Some(mode.ok_or(UsageError::Value(index))?);
                    }
                    None if option.first() == Some(&b'-') => return Err(UsageError::UnknownOption(index)),
                    None => break,
                },
            },
            count => {
                args.set(option, index, initial)?;
                index += count;
            }
        }
        index += 1;
    }
    if index >= initial.argc {
        return Err(UsageError::NoName);
    }
    args.name = index;
    args.fit_together()
}

impl Args {
    /// NAME.
    pub fn snapshot(&self, initial: &InitialStack) -> &'static CStr {
        let name = if self.name == 0 { link_name(initial) } else { initial.arg(self.name) };
        name.unwrap_or_default()
    }

    /// Where failures are written to.
    pub fn failures_to(&self) -> i32 {
        self.report.or(self.park).unwrap_or(2)
    }

    fn act(&mut self, action: Action) -> Result<(), UsageError> {
        if self.action != Action::Run {
            return Err(UsageError::NotTogether("--dry-run, --timing, --pool and --from exclude one another"));
        }
        self.action = action;
        Ok(())
    }

    /// An option that the action would ignore is a mistake.
    fn fit_together(self) -> Result<Self, UsageError> {
        let is_of_start = self.timens || self.same_pid || self.fallback || self.if_stale.is_some() || self.binds > 0;
        let wrong = match self.action {
            Action::Pool if is_of_start => "--pool takes --allow-wx and --populate only",
            Action::From if is_of_start || self.populate != Populate::Auto => "--from takes no other option",
            Action::Run if self.populate != Populate::Auto && self.park.is_none() => "--populate is for --pool",
            _ => return Ok(self),
        };
        Err(UsageError::NotTogether(wrong))
    }

    /// An option with values, at `index`.
    fn set(&mut self, option: &[u8], index: u64, initial: &InitialStack) -> Result<(), UsageError> {
        let value = initial.arg(index + 1).map(CStr::to_bytes).unwrap_or_default();
        let wrong = UsageError::Value(index);
        let descriptor = || number(value).ok_or(wrong);
        match option {
            b"--fds" => self.fds = Some(value),
            b"--if-stale" => self.if_stale = Some(IfStale::parse(value).ok_or(wrong)?),
            b"--park" => self.park = Some(descriptor()?),
            b"--populate" => self.populate = Populate::parse(value).ok_or(wrong)?,
            b"--report" => self.report = Some(descriptor()?),
            b"--prove" => {
                self.report = Some(descriptor()?);
                self.prove = true;
            }
            b"--timing-page" => self.timing_page = Some(descriptor()?),
            b"--pool" => {
                self.act(Action::Pool)?;
                self.pool = index + 1;
            }
            // An empty value is none.
            b"--bind" | b"-b" => self.add_bind(value).ok_or(UsageError::Bind((index + 1).min(initial.argc - 1)))?,
            _ => return Err(UsageError::UnknownOption(index)),
        }
        Ok(())
    }

    /// Counts a `--bind`; `None` if it is not of the form OLD=NEW, or there are too many.
    fn add_bind(&mut self, text: &[u8]) -> Option<()> {
        self.binds += 1;
        (self.binds <= BINDS_MAX && Binds::is_valid(text)).then_some(())
    }

    /// All `--bind` options of a command line that has been parsed up to its NAME.
    #[cold]
    pub fn parse_binds(&self, initial: &InitialStack) -> Binds {
        let mut binds = Binds::NONE;
        let mut words = (1..self.name).filter_map(|index| initial.arg(index)).map(CStr::to_bytes);
        while let Some(option) = words.next() {
            let value = words.by_ref().take(values(option) as usize).last();
            let bind = match option {
                b"--bind" | b"-b" => value,
                _ => option.strip_prefix(b"--bind="),
            };
            bind.map(|text| binds.add(text));
        }
        binds
    }
}
