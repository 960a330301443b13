//! `snaprun`'s command line: options before NAME, the program's arguments after it.

use crate::auxv::InitialStack;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restore the snapshot.
    Run,
    /// Print the plan.
    DryRun,
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
    /// Index of NAME in the argument vector; 0 when there is none.
    pub name: u64,
    /// `--keep-arguments`, used by the snapshotter: the instance is going to be dumped again.
    pub keep: bool,
}

/// A mistake on the command line.
#[derive(Clone, Copy, Debug)]
pub enum UsageError {
    /// There is no NAME.
    NoName,
    /// Argument with that index is no option of ours.
    UnknownOption(u64),
}

/// Parses the arguments of `initial`.
pub fn parse(initial: &InitialStack) -> Result<Args, UsageError> {
    let mut action = Action::Run;
    let mut keep = false;
    let mut index = 1;
    while let Some(arg) = initial.arg(index) {
        match arg.to_bytes() {
            b"--dry-run" | b"-n" => action = Action::DryRun,
            b"--help" | b"-h" => return Ok(Args { action: Action::Help, name: 0, keep }),
            b"--version" | b"-V" => return Ok(Args { action: Action::Version, name: 0, keep }),
            b"--keep-arguments" => keep = true,
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
    Ok(Args { action, name: index, keep })
}
