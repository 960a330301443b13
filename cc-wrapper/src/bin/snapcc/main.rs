//! `snapcc` and `snapc++`: a C and C++ compiler that also splits the executables it links.
//!
//! ```text
//!  argv ──response::expand──▶ words ──plan::plan──▶ Plan ──┬─ no executable ─▶ execve of the compiler
//!                                                          └─ executable ────▶ child ─▶ output::examine ─▶ split
//! ```
//!
//! The compiler always gets the arguments as they were written, plus one directory for `<snap.h>` if it preprocesses
//! any file. Failures outside of the compiler are silent unless the user asks for them.
#![cfg_attr(not(test), no_main)]
// In a test the harness has the entry point, so that of the driver is left out and no code calls `run`.
#![cfg_attr(test, allow(dead_code))]

mod args;
mod compiler;
mod flags;
mod output;
mod plan;
mod response;
mod sys;

use output::{Produced, Stamp, examine};
use snapfn_split::{code_path, init_path, remove_output};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use sys::{Command, End};

/// A child would come between the compiler and its caller. `SNAPFN_DISABLE=1` makes snapcc always execute the compiler
/// itself.
const DISABLE: &str = "SNAPFN_DISABLE";
const STRICT: &str = "SNAPFN_STRICT";
const VERBOSE: &str = "SNAPFN_VERBOSE";

/// Runs the command line `args`, program name first, and returns the exit status.
fn run(mut args: Vec<OsString>) -> i32 {
    let name = if args.is_empty() { OsString::from("snapcc") } else { args.remove(0) };
    // --version is the compiler's, which build systems ask for.
    if args == ["--snapfn-version"] {
        let printed = writeln!(std::io::stdout(), "snapcc {} (snapfn)", env!("CARGO_PKG_VERSION"));
        return i32::from(printed.is_err());
    }
    let compiler = match compiler::find(&name) {
        Ok(compiler) => compiler,
        Err(error) => {
            complain(&error);
            return error.status();
        }
    };

    // In a command such as `ccache gcc -m32`, only the flags belong to the compiler's command line.
    let leading = compiler.args.iter().take_while(|arg| !arg.as_encoded_bytes().starts_with(b"-")).count();
    let mut full = compiler.args;
    full.append(&mut args);
    let asked = full.get(leading..).unwrap_or_default();
    let plan = match response::expand(asked) {
        Ok(words) => plan::plan(&words, asked.len()),
        Err(response::Opaque) => plan::Plan::default(),
    };
    if let Some(at) = plan.include_at
        && let Some(directory) = compiler::include_directory()
    {
        full.splice(leading + at..leading + at, ["-isystem".into(), directory.into()]);
    }

    let argv = [compiler.name.as_os_str()].into_iter().chain(full.iter().map(OsString::as_os_str));
    let command = match Command::new(&compiler.file, argv) {
        Ok(command) => command,
        Err(error) => return cannot_run(&compiler.name, error),
    };
    match plan.executable {
        Some(executable) if !is_set(DISABLE) => link(&command, Path::new(&executable)),
        _ => None,
    }
    // Without an executable or a child, the compiler itself reports what is wrong.
    .unwrap_or_else(|| cannot_run(&compiler.name, command.exec()))
}

/// Links and splits; `None` if no child could be made.
fn link(command: &Command, executable: &Path) -> Option<i32> {
    let before = Stamp::of(executable);
    let (end, held) = command.run().ok()?;
    let after = Stamp::of(executable);
    if after.is_none() {
        remove_output(executable);
    }
    let status = match end {
        End::Signal(signal) => return Some(sys::die_of(signal)),
        End::Exit(0) if after.is_some() && after != before => split(executable),
        End::Exit(0) => {
            explain(executable, &"nothing to split: the compiler wrote no such file");
            0
        }
        End::Exit(status) => status,
    };
    // A signal that came while the files were written ends snapcc here, with both or none of them in place.
    held.release();
    Some(status)
}

/// Splits the linked file and returns the exit status.
fn split(executable: &Path) -> i32 {
    match examine(executable) {
        Ok(Produced::Executable) => {}
        Ok(Produced::Other(what)) => {
            remove_output(executable);
            explain(executable, &format!("nothing to split: {what}"));
            return 0;
        }
        Err(error) => {
            remove_output(executable);
            return failed(executable, &error);
        }
    }
    // A defect in the splitter must not fail a build: the hook runs before the process would abort.
    let hooked = executable.to_owned();
    std::panic::set_hook(Box::new(move |panic| {
        remove_output(&hooked);
        sys::exit_now(failed(&hooked, &panic));
    }));
    let result = snapfn_split::split_output(executable);
    drop(std::panic::take_hook());
    match result {
        Ok(()) => {
            let (code, init) = (code_path(executable), init_path(executable));
            explain(executable, &format!("wrote {} and {}", code.display(), init.display()));
            0
        }
        Err(error) => {
            remove_output(executable);
            failed(executable, &error)
        }
    }
}

/// Reports a split that failed and returns the exit status.
fn failed(executable: &Path, why: &dyn Display) -> i32 {
    if is_set(STRICT) {
        complain(&format!("{}: cannot split: {why}", executable.display()));
        return 1;
    }
    explain(executable, &format!("not split: {why}"));
    0
}

fn explain(executable: &Path, what: &dyn Display) {
    if is_set(VERBOSE) {
        complain(&format!("{}: {what}", executable.display()));
    }
}

fn cannot_run(compiler: &OsStr, error: std::io::Error) -> i32 {
    complain(&format!("{}: {error}", compiler.display()));
    126
}

/// Prints one line on standard error. If that fails, there is no place left to report it.
fn complain(what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "snapcc: {what}");
}

/// Whether a switch is on: it is set, and neither empty nor `0`.
fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}
